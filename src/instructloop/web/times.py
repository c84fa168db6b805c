"""Times as people read them: UTC, said so, with the exact moment for machines."""

from datetime import UTC, datetime

from markupsafe import Markup


def moment(milliseconds: int | None) -> Markup:
    """``2026-11-21 07:33 UTC`` within a time element; a dash for None."""
    if milliseconds is None:
        return Markup("–")
    at = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), at.strftime("%Y-%m-%d %H:%M UTC"))


def span(seconds: float | None) -> str:
    """A length of time in its natural unit: 45 s, 12 min, 3.5 h, 2.1 days."""
    if seconds is None:
        return "–"
    for unit, size, digits in (("days", 86_400, 1), ("h", 3_600, 1), ("min", 60, 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
