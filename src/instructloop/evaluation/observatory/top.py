"""Top-scoring answers to read: whatever a reward likes too much stands at the top (spec I14)."""

from collections.abc import Sequence

import numpy as np

from instructloop.core.records import prompt_text
from instructloop.evaluation.observatory import answers as of
from instructloop.evaluation.observatory.answers import Answer
from instructloop.evaluation.observatory.document import Cell, Findings, Section, Table
from instructloop.evaluation.observatory.habits import HABITS

NAME = "top"
_READ = 15
_LEAST_GROUP = 20


def top(policy: Sequence[Answer], reference: Sequence[Answer]) -> Findings:
    """The policy's best-scored answers, what they have in common, and the best of the reference's beside them."""
    scored = sorted((answer for answer in policy if answer.proxy is not None), key=lambda answer: -(answer.proxy or 0.0))
    if not scored:
        return Findings()
    mean, spread = _scale(reference if any(answer.proxy is not None for answer in reference) else scored)
    best = distinct(scored)[:_READ]
    old = distinct(sorted((answer for answer in reference if answer.proxy is not None), key=lambda answer: -(answer.proxy or 0.0)))[:5]
    samples = [of.shown(answer, note=note(answer, mean, spread)) for answer in best]
    samples += [of.shown(answer, note=f"reference; {note(answer, mean, spread)}") for answer in old]
    section = Section(
        name=NAME,
        title="Top-scoring answers, to be read",
        text="Read these first. If an answer up here is not among the best you can imagine, the reward has a hole, and the policy has found it. "
        "Scores in the note are in standard deviations above the reference's mean.",
        tables=[_common(scored)] if len(scored) >= _LEAST_GROUP else [],
        samples=samples,
    )
    return Findings(sections=(section,))


def distinct(answers: Sequence[Answer]) -> list[Answer]:
    """The first of answers with equal text."""
    seen: set[str] = set()
    return [answer for answer in answers if not (answer.completion in seen or seen.add(answer.completion))]  # type: ignore[func-returns-value]


def note(answer: Answer, mean: float, spread: float) -> str:
    """Score, length, KL, gold and patterns of one answer in a line."""
    parts = [f"{((answer.proxy or 0.0) - mean) / spread:+.2f} sd", f"{answer.tokens} tokens"]
    if answer.kl is not None:
        parts.append(f"KL {answer.kl:.1f}")
    if answer.gold is not None:
        parts.append(f"gold {answer.gold:+.2f}")
    if answer.held_out:
        parts.append("judges " + ", ".join(f"{score:+.2f}" for score in answer.held_out))
    if not answer.ended:
        parts.append("cut off")
    text, prompt = answer.completion, prompt_text(answer.prompt.prompt)
    parts += [habit for habit, measure in HABITS.items() if measure(text, prompt) > 0]
    return "; ".join(parts)


def _scale(answers: Sequence[Answer]) -> tuple[float, float]:
    values = [answer.proxy for answer in answers if answer.proxy is not None]
    return float(np.mean(values)), float(np.std(values)) or 1.0


def _common(scored: Sequence[Answer]) -> Table:
    """The best tenth against all: what the reward pays for."""
    tenth = scored[: max(2, len(scored) // 10)]
    rows: list[list[Cell]] = [["length (tokens)", *(float(np.mean([answer.tokens for answer in some])) for some in (tenth, scored))]]
    for habit, measure in HABITS.items():
        rows.append(
            [
                habit,
                *(
                    float(np.mean([measure(answer.completion, prompt_text(answer.prompt.prompt)) for answer in some]))
                    for some in (tenth, scored)
                ),
            ]
        )
    return Table(
        title=f"The best-scored tenth ({len(tenth)}) against all {len(scored)}", columns=["mean of", "best tenth", "all"], rows=rows
    )
