"""Personal data in prompts: found by rules and checksums, redacted, quarantined (spec A6; control 15).

E-mail addresses, phone numbers (``phonenumbers``), payment cards (Luhn and issuer prefix), IBANs and national ids of fifty-odd
schemes (``python-stdnum``), IP addresses (``ipaddress``). Birth dates, street addresses and web addresses are optional: their rules
read words, not checksums, and are right less often. Names need a model: ``pii_names.py``.
"""

import bisect
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

DEFAULT_TYPES = ("email", "iban", "ip", "card", "national_id", "driver_license", "phone")
"""What is looked for unless asked otherwise; where two overlap, the earlier type wins."""
OPTIONAL_TYPES = ("date_of_birth", "street_address", "url")
DEFAULT_REGIONS = ("US", "GB", "DE", "FR", "IT", "ES", "NL", "AU", "IN", "BR")
"""Countries whose own way of writing phone numbers is known without a country code."""


class PiiSpan(NamedTuple):
    """Personal data in a text: ``text[start:end] == value``."""

    type: str
    start: int
    end: int
    value: str
    rule: str = ""
    """Which rule found it, e.g. ``us.ssn``."""


Finder = Callable[[str], Iterable[PiiSpan]]


def find_pii(
    text: str, *, types: Collection[str] = DEFAULT_TYPES, regions: Sequence[str] = DEFAULT_REGIONS, further: Sequence[Finder] = ()
) -> list[PiiSpan]:
    """Personal data in a text, in order, without overlaps.

    Args:
        text: any text; offsets count its characters.
        types: which of ``DEFAULT_TYPES`` and ``OPTIONAL_TYPES`` to look for.
        regions: ISO country codes for phone numbers without a country code.
        further: other finders, asked last, e.g. ``pii_names.spacy_names("en_core_web_sm")``.

    Raises:
        ValueError: an unknown type.
        MissingExtraError: ``phonenumbers`` or ``python-stdnum`` is not installed.
    """
    unknown = set(types) - {*DEFAULT_TYPES, *OPTIONAL_TYPES}
    if unknown:
        raise ValueError(f"unknown kinds of personal data: {', '.join(sorted(unknown))}")
    taken: list[PiiSpan] = []  # sorted and without overlaps, so that only two neighbours of a new span matter
    wanted = [name for name in (*DEFAULT_TYPES, *OPTIONAL_TYPES) if name in types]
    for finder in (*(_finder(name, tuple(regions)) for name in wanted), *further):
        for span in sorted(finder(text), key=lambda span: (span.start - span.end, span.start)):
            place = bisect.bisect(taken, span.start, key=lambda other: other.start)
            if (place == 0 or taken[place - 1].end <= span.start) and (place == len(taken) or span.end <= taken[place].start):
                taken.insert(place, span)
    return taken


def _finder(name: str, regions: tuple[str, ...]) -> Finder:
    from instructloop.feedback.prompts import pii_contact, pii_ids, pii_optional

    finders: dict[str, Finder] = {
        "email": pii_contact.emails,
        "ip": pii_contact.ip_addresses,
        "phone": lambda text: pii_contact.phones(text, regions),
        "card": pii_ids.cards,
        "iban": pii_ids.ibans,
        "national_id": pii_ids.national_ids,
        "driver_license": pii_ids.driver_licenses,
        "date_of_birth": pii_optional.birth_dates,
        "street_address": pii_optional.street_addresses,
        "url": pii_optional.urls,
    }
    return finders[name]


def redact(text: str, spans: Iterable[PiiSpan]) -> str:
    """The text with every span replaced by its type in brackets, e.g. ``[EMAIL]``."""
    parts, done = [], 0
    for span in sorted(spans, key=lambda span: span.start):
        parts += [text[done : span.start], f"[{span.type.upper()}]"]
        done = span.end
    return "".join([*parts, text[done:]])


def summary(spans: Iterable[PiiSpan]) -> list[dict[str, str | int]]:
    """What a database or report may keep of the spans: type, rule and place, never the value."""
    return [{"type": span.type, "rule": span.rule, "start": span.start, "end": span.end} for span in spans]
