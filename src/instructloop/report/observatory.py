"""The observatory's file (``eval/observatory.json``) as alarms, charts, tables and samples to draw.

The file says what its figures are called and how they are drawn, so that a new figure there needs nothing new here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from instructloop.report import chart
from instructloop.report.numbers import Estimate, estimate, finite, number, percent
from instructloop.report.read import Story

_ORDER = ("alarm", "warning", "ok", "not measured")
_SIGNS = {"alarm": "\u25a0", "warning": "\u25b2", "ok": "\u2713", "not measured": "\u25cb"}
_TOLD = ("prompt", "completion", "note", "score", "text")
_KNOWN_COLORS = (("gold", 1), ("human", 1), ("people", 1), ("proxy", 3), ("held", 4), ("judge", 4), ("best-of", 5), ("best of", 5))
_DASHED = ("fit", "bound", "predicted", "perfect")
_FREE_COLORS = (2, 3, 4, 5, 7, 6, 1, 0)


@dataclass(frozen=True, slots=True)
class Sample:
    """A reply to read, and why."""

    prompt: str
    completion: str
    score: str
    note: str
    rest: Sequence[tuple[str, str]]
    """Whatever else was kept with it."""


@dataclass(frozen=True, slots=True)
class AlarmView:
    """One alarm: what was measured, against what, and what to do."""

    anchor: str
    title: str
    state: str
    sign: str
    measured: str
    threshold: str
    unit: str
    step: str
    explanation: str
    next: str
    examples: Sequence[Sample]

    @property
    def rings(self) -> bool:
        """Whether somebody should look."""
        return self.state in {"alarm", "warning"}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart with its legend."""

    title: str
    svg: Markup
    legend: Sequence[tuple[str, int, str]]
    """Label, color, and how it is drawn: ``dot``, ``stroke``, ``dashed`` or ``band``."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a free table."""

    text: str
    interval: str = ""
    count: str = ""
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class FreeTable:
    """A table as the file gives it; the first column names the rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str
    common: str = ""
    """The count behind every estimate, if it is one and the same."""


@dataclass(frozen=True, slots=True)
class SectionView:
    """One figure with what belongs to it."""

    anchor: str
    title: str
    text: str
    charts: Sequence[Drawing]
    tables: Sequence[FreeTable]
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class ObservatoryView:
    """What the examination of one run has found."""

    stage: str
    path: str
    summary: str
    alarms: Sequence[AlarmView]
    sections: Sequence[SectionView]

    @property
    def ringing(self) -> Sequence[AlarmView]:
        """Those that somebody should look at."""
        return [alarm for alarm in self.alarms if alarm.rings]

    @property
    def quiet(self) -> Sequence[tuple[str, Sequence[AlarmView]]]:
        """The others: what is in order, and what could not be measured."""
        groups = [("in order", [one for one in self.alarms if one.state == "ok"])]
        groups.append(("not measured", [one for one in self.alarms if one.state == "not measured"]))
        return [(title, alarms) for title, alarms in groups if alarms]


def observatories(story: Story) -> list[ObservatoryView]:
    """Every examination in a story."""
    found: list[ObservatoryView] = []
    for owner, path, row in story.tables("observatory"):
        prefix = f"observatory-{len(found) + 1}"
        given = enumerate(row.get("alarms") or (), start=1)
        alarms = sorted((alarm_view(one, f"{prefix}-alarm-{place}") for place, one in given), key=lambda one: _ORDER.index(one.state))
        sections = [_section(one, f"{prefix}-{place}") for place, one in enumerate(row.get("sections") or (), start=1)]
        stage = owner or str(row.get("stage") or story.title)
        found.append(ObservatoryView(stage, path, _summary(alarms), alarms, sections))
    return found


def _summary(alarms: Sequence[AlarmView]) -> str:
    parts = []
    for state, one, many in (
        ("alarm", "alarm", "alarms"),
        ("warning", "warning", "warnings"),
        ("ok", "check in order", "checks in order"),
        ("not measured", "not measured", "not measured"),
    ):
        count = sum(alarm.state == state for alarm in alarms)
        if count:
            parts.append(f"{count} {one if count == 1 else many}")
    return ", ".join(parts)


def alarm_view(row: Mapping[str, Any], anchor: str) -> AlarmView:
    """An alarm of the file, or of an event that carries one."""
    state = str(row.get("state"))
    state = state if state in _ORDER else "not measured"
    unit = str(row.get("unit") or "")
    return AlarmView(
        anchor=anchor,
        title=str(row.get("title") or row.get("kind") or "alarm"),
        state=state,
        sign=_SIGNS[state],
        measured=_quantity(row.get("measured"), unit),
        threshold=_quantity(row.get("threshold"), unit),
        unit="" if unit == "share" else unit,
        step="" if row.get("step") is None else str(row["step"]),
        explanation=str(row.get("explanation") or ""),
        next=str(row.get("next") or ""),
        examples=[sample(one) for one in row.get("examples") or ()],
    )


def _quantity(value: Any, unit: str) -> str:
    if not finite(value):
        return ""
    return percent(float(value)) if unit == "share" else number(float(value))


def sample(row: Mapping[str, Any]) -> Sample:
    """A reply with its prompt; unknown keys are shown behind it."""
    rest = [(str(key).replace("_", " "), plain(value)) for key, value in row.items() if key not in _TOLD and value not in (None, "")]
    return Sample(
        prompt=told(row.get("prompt")),
        completion=told(row.get("completion", row.get("text"))),
        score=plain(row["score"]) if row.get("score") is not None else "",
        note=str(row.get("note") or ""),
        rest=rest,
    )


def told(prompt: Any) -> str:
    """A prompt or reply as text: as it stands, or one line a turn."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    if isinstance(prompt, Sequence):
        return "\n".join(f"{one.get('role', '')}: {one.get('content', '')}" if isinstance(one, Mapping) else str(one) for one in prompt)
    return str(prompt)


