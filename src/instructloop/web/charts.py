"""Charts drawn on the server as SVG: bars, lines, intervals. No script, no inline style; every figure has its table beside it.

Colours come from the style sheet by class, so that light, dark and high contrast work. Templates: ``{{ charts.bars(...) }}``.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH = 640
_LABEL = 190
_RIGHT = 70
_ROW = 28


class Bar(NamedTuple):
    """One bar: a label, a value, and what to write behind it (the value by default)."""

    label: str
    value: float
    text: str = ""


class Interval(NamedTuple):
    """A figure with its interval: ``low <= value <= high``; ``n`` is written behind."""

    label: str
    value: float
    low: float
    high: float
    n: int | None = None


class Line(NamedTuple):
    """A named series of (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


def bars(title: str, rows: Sequence[Bar], *, unit: str = "") -> Markup:
    """Horizontal bars from zero."""
    most = max((row.value for row in rows if math.isfinite(row.value)), default=0.0) or 1.0
    span, parts = WIDTH - _LABEL - _RIGHT, []
    for index, row in enumerate(rows):
        y = index * _ROW
        width = span * max(0.0, row.value) / most if math.isfinite(row.value) else 0.0
        parts.append(_text(_LABEL - 8, y + 18, row.label, "end"))
        parts.append(f'<rect class="bar" x="{_LABEL}" y="{y + 5}" width="{width:.1f}" height="{_ROW - 10}" rx="3"/>')
        parts.append(_text(_LABEL + width + 6, y + 18, row.text or number(row.value) + unit))
    return _figure(
        title, "".join(parts), len(rows) * _ROW, ("", unit or "value"), [(row.label, row.text or number(row.value)) for row in rows]
    )


def intervals(
    title: str,
    rows: Sequence[Interval],
    *,
    low: float | None = None,
    high: float | None = None,
    mark: float | None = None,
    percent: bool = False,
) -> Markup:
    """Points with their intervals on one axis (a forest plot); ``mark`` draws a line to compare with, such as 0.5."""
    values = [number_ for row in rows for number_ in (row.low, row.high, row.value) if math.isfinite(number_)]
    values += [mark] if mark is not None else []
    left = min(values, default=0.0) if low is None else low
    right = max(values, default=1.0) if high is None else high
    if right <= left:
        left, right = left - 0.5, right + 0.5
    span = WIDTH - _LABEL - _RIGHT

    def place(value: float) -> float:
        return _LABEL + span * (min(max(value, left), right) - left) / (right - left)

    height = len(rows) * _ROW
    show = (lambda value: f"{100 * value:.1f} %") if percent else number
    parts = [f'<line class="axis" x1="{_LABEL}" y1="{height}" x2="{_LABEL + span}" y2="{height}"/>']
    for tick in ticks(left, right):
        parts.append(f'<line class="grid" x1="{place(tick):.1f}" y1="0" x2="{place(tick):.1f}" y2="{height}"/>')
        parts.append(_text(place(tick), height + 18, f"{100 * tick:.0f} %" if percent else number(tick), "middle", "tick"))
    if mark is not None:
        parts.append(f'<line class="mark" x1="{place(mark):.1f}" y1="0" x2="{place(mark):.1f}" y2="{height}"/>')
    for index, row in enumerate(rows):
        y = index * _ROW + _ROW / 2
        parts.append(_text(_LABEL - 8, y + 4, row.label, "end"))
        if not math.isfinite(row.value):
            parts.append(_text(_LABEL + 6, y + 4, "undefined", css="tick"))
            continue
        if math.isfinite(row.low) and math.isfinite(row.high):
            parts.append(f'<line class="whisker" x1="{place(row.low):.1f}" y1="{y}" x2="{place(row.high):.1f}" y2="{y}"/>')
        parts.append(f'<circle class="dot" cx="{place(row.value):.1f}" cy="{y}" r="5"/>')
        if row.n is not None:
            parts.append(_text(_LABEL + span + 8, y + 4, f"n={row.n}", css="tick"))
    table = [(row.label, show(row.value), f"{show(row.low)} to {show(row.high)}", "" if row.n is None else str(row.n)) for row in rows]
    return _figure(title, "".join(parts), height + 26, ("", "figure", "95 % interval", "n"), table)


def lines(title: str, series: Sequence[Line], *, x_label: str = "", y_label: str = "", height: int = 220) -> Markup:
    """Lines over a common x; told apart by dashes as well as by colour."""
    points = [point for line in series for point in line.points if math.isfinite(point[1])]
    if not points:
        return _figure(title, _text(WIDTH / 2, 40, "no data yet", "middle", "tick"), 60, ("", ""), [])
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    left, right, bottom, top = min(xs), max(xs), min(0.0, *ys), max(ys)
    right, top = (right if right > left else left + 1), (top if top > bottom else bottom + 1)
    x0, x1, y0, y1 = 60.0, WIDTH - 20.0, 12.0, float(height)

    def place(x: float, y: float) -> tuple[float, float]:
        return x0 + (x1 - x0) * (x - left) / (right - left), y1 - (y1 - y0) * (y - bottom) / (top - bottom)

    parts = [f'<line class="axis" x1="{x0}" y1="{y1}" x2="{x1}" y2="{y1}"/>']
    for tick in ticks(bottom, top):
        y = place(left, tick)[1]
        parts.append(
            f'<line class="grid" x1="{x0}" y1="{y:.1f}" x2="{x1}" y2="{y:.1f}"/>' + _text(x0 - 6, y + 4, number(tick), "end", "tick")
        )
    parts += [_text(place(tick, bottom)[0], y1 + 18, number(tick), "middle", "tick") for tick in ticks(left, right)]
    for index, line in enumerate(series):
        drawn = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line.points if math.isfinite(y))
        parts.append(f'<polyline class="series series-{index % 4}" points="{drawn}"/>')
    parts.append(_text((x0 + x1) / 2, y1 + 36, x_label, "middle", "tick"))
    legend = Markup("").join(
        Markup(
            '<li><svg class="swatch" viewBox="0 0 24 8" aria-hidden="true"><line class="series series-{}" x1="0" y1="4" x2="24" y2="4"/></svg>{}</li>'
        ).format(index % 4, line.name)
        for index, line in enumerate(series)
    )
    table = [(line.name, number(x), number(y)) for line in series for x, y in line.points]
    return _figure(title, "".join(parts), height + 44, ("series", x_label or "x", y_label or "y"), table, legend)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) within ``low..high``."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A number as a person reads it; "undefined" where there is none."""
    if not math.isfinite(value):
        return "undefined"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value)}"
    return f"{value:.3g}"


def _text(x: float, y: float, text: str, anchor: str = "start", css: str = "label") -> str:
    shown = text if len(text) <= 28 else text[:27] + "…"
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(shown)}</text>'


def _figure(
    title: str, inside: str, height: float, head: Sequence[str], rows: Sequence[Sequence[str]], legend: Markup | None = None
) -> Markup:
    """The drawing, hidden from screen readers in favour of the table, which everybody can open."""
    cells = Markup("").join(
        Markup("<tr><th scope=row>{}</th>{}</tr>").format(row[0], Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row[1:]))
        for row in rows
    )
    heads = Markup("").join(Markup("<th scope=col>{}</th>").format(cell) for cell in head)
    return Markup(
        '<figure class="chart"><figcaption>{title}</figcaption>'
        '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}"><title>{title}</title><desc>The figures are in the table below.</desc>{inside}</svg>'
        "{legend}<details><summary>Figures</summary><table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table></details></figure>"
    ).format(
        title=title,
        width=WIDTH,
        height=round(height),
        inside=Markup(inside),  # noqa: S704 - built above from numbers and escaped text
        legend=Markup('<ul class="legend">{}</ul>').format(legend) if legend is not None else "",
        heads=heads,
        cells=cells,
    )
