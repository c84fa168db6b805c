"""Charts as inline SVG: lines, paths through a plane, and interval marks. Colors are classes, so that light, dark and print share one drawing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from instructloop.report.numbers import Estimate, number, short

WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 24
_UNDER = 14
"""Room below the numbers of the axis for its name, where that is long."""
_NAME_WIDTH, _NAME_HEIGHT = 55, 11
_MOST_POINTS = 240
_SMOOTH_FROM = 40
COLORS = 8
"""Classes ``c0`` to ``c7`` exist in the style sheet."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its points in order, its color class and how it is drawn."""

    label: str
    points: Sequence[Point]
    color: int = 0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A named dot in a plane, with the intervals of both coordinates where they are known."""

    label: str
    """What stands beside it up to a colon, and all of it for those who do not see it."""
    x: Estimate
    y: Estimate
    color: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """One series of a free chart: its points, each with the interval of its y where one is known."""

    label: str
    kind: str
    """``line``, ``points`` or ``band``."""
    points: Sequence[tuple[float, Estimate]]
    color: int = 0
    dashed: bool = False

    @property
    def path(self) -> list[Point]:
        """The points without their intervals."""
        return [(x, y.value) for x, y in self.points]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Data ranges and their place on the canvas."""

    left: float
    right: float
    low: float
    high: float
    height: int = 190

    def x(self, value: float) -> float:
        return _LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return self.height - _BOTTOM - (value - self.low) / (self.high - self.low) * (self.height - _TOP - _BOTTOM)


def line_chart(series: Sequence[Series], *, title: str, x_label: str = "step") -> Markup:
    """A small chart of curves over steps. Noisy curves are drawn faint, with their running mean on top."""
    shown = [one for one in series if one.points]
    if not shown:
        return Markup("")
    frame = _frame([one.points for one in shown])
    body = _axes(frame, x_label)
    for one in shown:
        points = thinned(one.points)
        color = f"c{one.color % COLORS}" + (" dashed" if one.dashed else "")
        if len(points) == 1:
            body.append(_dot(frame, points[0], color, one.label))
            continue
        noisy = is_noisy(one)
        if noisy:
            body.append(_line(frame, points, f"line faint {color}", ""))
        body.append(_line(frame, thinned(smoothed(one.points)) if noisy else points, f"line {color}", one.label))
    return _svg(frame, body, title, _told(shown))


def is_noisy(series: Series) -> bool:
    """Whether a curve has so many points that its running mean says more than they do."""
    return len(series.points) >= _SMOOTH_FROM and not series.dashed


def path_chart(series: Sequence[Series], marks: Sequence[Mark], *, title: str, x_label: str, y_label: str, names: bool = False) -> Markup:
    """Paths through a plane (reward against KL) and marks at places that matter; ``names`` writes the marks' labels beside them."""
    shown = [one for one in series if one.points]
    points = [one.points for one in shown] + [_ends(mark) for mark in marks]
    if not points:
        return Markup("")
    frame = _frame(points, 250)
    body = _axes(frame, x_label)
    for one in shown:
        color = f"c{one.color % COLORS}"
        body.append(_line(frame, thinned(_smooth_path(one.points)), f"line {color}", one.label))
        body += [_dot(frame, point, f"small {color}", "") for point in thinned(one.points, 60)]
    places: list[Point] = []
    for mark in marks:
        body += _mark(frame, mark, places if names else None)
    body.append(Markup('<text class="tick halo" x="{}" y="{}">{}</text>').format(_LEFT + 4, _TOP + 4, y_label))
    return _svg(frame, body, title, "; ".join([*([_told(shown)] if shown else []), *(mark.label for mark in marks)]))


def layer_chart(layers: Sequence[Layer], rules: Sequence[tuple[float, str]] = (), *, title: str, x_label: str, y_label: str) -> Markup:
    """A chart of lines, points with intervals and bands, as they are (nothing is smoothed), with named vertical lines."""
    shown = [layer for layer in layers if layer.points]
    if not shown:
        return Markup("")
    corners = [(x, end) for layer in shown for x, y in layer.points for end in (y.value, y.low, y.high) if end is not None]
    low, high = min(y for _, y in corners), max(y for _, y in corners)
    frame = _frame([corners, [(x, low) for x, _ in rules], [(x, high) for x, _ in rules]], 230)
    body = _axes(frame, "")
    middle = f"{(_LEFT + WIDTH - _RIGHT) / 2:.0f}"
    body.append(Markup('<text class="tick mid" x="{}" y="{}">{}</text>').format(middle, frame.height + _UNDER - 7, x_label))
    for layer in sorted(shown, key=lambda one: ("band", "line", "points").index(one.kind)):
        body += _layer(frame, layer)
    for place, (x, label) in enumerate(sorted(rules)):
        body += _rule(frame, x, label, place)
    if y_label:
        body.append(Markup('<text class="tick halo" x="{}" y="{}">{}</text>').format(_LEFT + 4, _TOP - 1, y_label))
    told = "; ".join([_told([Series(layer.label, layer.path) for layer in shown]), *(f"{label} at {number(x)}" for x, label in rules)])
    return _svg(frame, body, title, told, under=_UNDER)


