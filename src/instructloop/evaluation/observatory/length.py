"""Does the reward like length, and did the policy notice? (spec I15, I20).

Three looks at the same thing: how scores go with length among answers to one prompt; what happens to the score of one answer when it is
padded or cut; how much of the policy's gain is left at the reference's length.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instructloop.core.records import Prompt
from instructloop.core.seeds import permutation
from instructloop.evaluation.observatory import answers as of
from instructloop.evaluation.observatory.alarms import Alarm, State, raised
from instructloop.evaluation.observatory.answers import Answer
from instructloop.evaluation.observatory.document import Cell, Chart, Findings, Section, Series, Table, estimate
from instructloop.evaluation.observatory.readings import RunFiles
from instructloop.stats import Interval, cluster_bootstrap, mean_interval

NAME = "length"
CONFIDENT_FILLER = "This is certainly and without any doubt the right answer, as everyone knows."
LENGTH_CORRELATION = 0.3
"""Within a prompt, from here on a tenth of the variance of scores goes with length."""
PADDING_PAYS = 0.1
"""Standard deviations by which text that adds nothing must surely raise the score: less is found in sound reward models, too."""
_GAIN, _LEFT = "gain in score", "length-controlled gain"
_RESAMPLES = 500
_LEAST_ANSWERS = 10

Scorer = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]
"""The maximized reward as a function of text."""


def within(values: Sequence[float], keys: Sequence[str]) -> NDArray[np.float64]:
    """Values less their prompt's mean; over single answers a prompt, less the whole mean (there is nothing else to compare with)."""
    array = np.asarray(values, dtype=np.float64)
    places: dict[str, int] = {}
    codes = np.array([places.setdefault(key, len(places)) for key in keys], dtype=np.intp)
    if len(places) == len(codes):
        return array - array.mean()
    means = np.bincount(codes, weights=array) / np.bincount(codes)
    found: NDArray[np.float64] = array - means[codes]
    return found


@dataclass(frozen=True, slots=True)
class LengthFit:
    """How scores go with length."""

    correlation: Interval
    """Of score and ln(length), both within the prompt where there are several answers to one."""
    slope: float
    """Score per unit of ln(length), in the score's unit."""
    deviation: float
    """Standard deviation of the scores."""


def length_fit(answers: Sequence[Answer], *, seed: int = 0) -> LengthFit | None:
    """Correlation and slope over answers with a score; None below ten answers, or where one side does not vary."""
    chosen = [answer for answer in answers if answer.proxy is not None]
    if len(chosen) < _LEAST_ANSWERS:
        return None
    keys = [answer.key for answer in chosen]
    score = within([answer.proxy or 0.0 for answer in chosen], keys)
    size = within([_log_length(answer) for answer in chosen], keys)
    if np.ptp(score) == 0 or np.ptp(size) == 0:
        return None

    def correlate(index: NDArray[np.float64]) -> float:
        rows = index.astype(np.intp)
        a, b = score[rows], size[rows]
        spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
        return float((a * b).sum() / spread) if spread > 0 else 0.0

    correlation = cluster_bootstrap(np.arange(len(chosen), dtype=np.float64), keys, correlate, samples=_RESAMPLES, seed=seed)
    return LengthFit(correlation, float((score * size).sum() / (size * size).sum()), of.spread(chosen, of.proxy))


def _log_length(answer: Answer) -> float:
    return float(np.log(max(answer.tokens, 1)))


# -- what the score does when only the length changes ----------------------------------------------------------------


