"""Rules that read words instead of checksums, and so are right less often: birth dates, street addresses, web addresses."""

import re
from collections.abc import Iterator

from instructloop.feedback.prompts.pii import PiiSpan

_MONTH = r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
_DATE = (
    rf"(?:\d{{1,2}}[./-]\d{{1,2}}[./-](?:\d{{4}}|\d{{2}})|\d{{4}}-\d{{1,2}}-\d{{1,2}}"
    rf"|{_MONTH}\.?\s\d{{1,2}}(?:st|nd|rd|th)?,?\s\d{{4}}|\d{{1,2}}(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}\.?,?\s\d{{4}})"
)
_BIRTH = re.compile(
    rf"\b(?:born|birth ?da(?:y|te)|date of birth|d\.?o\.?b\.?|geboren|né[e]? le|nacid[oa])\b[^\n]{{0,30}}?\b({_DATE})\b", re.IGNORECASE
)
_STREET = r"(?:street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|place|pl|square|sq|terrace|way|parkway|pkwy|crescent|highway|hwy)"
_ADDRESS = re.compile(
    rf"(?<!\w)\d{{1,5}}[A-Za-z]?(?:\s[A-Z][\w'.-]*){{1,4}}\s(?i:{_STREET})\b\.?(?:,?\s(?:apt|suite|ste|unit|floor)\.?\s?#?\w+)?"
    r"|(?i:\bp\.?\s?o\.?\s?box\s\d+)|\bPSC \d+, Box \d+\s(?:APO|FPO|DPO) [A-Z]{2} \d{5}"
)
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"')\]]+[^\s<>\"')\].,;:!?]", re.IGNORECASE)


def birth_dates(text: str) -> Iterator[PiiSpan]:
    """A full date within a few words after "born", "date of birth" and the like; a year alone is not personal."""
    for match in _BIRTH.finditer(text):
        yield PiiSpan("date_of_birth", match.start(1), match.end(1), match.group(1), "birth date")


def street_addresses(text: str) -> Iterator[PiiSpan]:
    """A house number with a capitalised English street name, or a post-office box; other ways of writing addresses are missed."""
    for match in _ADDRESS.finditer(text):
        yield PiiSpan("street_address", match.start(), match.end(), match.group(), "street")


def urls(text: str) -> Iterator[PiiSpan]:
    """Web addresses, personal or not."""
    for match in _URL.finditer(text):
        yield PiiSpan("url", match.start(), match.end(), match.group(), "url")
