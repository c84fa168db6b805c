"""What an inspection says, in a form that the report draws without knowing any figure: sections of charts, tables and samples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from instructloop.evaluation.observatory.alarms import Alarm
from instructloop.stats import Interval

SCHEMA_VERSION = 1
Cell = str | float | int | None | Mapping[str, Any]
"""A text, a number, nothing, or an estimate ``{"value", "low", "high", "n"}``."""


def estimate(interval: Interval) -> dict[str, Any]:
    """An interval as the estimate that all result files hold."""
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "clusters": interval.clusters,
    }


def finite(value: float | None) -> float | None:
    """The number, or None where it is none that a file can hold."""
    return None if value is None or not math.isfinite(value) else float(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points ``[x, y]`` (or ``[x, y, low, high]``) of one kind."""

    name: str
    points: Sequence[Sequence[float]]
    kind: Literal["line", "points", "band"] = "line"

    def json(self) -> dict[str, Any]:
        """As the layout has it; points with a number that is not finite are left out."""
        kept = [[float(value) for value in point] for point in self.points if all(math.isfinite(value) for value in point)]
        return {"name": self.name, "kind": self.kind, "points": kept}


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Series over one x axis, with marks (vertical lines)."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    marks: Sequence[tuple[float, str]] = ()

    def json(self) -> dict[str, Any]:
        """As the layout has it."""
        return {
            "title": self.title,
            "x_label": self.x_label,
            "y_label": self.y_label,
            "series": [one.json() for one in self.series],
            "marks": [{"x": float(x), "label": label} for x, label in self.marks if math.isfinite(x)],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows under named columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def json(self) -> dict[str, Any]:
        """As the layout has it."""
        rows = [[finite(cell) if isinstance(cell, float) else cell for cell in row] for row in self.rows]
        return {"title": self.title, "columns": list(self.columns), "rows": rows, "note": self.note}


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One question and what was found."""

    name: str
    title: str
    text: str
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    """Rows ``{"prompt", "completion", "note", "score"}`` to be read."""

    def json(self) -> dict[str, Any]:
        """As the layout has it."""
        return {
            "name": self.name,
            "title": self.title,
            "text": self.text,
            "charts": [chart.json() for chart in self.charts],
            "tables": [table.json() for table in self.tables],
            "samples": [dict(sample) for sample in self.samples],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What one examination contributes."""

    sections: tuple[Section, ...] = ()
    alarms: tuple[Alarm, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(sections=self.sections + other.sections, alarms=self.alarms + other.alarms)


def document(stage: str, findings: Findings, **further: Any) -> dict[str, Any]:
    """The whole of ``eval/observatory.json``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "observatory",
        "stage": stage,
        **further,
        "alarms": [alarm.json() for alarm in findings.alarms],
        "sections": [section.json() for section in findings.sections],
    }