def _layer(frame: _Frame, layer: Layer) -> list[Markup]:
    color = f"c{layer.color % COLORS}" + (" dashed" if layer.dashed else "")
    body = []
    ranged = [(x, y.low, y.high) for x, y in layer.points if y.low is not None and y.high is not None]
    if ranged and layer.kind != "points":
        edge = [(x, high) for x, _, high in ranged] + [(x, low) for x, low, _ in reversed(ranged)]
        body.append(_shape(frame, edge, f"band {color}"))
    if layer.kind == "points" or len(layer.points) == 1:
        body += [_line(frame, [(x, low), (x, high)], f"whisker {color}", "") for x, low, high in ranged]
        told = "{}: {} at {}"
        body += [_dot(frame, point, color, told.format(layer.label, number(point[1]), number(point[0]))) for point in layer.path]
    elif layer.kind == "line":
        body.append(_line(frame, thinned(layer.path), f"line {color}", layer.label))
    return body


def _shape(frame: _Frame, points: Sequence[Point], kind: str) -> Markup:
    places = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
    return Markup('<polygon class="{}" points="{}"/>').format(kind, places)


def _rule(frame: _Frame, x: float, label: str, place: int) -> list[Markup]:
    at = frame.x(x)
    left = at > WIDTH * 0.6
    words = Markup('<text class="name halo{}" x="{}" y="{}">{}</text>').format(
        " end" if left else "", f"{at + (-4 if left else 4):.1f}", frame.height - _BOTTOM - 6 - 12 * (place % 4), label
    )
    line = Markup('<line class="rule" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(f"{at:.1f}", _TOP, frame.height - _BOTTOM)
    return [line, words]


def _smooth_path(points: Sequence[Point]) -> list[Point]:
    """Both coordinates as running means over the same iterations."""
    ys = smoothed(points, span=5)
    xs = smoothed([(y, x) for x, y in points], span=5)
    return [(x, y) for (_, y), (_, x) in zip(ys, xs, strict=True)]


def _ends(mark: Mark) -> list[Point]:
    xs = [end for end in (mark.x.value, mark.x.low, mark.x.high) if end is not None]
    ys = [end for end in (mark.y.value, mark.y.low, mark.y.high) if end is not None]
    return [(min(xs), min(ys)), (max(xs), max(ys))]


def _mark(frame: _Frame, mark: Mark, names: list[Point] | None) -> list[Markup]:
    """Crosses and dot; its name too where ``names`` (the places of earlier ones, to which its own is added) is given."""
    color = f"c{mark.color % COLORS}"
    (left, low), (right, high) = _ends(mark)
    middle = mark.x.value, mark.y.value
    body = []
    if left < right or low < high:
        body.append(_line(frame, [(left, middle[1]), (right, middle[1])], f"whisker {color}", ""))
        body.append(_line(frame, [(middle[0], low), (middle[0], high)], f"whisker {color}", ""))
    body.append(_dot(frame, middle, color, mark.label))
    if names is not None:
        to_the_right = frame.x(middle[0]) < WIDTH * 0.7
        x, y = frame.x(middle[0]) + (8 if to_the_right else -8), frame.y(middle[1]) - 6
        while any(abs(x - other) < _NAME_WIDTH and abs(y - above) < _NAME_HEIGHT for other, above in names):
            y += _NAME_HEIGHT
        names.append((x, y))
        kind = "name halo" if to_the_right else "name halo end"
        body.append(Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, mark.label.partition(":")[0]))
    return body


def interval_mark(estimate: Estimate, *, low: float, high: float, color: int, reference: float | None = None) -> Markup:
    """A dot with its interval as a whisker on a horizontal scale; drawn in per cent of the width, so it never gets squeezed."""

    def place(value: float) -> str:
        share = (min(max(value, low), high) - low) / ((high - low) or 1.0)
        return f"{2 + 96 * share:.2f}%"

    told = f"{estimate.text()} {estimate.interval()}"
    parts = [Markup('<svg class="mark c{}" role="img" aria-label="{}">').format(color % COLORS, told)]
    parts.append(Markup('<line class="rail" x1="2%" x2="98%" y1="50%" y2="50%"/>'))
    if reference is not None and low <= reference <= high:
        parts.append(Markup('<line class="reference" x1="{0}" x2="{0}" y1="0" y2="100%"/>').format(place(reference)))
    if estimate.low is not None and estimate.high is not None:
        parts.append(Markup('<line class="whisker" x1="{}" x2="{}" y1="50%" y2="50%"/>').format(place(estimate.low), place(estimate.high)))
    parts.append(Markup('<circle class="dot" cx="{}" cy="50%" r="4.5"/></svg>').format(place(estimate.value)))
    return Markup("").join(parts)


