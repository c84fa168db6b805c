"""The kill-list of PPO as functions of the logged metrics: what a person watching the curves would stop for (ppo-details section 6).

Torch-free: the trainer calls ``check`` after each iteration, and a doctor may call ``review`` on the ``metrics.jsonl`` of any run.
KILL-4 (reward rises while a judge's win rate falls) needs evaluations and is not seen from here; KILL-9 (NaN, Inf) is an error, not
an alarm. Thresholds are defaults of this project, to be tuned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

Row = Mapping[str, float]
"""Metrics of one iteration, without the ``ppo/`` prefix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Where the alarms ring."""

    kl: float = 3.0
    """Mean sequence KL in nats."""
    entropy: float = 0.1
    """Mean token entropy in nats."""
    ratio_deviation: float = 1e-4
    """Largest |ratio - 1| in the first minibatch (fp32; other precisions state their own)."""
    window: int = 10
    """Iterations over which trends are judged."""
    eos_drop: float = 0.15
    """Fall of the EOS rate from the first half of the window to the second."""
    eos_pinned: float = 0.02
    """An EOS rate at or below this means that replies are pinned at their largest length..."""
    distinct_share: float = 0.5
    """...and distinct-2 below this share of the first iteration's means that replies repeat themselves."""
    standard_errors: float = 4.0
    """How many standard errors below zero a negative KL must lie."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One sign of failure: its item of the kill-list (or ``KL``, ``ENTROPY``) and a sentence with the numbers."""

    kind: str
    message: str


def check(rows: Sequence[Row], limits: Limits) -> list[Alarm]:
    """Alarms that hold at the last row, given all or the latest rows before it (the first row is the run's first)."""
    if not rows:
        return []
    return [Alarm(kind, message) for kind, sign in SIGNS.items() if (message := sign(rows, limits)) is not None]


def review(rows: Sequence[Row], limits: Limits) -> list[tuple[int, Alarm]]:
    """Every alarm of a whole run at the iteration (index from 0) at which it began to hold."""
    begun: list[tuple[int, Alarm]] = []
    before: set[str] = set()
    for index in range(len(rows)):
        found = check(rows[: index + 1], limits)
        begun += [(index, alarm) for alarm in found if alarm.kind not in before]
        before = {alarm.kind for alarm in found}
    return begun


def _negative_kl(rows: Sequence[Row], limits: Limits) -> str | None:
    kl, error = rows[-1]["kl"], rows[-1].get("kl_se", 0.0)
    if kl < -limits.standard_errors * error - 1e-6:
        return f"mean sequence KL is {kl:.4f}, below zero by more than sampling error ({error:.4f}): rollout and reference disagree on log-probs"
    return None


def _high_kl(rows: Sequence[Row], limits: Limits) -> str | None:
    kl = rows[-1]["kl"]
    return f"mean sequence KL {kl:.2f} nats is above {limits.kl:g}: the policy leaves the reference" if kl > limits.kl else None


def _low_entropy(rows: Sequence[Row], limits: Limits) -> str | None:
    entropy = rows[-1]["entropy"]
    return f"token entropy {entropy:.3f} nats is below {limits.entropy:g}: replies lose variety" if entropy < limits.entropy else None


def _pinned_length(rows: Sequence[Row], limits: Limits) -> str | None:
    rate = rows[-1]["eos_rate"]
    if rate > limits.eos_pinned or len(rows) < limits.window:
        return None
    if fmean(row["eos_rate"] for row in rows[-limits.window :]) > limits.eos_pinned:
        return None
    return f"{1 - rate:.0%} of the replies run into the length limit ({rows[-1]['length']:.1f} tokens on average)"


def _eos_falls(rows: Sequence[Row], limits: Limits) -> str | None:
    if len(rows) < limits.window:
        return None
    rates = [row["eos_rate"] for row in rows[-limits.window :]]
    early, late = fmean(rates[: limits.window // 2]), fmean(rates[limits.window // 2 :])
    if early - late <= limits.eos_drop:
        return None
    return f"replies that end by themselves fell from {early:.0%} to {late:.0%} within {limits.window} iterations"


def _ratio_not_one(rows: Sequence[Row], limits: Limits) -> str | None:
    deviation = rows[-1].get("first_ratio_deviation", 0.0)
    if deviation <= limits.ratio_deviation:
        return None
    return f"|ratio - 1| is {deviation:.2g} in the first minibatch: rollout and update compute different log-probs"


def _repetition(rows: Sequence[Row], limits: Limits) -> str | None:
    first, now = rows[0].get("distinct_2"), rows[-1].get("distinct_2")
    if first is None or now is None or now >= limits.distinct_share * first:
        return None
    return f"distinct-2 fell from {first:.3f} to {now:.3f}: replies repeat themselves and each other"


def _blind_value(rows: Sequence[Row], limits: Limits) -> str | None:
    if len(rows) < limits.window:
        return None
    recent = rows[-limits.window :]
    if all(row["explained_variance"] <= 0 for row in recent) and all(row["reward_std"] > 0 for row in recent):
        return f"the value network explained no variance for {limits.window} iterations although rewards vary"
    return None


def _equal_rewards(rows: Sequence[Row], limits: Limits) -> str | None:  # noqa: ARG001 - one signature for all signs
    if rows[-1]["reward_std"] > 1e-8:
        return None
    return f"all rewards of the batch equal {rows[-1]['reward']:.4g}: nothing can be learned from it"


SIGNS: dict[str, Callable[[Sequence[Row], Limits], str | None]] = {
    "KL": _high_kl,
    "ENTROPY": _low_entropy,
    "KILL-1": _negative_kl,
    "KILL-2": _pinned_length,
    "KILL-3": _eos_falls,
    "KILL-5": _ratio_not_one,
    "KILL-6": _repetition,
    "KILL-7": _blind_value,
    "KILL-8": _equal_rewards,
}
"""The checks by item, in the order in which they are shown."""
