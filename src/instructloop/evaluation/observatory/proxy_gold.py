"""What the maximized reward, held-out judges, people and gold say as the policy moves away (spec I13, I14).

Every curve is the gain over the reference's answers to the same prompts, in standard deviations of that judge's scores on them: reward
models, people and gold have no unit in common. Gao et al.'s laws are fitted to the most trustworthy one there is: gold, else people's
votes, else the mean of the held-out judges.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instructloop.core.records import prompt_text
from instructloop.evaluation.observatory import answers as of
from instructloop.evaluation.observatory.alarms import Alarm, raised
from instructloop.evaluation.observatory.answers import Answer, Look
from instructloop.evaluation.observatory.document import Cell, Chart, Findings, Section, Series, Table, estimate
from instructloop.evaluation.observatory.laws import fit_table
from instructloop.evaluation.observatory.readings import RunFiles
from instructloop.evaluation.votes import Vote
from instructloop.stats import LawFit, fall_from_best, fit_law, highest_point, mean_interval

NAME = "proxy_gold"
TITLE = "Proxy and gold as KL grows"
PROXY, GOLD, PEOPLE, HELD_OUT = "proxy", "gold", "people", "held-out judges"
_LEAST_FOR_A_LAW = 3
_CURVE_POINTS = 40
_SMALLEST_ERROR = 1e-6
_START_NATS = 0.01
_FAR = 10.0
"""A fitted peak beyond this multiple of the largest KL measured says nothing but that none is near."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The gain of one judge at every look."""

    name: str
    gains: NDArray[np.float64]
    """``[prompts, looks]`` in standard deviations of the reference's scores; NaN where a prompt was not judged."""

    def mean(self, place: int) -> float | None:
        """Mean gain at a look; None where nothing was judged."""
        column = self.gains[:, place]
        return float(np.nanmean(column)) if np.isfinite(column).any() else None

    def cell(self, place: int) -> Cell:
        """Mean gain at a look with an interval over prompts."""
        column = self.gains[:, place]
        values = column[np.isfinite(column)]
        return estimate(mean_interval(values, samples=1000)) if values.size else None


def proxy_against_gold(run: RunFiles, looks: Sequence[Look], *, votes: Sequence[Vote] = (), samples: int = 1000, seed: int = 0) -> Findings:
    """The section, and the alarms that compare the proxy with whatever is more trustworthy.

    Args:
        run: for the metrics, where nothing watched the run.
        looks: the reference first; with ``gold`` in the answers where a gold function was given.
        votes: people's votes between answers of the looks and answers of the reference to the same prompts.
        samples: resamples behind the fits' intervals.
        seed: base seed of the resampling.
    """
    usable = [look for look in looks if look.kl is not None and look.answers]
    if len(usable) < 2 or usable[0].step != 0:
        return Findings(sections=(_from_metrics(run),), alarms=(_unmeasured(),))
    curves = gain_curves(usable, votes)
    kl = np.array([look.kl for look in usable], dtype=np.float64)
    target = next((curve for name in (GOLD, PEOPLE, HELD_OUT) for curve in curves if curve.name == name), None)
    charts = [_chart(kl, curves)]
    if len(usable) < _LEAST_FOR_A_LAW:
        charts += _metric_chart(run)
    tables = [_points(usable, kl, curves)]
    text = (
        "Gain over the reference's answers to the same prompts, in standard deviations of each judge's own scores. While the proxy rises and "
        "the others rise with it, the reward means something; where they part, the policy collects what the reward model gets wrong."
    )
    if target is not None:
        fits = law_fits(kl, target, samples=samples, seed=seed)
        if fits:
            charts.append(_fit_chart(kl, target, fits))
            tables.append(fit_table(f"R(d) = d (alpha - beta ln d), d = sqrt(KL), by {target.name}", fits))
        text += " " + told(kl, target, fits, seed=seed)
    if votes and not any(curve.name == PEOPLE for curve in curves):
        text += f" None of the {len(votes)} votes is between an answer of a look and the reference's answer to the same prompt, so people have no curve."
    section = Section(name=NAME, title=TITLE, text=text, charts=charts, tables=tables)
    return Findings(sections=(section,), alarms=(past_peak(usable, kl, target, curves),))


# -- curves ----------------------------------------------------------------------------------------------------------


def gain_curves(looks: Sequence[Look], votes: Sequence[Vote] = ()) -> list[Curve]:
    """Proxy, the mean of the held-out judges (and each, if several), gold and people: those that were measured at the reference."""
    found = []
    reference = looks[0].answers
    count = min(of.judges(look.answers) for look in looks)
    judges = [_curve(f"judge {place + 1}", looks, of.judge(place)) for place in range(count)]
    for name, measure in ((PROXY, of.proxy), (GOLD, of.gold)):
        if any(measure(answer) is not None for answer in reference):
            found.append(_curve(name, looks, measure))
    if judges:
        found.insert(1, Curve(HELD_OUT, np.mean([curve.gains for curve in judges], axis=0)))
    people = _people(looks, votes)
    if people is not None:
        found.append(people)
    return found + (judges if count > 1 else [])


