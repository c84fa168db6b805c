"""From the rounds of a comparison to its table: medians, spread, ratios, verdicts, shares of the peak. Pure arithmetic and text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

TOLERANCE = 1e-4
"""Largest relative difference of what must be equal on both sides (fp32)."""
BARS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("generate", "tiny"): (2.2, 2.6),
    ("generate", "base"): (1.15, 1.4),
    ("generate", "tiny-gpt2"): (1.6, 2.6),
    ("ragged", "tiny"): (3.5, 6.0),
    ("ragged", "base"): (2.0, 3.0),
    ("ragged", "tiny-gpt2"): (3.5, 6.0),
    ("sft", "tiny"): (1.8, 2.5),
    ("sft", "base"): (1.6, 2.0),
    ("rm", "tiny"): (1.15, 1.5),
    ("rm", "base"): (1.3, 1.6),
    ("rm9", "tiny"): (6.0, 8.0),
    ("rm9", "base"): (6.0, 8.0),
    ("ppo", "tiny"): (1.6, 2.2),
    ("ppo", "base"): (1.15, 1.4),
}
"""(floor, target) of the ratio ours / peer per CPU second, by work and size."""
MFU_BARS: Mapping[str, float] = {"tiny": 0.45, "base": 0.70}
"""Least share of the peak of torch.matmul that training should reach."""
TRAINING = frozenset({"sft", "rm", "rm4", "rm9", "ppo", "ptx"})


@dataclass(frozen=True, kw_only=True)
class Result:
    """One work at one size. Rates are units a second, one a round; ``peer`` is empty where no peer does this work."""

    work: str
    size: str
    label: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float] = ()
    flops: float = 0.0
    """Useful FLOPs of one unit, whoever does it."""
    checks: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Name to (ours, peer) of what must be equal."""
    spent: Mapping[str, float] = field(default_factory=dict)
    """Shares of our time by group of operations, where a round was profiled."""
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ours over the peer's, round by round."""
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)] if self.peer else []

    @property
    def verdict(self) -> str:
        """What the median ratio is worth: ``target``, ``floor``, ``below``, or nothing where there is no bar."""
        bars = BARS.get((self.work, self.size))
        if bars is None or not self.peer:
            return ""
        ratio = median(self.ratios)
        return "target" if ratio >= bars[1] else "floor" if ratio >= bars[0] else "below"

    def unequal(self) -> list[str]:
        """Checks that fail, in words."""
        return [
            f"{self.work} at {self.size}: {name} is {ours:.8g} here and {peer:.8g} there"
            for name, (ours, peer) in self.checks.items()
            if not difference(ours, peer) <= TOLERANCE  # written so that NaN fails
        ]


def difference(left: float, right: float) -> float:
    """Relative difference, by the larger of the two."""
    scale = max(abs(left), abs(right))
    return 0.0 if scale == 0 else abs(left - right) / scale


def spread(values: Sequence[float]) -> str:
    """``median [min, max]``."""
    return f"{number(median(values))} [{number(min(values))}, {number(max(values))}]"


def number(value: float) -> str:
    """Three significant digits without exponent, thousands separated."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def share(rates: Sequence[float], flops: float, peaks: Mapping[str, float]) -> str:
    """Useful FLOPs a second over torch.matmul's peak, and over the best peak there is."""
    if not rates or not flops or not peaks:
        return ""
    done = median(rates) * flops
    return f"{done / peaks['torch.matmul']:.0%} / {done / max(peaks.values()):.0%}"


def render(results: Sequence[Result], peaks: Mapping[str, float], header: Mapping[str, str], *, clock: str) -> str:
    """The whole file: header, table of rates, table of what was equal.

    Args:
        results: in the order of the rows.
        peaks: FLOP/s by name, ``torch.matmul`` among them.
        header: name to value, in order.
        clock: ``CPU second`` or ``second``.
    """
    lines = ["# Ours beside the peer", ""]
    lines += [f"- {name}: {value}" for name, value in header.items()]
    lines += [f"- Peak of one fp32 matrix product, FLOP/s: {', '.join(f'{name} {peak / 1e9:.0f} G' for name, peak in peaks.items())}", ""]
    lines.append(
        f"Units a {clock}, median [least, most] over the rounds; ratio = ours / peer, round by round. MFU = useful FLOPs / (time x"
    )
    lines += ["peak), against torch.matmul / against the best peak.", ""]
    lines.append("| work | size | unit | ours | peer | ratio | floor | target | met | MFU ours | MFU peer |")
    lines.append("|---|---|---|---|---|---|---|---|---|---|---|")
    for result in results:
        floor, target = BARS.get((result.work, result.size), (None, None))
        cells = [
            result.label,
            result.size,
            result.unit,
            spread(result.ours),
            spread(result.peer) if result.peer else "",
            spread(result.ratios) if result.peer else "",
            "" if floor is None else f"{floor:g}",
            "" if target is None else f"{target:g}",
            result.verdict,
            share(result.ours, result.flops, peaks) + _mfu_verdict(result, peaks),
            share(result.peer, result.flops, peaks),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"- {result.label}, {result.size}: {result.note}" for result in results if result.note]
    lines += ["", *notes] if notes else []
    if any(result.checks for result in results):
        lines += ["", "## Equal work", "", "| work | size | number | ours | peer | difference |", "|---|---|---|---|---|---|"]
    for result in results:
        for name, (ours, peer) in result.checks.items():
            lines.append(f"| {result.label} | {result.size} | {name} | {ours:.8g} | {peer:.8g} | {difference(ours, peer):.1e} |")
    return "\n".join(lines) + "\n"


def _mfu_verdict(result: Result, peaks: Mapping[str, float]) -> str:
    bar = MFU_BARS.get(result.size)
    if bar is None or result.work not in TRAINING or not peaks or not result.flops:
        return ""
    return " (met)" if median(result.ours) * result.flops / peaks["torch.matmul"] >= bar else f" (below {bar:.0%})"
