"""What a suite is: items, the frames in which they are asked, how a model answers, and the numbers that come out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from instructloop.evaluation.suites.frames import Frame
from instructloop.scoring.sets import Item

Mode: TypeAlias = Literal["generate", "choice", "pair"]
"""Write an answer (spec G4); choose among options by mean log-probability a token (G5); compare two sentences by total probability (G6)."""

Marks: TypeAlias = Mapping[str, float | list[float]]
"""Metric key to a number, or to several observations of one item; an item may leave a metric out."""
Marker: TypeAlias = Callable[[Sequence[Item], Sequence[str], Any], Sequence[Marks]]
"""Marks for written answers; the third argument are the ``Judges`` of the run."""
Options: TypeAlias = Callable[[Item], Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One number of a suite."""

    key: str
    """Name in the marks."""
    name: str
    """Name in tables."""
    better: Literal["higher", "lower", "neither"] = "higher"
    unit: Literal["points", "share", "bits", "nats"] = "share"
    """``points``: marks of 0..1 are shown as 0..100."""
    corpus_bleu: bool = False
    """The number of all texts together and no mean of marks."""

    @property
    def scale(self) -> float:
        """From marks to the table."""
        return 100.0 if self.unit == "points" and not self.corpus_bleu else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way of asking a suite's items."""

    name: str
    frame: Frame
    shots: int = 0
    """Worked examples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A test set with everything that turns a model into numbers on it."""

    name: str
    title: str
    mode: Mode
    variants: Sequence[Variant]
    metrics: Sequence[Metric]
    mark: Marker | None = None
    """For ``generate``."""
    options: Options | None = None
    """For ``choice``: the options as they follow the prompt. For ``pair``: the two sentences."""
    right: Callable[[Item], int] | None = None
    """For ``choice``: which option is right."""
    mark_choice: Callable[[Sequence[str], Sequence[float], int], Marks] | None = None
    """For ``choice``: marks from the options, their total log-probabilities in nats and the number of the right one; None is the paper's."""
    mark_pair: Callable[[Item, float, float], Marks] | None = None
    """For ``pair``: marks from the two total log-probabilities in nats."""
    max_new_tokens: int = 48
    stop: Sequence[str] = ("\n",)
    temperature: float = 0.0
    built_in: Callable[[], list[Item]] | None = None
    """Items that need no file."""
    judge: str = ""
    """Which trained judge the marks need."""
    chat: bool = False
    """Whether the prompt is a request and no text to be continued, so that it is asked under a model's chat template."""
    note: str = ""
    """What a reader of the number should know."""


def shot_variants(frame: Frame, shots: int) -> tuple[Variant, ...]:
    """Zero-shot, and few-shot with so many worked examples (spec G8)."""
    return (Variant(name="zero-shot", frame=frame), Variant(name="few-shot", frame=frame, shots=shots))


def named_variants(frames: Mapping[str, Frame]) -> tuple[Variant, ...]:
    """One variant a frame, without worked examples."""
    return tuple(Variant(name=name, frame=frame) for name, frame in frames.items())