def _curve(name: str, looks: Sequence[Look], measure: of.Measure) -> Curve:
    table = of.by_prompt(looks, measure)
    return Curve(name, (table - table[:, :1]) / of.spread(looks[0].answers, measure))


def _people(looks: Sequence[Look], votes: Sequence[Vote]) -> Curve | None:
    """Win rate over the reference's answer less one half, times two: -1 loses always, +1 wins always."""
    texts = [{(answer.key, answer.completion.strip()) for answer in look.answers} for look in looks]
    keys = {key: place for place, key in enumerate(dict.fromkeys(answer.key for look in looks for answer in look.answers))}
    sums, counts = np.zeros((len(keys), len(looks))), np.zeros((len(keys), len(looks)))
    for vote in votes:
        key = prompt_text(vote.prompt)
        sides = [(key, (text or "").strip()) for text in (vote.completion_a, vote.completion_b)]
        for place in range(1, len(looks)):
            for mine, theirs, win in ((sides[0], sides[1], vote.win_a), (sides[1], sides[0], 1 - vote.win_a)):
                if mine in texts[place] and theirs in texts[0] and mine != theirs:
                    sums[keys[key], place] += 2 * win - 1
                    counts[keys[key], place] += 1
    if not counts.any():
        return None
    with np.errstate(invalid="ignore"):
        gains = np.where(counts > 0, sums / counts, np.nan)
    gains[:, 0] = 0.0
    return Curve(PEOPLE, gains)


# -- laws ------------------------------------------------------------------------------------------------------------


def law_fits(kl: NDArray[np.float64], target: Curve, *, samples: int = 1000, seed: int = 0) -> dict[str, LawFit]:
    """The RL law on all points, and on the points before the highest one alone (what a run could have known in time)."""
    measured = np.isfinite(target.gains).any(axis=0)
    fits = {}
    if (measured & (kl > 0)).sum() >= _LEAST_FOR_A_LAW:
        fits["all points"] = fit_law(kl, target.gains, samples=samples, seed=seed)
    top = int(np.nanargmax([np.nanmean(column) if np.isfinite(column).any() else -np.inf for column in target.gains.T]))
    before = kl < kl[top]
    if top < len(kl) - 1 and (measured & before & (kl > 0)).sum() >= _LEAST_FOR_A_LAW:
        fits["points before the highest"] = fit_law(kl[before], target.gains[:, before], samples=samples, seed=seed)
    return fits


def told(kl: NDArray[np.float64], target: Curve, fits: Mapping[str, LawFit], *, seed: int = 0) -> str:
    """The fits in words: where the peak is, how sure, and whether it lies within what was measured."""
    measured = np.isfinite(target.gains).any(axis=0)
    top = highest_point(kl[measured], target.gains[:, measured], seed=seed)
    words = [
        f"By {target.name}, the best point measured is at KL {kl[measured][top.place]:.2f} nats (95 % of resampled prompts: {top.low_kl:.2f} to {top.high_kl:.2f})."
    ]
    for name, fit in fits.items():
        if fit.peak is None:
            words.append(f"Gao et al.'s law on {name}: no peak, the fitted curve only rises.")
            continue
        if fit.peak.distance**2 < _START_NATS:
            words.append(f"Gao et al.'s law on {name}: highest at the start, the fitted curve falls as soon as the policy moves.")
            continue
        if fit.peak.distance**2 > _FAR * float(kl.max()):
            words.append(
                f"Gao et al.'s law on {name}: no peak near; the fitted curve still rises at {_FAR:g} times the largest KL measured."
            )
            continue
        where = "within the points" if fit.inside else "beyond the points it was fitted to, an extrapolation"
        words.append(f"Gao et al.'s law on {name}: peak at KL {fit.peak.distance**2:.2f}{_span(fit)}, {where}.")
    if not fits:
        words.append("Fewer than three points at KL > 0: no law was fitted; look more often (watch.every).")
    return " ".join(words)


def _span(fit: LawFit) -> str:
    if fit.peak_bounds is None:
        return ""
    low, high = (bound**2 for bound in fit.peak_bounds)
    return f" ({low:.2f} to {'no end' if not math.isfinite(high) or high > 1e6 else f'{high:.2f}'})"


# -- drawing ---------------------------------------------------------------------------------------------------------


def _chart(kl: NDArray[np.float64], curves: Sequence[Curve]) -> Chart:
    series = []
    for curve in curves:
        points = []
        for place, nats in enumerate(kl.tolist()):
            cell = curve.cell(place)
            if isinstance(cell, Mapping):
                points.append([nats, cell["value"], cell["low"], cell["high"]])
        series.append(Series(name=curve.name, points=sorted(points)))
    return Chart(title=TITLE, x_label="KL from the reference (nats)", y_label="gain (sd of the reference's scores)", series=series)


