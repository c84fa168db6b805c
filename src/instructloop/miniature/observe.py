"""Over-optimization seen from outside: gold of every reply that the watch of a PPO run kept, computed when the run is over (spec I13).

Neither the run nor its alarms have seen gold; this stage tells afterwards whether they rang in time. "In time" is measured against the
SFT baseline's replies to the same prompts: an alarm after gold has fallen below that level is of no use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.errors import ConfigError
from instructloop.core.files import read_json, read_jsonl
from instructloop.core.records import Prompt
from instructloop.evaluation.observatory import answers as of
from instructloop.evaluation.observatory.alarms import Alarm, from_json
from instructloop.evaluation.observatory.answers import Answer, Look
from instructloop.evaluation.observatory.document import Chart, Findings, Section, Series, Table, document, estimate
from instructloop.evaluation.observatory.proxy_gold import GOLD, gain_curves, law_fits, proxy_against_gold
from instructloop.evaluation.observatory.readings import RunFiles
from instructloop.evaluation.observatory.watch import FOLDER, read_looks
from instructloop.evaluation.sampling import sample_models
from instructloop.miniature.gold import gold_utility
from instructloop.runs import RunDir
from instructloop.stats import mean_interval


class Observation(Protocol):
    """What the stage needs to know (its configuration has these fields)."""

    @property
    def seed(self) -> int: ...
    @property
    def runs(self) -> "dict[str, str]": ...
    @property
    def sft(self) -> str: ...
    @property
    def sampling(self) -> SamplingConfig: ...
    @property
    def compute(self) -> ComputeConfig: ...


@dataclass(frozen=True, slots=True)
class Watched:
    """A PPO run with gold beside every reply that its watch kept."""

    name: str
    path: Path
    looks: tuple[Look, ...]
    lines: tuple[dict[str, Any], ...]
    """``watch/looks.jsonl``."""
    result: dict[str, Any]


def gold_totals(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
    """Gold as a plain scoring function."""
    return [gold_utility(prompt, text).total for prompt, text in zip(prompts, completions, strict=True)]


def read_watched(name: str, path: Path) -> Watched:
    """The looks of a run, judged by gold.

    Raises:
        ConfigError: the run was not watched, or its prompts are not the miniature's.
    """
    lines = read_looks(path / FOLDER)
    if not lines:
        raise ConfigError(f"{path} was not watched", hint="set ppo.watch.every and ppo.watch.prompts in its stage")
    looks = []
    for step, kl in [(0, 0.0), *((int(line["step"]), line["numbers"].get("kl")) for line in lines)]:
        answers = [of.from_row(row) for row in read_jsonl(path / FOLDER / f"step-{step:06d}.jsonl")]
        if any("task" not in answer.prompt.meta for answer in answers):
            raise ConfigError(f"{path}: the selection prompts are not the miniature's: gold cannot judge them")
        looks.append(Look(step=step, kl=kl, answers=of.with_gold(answers, gold_totals)))
    return Watched(name, path, tuple(looks), tuple(lines), read_json(path / "result.json"))


def sft_level(cfg: Observation, looks: Sequence[Look]) -> list[Answer]:
    """The SFT baseline's replies to the watch's prompts, as many to each, with gold."""
    prompts = list({answer.key: answer.prompt for answer in looks[0].answers}.values())
    draws = max(1, len(looks[0].answers) // len(prompts))
    rows = sample_models({"sft": cfg.sft}, prompts, sampling=cfg.sampling, seed=cfg.seed, n=draws, compute=cfg.compute)
    answers = [
        Answer(prompt=prompts[row["prompt_id"]], completion=row["completion"], tokens=row["tokens"], ended=row["ended"]) for row in rows
    ]
    return of.with_gold(answers, gold_totals)


def gold_estimate(answers: Sequence[Answer], seed: int = 0) -> dict[str, Any]:
    """Mean gold with a 95 % interval over prompts."""
    values, keys = of.measured(answers, of.gold)
    return estimate(mean_interval(values, keys, samples=1000, seed=seed))


def observe(cfg: Observation, run: RunDir) -> None:
    """Write ``result.json`` and ``eval/observatory.json`` into the run directory."""
    watched = [read_watched(name, Path(path)) for name, path in cfg.runs.items()]
    baseline = sft_level(cfg, watched[0].looks)
    level = gold_estimate(baseline)
    found = {one.name: summary(one, baseline) for one in watched}
    run.result({"sft_gold": level, "runs": found})
    findings = Findings(sections=(_overview(watched, found, level),))
    longest = max(watched, key=lambda one: len(one.looks))
    findings += proxy_against_gold(RunFiles.read(longest.path), longest.looks, seed=cfg.seed)
    findings += Findings(alarms=tuple(alarm for one in watched for alarm in rung(one)))
    run.evaluation("observatory", document("miniature.observe", findings))


def summary(one: Watched, baseline: Sequence[Answer]) -> dict[str, Any]:
    """What happened in a run, in numbers: when it rang, when gold was highest, when it fell below SFT, what was published.

    Args:
        one: the run.
        baseline: the SFT model's replies to the same prompts, with gold.
    """
    looks, level = one.looks, _mean(baseline)
    means = [_mean(look.answers) for look in looks]
    top = int(np.argmax(means))
    below = next((look.step for look, mean in zip(looks, means, strict=True) if mean < level), None)
    first = next((line for line in one.lines if line["acted"]), None)
    published = next(look for look in looks if look.step == _published(one))
    curves = gain_curves(looks)
    gold = next(curve for curve in curves if curve.name == GOLD)
    kl = np.array([look.kl for look in looks], dtype=np.float64)
    proxy = [line["numbers"]["proxy_gain"] for line in one.lines]
    return {
        "looks": len(looks) - 1,
        "last_step": looks[-1].step,
        "alarm_step": None if first is None else first["step"],
        "alarms": {alarm["kind"]: line["step"] for line in reversed(one.lines) for alarm in line["alarms"]},
        "peak_step": looks[top].step,
        "peak_kl": looks[top].kl,
        "below_sft_step": below,
        "gold": {str(look.step): gold_estimate(look.answers) for look in looks},
        "kl": {str(look.step): look.kl for look in looks},
        "proxy_gain": {str(line["step"]): line["numbers"]["proxy_gain"] for line in one.lines},
        "held_out_gain": {str(line["step"]): line["numbers"].get("held_out_gain") for line in one.lines},
        "gold_from_peak_to_end": _paired(looks[-1].answers, looks[top].answers),
        "gold_end_against_reference": _paired(looks[-1].answers, looks[0].answers),
        "proxy_rose": bool(proxy[-1] > 0),
        "published_step": published.step,
        "published_gold": gold_estimate(published.answers),
        "published_against_sft": _paired(published.answers, baseline),
        "ended_early": one.result.get("ended_early", ""),
        "law_before_peak": _law(kl, gold),
    }


def rung(one: Watched) -> list[Alarm]:
    """The alarms of a run, at the step where each began first."""
    first: dict[str, Alarm] = {}
    for line in one.lines:
        for alarm in line["alarms"]:
            first.setdefault(alarm["kind"], from_json(alarm))
    return list(first.values())


def _published(one: Watched) -> int:
    return int(one.result["steps"])


def _mean(answers: Sequence[Answer]) -> float:
    return float(np.mean([answer.gold for answer in answers]))


def _by_prompt(answers: Sequence[Answer]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for answer in answers:
        assert answer.gold is not None
        values.setdefault(answer.key, []).append(answer.gold)
    return {key: float(np.mean(found)) for key, found in values.items()}


def _paired(answers: Sequence[Answer], others: Sequence[Answer]) -> dict[str, Any]:
    """Difference of gold, paired by prompt, with an interval."""
    mine, theirs = _by_prompt(answers), _by_prompt(others)
    return estimate(mean_interval([mine[key] - theirs[key] for key in mine], samples=1000))


def _law(kl: NDArray[np.float64], gold: Any) -> dict[str, Any] | None:
    """Gao et al.'s law on the points before the gold peak and where it puts the peak; None with fewer than three points."""
    fit = law_fits(kl, gold).get("points before the highest")
    if fit is None:
        return None
    peak = None
    if fit.peak is not None:
        low, high = fit.peak_bounds or (float("nan"), float("nan"))
        peak = {"value": _nats(fit.peak.distance), "low": _nats(low), "high": _nats(high), "n": fit.clusters}
    return {"points": fit.points, "alpha": fit.alpha, "beta": fit.beta, "peak_kl": peak, "inside": fit.inside, "r_squared": fit.r_squared}


