"""Numbers as people read them: three significant digits, an interval beside each estimate, n beside the interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

MINUS, THIN = "\u2212", "\u202f"
_VALUE_NAMES = ("value", "mean", "rate", "win_rate", "accuracy")
_SHARES = ("rate", "win_rate", "accuracy")
_NOISE = 1e-12
"""Below this a number is what rounding left of zero."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval and the number of observations behind it."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    share: bool = False
    """Shown in per cent."""
    ties: int | None = None
    clusters: int | None = None

    def text(self) -> str:
        """The value alone."""
        return percent(self.value) if self.share else number(self.value)

    def count(self) -> str:
        """``n 400``; ``n 800 from 400`` where fewer prompts than observations stand behind it; with ties where there are any."""
        if self.n is None:
            return ""
        text = f"n {grouped(self.n)}" + (f" from {grouped(self.clusters)}" if self.clusters and self.clusters != self.n else "")
        return text + (f", {self.ties} {'tie' if self.ties == 1 else 'ties'}" if self.ties else "")

    def interval(self) -> str:
        """``[low, high]`` in the value's unit; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        show = bare_percent if self.share else number
        return f"[{show(self.low)}, {show(self.high)}]"


def estimate(row: Any, *, share: bool | None = None) -> Estimate | None:
    """Read any of the layouts in which a number with its interval is stored; None if this is none of them."""
    if not isinstance(row, Mapping):
        return None
    name = next((name for name in _VALUE_NAMES if finite(row.get(name))), None)
    if name is None:
        return None
    low, high = row.get("low"), row.get("high")
    n = next((row[key] for key in ("n", "pairs", "count") if finite(row.get(key))), None)
    if low is None and n is None:
        return None
    value = float(row[name])
    return Estimate(
        value,
        float(low) if finite(low) else None,
        float(high) if finite(high) else None,
        int(n) if n is not None else None,
        name in _SHARES if share is None else share,
        row.get("ties"),
        row.get("clusters"),
    )


def finite(value: Any) -> TypeGuard[float]:
    """Whether a value of a file is a number that can be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float, digits: int = 3) -> str:
    """Three significant digits, at most three decimals, a real minus sign, thin spaces between thousands."""
    size = abs(value)
    if size < _NOISE or not math.isfinite(value):
        return "0" if size < _NOISE else str(value)
    if size < 1e-3:
        mantissa, _, exponent = f"{size:.1e}".partition("e")
        text = f"{mantissa}e{MINUS if exponent.startswith('-') else ''}{int(exponent.lstrip('+-'))}"
    elif size >= 10_000:
        text = grouped(round(size))
    else:
        decimals = max(0, min(3, digits - 1 - math.floor(math.log10(size))))
        text = f"{size:.{decimals}f}"
    return (MINUS if value < 0 else "") + text


def short(value: float) -> str:
    """A number for an axis: without zeros that say nothing."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def grouped(value: int) -> str:
    """12 345 with thin spaces."""
    return f"{value:,}".replace(",", THIN)


def percent(value: float) -> str:
    """57.3 %."""
    return f"{bare_percent(value)}{THIN}%"


def bare_percent(value: float) -> str:
    """57.3; without decimals where there is nothing behind the point."""
    text = f"{100 * value:.1f}"
    return (text.removesuffix(".0") if round(value, 6) in (0, 1) else text).replace("-", MINUS)


def seconds(value: float) -> str:
    """43 s, 2 min 05 s, 1 h 20 min."""
    if value < 0.95:
        return f"{value:.1f}{THIN}s" if value >= 0.05 else f"<{THIN}0.1{THIN}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}{THIN}s"
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60:02d}{THIN}s"
    return f"{whole // 3600}{THIN}h {whole % 3600 // 60:02d}{THIN}min"


def large(value: float) -> str:
    """1.3 M, 24 k; for tokens and parameters."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{number(value / size)}{THIN}{letter}"
    return number(value)
