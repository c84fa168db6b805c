"""What rang while the run was going on: the alarms of ``events.jsonl`` in their order."""

from instructloop.evaluation.observatory.document import Cell, Findings, Section, Table
from instructloop.evaluation.observatory.readings import RunFiles

NAME = "rang"


def rang(run: RunFiles) -> Findings:
    """A table of the run's own alarms; nothing where none rang."""
    rows: list[list[Cell]] = [
        [
            int(event.get("step", 0)),
            str(event.get("item", "")),
            str(event.get("message", "")),
            _number(event.get("measured")),
            _number(event.get("threshold")),
        ]
        for event in run.events
        if event.get("kind") == "alarm"
    ]
    if not rows:
        return Findings()
    table = Table(title="In the order in which they rang", columns=["iteration", "alarm", "what", "measured", "threshold"], rows=rows)
    section = Section(
        name=NAME,
        title="Alarms while it ran",
        text=f"{len(rows)} rang; the first one at iteration {rows[0][0]}. None of them has seen gold.",
        tables=[table],
    )
    return Findings(sections=(section,))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