def scale_of(estimates: Sequence[Estimate], *, include: float | None = None) -> tuple[float, float]:
    """A scale that shows all intervals with some air; shares stay within 0 and 1."""
    ends = [end for one in estimates for end in (one.value, one.low, one.high) if end is not None]
    if include is not None:
        ends.append(include)
    low, high = min(ends), max(ends)
    air = 0.08 * (high - low) or abs(high) * 0.1 or 0.1
    if all(one.share for one in estimates):
        return max(0.0, low - air), min(1.0, high + air)
    return low - air, high + air


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (1, 2, 5 times a power of ten) within the range, at most ``most`` of them."""
    span = high - low
    if not span > 0:
        return [low]
    step = 10.0 ** math.floor(math.log10(span / most))
    while span / step > most:
        step *= 2.5 if f"{step:e}".startswith("2") else 2
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def smoothed(points: Sequence[Point], span: int = 0) -> list[Point]:
    """Running mean over ``span`` points (default: a twelfth of them); at the ends it is the mean of the half that exists, never one point."""
    half = (span or max(3, len(points) // 12)) // 2
    result = []
    for place, (x, _) in enumerate(points):
        window = points[max(0, place - half) : place + half + 1]
        result.append((x, sum(y for _, y in window) / len(window)))
    return result


def thinned(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most about ``most`` points: of each stretch the lowest and the highest, so that spikes stay visible; both ends stay."""
    if len(points) <= most:
        return list(points)
    stretch = math.ceil(2 * len(points) / most)
    kept = [points[0]]
    for start in range(1, len(points) - 1, stretch):
        piece = points[start : min(start + stretch, len(points) - 1)]
        ends = {min(piece, key=lambda point: point[1]), max(piece, key=lambda point: point[1])}
        kept += sorted(ends)
    return [*kept, points[-1]]


def _frame(lines: Sequence[Sequence[Point]], height: int = 190) -> _Frame:
    xs = [x for points in lines for x, _ in points]
    ys = [y for points in lines for _, y in points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    if left == right:
        left, right = left - 0.5, right + 0.5
    air = 0.06 * (high - low) or abs(high) * 0.1 or 0.5
    # a curve that never goes below zero does not get an axis that does
    return _Frame(left, right, max(0.0, low - air) if low >= 0 else low - air, high + air, height)


def _axes(frame: _Frame, x_label: str) -> list[Markup]:
    body = []
    for value in ticks(frame.low, frame.high):
        y = f"{frame.y(value):.1f}"
        body.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, WIDTH - _RIGHT, y, y))
        body.append(Markup('<text class="tick end" x="{}" y="{}" dy=".32em">{}</text>').format(_LEFT - 6, y, short(value)))
    places = ticks(frame.left, frame.right)
    for value in places:
        x = f"{min(frame.x(value), WIDTH - 14):.1f}"
        body.append(Markup('<text class="tick mid" x="{}" y="{}">{}</text>').format(x, frame.height - 8, short(value)))
    gap = frame.x(places[1]) - frame.x(places[0]) if len(places) > 1 else 0.0
    if places and gap > 44:
        middle = f"{frame.x(places[-1]) - gap / 2:.1f}"
        body.append(Markup('<text class="tick mid soft" x="{}" y="{}">{}</text>').format(middle, frame.height - 8, x_label))
    return body


def _line(frame: _Frame, points: Sequence[Point], kind: str, label: str) -> Markup:
    places = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
    return Markup('<polyline class="{}" points="{}">{}</polyline>').format(kind, places, _title(label))


def _dot(frame: _Frame, point: Point, kind: str, label: str) -> Markup:
    radius = 1.6 if kind.startswith("small") else 4
    return Markup('<circle class="dot {}" cx="{}" cy="{}" r="{}">{}</circle>').format(
        kind, f"{frame.x(point[0]):.1f}", f"{frame.y(point[1]):.1f}", radius, _title(label)
    )


def _title(label: str) -> Markup:
    return Markup("<title>{}</title>").format(label) if label else Markup("")


def _told(series: Sequence[Series]) -> str:
    """What the chart shows, for those who do not see it."""
    return "; ".join(
        f"{one.label}: from {number(one.points[0][1])} at {number(one.points[0][0])} to {number(one.points[-1][1])} at {number(one.points[-1][0])}"
        for one in series
    )


def _svg(frame: _Frame, body: Sequence[Markup], title: str, told: str, under: int = 0) -> Markup:
    corners = f"{_LEFT} {WIDTH - _RIGHT} {frame.height - _BOTTOM} {_TOP}"
    data = f"{frame.left:.6g} {frame.right:.6g} {frame.low:.6g} {frame.high:.6g}"
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" data-corners="{}" data-frame="{}" role="img" aria-label="{}">').format(
        WIDTH, frame.height + under, corners, data, f"{title}. {told}"
    )
    return head + Markup("").join(body) + Markup("</svg>")