def _fit_chart(kl: NDArray[np.float64], target: Curve, fits: Mapping[str, LawFit]) -> Chart:
    measured = [[nats, mean] for place, nats in enumerate(kl.tolist()) if (mean := target.mean(place)) is not None]
    grid = np.linspace(0.0, math.sqrt(float(kl.max())), _CURVE_POINTS)
    series = [Series(name=target.name, points=measured, kind="points")]
    marks = []
    for name, fit in fits.items():
        series.append(Series(name=f"fit on {name}", points=[[float(d * d), fit.gold(float(d))] for d in grid]))
        if fit.peak is not None and fit.peak.distance**2 <= float(kl.max()):
            marks.append((fit.peak.distance**2, f"peak by {name}"))
    return Chart(
        title="The law and where it peaks",
        x_label="KL from the reference (nats)",
        y_label=f"gain by {target.name} (sd)",
        series=series,
        marks=marks,
    )


def _points(looks: Sequence[Look], kl: NDArray[np.float64], curves: Sequence[Curve]) -> Table:
    rows: list[list[Cell]] = []
    for place, look in enumerate(looks):
        rows.append([look.step, float(kl[place]), *(curve.cell(place) for curve in curves)])
    return Table(
        title="Gain over the reference (sd)",
        columns=["iteration", "KL (nats)", *(curve.name for curve in curves)],
        rows=rows,
        note="Intervals resample prompts." + (" People: 2 x win rate - 1." if any(curve.name == PEOPLE for curve in curves) else ""),
    )


# -- without a watch -------------------------------------------------------------------------------------------------


def _metric_chart(run: RunFiles) -> list[Chart]:
    """What the metrics alone tell: the proxy on training prompts, and whatever evaluators were called."""
    kl = dict(run.series("kl"))
    reward = [[kl[step], value] for step, value in run.series("reward") if step in kl]
    series = [Series(name="proxy, on training prompts (reward's unit)", points=sorted(reward))] if reward else []
    for name in run.metric_names:
        if name.startswith("eval/"):
            points = [[nats, value] for step, value in run.series(name) if (nats := run.kl_after(step)) is not None]
            series.append(Series(name=name.removeprefix("eval/"), points=sorted(points)))
    if not series:
        return []
    return [
        Chart(
            title="Along the run, from its metrics", x_label="KL from the reference (nats)", y_label="in each one's own unit", series=series
        )
    ]


def _from_metrics(run: RunFiles) -> Section:
    return Section(
        name=NAME,
        title=TITLE,
        text="Nothing watched this run, so the proxy stands alone: whether its gain is real cannot be told from these files. "
        "Train with ppo.watch.prompts and ppo.watch.reward_models, or inspect with --gold, --human or --ensemble.",
        charts=_metric_chart(run),
    )


# -- alarms ----------------------------------------------------------------------------------------------------------


def _unmeasured() -> Alarm:
    return raised(
        "past_peak",
        None,
        explanation="Needs answers of several iterations to the same prompts: train with ppo.watch.prompts and ppo.watch.every, "
        "and judge them with --gold or --human.",
    )


def past_peak(looks: Sequence[Look], kl: NDArray[np.float64], target: Curve | None, curves: Sequence[Curve]) -> Alarm:
    """Whether the last look is worse than the best one by more than chance, in standard errors over prompts (``stats.fall_from_best``)."""
    if target is None or target.name == HELD_OUT:  # held-out judges have an alarm of their own: "falling"
        return _unmeasured()
    fall = fall_from_best(target.gains)
    if fall is None:
        return raised("past_peak", None, explanation=f"Needs at least eight prompts judged by {target.name} at every look.")
    top, last = fall.best, len(kl) - 1
    measured = fall.drop / max(fall.error, _SMALLEST_ERROR)
    proxy = next((curve for curve in curves if curve.name == PROXY), None)
    words = f"By {target.name}, iteration {looks[last].step} stands {fall.drop:.2f} sd below iteration {looks[top].step}"
    if proxy is not None and (a := proxy.mean(top)) is not None and (b := proxy.mean(last)) is not None:
        words += f", while the proxy {'rose' if b > a else 'fell'} by {abs(b - a):.2f} sd"
    return raised(
        "past_peak",
        measured,
        step=looks[last].step,
        explanation=words + ".",
        examples=_worst(looks[top].answers, looks[last].answers, target),
    )


def _worst(best: Sequence[Answer], last: Sequence[Answer], target: Curve) -> list[dict[str, object]]:
    """The answers whose judge likes them least against the best look's, among those that the proxy likes more."""
    measure = of.gold if target.name == GOLD else of.judge(0)
    before = {answer.key: answer for answer in best}
    pairs = []
    for answer in last:
        old = before.get(answer.key)
        if old is None or None in (measure(answer), measure(old), answer.proxy, old.proxy):
            continue
        pairs.append(((measure(answer) or 0.0) - (measure(old) or 0.0), (answer.proxy or 0.0) - (old.proxy or 0.0), answer, old))
    pairs.sort(key=lambda pair: pair[0])
    return [
        of.shown(answer, note=f"{target.name} {lost:+.2f}, proxy {gained:+.2f} against: {old.completion}")
        for lost, gained, answer, old in pairs
        if lost < 0 < gained
    ]
