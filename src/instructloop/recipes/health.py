"""A PPO run against the kill-list (ppo-details section 6), from the files of its run directory alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from instructloop.core.errors import ConfigError
from instructloop.core.files import read_json, read_jsonl
from instructloop.runs import read_status
from instructloop.training.ppo_alarms import Limits, review

_SMALLEST_TREND = 4
"""Evaluations from which a trend can be told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A sign of failure and the step at which it began."""

    step: int
    kind: str
    message: str


def examine_run(run: Path) -> list[Finding]:
    """All signs of failure of a PPO run, in the order of their steps.

    Raises:
        ConfigError: the run is of another stage, or has no metrics yet.
    """
    config = read_json(run / "config.json")
    if config["stage"] != "ppo":
        raise ConfigError(f"{run} is a run of stage {config['stage']!r}", hint="the kill-list is PPO's; give a ppo run")
    rows = list(read_jsonl(run / "metrics.jsonl", drop_torn_tail=True))
    findings = _divergence(run, rows)
    plain = [{name.removeprefix("ppo/"): value for name, value in row.items()} for row in rows if "ppo/kl" in row]
    if not plain and not findings:
        raise ConfigError(f"{run} has no PPO metrics yet", hint="wait for its first iteration")
    settings = config["config"]
    limits = Limits(kl=settings["warn_kl"], entropy=settings["warn_entropy"])
    findings += [Finding(int(plain[index]["step"]), alarm.kind, alarm.message) for index, alarm in review(plain, limits)]
    findings += _reward_against_wins(plain)
    return sorted(findings, key=lambda item: item.step)


def _divergence(run: Path, rows: Sequence[Mapping[str, float]]) -> list[Finding]:
    """KILL-9: the trainer refuses non-finite numbers, so they show in how the run ended."""
    status = read_status(run)
    error = str(status.get("error", ""))
    if status["status"] == "failed" and error.startswith("TrainingDiverged"):
        return [Finding(int(rows[-1]["step"]) if rows else 0, "KILL-9", error.partition(": ")[2])]
    return []


def _reward_against_wins(rows: Sequence[Mapping[str, float]]) -> list[Finding]:
    """KILL-4: the proxy reward rises from the first half of the evaluations to the second while a judge's win rate falls."""
    for name in sorted({name for row in rows for name in row if "win_rate" in name or "gold" in name}):
        judged = [row for row in rows if name in row]
        if len(judged) < _SMALLEST_TREND:
            continue
        half = len(judged) // 2
        reward = fmean(row["reward"] for row in judged[half:]) - fmean(row["reward"] for row in judged[:half])
        wins = fmean(row[name] for row in judged[half:]) - fmean(row[name] for row in judged[:half])
        if reward > 0 > wins:
            return [
                Finding(
                    int(judged[half]["step"]),
                    "KILL-4",
                    f"the reward rises by {reward:.3g} while {name} falls by {-wins:.3g}: the reward is being gamed",
                )
            ]
    return []
