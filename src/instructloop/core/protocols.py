"""What rooms ask of each other without knowing each other. Generic: no model type is named here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol


class Verdict(StrEnum):
    """What an evaluator asks the trainer to do next."""

    CONTINUE = "continue"
    STOP = "stop"
    """End the run here, cleanly; the checkpoint of this step is the last one."""
    ROLL_BACK = "roll_back"
    """End the run and name the best earlier checkpoint as its result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """An evaluator's answer: what to do, why, and numbers for ``metrics.jsonl``."""

    verdict: Verdict = Verdict.CONTINUE
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    best_step: int | None = None
    alarms: Sequence[Mapping[str, Any]] = ()
    """Alarms that begin here, each with ``kind`` and ``message`` and whatever else belongs into ``events.jsonl``."""


class Evaluator(Protocol):
    """Called by trainers at their evaluation steps; lives in ``evaluation`` and is passed in, so that training never imports it."""

    def __call__(self, *, step: int, model: object, metrics: Mapping[str, float]) -> Judgement:
        """Look at the model (or only at the metrics so far) and answer."""
        ...


class SaveState(Protocol):
    """Writes a trainer's complete state into a directory (runs never import torch; the trainer brings this function)."""

    def __call__(self, path: Path, /) -> None:
        """Fill the directory, which exists and is empty."""
        ...
