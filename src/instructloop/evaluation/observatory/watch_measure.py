"""What a look at the policy says: its replies against the reference's to the same prompts, as numbers and as alarms (spec I14).

Everything is paired by prompt: the reference and every iteration answer the same prompts with the same random streams, so that a
difference between two looks is the policy's. Rewards have no common unit; gains are in standard deviations of the scores that the
same reward model gives to the reference's replies. Gold is not known here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructloop.config.watch import WatchConfig
from instructloop.evaluation.observatory.alarms import SHOWN_EXAMPLES, Alarm, State, raised
from instructloop.scoring.diversity import distinct_n
from instructloop.scoring.phrases import hedges, refuses

Row = Mapping[str, Any]
"""A reply: ``prompt, meta, completion, tokens, ended, proxy, held_out`` and, where it was measured, ``kl``."""
Column = NDArray[np.float64]
_SMALLEST_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Paired:
    """A mean over prompts and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Column) -> "Paired":
        """Of one value a prompt; the error of a single prompt is infinite."""
        error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("inf")
        return cls(float(values.mean()), error)

    def below(self, limit: float, errors: float) -> bool:
        """Whether the mean lies under the limit by more than so many standard errors."""
        return self.mean + errors * self.error < limit

    def above(self, limit: float, errors: float) -> bool:
        """Whether the mean lies over the limit by more than so many standard errors."""
        return self.mean - errors * self.error > limit


@dataclass(frozen=True, slots=True)
class Gains:
    """Standardized gains over the reference's replies to the same prompts, one value a prompt."""

    proxy: Column
    held_out: Column
    """Mean over the held-out judges; empty where there are none."""

    @property
    def judged(self) -> bool:
        """Whether there is a held-out judge."""
        return bool(len(self.held_out))


def gains(rows: Sequence[Row], reference: Sequence[Row], draws: int = 1) -> Gains:
    """What the maximized reward and the held-out judges think of a look.

    Args:
        rows: of the look, prompt-major.
        reference: of step 0, in the same order.
        draws: replies to each prompt.
    """
    proxy = _standardized([row["proxy"] for row in rows], [row["proxy"] for row in reference], draws)
    judges = [
        _standardized([row["held_out"][judge] for row in rows], [row["held_out"][judge] for row in reference], draws)
        for judge in range(len(reference[0]["held_out"]))
    ]
    return Gains(proxy, np.mean(judges, axis=0) if judges else np.zeros(0))


def _standardized(values: Sequence[float], reference: Sequence[float], draws: int) -> Column:
    base = np.asarray(reference, dtype=np.float64)
    difference = (np.asarray(values, dtype=np.float64) - base) / max(float(base.std()), _SMALLEST_SPREAD)
    return difference.reshape(-1, draws).mean(axis=1)


def disagreement(rows: Sequence[Row], reference: Sequence[Row]) -> float | None:
    """Spread between all reward models on a look's replies over their spread on the reference's; None with fewer than two."""
    if not reference[0]["held_out"]:
        return None
    now, then = (np.array([[row["proxy"], *row["held_out"]] for row in one], dtype=np.float64) for one in (rows, reference))
    center, scale = then.mean(axis=0), np.maximum(then.std(axis=0), _SMALLEST_SPREAD)
    spread_now, spread_then = (float(((one - center) / scale).std(axis=1).mean()) for one in (now, then))
    return spread_now / max(spread_then, _SMALLEST_SPREAD)


@dataclass(frozen=True, slots=True)
class Measured:
    """A look in numbers."""

    step: int
    gains: Gains
    numbers: Mapping[str, float]
    """For ``metrics.jsonl``: finite numbers by name."""


