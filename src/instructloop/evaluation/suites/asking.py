"""One suite in one variant put to one opened model: prompts that fit, answers or likelihoods, marks per item."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from instructloop.config import SamplingConfig
from instructloop.core.errors import DataError
from instructloop.core.records import Prompt
from instructloop.core.seeds import derive
from instructloop.evaluation.sampling import Subject
from instructloop.evaluation.suites.frames import Fitted, fit
from instructloop.evaluation.suites.likelihood import Scored, sequence_logprobs
from instructloop.evaluation.suites.suite import Marks, Suite, Variant
from instructloop.generation import TorchEngine
from instructloop.models import context_tokens
from instructloop.scoring.choices import pick
from instructloop.scoring.sets import Item

logger = logging.getLogger(__name__)
PORTION = 256
"""Prompts answered between two lines of progress."""
SCORED_PORTION = 2048
"""Texts scored between two lines of progress."""
_LEAST_ROOM_TOKENS = 8


class NoRoomError(DataError):
    """Nothing of a part fits into a model's context: a finding about this model, and no reason to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What one model did with one variant of a suite."""

    rows: list[dict[str, Any]]
    """``{"id", "cluster", "prompt", "references", "text", "marks"}`` of each item that fitted, in the items' order."""
    shots: int
    """Worked examples in the prompt with the fewest; fewer than asked for where the model's context is short."""
    shortened: int
    """Prompts whose long text lost its end, or context its beginning."""
    skipped: int
    """Items that did not fit at all."""

    def as_json(self) -> dict[str, Any]:
        """Ready for a file."""
        return {"rows": self.rows, "shots": self.shots, "shortened": self.shortened, "skipped": self.skipped}


def ask(
    subject: Subject, suite: Suite, variant: Variant, items: Sequence[Item], shots: Sequence[Item], judges: Any, *, seed: int
) -> Answered:
    """Put every item to the model and mark what it does.

    Args:
        subject: the opened model.
        suite: says how.
        variant: one of its ways of asking.
        items: the scored items.
        shots: worked examples; the variant takes as many as it has.
        judges: trained judges for marks that need one.
        seed: base of the sampling stream of suites that sample.

    Raises:
        NoRoomError: no item, or no worked example, fits into the model's context.
    """
    used = shots[: variant.shots]
    if suite.mode == "pair":
        return _pairs(subject, suite, variant, items)
    if suite.mode == "choice":
        return _choices(subject, suite, variant, items, used)
    return _written(subject, suite, variant, items, used, judges, seed)