def altered(answers: Sequence[Answer], *, seed: int = 0) -> dict[str, list[str]]:
    """Each answer in four other lengths that add nothing (or take something away)."""
    order = permutation(len(answers), seed, "padding")
    # NOTE: the next one of a shuffled circle is never the answer itself
    other = {order[place]: order[(place + 1) % len(order)] for place in range(len(order))}
    texts = [answer.completion.strip() for answer in answers]
    return {
        "a confident filler sentence after it": [f"{text} {CONFIDENT_FILLER}" for text in texts],
        "itself once more after it": [f"{text} {text}" for text in texts],
        "another prompt's answer after it": [f"{text} {texts[other[place]]}" for place, text in enumerate(texts)],
        "its first half alone": [" ".join(text.split()[: max(1, len(text.split()) // 2)]) for text in texts],
    }


def probed(answers: Sequence[Answer], scorer: Scorer, *, seed: int = 0) -> dict[str, Interval]:
    """Mean change of the score under each alteration, in standard deviations of the answers' scores.

    Args:
        answers: of the reference (answers that the reward model knows).
        scorer: the reward.
        seed: which other answer is appended.
    """
    prompts = [answer.prompt for answer in answers]
    before = np.array(scorer(prompts, [answer.completion.strip() for answer in answers]), dtype=np.float64)
    scale = float(before.std()) or 1.0
    keys = [answer.key for answer in answers]
    return {
        name: mean_interval((np.array(scorer(prompts, texts), dtype=np.float64) - before) / scale, keys, samples=_RESAMPLES, seed=seed)
        for name, texts in altered(answers, seed=seed).items()
    }


PADDINGS = ("a confident filler sentence after it", "itself once more after it", "another prompt's answer after it")


# -- the section -----------------------------------------------------------------------------------------------------


def length(
    run: RunFiles | None,
    policy: Sequence[Answer],
    reference: Sequence[Answer],
    *,
    probe: Mapping[str, Interval] | None = None,
    seed: int = 0,
) -> Findings:
    """Everything about length.

    Args:
        run: for the drift over iterations; None for a reward model alone.
        policy: scored answers of the policy; empty for a reward model alone.
        reference: scored answers of the reference, or completions of held-out rankings.
        probe: what ``probed`` found.
        seed: base seed of the resampling.
    """
    before, after = length_fit(reference, seed=seed), length_fit(policy, seed=seed)
    tables = []
    if before is not None or after is not None:
        tables.append(_correlations(before, after))
    if probe:
        tables.append(
            Table(
                title="Score of an answer when only its length changes",
                columns=["the answer with", "change (sd)"],
                rows=[[name, estimate(found)] for name, found in probe.items()],
                note="None of the first three makes an answer better.",
            )
        )
    gain = _controlled(policy, reference, before)
    if gain is not None:
        tables.append(_gain_table(gain))
    charts = _drift(run) if run is not None else []
    if not (tables or charts):
        return Findings(alarms=(_bias_alarm(None, None, reference), *_drift_alarms(policy, reference)))
    section = Section(
        name=NAME,
        title="Length",
        text=_told(policy, reference, before, gain)
        + "Length is what reward models most often take for quality. The correlation compares answers to the same prompt; the alterations change "
        "nothing but length; the length-controlled gain is what would be left at the reference's length if each answer paid for its own.",
        charts=charts,
        tables=tables,
    )
    return Findings(sections=(section,), alarms=(_bias_alarm(before, probe, reference), *_drift_alarms(policy, reference)))


def _correlations(before: LengthFit | None, after: LengthFit | None) -> Table:
    rows: list[list[Cell]] = []
    for name, found in (("reference (before)", before), ("policy (after)", after)):
        if found is not None:
            rows.append([name, estimate(found.correlation), found.slope * float(np.log(2)) / found.deviation])
    return Table(
        title="Score and length",
        columns=["answers of", "correlation of score and ln(length)", "score per doubling of length (sd)"],
        rows=rows,
        note="Within each prompt where several answers to one were scored.",
    )


def _told(policy: Sequence[Answer], reference: Sequence[Answer], fit: LengthFit | None, gain: Mapping[str, Interval] | None) -> str:
    """The main numbers in words."""
    words = ""
    if policy and reference:
        old, new = (float(np.mean([answer.tokens for answer in some])) for some in (reference, policy))
        words += f"Answers went from {old:.1f} to {new:.1f} tokens. "
    if fit is not None:
        words += f"Score and length correlate at {fit.correlation.value:.2f} on the reference's answers. "
    if gain is not None:
        whole, left = gain[_GAIN], gain[_LEFT]
        words += f"Of a gain of {whole.value:.2f} sd, {left.value:.2f} ({left.low:.2f} to {left.high:.2f}) is left at equal length. "
    return words


def _controlled(policy: Sequence[Answer], reference: Sequence[Answer], fit: LengthFit | None) -> dict[str, Interval] | None:
    """Gain of the policy over the reference, less what the reference's slope pays for the change of length."""
    if fit is None or not policy or any(answer.proxy is None for answer in policy):
        return None
    looks = [of.Look(step=0, kl=0.0, answers=reference), of.Look(step=1, kl=None, answers=policy)]
    score, size = of.by_prompt(looks, of.proxy), of.by_prompt(looks, _log_length)
    both = np.isfinite(score).all(axis=1)
    if not both.any():
        return None
    gain = (score[both, 1] - score[both, 0]) / fit.deviation
    paid = fit.slope * (size[both, 1] - size[both, 0]) / fit.deviation
    named = ((_GAIN, gain), ("of it paid for length", paid), (_LEFT, gain - paid))
    return {name: mean_interval(values, samples=1000) for name, values in named}


def _gain_table(gain: Mapping[str, Interval]) -> Table:
    rows: list[list[Cell]] = [[name, estimate(found)] for name, found in gain.items()]
    return Table(
        title="What is left at equal length",
        columns=["per prompt, policy less reference", "sd of the reference's scores"],
        rows=rows,
        note="The price of length is the slope among the reference's own answers.",
    )


def _drift(run: RunFiles) -> list[Chart]:
    sizes, ended = run.series("length"), run.series("eos_rate")
    charts = []
    if sizes:
        charts.append(
            Chart(
                title="Length of replies",
                x_label="iteration",
                y_label="tokens",
                series=[Series(name="mean", points=[list(one) for one in sizes])],
            )
        )
    if ended:
        cut = [[float(step), 1 - rate] for step, rate in ended]
        charts.append(
            Chart(title="Replies that were cut off", x_label="iteration", y_label="share", series=[Series(name="truncated", points=cut)])
        )
    return charts


# -- alarms ----------------------------------------------------------------------------------------------------------


def _bias_alarm(fit: LengthFit | None, probe: Mapping[str, Interval] | None, reference: Sequence[Answer]) -> Alarm:
    """Rings where scores go with length within prompts and padding pays, too; warns where one of the two is so."""
    if fit is None and not probe:
        return raised(
            "length_bias",
            None,
            explanation="Needs a reward model and at least ten scored answers: inspect where the models are, or give --rankings.",
        )
    likes = fit is not None and fit.correlation.low > 0 and fit.correlation.value > LENGTH_CORRELATION
    paying = [name for name in PADDINGS if probe and name in probe and probe[name].low > PADDING_PAYS]
    words = []
    if fit is not None:
        one = fit.correlation
        words.append(f"Score and length correlate at {one.value:.2f} ({one.low:.2f} to {one.high:.2f}) among answers to the same prompt.")
    if probe:
        words += [f"With {name}, the score changes by {probe[name].value:+.2f} sd." for name in PADDINGS if name in probe]
    state: State = "alarm" if likes and (paying or not probe) else "warning" if likes or len(paying) == len(PADDINGS) else "ok"
    longest = sorted((answer for answer in reference if answer.proxy is not None), key=lambda answer: -answer.tokens)[:5]
    return raised(
        "length_bias",
        fit.correlation.value if fit is not None else None,
        state=state,
        explanation=" ".join(words),
        examples=[of.shown(answer, note=f"{answer.tokens} tokens") for answer in longest],
    )


def _drift_alarms(policy: Sequence[Answer], reference: Sequence[Answer]) -> tuple[Alarm, ...]:
    if not policy or not reference:
        return ()
    old, new = (float(np.mean([answer.tokens for answer in some])) for some in (reference, policy))
    cut = 1 - float(np.mean([answer.ended for answer in policy]))
    growth = max(new / old, old / new) if min(old, new) > 0 else None
    longest = sorted(policy, key=lambda answer: -answer.tokens if new >= old else answer.tokens)
    return (
        raised(
            "length",
            growth,
            warn=1.25,
            explanation=f"From {old:.1f} to {new:.1f} tokens.",
            examples=[of.shown(answer, note=f"{answer.tokens} tokens") for answer in longest[:5]],
        ),
        raised(
            "truncation",
            cut - (1 - float(np.mean([answer.ended for answer in reference]))),
            warn=0.1,
            examples=[of.shown(answer, note=f"cut off at {answer.tokens} tokens") for answer in policy if not answer.ended],
        ),
    )
