"""What people write and rank, as frozen records; the field names are the same in Python, SQL and files (design, section 4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


PromptContent = str | tuple[Message, ...]
"""A prompt is plain text, or a conversation that ends in a user turn."""


def prompt_text(prompt: PromptContent) -> str:
    """One readable string for hashing, tables and rules: the text itself, or ``role: content`` lines."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message.role}: {message.content}" for message in prompt)


def prompt_json(prompt: PromptContent) -> str | list[dict[str, str]]:
    """The prompt as it stands in JSONL: a string or a list of ``{"role", "content"}``."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": message.role, "content": message.content} for message in prompt]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A prompt to complete. ``meta`` keeps every further field of the row (use case, source, split...)."""

    prompt: PromptContent
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstration:
    """A prompt and the completion a labeler wrote for it."""

    prompt: PromptContent
    completion: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """K completions of one prompt with the ranks one labeler gave.

    ``ranks`` are dense from 0 (best); equal ranks are a tie; None = shown but left out by the labeler.
    ``none_acceptable`` says that even the best one is not good enough (it carries no pair).
    """

    prompt: PromptContent
    completions: tuple[str, ...]
    ranks: tuple[int | None, ...]
    labeler: str | None = None
    confidence: float | None = None
    none_acceptable: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def k(self) -> int:
        """Completions that carry a rank."""
        return sum(rank is not None for rank in self.ranks)

    def strict_pairs(self) -> Iterator[tuple[int, int]]:
        """Index pairs (winner, loser) with different ranks; ties and unranked completions give none (spec D5)."""
        for (i, a), (j, b) in combinations(enumerate(self.ranks), 2):
            if a is None or b is None or a == b:
                continue
            yield (i, j) if a < b else (j, i)

    @property
    def tied_pairs(self) -> int:
        """Pairs of ranked completions with equal ranks."""
        return self.k * (self.k - 1) // 2 - sum(1 for _ in self.strict_pairs())


def dense_ranks(ranks: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Any integers to dense ranks from 0; only the order counts: (5, 2, 5, None) -> (1, 0, 1, None)."""
    order = {rank: place for place, rank in enumerate(sorted({rank for rank in ranks if rank is not None}))}
    return tuple(None if rank is None else order[rank] for rank in ranks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A chosen and a rejected completion: training data with K = 2 (not a comparison, which is a vote in an evaluation)."""

    prompt: PromptContent
    chosen: str
    rejected: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def as_ranking(self) -> Ranking:
        """The same judgement as a ranking of two."""
        labeler, confidence = self.meta.get("labeler"), self.meta.get("confidence")
        return Ranking(
            prompt=self.prompt,
            completions=(self.chosen, self.rejected),
            ranks=(0, 1),
            labeler=labeler,
            confidence=confidence,
            meta=self.meta,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpaired:
    """A completion with a thumb up or down."""

    prompt: PromptContent
    completion: str
    label: bool
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A document of the pretraining mix."""

    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


Outcome = Literal["a", "b", "tie", "both_bad"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A blind head-to-head vote: which of two completions is better. ``both_bad`` counts as a tie and is reported apart.

    ``strength`` says how much better, 1..3; None = not asked. ``model_a`` and ``model_b`` are names the labeler never saw.
    """

    prompt: PromptContent
    completion_a: str
    completion_b: str
    winner: Outcome
    model_a: str | None = None
    model_b: str | None = None
    strength: int | None = None
    labeler: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating:
    """The overall quality of one completion on a scale; ours goes from 1 to 7 (spec B12), other tools have their own."""

    prompt: PromptContent
    completion: str
    overall: float
    labeler: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