def _nats(distance: float) -> float | None:
    """KL of a distance; None where it is open, or beyond any KL a run could have."""
    return distance * distance if np.isfinite(distance) and distance < 1e3 else None


def _overview(watched: Sequence[Watched], found: dict[str, Any], level: dict[str, Any]) -> Section:
    series = [
        Series(
            name=one.name,
            points=[[float(look.kl or 0.0), *(gold_estimate(look.answers)[key] for key in ("value", "low", "high"))] for look in one.looks],
        )
        for one in watched
    ]
    end = max(point[0] for line in series for point in line.points)
    series.append(Series(name="SFT", points=[[0.0, level["value"]], [end, level["value"]]]))
    marks = [(found[one.name]["kl"][str(step)], f"alarm in {one.name}") for one in watched if (step := found[one.name]["alarm_step"])]
    rows = [
        [
            name,
            row["alarm_step"],
            row["below_sft_step"],
            row["peak_step"],
            row["published_step"],
            row["published_gold"],
            row["published_against_sft"],
        ]
        for name, row in found.items()
    ]
    columns = ["run", "alarm at", "gold below SFT at", "gold highest at", "published", "its gold", "its gold less SFT's"]
    return Section(
        name="gold",
        title="Gold of what the watch kept",
        text="Computed after the runs had ended, from the replies in their watch folders; neither run nor alarm has seen it.",
        charts=[Chart(title="Gold as KL grows", x_label="KL from the reference (nats)", y_label="gold", series=series, marks=marks)],
        tables=[Table(title="Runs", columns=columns, rows=rows, note="Steps are iterations; intervals resample prompts.")],
    )