def plain(value: Any) -> str:
    """Any value of a file in one line."""
    if finite(value):
        return number(float(value)) if isinstance(value, float) else f"{value:,}".replace(",", "\u202f").replace("-", "\u2212")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        found = estimate(value)
        return f"{found.text()} {found.interval()}".strip() if found else ", ".join(f"{key} {plain(one)}" for key, one in value.items())
    return ", ".join(map(plain, value)) if isinstance(value, list | tuple) else str(value)


def _section(row: Mapping[str, Any], anchor: str) -> SectionView:
    return SectionView(
        anchor=anchor,
        title=str(row.get("title") or row.get("name") or ""),
        text=str(row.get("text") or ""),
        charts=[drawing for one in row.get("charts") or () if (drawing := draw(one)) is not None],
        tables=[free_table(one) for one in row.get("tables") or ()],
        samples=[sample(one) for one in row.get("samples") or ()],
    )


def draw(row: Mapping[str, Any]) -> Drawing | None:
    """A chart of the file; None where it has no point."""
    series = row.get("series") or ()
    colors = series_colors([str(one.get("name") or "") for one in series])
    layers: list[chart.Layer] = []
    for one, color in zip(series, colors, strict=True):
        name, kind = str(one.get("name") or ""), str(one.get("kind") or "line")
        points = [_point(point) for point in one.get("points") or () if finite(point[0]) and finite(point[1])]
        # a second line of one color is told from the first by its dashes
        second = any(layer.kind == kind and layer.color == color for layer in layers)
        dashed = bool(one.get("dashed", kind == "line" and (second or any(word in name.lower() for word in _DASHED))))
        layers.append(chart.Layer(name, kind if kind in {"line", "points", "band"} else "line", points, color, dashed))
    rules = [(float(mark["x"]), str(mark.get("label") or "")) for mark in row.get("marks") or () if finite(mark.get("x"))]
    title = str(row.get("title") or "")
    svg = chart.layer_chart(layers, rules, title=title, x_label=str(row.get("x_label") or ""), y_label=str(row.get("y_label") or ""))
    if not svg:
        return None
    legend = [(layer.label, layer.color, _swatch(layer)) for layer in layers if layer.points and layer.label]
    return Drawing(title, svg, legend if len(legend) > 1 else [])


def _swatch(layer: chart.Layer) -> str:
    return {"points": "dot", "band": "band"}.get(layer.kind, "dashed" if layer.dashed else "stroke")


def _point(values: Sequence[Any]) -> tuple[float, Estimate]:
    low, high = (values[2], values[3]) if len(values) >= 4 else (None, None)
    return float(values[0]), Estimate(float(values[1]), float(low) if finite(low) else None, float(high) if finite(high) else None)


def series_colors(names: Sequence[str]) -> list[int]:
    """Gold, proxy and held-out judges have theirs everywhere; ``run: fit`` has that of ``run``, other names take the next free one."""
    found: dict[str, int] = {}
    roots = [_root(name) for name in names]
    for root in roots:
        known = next((color for word, color in _KNOWN_COLORS if word in root), None)
        if known is not None:
            found[root] = known
    for root in roots:
        if root not in found:
            free = [color for color in _FREE_COLORS if color not in found.values()]
            found[root] = free[0] if free else len(found) % chart.COLORS
    return [found[root] for root in roots]


def _root(name: str) -> str:
    return name.partition(":")[0].strip().lower().removesuffix(" fit").removesuffix(" points")


def free_table(row: Mapping[str, Any]) -> FreeTable:
    """A table of the file."""
    rows = [[_cell(value) for value in cells] for cells in row.get("rows") or ()]
    counts = {cell.count for cells in rows for cell in cells if cell.count}
    common = counts.pop() if len(counts) == 1 else ""
    if common:
        rows = [[replace(cell, count="") for cell in cells] for cells in rows]
    return FreeTable(
        str(row.get("title") or ""), [str(name) for name in row.get("columns") or ()], rows, str(row.get("note") or ""), common
    )


def _cell(value: Any) -> Cell:
    if value is None:
        return Cell("")
    if (found := estimate(value)) is not None:
        return Cell(found.text(), found.interval(), found.count(), numeric=True)
    return Cell(plain(value), numeric=finite(value))