def measure(step: int, rows: Sequence[Row], reference: Sequence[Row], metrics: Mapping[str, float], draws: int = 1) -> Measured:
    """All numbers of a look.

    Args:
        step: of the look.
        rows: its replies.
        reference: the reference's replies to the same prompts.
        metrics: of the iteration; entropy is taken from there, and the KL where the rows have none.
        draws: replies to each prompt.
    """
    gain = gains(rows, reference, draws)
    numbers: dict[str, float] = {"proxy": fmean(row["proxy"] for row in rows)}
    _put(numbers, "proxy_gain", Paired.of(gain.proxy))
    if gain.judged:
        _put(numbers, "held_out_gain", Paired.of(gain.held_out))
        numbers["held_out_wins"] = float(np.mean((gain.held_out > 0) + 0.5 * (gain.held_out == 0)))
        spread = disagreement(rows, reference)
        assert spread is not None
        numbers["disagreement"] = spread
    kl = [float(row["kl"]) for row in rows if row.get("kl") is not None]
    if kl or "kl" in metrics:
        numbers["kl"] = fmean(kl) if kl else float(metrics["kl"])
    if "entropy" in metrics:
        numbers["entropy"] = float(metrics["entropy"])
    for name, count in _SHARES.items():
        numbers[name] = count(rows) - count(reference)
    then = distinct_n([row["completion"] for row in reference])
    numbers["variety"] = distinct_n([row["completion"] for row in rows]) / then if then > 0 else 1.0  # nothing to lose
    numbers["length"] = fmean(row["tokens"] for row in rows) / max(fmean(row["tokens"] for row in reference), 1e-9)
    return Measured(step, gain, numbers)


def _put(numbers: dict[str, float], name: str, found: Paired) -> None:
    numbers[name] = found.mean
    if found.error < float("inf"):
        numbers[f"{name}_se"] = found.error


def _share(rows: Sequence[Row], test: Callable[[Row], bool]) -> float:
    return fmean(float(test(row)) for row in rows)


_SHARES: Mapping[str, Callable[[Sequence[Row]], float]] = {
    "truncation": lambda rows: _share(rows, lambda row: not row["ended"]),
    "refusals": lambda rows: _share(rows, lambda row: bool(refuses(row["completion"]))),
    "hedging": lambda rows: _share(rows, _hedged),
}
"""Shares of replies; their rise over the reference's is what counts."""


def _hedged(row: Row) -> bool:
    return bool(hedges(row["completion"])) and not refuses(row["completion"])


def alarms_of(look: Measured, best: Measured | None, cfg: WatchConfig, *, rows: Sequence[Row], reference: Sequence[Row]) -> list[Alarm]:
    """What holds at a look, every kind in its state.

    Args:
        look: the look.
        best: the best one before it, for ``falling``.
        cfg: thresholds.
        rows: the look's replies, for the examples.
        reference: the reference's replies.
    """
    numbers, step = look.numbers, look.step
    found = [_unconfirmed(look, cfg, rows, reference), _falling(look, best, cfg, rows, reference)]
    for kind, examples in _PLAIN.items():
        value = numbers.get(kind)
        if kind == "length" and value is not None:
            value = max(value, 1 / value) if value > 0 else float("inf")
        alarm = raised(kind, value, threshold=getattr(cfg, kind), step=step)
        if alarm.state == "alarm":
            alarm = raised(kind, value, threshold=getattr(cfg, kind), step=step, examples=examples(rows, reference))
        found.append(alarm)
    return found


def _unconfirmed(look: Measured, cfg: WatchConfig, rows: Sequence[Row], reference: Sequence[Row]) -> Alarm:
    """The proxy's gain is real, and the judges see less than the wanted share of it, both beyond chance."""
    gain = look.gains
    if not gain.judged:
        return raised("unconfirmed", None, threshold=cfg.confirmed, step=look.step)
    proxy = Paired.of(gain.proxy)
    if not proxy.above(0.0, cfg.standard_errors) or proxy.mean < cfg.proxy_gain:
        return raised(
            "unconfirmed", None, threshold=cfg.confirmed, step=look.step, state="ok", explanation="There is no gain to confirm yet."
        )
    share = float(gain.held_out.mean()) / proxy.mean
    lacking = Paired.of(gain.held_out - cfg.confirmed * gain.proxy).below(0.0, cfg.standard_errors)
    told = (
        f"The reward rose by {proxy.mean:.2f} of the reference's standard deviation, for the held-out judges by {gain.held_out.mean():.2f}."
    )
    state: State = "alarm" if lacking else "warning" if share < cfg.confirmed else "ok"
    examples = _examples(rows, reference, cfg.draws, gain.proxy - gain.held_out) if lacking else ()
    return raised("unconfirmed", share, threshold=cfg.confirmed, step=look.step, state=state, explanation=told, examples=examples)


