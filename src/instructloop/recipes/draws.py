"""What was sampled, and what is needed to sample it again: seed, row and number of every draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """What one model drew for a portion of prompts: ``n`` completions each, prompt by prompt."""

    seed: int
    n: int
    sampling: Mapping[str, Any]
    completions: Sequence[str]
    finish_reasons: Sequence[str]
    tokens: Sequence[int]
    seen: int = 0
    """Tokens that went through the model: every prompt once, and all completions."""
    flops: float = 0.0
    """Useful operations of sampling them."""

    def of(self, offset: int) -> list[str]:
        """The completions of one prompt."""
        return list(self.completions[offset * self.n : (offset + 1) * self.n])


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where one completion came from; ``row`` is its row in the rollouts of ``seed``."""

    model: int
    seed: int
    row: int
    draw: int
    sampling: Mapping[str, Any]
    finish_reason: str
    tokens: int


def origins_of(row: Mapping[str, Any], models: Sequence[str], drawn: Sequence[Draws], offset: int) -> list[Origin]:
    """For each completion of a row: which model's which draw it was.

    Args:
        row: with ``completions`` and ``models``, as ``distinct_row`` makes it.
        models: in the order of ``drawn``.
        drawn: what each model drew for the portion.
        offset: the prompt's place in the portion.
    """
    origins = []
    for text, name in zip(row["completions"], row["models"], strict=True):
        model = list(models).index(name)
        own = drawn[model]
        draw = [candidate.strip() for candidate in own.of(offset)].index(text)
        at = offset * own.n + draw
        origins.append(
            Origin(
                model=model,
                seed=own.seed,
                row=at,
                draw=draw,
                sampling=own.sampling,
                finish_reason=own.finish_reasons[at],
                tokens=own.tokens[at],
            )
        )
    return origins