def _written(
    subject: Subject, suite: Suite, variant: Variant, items: Sequence[Item], shots: Sequence[Item], judges: Any, seed: int
) -> Answered:
    context = context_tokens(subject.model)
    longest = min(suite.max_new_tokens, max(context // 2, 1))
    fitted = _fitted(subject, variant, items, shots, [context - longest] * len(items))
    kept = [(item, one) for item, one in zip(items, fitted, strict=True) if one is not None]
    _require([one for _, one in kept], suite, variant, subject)
    texts = _texts(subject, suite, variant, [one.prompt for _, one in kept], longest, seed)
    assert suite.mark is not None
    marks = suite.mark([item for item, _ in kept], texts, judges)
    rows = [_row(item, one.prompt, text, mark) for (item, one), text, mark in zip(kept, texts, marks, strict=True)]
    return _answered(rows, [one for _, one in kept], len(items), variant)


def _texts(subject: Subject, suite: Suite, variant: Variant, prompts: Sequence[str], longest: int, seed: int) -> list[str]:
    """One completion of each prompt; the stream of a row does not depend on the portions."""
    sampling = SamplingConfig(temperature=suite.temperature, max_new_tokens=longest, stop=tuple(suite.stop))
    engine, texts = TorchEngine(subject.model, subject.codec), list[str]()
    for start in range(0, len(prompts), PORTION):
        rollouts = engine.generate(
            [Prompt(prompt=prompt) for prompt in prompts[start : start + PORTION]],
            sampling=sampling,
            seed=derive(seed, "suite", suite.name, variant.name),
            first_row=start,
        )
        texts += [text.strip() for text in rollouts.completions]
        if len(prompts) > PORTION:
            logger.info("%s, %s: %d of %d answers", suite.title, variant.name, len(texts), len(prompts))
    return texts


def _choices(subject: Subject, suite: Suite, variant: Variant, items: Sequence[Item], shots: Sequence[Item]) -> Answered:
    assert suite.options is not None
    assert suite.right is not None
    context, count = context_tokens(subject.model), subject.codec.encode_text
    options = [suite.options(item) for item in items]
    rooms = [context - max(len(count(" " + option)) for option in one) for one in options]
    fitted = _fitted(subject, variant, items, shots, rooms)
    kept = [(item, one, own) for item, one, own in zip(items, fitted, options, strict=True) if one is not None]
    _require([one for _, one, _ in kept], suite, variant, subject)
    scored = iter(_scored(subject, suite, variant, [(one.prompt, " " + option) for _, one, own in kept for option in own]))
    rows = []
    for item, one, own in kept:
        found: list[Scored] = [next(scored) for _ in own]
        chosen = pick([one.sum for one in found], [one.tokens for one in found])
        right = suite.right(item)
        sums = [one.sum for one in found]
        marks = {"accuracy": float(chosen == right)} if suite.mark_choice is None else suite.mark_choice(own, sums, right)
        row = _row(item, one.prompt, own[chosen], marks)
        rows.append({**row, "references": [own[right]], "logprobs": [[round(each.sum, 6), each.tokens] for each in found]})
    return _answered(rows, [one for _, one, _ in kept], len(items), variant)


def _pairs(subject: Subject, suite: Suite, variant: Variant, items: Sequence[Item]) -> Answered:
    assert suite.options is not None
    assert suite.mark_pair is not None
    instruction, separator = variant.frame.instruction, variant.frame.separator
    context = instruction + separator if instruction else ""
    sentences = [suite.options(item) for item in items]
    scored = _scored(subject, suite, variant, [(context, sentence) for own in sentences for sentence in own])
    rows = []
    for place, (item, own) in enumerate(zip(items, sentences, strict=True)):
        first, second = scored[2 * place], scored[2 * place + 1]
        row = _row(item, context, own[0] if first.sum >= second.sum else own[1], suite.mark_pair(item, first.sum, second.sum))
        rows.append(
            {**row, "references": list(own), "logprobs": [[round(first.sum, 6), first.tokens], [round(second.sum, 6), second.tokens]]}
        )
    return Answered(rows=rows, shots=0, shortened=sum(one.cut for one in scored), skipped=0)


def _scored(subject: Subject, suite: Suite, variant: Variant, pairs: Sequence[tuple[str, str]]) -> list[Scored]:
    found = list[Scored]()
    for start in range(0, len(pairs), SCORED_PORTION):
        found += sequence_logprobs(subject, pairs[start : start + SCORED_PORTION])
        if len(pairs) > SCORED_PORTION:
            logger.info("%s, %s: %d of %d texts scored", suite.title, variant.name, len(found), len(pairs))
    return found


def _fitted(subject: Subject, variant: Variant, items: Sequence[Item], shots: Sequence[Item], rooms: Sequence[int]) -> list[Fitted | None]:
    def count(text: str) -> int:
        return len(subject.codec.encode_prompt(text))

    return [
        fit(variant.frame, item, shots, count=count, room=room) if room >= _LEAST_ROOM_TOKENS else None
        for item, room in zip(items, rooms, strict=True)
    ]


def _row(item: Item, prompt: str, text: str, marks: Marks) -> dict[str, Any]:
    return {
        "id": item.id,
        "cluster": item.group or item.id,
        "prompt": prompt,
        "references": list(item.references),
        "text": text,
        "marks": dict(marks),
    }


def _answered(rows: list[dict[str, Any]], fitted: Sequence[Fitted], asked: int, variant: Variant) -> Answered:
    return Answered(
        rows=rows,
        shots=min(one.shots for one in fitted) if variant.shots else 0,
        shortened=sum(one.shortened for one in fitted),
        skipped=asked - len(rows),
    )


def _require(kept: Sequence[Fitted], suite: Suite, variant: Variant, subject: Subject) -> None:
    """An empty part, or a few-shot part without any worked example, is no result."""
    room = f"into the context of {subject.name}, {context_tokens(subject.model)} tokens"
    if not kept:
        raise NoRoomError(f"no item of {suite.title} ({variant.name}) fits {room}", hint="leave the suite out for this model")
    if variant.shots and not any(one.shots for one in kept):
        raise NoRoomError(f"no worked example of {suite.title} fits {room}", hint="see the zero-shot row")
