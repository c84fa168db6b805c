"""What every stage cost, and who used the machine most (spec H20)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instructloop.report.numbers import grouped, large, percent, seconds
from instructloop.report.read import Story
from instructloop.runs.ledger import by_kind, is_counted, stage_row, with_shares

_COLORS = {"pretrain": 0, "sft": 2, "rm": 5, "ppo": 3, "evaluate": 1, "sample": 7}
_NAMES = {
    "pretrain": "pretraining",
    "sft": "supervised fine-tuning",
    "rm": "reward model",
    "ppo": "reinforcement learning",
    "evaluate": "evaluation",
    "sample": "sampling",
}
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Cost:
    """A line of the table."""

    stage: str
    state: str
    time: str
    width: float
    """Share of the time of the longest stage."""
    steps: str
    tokens: str
    speed: str
    compute: str
    share: str


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of stage in the bar of the whole."""

    name: str
    color: int
    share: float
    start: float
    compute: str
    text: str


@dataclass(frozen=True, slots=True)
class CostView:
    """The ledger."""

    rows: Sequence[Cost]
    total_time: str
    total_compute: str
    parts: Sequence[Part]
    estimated: bool
    days: str
    """All operations in the unit of the paper: petaflop/s-days."""


def cost_view(story: Story) -> CostView:
    """The ledger of a story's stages."""
    rows = with_shares([stage_row(stage.name, stage.family, stage.path, stage.seconds) for stage in story.stages])
    longest = max((float(row["seconds"]) for row in rows), default=0.0) or 1.0
    costs = []
    for stage, row in zip(story.stages, rows, strict=True):
        steps = max((int(one["step"]) for one in stage.metrics), default=0)
        clock = sum(float(value) for one in stage.timings for name, value in one.items() if name.rpartition("/")[2] == "seconds")
        tokens = row["tokens"]
        costs.append(
            Cost(
                stage=stage.name,
                state=stage.state,
                time=seconds(float(row["seconds"])),
                width=float(row["seconds"]) / longest,
                steps=grouped(steps) if steps else "",
                tokens=large(tokens) if tokens else "",
                speed=large(tokens / clock) if tokens and clock else "",
                compute=(f"{large(row['flops'])}FLOP" + ("*" if row["estimated"] else "")) if row["flops"] else "",
                share=percent(row["share"]) if row["flops"] and row["share"] and is_counted(rows) else "",
            )
        )
    total = sum(row["flops"] or 0.0 for row in rows) if is_counted(rows) else 0.0
    return CostView(
        rows=costs,
        total_time=seconds(sum(float(row["seconds"]) for row in rows)),
        total_compute=f"{large(total)}FLOP" if total else "",
        parts=_parts(rows) if total else (),
        estimated=any(row["estimated"] for row in rows),
        days=f"{total / (1e15 * _DAY):.2g}" if total else "",
    )


def _parts(rows: Sequence[Mapping[str, Any]]) -> list[Part]:
    parts: list[Part] = []
    start = 0.0
    whole = sum(row["flops"] or 0.0 for row in rows)
    for row in by_kind(rows):
        if not row["flops"]:
            continue
        share = row["flops"] / whole
        name = _NAMES.get(str(row["kind"]), str(row["kind"]))
        parts.append(Part(name, _COLORS.get(str(row["kind"]), 6), share, start, f"{large(row['flops'])}FLOP", percent(share)))
        start += share
    return parts


def told(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ledger in one line, for the terminal: time, operations, and the share of each kind of stage."""
    total = sum(row["flops"] or 0.0 for row in rows) if is_counted(rows) else 0.0
    time = sum(float(row["seconds"]) for row in rows)
    kinds = [row for row in by_kind(rows) if row["flops" if total else "seconds"]]
    unit = "flops" if total else "seconds"
    whole = total or time or 1.0
    shares = ", ".join(f"{row['kind']} {100 * row[unit] / whole:.0f} %" for row in sorted(kinds, key=lambda row: -row[unit]))
    spent = seconds(time).replace("\u202f", " ") + (f", {large(total)}FLOP".replace("\u202f", " ") if total else "")
    return f"cost: {spent}" + (f" ({shares})" if len(kinds) > 1 else "")
