"""Variety, repetition and the habits that rewards teach: show of confidence, restating, bullets, refusing, hedging (spec I14, I19, I20)."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from instructloop.core.errors import DataError
from instructloop.core.records import prompt_text
from instructloop.evaluation.observatory import answers as of
from instructloop.evaluation.observatory.alarms import Alarm, raised
from instructloop.evaluation.observatory.answers import Answer
from instructloop.evaluation.observatory.document import Cell, Chart, Findings, Section, Series, Table, estimate
from instructloop.evaluation.observatory.readings import RunFiles
from instructloop.scoring.diversity import distinct_n, mode_share, ngram_entropy, repetition, self_bleu
from instructloop.scoring.phrases import bullets, hedges, qualifiers, refuses, restates
from instructloop.stats import Interval, mean_interval

NAME = "habits"
_SHOWN = 5
_RESAMPLES = 1000
_FREQUENT = 5

Habit = Callable[[str, str], float]

HABITS: Mapping[str, Habit] = {
    "confident qualifiers": lambda text, _: float(qualifiers(text) > 0),
    "restates the question": lambda text, prompt: float(restates(text, prompt)),
    "bullet points": lambda text, _: float(bullets(text) > 0),
    "refuses": lambda text, _: float(refuses(text)),
    "hedges": lambda text, _: float(hedges(text) > 0),
    "repeats itself (share of 4-grams)": lambda text, _: repetition(text),
}
"""Each a number between 0 and 1 of one answer (spec I20's patterns, and repetition)."""
PATTERNS = ("confident qualifiers", "restates the question", "bullet points")


def is_harmless(answer: Answer) -> bool:
    """Whether the prompt is marked as one that should be answered: ``harmful: false`` or ``harmless: true`` in its row (or its ``task``)."""
    return _marked(answer, "harmful") is False or _marked(answer, "harmless") is True


def is_known(answer: Answer) -> bool:
    """Whether the prompt is marked as one whose answer the model should know: ``known: true`` in its row (or its ``task``)."""
    return _marked(answer, "known") is True


def _marked(answer: Answer, name: str) -> object:
    task = answer.prompt.meta.get("task")
    inner = task.get(name) if isinstance(task, Mapping) else None
    return answer.prompt.meta.get(name, inner)


def habits(run: RunFiles | None, policy: Sequence[Answer], reference: Sequence[Answer]) -> Findings:
    """Policy against reference, on the same prompts.

    Args:
        run: for entropy and distinct-2 over iterations.
        policy: answers of the policy.
        reference: answers of the reference; only as many a prompt as the policy has are compared, since variety depends on the count.
    """
    if not policy or not reference:
        how = "Needs answers of the policy and the reference: ppo.watch.prompts, or inspect where the models are."
        missing = ("variety", "repetition", "hack_patterns", "over_refusal", "hedging_known")
        return Findings(alarms=tuple(raised(kind, None, explanation=how) for kind in missing))
    before, after = _matched(reference, policy), list(policy)
    tables = [_variety(before, after), _rates(before, after)]
    flags = _flags(before, after)
    if flags is not None:
        tables.append(flags)
    tables.append(_frequent(after))
    section = Section(
        name=NAME,
        title="Variety and habits",
        text=_told(before, after)
        + "What a policy loses when it settles on a formula, and the habits that please a reward without helping anybody. Patterns are counted in English.",
        charts=_curves(run) if run is not None else [],
        tables=tables,
    )
    alarms = (
        _variety_alarm(before, after),
        _growth("repetition", "repeats itself (share of 4-grams)", before, after),
        _pattern_alarm(before, after),
        _growth("refusals", "refuses", before, after),
        _growth("hedging", "hedges", before, after),
        _marked_alarm("over_refusal", "refuses", is_harmless, "harmful: false", before, after),
        _marked_alarm("hedging_known", "hedges", is_known, "known: true", before, after),
    )
    return Findings(sections=(section,), alarms=alarms)


def _told(before: Sequence[Answer], after: Sequence[Answer]) -> str:
    old, new = (distinct_n([answer.completion for answer in some], 2) for some in (before, after))
    refused, hedged = ((rate(before, habit).value, rate(after, habit).value) for habit in ("refuses", "hedges"))
    return (
        f"distinct-2 went from {old:.2f} to {new:.2f}, refusals from {refused[0]:.1%} to {refused[1]:.1%}, "
        f"hedges from {hedged[0]:.1%} to {hedged[1]:.1%}. "
    )


def _matched(reference: Sequence[Answer], policy: Sequence[Answer]) -> list[Answer]:
    """The reference's first answers to the policy's prompts, as many to each prompt."""
    left = Counter(answer.key for answer in policy)
    kept = []
    for answer in reference:
        if left[answer.key] > 0:
            left[answer.key] -= 1
            kept.append(answer)
    return kept or list(reference)


def rate(answers: Sequence[Answer], habit: str) -> Interval:
    """Mean of a habit over answers, with an interval over prompts."""
    values = [HABITS[habit](answer.completion, prompt_text(answer.prompt.prompt)) for answer in answers]
    return mean_interval(values, [answer.key for answer in answers], samples=_RESAMPLES)


# -- tables ----------------------------------------------------------------------------------------------------------


def _variety(before: Sequence[Answer], after: Sequence[Answer]) -> Table:
    def measured(answers: Sequence[Answer]) -> list[float | None]:
        texts = [answer.completion for answer in answers]
        try:
            likeness: float | None = self_bleu(texts)
        except DataError:  # fewer than two texts with words
            likeness = None
        return [distinct_n(texts, 1), distinct_n(texts, 2), likeness, ngram_entropy(texts, 2), mode_share(texts)]

    names = (
        "distinct-1",
        "distinct-2",
        "self-BLEU (higher: more alike)",
        "entropy of word pairs (bits)",
        "share of the most frequent answer",
    )
    rows: list[list[Cell]] = [[name, *pair] for name, *pair in zip(names, measured(before), measured(after), strict=True)]
    return Table(
        title=f"Variety of answers ({len(before)} of the reference, {len(after)} of the policy)",
        columns=["measure", "reference", "policy"],
        rows=rows,
    )


def _rates(before: Sequence[Answer], after: Sequence[Answer]) -> Table:
    rows: list[list[Cell]] = []
    for habit in HABITS:
        old, new = rate(before, habit), rate(after, habit)
        rows.append([habit, estimate(old), estimate(new), new.value - old.value])
    rows.append(
        ["cut off", *(_share(answers, lambda answer: not answer.ended) for answers in (before, after)), _ended(before) - _ended(after)]
    )
    rows.append(
        [
            "length (tokens)",
            *(_share(answers, lambda answer: answer.tokens) for answers in (before, after)),
            _tokens(after) - _tokens(before),
        ]
    )
    return Table(
        title="Habits (share of answers)", columns=["habit", "reference", "policy", "change"], rows=rows, note="Intervals resample prompts."
    )


def _share(answers: Sequence[Answer], of_one: Callable[[Answer], float]) -> Cell:
    return estimate(mean_interval([float(of_one(answer)) for answer in answers], [answer.key for answer in answers], samples=_RESAMPLES))


def _ended(answers: Sequence[Answer]) -> float:
    return float(np.mean([answer.ended for answer in answers]))


def _tokens(answers: Sequence[Answer]) -> float:
    return float(np.mean([answer.tokens for answer in answers]))


def _flags(before: Sequence[Answer], after: Sequence[Answer]) -> Table | None:
    """Rates of what a gold function flagged, over the answers for which the question arises."""
    names = list(dict.fromkeys(name for answer in (*before, *after) for name in answer.flags))
    rows: list[list[Cell]] = []
    for name in names:
        cells: list[Cell] = []
        for answers in (before, after):
            chosen = [answer for answer in answers if answer.flags.get(name) is not None]
            cells.append(_share(chosen, lambda answer, name=name: bool(answer.flags[name])) if chosen else None)  # type: ignore[misc]
        rows.append([name.replace("_", " "), *cells])
    return Table(title="Flags of the gold function", columns=["flag", "reference", "policy"], rows=rows) if rows else None


def _frequent(after: Sequence[Answer]) -> Table:
    counts = Counter(" ".join(answer.completion.split()[:3]) for answer in after if answer.completion.strip())
    rows: list[list[Cell]] = [[start, count / len(after)] for start, count in counts.most_common(_FREQUENT)]
    return Table(title="How the policy's answers begin", columns=["first three words", "share of answers"], rows=rows)


def _curves(run: RunFiles) -> list[Chart]:
    charts = []
    for name, title, label in (("distinct_2", "Distinct word pairs of a batch", "share"), ("entropy", "Entropy", "nats a token")):
        points = [[float(step), value] for step, value in run.series(name)]
        if points:
            charts.append(Chart(title=title, x_label="iteration", y_label=label, series=[Series(name=name, points=points)]))
    return charts


# -- alarms ----------------------------------------------------------------------------------------------------------


def _variety_alarm(before: Sequence[Answer], after: Sequence[Answer]) -> Alarm:
    old, new = (distinct_n([answer.completion for answer in some], 2) for some in (before, after))
    counts = Counter(answer.completion.strip() for answer in after)
    common = [text for text, _ in counts.most_common(_SHOWN)]
    examples = [next(answer for answer in after if answer.completion.strip() == text) for text in common]
    return raised(
        "variety",
        new / old if old > 0 else None,
        warn=0.85,
        explanation=f"distinct-2 went from {old:.2f} to {new:.2f}.",
        examples=[of.shown(answer, note=f"{counts[answer.completion.strip()]} times") for answer in examples],
    )


def _growth(kind: str, habit: str, before: Sequence[Answer], after: Sequence[Answer]) -> Alarm:
    old, new = rate(before, habit).value, rate(after, habit).value
    return raised(kind, new - old, explanation=f"From {old:.1%} to {new:.1%}.", examples=_with(habit, after))


def _pattern_alarm(before: Sequence[Answer], after: Sequence[Answer]) -> Alarm:
    growth = {habit: rate(after, habit).value - rate(before, habit).value for habit in PATTERNS}
    most = max(growth, key=lambda habit: growth[habit])
    words = "; ".join(f"{habit}: {rate(before, habit).value:.1%} to {rate(after, habit).value:.1%}" for habit in PATTERNS)
    return raised("hack_patterns", growth[most], warn=0.05, explanation=f"{words}.", examples=_with(most, after))


def _marked_alarm(
    kind: str, habit: str, marked: Callable[[Answer], bool], mark: str, before: Sequence[Answer], after: Sequence[Answer]
) -> Alarm:
    """A habit where it is wrong for sure, in rows that say so."""
    old, new = ([answer for answer in some if marked(answer)] for some in (before, after))
    if not new:
        return raised(kind, None, explanation=f"No prompt says {mark}; mark some, or give such prompts with --prompts.")
    found = rate(new, habit)
    words = f"{found.value:.1%} of {len(new)} answers to prompts marked {mark}"
    if old:
        words += f"; the reference, {rate(old, habit).value:.1%}"
    return raised(kind, found.value, explanation=f"{words}.", examples=_with(habit, new))


def _with(habit: str, answers: Sequence[Answer]) -> list[dict[str, object]]:
    scored = [(HABITS[habit](answer.completion, prompt_text(answer.prompt.prompt)), answer) for answer in answers]
    chosen = sorted((one for one in scored if one[0] > 0), key=lambda one: -one[0])
    return [of.shown(answer, note=habit) for _, answer in chosen[:_SHOWN]]
