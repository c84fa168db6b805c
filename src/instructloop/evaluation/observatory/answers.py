"""Completions with everything that was measured on them, as the examinations read them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructloop.core.records import Message, Prompt, prompt_json, prompt_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One completion. What was not measured is None (or empty)."""

    prompt: Prompt
    completion: str
    tokens: int
    """Length in tokens of the model that wrote it; in words where that is not known."""
    ended: bool = True
    proxy: float | None = None
    """By the reward that PPO maximized, in its own unit."""
    held_out: tuple[float, ...] = ()
    """By reward models trained on other rankings, in their units."""
    gold: float | None = None
    """By a gold function or people, where somebody has one."""
    kl: float | None = None
    """ln pi(y|x) - ln pi_ref(y|x) in nats."""
    flags: Mapping[str, bool | None] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What intervals cluster by."""
        return prompt_text(self.prompt.prompt)

    def json(self) -> dict[str, Any]:
        """As a row of a file."""
        return {
            "prompt": prompt_json(self.prompt.prompt),
            "meta": dict(self.prompt.meta),
            "completion": self.completion,
            "tokens": self.tokens,
            "ended": self.ended,
            "proxy": self.proxy,
            "held_out": list(self.held_out),
            "kl": self.kl,
        }


def from_row(row: Mapping[str, Any]) -> Answer:
    """A row of a watch file, of a samples file, or one that ``Answer.json`` wrote."""
    text = str(row["completion"])
    proxy = row.get("proxy", row.get("reward"))
    return Answer(
        prompt=Prompt(prompt=_content(row["prompt"]), meta=row.get("meta") or {}),
        completion=text,
        tokens=int(row["tokens"]) if row.get("tokens") is not None else len(text.split()),
        ended=bool(row.get("ended", True)),
        proxy=None if proxy is None else float(proxy),
        held_out=tuple(float(score) for score in row.get("held_out") or ()),
        kl=None if row.get("kl") is None else float(row["kl"]),
    )


def _content(value: Any) -> str | tuple[Message, ...]:
    if isinstance(value, str):
        return value
    return tuple(Message(role=one["role"], content=one["content"]) for one in value)


Gold = Callable[[Sequence[Prompt], Sequence[str]], Sequence[Any]]


def with_gold(answers: Sequence[Answer], gold: Gold) -> list[Answer]:
    """The answers with a gold function's scores and flags."""
    from instructloop.evaluation.voters import judge_all

    if not answers:
        return []
    judged = judge_all(gold, [one.prompt for one in answers], [one.completion for one in answers])
    return [replace(one, gold=verdict.score, flags=dict(verdict.flags)) for one, verdict in zip(answers, judged, strict=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The answers of one policy at one step; step 0 is the reference."""

    step: int
    kl: float | None
    """Mean sequence KL from the reference in nats."""
    answers: Sequence[Answer]


Measure = Callable[[Answer], float | None]


def by_prompt(looks: Sequence[Look], measure: Measure) -> NDArray[np.float64]:
    """Mean of a measure per prompt and look, ``[prompts, looks]``; NaN where it was not measured. Prompts in order of appearance."""
    places: dict[str, int] = {}
    for look in looks:
        for answer in look.answers:
            places.setdefault(answer.key, len(places))
    sums, counts = np.zeros((len(places), len(looks))), np.zeros((len(places), len(looks)))
    for column, look in enumerate(looks):
        for answer in look.answers:
            value = measure(answer)
            if value is not None:
                sums[places[answer.key], column] += value
                counts[places[answer.key], column] += 1
    with np.errstate(invalid="ignore"):
        table: NDArray[np.float64] = np.where(counts > 0, sums / counts, np.nan)
    return table


def measured(answers: Iterable[Answer], measure: Measure) -> tuple[list[float], list[str]]:
    """Values and prompts of the answers that have the measure."""
    values, keys = [], []
    for answer in answers:
        value = measure(answer)
        if value is not None:
            values.append(float(value))
            keys.append(answer.key)
    return values, keys


def proxy(answer: Answer) -> float | None:
    """The maximized reward."""
    return answer.proxy


def gold(answer: Answer) -> float | None:
    """The gold function's score."""
    return answer.gold


def judge(place: int) -> Measure:
    """The score of one held-out judge."""
    return lambda answer: answer.held_out[place] if place < len(answer.held_out) else None


def judges(answers: Iterable[Answer]) -> int:
    """How many held-out judges scored every answer."""
    return min((len(answer.held_out) for answer in answers), default=0)


def spread(answers: Sequence[Answer], measure: Measure) -> float:
    """Standard deviation of a measure over answers; 1 where it does not vary (so that it can divide)."""
    values, _ = measured(answers, measure)
    found = float(np.std(values)) if values else 0.0
    return found if found > 0 else 1.0


def shown(answer: Answer, note: str = "", score: float | None = None) -> dict[str, Any]:
    """An answer as a sample to be read."""
    return {
        "prompt": prompt_text(answer.prompt.prompt),
        "completion": answer.completion,
        "note": note,
        "score": answer.proxy if score is None else score,
    }
