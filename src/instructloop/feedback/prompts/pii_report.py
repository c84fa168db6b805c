"""How well personal data is found: recall and precision by type, on texts whose spans somebody labeled."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from instructloop.core.errors import DataError
from instructloop.feedback.prompts.pii import DEFAULT_REGIONS, DEFAULT_TYPES, OPTIONAL_TYPES, Finder, find_pii
from instructloop.formats import read_rows
from instructloop.stats import wilson

LABELS = MappingProxyType(
    {
        "EMAIL_ADDRESS": "email",
        "PHONE_NUMBER": "phone",
        "CREDIT_CARD": "card",
        "IBAN_CODE": "iban",
        "IP_ADDRESS": "ip",
        "US_SSN": "national_id",
        "US_ITIN": "national_id",
        "US_PASSPORT": "national_id",
        "UK_NHS": "national_id",
        "US_DRIVER_LICENSE": "driver_license",
        "DOMAIN_NAME": "url",
        "URL": "url",
        "STREET_ADDRESS": "street_address",
        "PERSON": "name",
    }
)
"""Other people's names of types; ours stand for themselves, anything else is a type we don't look for."""
_BROADER = MappingProxyType({"date_of_birth": "date_time"})
"""Labels that hold what we call otherwise: a found birth date inside a labeled date is right, though not every date is one of birth."""
_LEAST_OVERLAP = 0.5


class LabeledSpan(NamedTuple):
    """A span somebody labeled, with our type, or their own where we have none."""

    type: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeScore:
    """One type over a whole file; the intervals are Wilson's at 95 %."""

    type: str
    labeled: int
    hit: int
    """Labeled spans at least half covered by a found span of the same type."""
    found: int
    right: int
    """Found spans that overlap a labeled span of the same type."""
    looked_for: bool

    @property
    def recall(self) -> float | None:
        """Share of the labeled spans that were found."""
        return self.hit / self.labeled if self.labeled else None

    @property
    def precision(self) -> float | None:
        """Share of the found spans that are labeled."""
        return self.right / self.found if self.found else None

    def as_json(self) -> dict[str, Any]:
        """All figures with n and intervals."""
        return {
            "type": self.type,
            "looked_for": self.looked_for,
            "labeled": self.labeled,
            "recall": self.recall,
            "recall_interval": list(wilson(self.hit, self.labeled)),
            "found": self.found,
            "precision": self.precision,
            "precision_interval": list(wilson(self.right, self.found)),
        }


def score_file(
    path: str | Path,
    *,
    types: Collection[str] = (*DEFAULT_TYPES, *OPTIONAL_TYPES),
    regions: Sequence[str] = DEFAULT_REGIONS,
    names: Finder | None = None,
) -> list[TypeScore]:
    """Score the rules on a file of ``{"text", "spans": [{"type", "start", "end"}]}``.

    Raises:
        DataError: a row has no text or a span that does not fit it.
    """
    rows = []
    for where, row in read_rows(path):
        text = row.get("text")
        if not isinstance(text, str):
            raise DataError(f"{where}: text: is missing or no text", hint='rows are {"text", "spans": [{"type", "start", "end"}]}')
        rows.append((text, [_span(f"{where}: spans[{place}]", item, text) for place, item in enumerate(row.get("spans") or [])]))
    return score(rows, types=types, regions=regions, names=names)


def _span(place: str, item: Any, text: str) -> LabeledSpan:
    if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
        raise DataError(f"{place}: must be an object with type, start and end", hint="type is a text, start and end count characters")
    start, end = item.get("start"), item.get("end")
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(text):
        raise DataError(
            f"{place}: start {start!r} and end {end!r} do not lie in the text of {len(text)} characters", hint="count characters"
        )
    if "value" in item and text[start:end] != item["value"]:
        raise DataError(f"{place}: value is not what stands there ({text[start:end][:40]!r})", hint="offsets count characters, not bytes")
    return LabeledSpan(LABELS.get(item["type"], item["type"].lower()), start, end)


def score(
    rows: Iterable[tuple[str, Sequence[LabeledSpan]]],
    *,
    types: Collection[str] = (*DEFAULT_TYPES, *OPTIONAL_TYPES),
    regions: Sequence[str] = DEFAULT_REGIONS,
    names: Finder | None = None,
) -> list[TypeScore]:
    """Score the rules on labeled texts, type by type: first the types looked for, then those that are only labeled."""
    labeled: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for text, spans in rows:
        mine = find_pii(text, types=types, regions=regions, further=(names,) if names else ())
        for span in spans:
            labeled[span.type] += 1
            covered = (min(span.end, other.end) - max(span.start, other.start) for other in mine if other.type == span.type)
            hit[span.type] += max(covered, default=0) >= _LEAST_OVERLAP * (span.end - span.start)
        for other in mine:
            found[other.type] += 1
            same = (other.type, _BROADER.get(other.type))
            right[other.type] += any(span.type in same and span.start < other.end and other.start < span.end for span in spans)
    known = [name for name in (*DEFAULT_TYPES, *OPTIONAL_TYPES) if name in types] + (["name"] if names else [])
    others = sorted(set(labeled) - set(known), key=lambda name: (-labeled[name], name))
    return [
        TypeScore(type=name, labeled=labeled[name], hit=hit[name], found=found[name], right=right[name], looked_for=name in known)
        for name in (*known, *others)
    ]