def _falling(look: Measured, best: Measured | None, cfg: WatchConfig, rows: Sequence[Row], reference: Sequence[Row]) -> Alarm:
    gain = look.gains
    if not gain.judged:
        return raised("falling", None, threshold=cfg.fall, step=look.step)
    if best is None or best.step == look.step:
        return raised("falling", 0.0, threshold=cfg.fall, step=look.step, state="ok")
    lost = Paired.of(best.gains.held_out - gain.held_out)
    beyond = lost.above(0.0, cfg.standard_errors) and lost.mean > cfg.fall
    examples = _examples(rows, reference, cfg.draws, best.gains.held_out - gain.held_out) if beyond else ()
    told = f"Compared with iteration {best.step}."
    state: State = "alarm" if beyond else "ok"
    return raised("falling", lost.mean, threshold=cfg.fall, step=look.step, state=state, explanation=told, examples=examples)


def better(look: Measured, best: Measured, errors: float) -> bool:
    """Whether the held-out judges prefer a look to the best one so far by more than chance (one standard error says little, two much)."""
    return look.gains.judged and Paired.of(look.gains.held_out - best.gains.held_out).above(0.0, errors)


def _examples(rows: Sequence[Row], reference: Sequence[Row], draws: int, size: Column) -> list[dict[str, Any]]:
    """The first replies to the prompts with the largest values."""
    return [_shown(rows[prompt * draws], reference[prompt * draws]) for prompt in np.argsort(-size, kind="stable")[:SHOWN_EXAMPLES]]


def _shown(row: Row, before: Row) -> dict[str, Any]:
    prompt = row["prompt"] if isinstance(row["prompt"], str) else "\n".join(f"{turn['role']}: {turn['content']}" for turn in row["prompt"])
    return {"prompt": prompt, "completion": row["completion"], "reference": before["completion"], "score": row["proxy"]}


def _where(test: Callable[[Row], bool]) -> Callable[[Sequence[Row], Sequence[Row]], list[dict[str, Any]]]:
    def choose(rows: Sequence[Row], reference: Sequence[Row]) -> list[dict[str, Any]]:
        pairs = [(row, before) for row, before in zip(rows, reference, strict=True) if test(row)]
        return [_shown(row, before) for row, before in pairs[:SHOWN_EXAMPLES]]

    return choose


def _largest(key: Callable[[Row, Row], float]) -> Callable[[Sequence[Row], Sequence[Row]], list[dict[str, Any]]]:
    def choose(rows: Sequence[Row], reference: Sequence[Row]) -> list[dict[str, Any]]:
        pairs = sorted(zip(rows, reference, strict=True), key=lambda pair: -key(*pair))
        return [_shown(row, before) for row, before in pairs[:SHOWN_EXAMPLES]]

    return choose


_PLAIN: Mapping[str, Callable[[Sequence[Row], Sequence[Row]], list[dict[str, Any]]]] = {
    "disagreement": _largest(lambda row, _: abs(row["proxy"] - fmean(row["held_out"])) if row["held_out"] else 0.0),
    "kl": _largest(lambda row, _: float(row.get("kl") or 0.0)),
    "entropy": _where(lambda _: True),
    "variety": _largest(lambda row, _: float(row["proxy"])),
    "length": _largest(lambda row, before: abs(float(row["tokens"] - before["tokens"]))),
    "truncation": _where(lambda row: not row["ended"]),
    "refusals": _where(lambda row: bool(refuses(row["completion"]))),
    "hedging": _where(_hedged),
}
"""Alarms that compare one number with one threshold, and what to show of the replies."""
