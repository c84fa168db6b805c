"""How people are reached: e-mail addresses, IP addresses, phone numbers."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from instructloop.core.errors import MissingExtraError
from instructloop.feedback.prompts.pii import PiiSpan

if TYPE_CHECKING:
    import phonenumbers

_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%'-]{1,64}(?:@|\s?[\[(]\s?at\s?[\])]\s?)(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w@])",
    re.IGNORECASE,
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?![\w:])")
_VERSION_BEFORE = re.compile(r"(?:\bv(?:er(?:sion)?)?\.?|\bsection|\brelease|§|\bchapter|\bclause)\s*$", re.IGNORECASE)
_REACH_BEFORE_CHARS, _REACH_AFTER_CHARS = 40, 12

_PHONE = re.compile(
    r"(?<![\w.$€£#=/*+-])(?<!\d,)(?:\+[ ]?|\()?\d(?:(?!\.[ ])[ \t()./\-‐‑–]{0,3}\d){6,16}(?:[ ]?(?:x|ext\.?|extension)[ ]?\d{1,6})?(?!\w|[.,]\d|-\d)",
    re.IGNORECASE,
)
_EXTENSION = re.compile(r"[ ]?(?:x|ext).*$", re.IGNORECASE)
_CALL_BEFORE = re.compile(
    r"(?:\b(?:tele?(?:phone)?s?|phones?|mobile|cell(?:ular)?|fax|call(?:ed|ing)?|answering|sms|whats ?app|dial(?:led)?|voice ?mail|hotline|"
    r"pager|telefon(?:e|o|nummer)?|téléphone|tél|teléfono|móvil|celular|messages? to|my (?:registered )?number|my registered|"
    r"(?:text|ring|reach|contact) (?:me|us|him|her|them))\b\W*(?:\w+\W+){0,3}|\b(?:desk|office|handy|contact|text)\W{1,3})$",
    re.IGNORECASE,
)
_CALL_AFTER = re.compile(r"^[\s,(-]*(?:office|mobile|cell|fax|phone|tel)\b", re.IGNORECASE)
_DATE = re.compile(r"^(?:(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d)\b")
_YEARS = re.compile(r"^\(?(?:1[5-9]|20)\d\d\s?[-/–]\s?(?:1[5-9]|20)\d\d\b")
_NORTH_AMERICAN = re.compile(r"^(?:1[ .-])?(?:\(\d{3}\)[ .-]?|\d{3}[.-])\d{3}[.-]\d{4}$|^[2-9]\d{2} [2-9]\d{2} \d{4}$")
_ARITHMETIC = re.compile(r"^\d\.\d|\d\.\d+-\d+\.|\(.*\(|^[1-9]\d*/|\s-\s.*\d\.\d")
_SINGLE_DIGITS = re.compile(r"^\d(?:\.\d){3}$")
_ADDRESS_WORD = re.compile(r"\b(?:ip|address|host|server|ping|dns)\b", re.IGNORECASE)
_MONEY_AFTER = re.compile(r"^\s?(?:%|dollars?|euros?|usd|eur|people|times|years|miles|km|kg|meters?|bytes)\b", re.IGNORECASE)


def emails(text: str) -> Iterator[PiiSpan]:
    """Addresses with a domain, also written ``name [at] example.org``."""
    if "@" not in text and " at" not in text and "[at" not in text and "(at" not in text:
        return
    for match in _EMAIL.finditer(text):
        value = match.group().lstrip("'.-")
        if not value.startswith(("@", "[", "(", "git@")):  # git@github.com is everybody's
            yield PiiSpan("email", match.end() - len(value), match.end(), value, "email")


def ip_addresses(text: str) -> Iterator[PiiSpan]:
    """IPv4 and IPv6 addresses that can belong to somebody: no loopback, wildcard, net mask or version number."""
    for match in _IPV4.finditer(text):
        before = text[max(0, match.start() - 30) : match.start()]
        version = _VERSION_BEFORE.search(before) or (_SINGLE_DIGITS.match(match.group()) and not _ADDRESS_WORD.search(before))
        if not version and _is_host(match.group()):
            yield PiiSpan("ip", match.start(), match.end(), match.group(), "ipv4")
    for match in _IPV6.finditer(text):
        value = match.group()
        # "add::face" is C++ and "::" is everywhere: an address has digits and three groups, or an IPv4 tail
        groups = [part for part in value.split(":") if part]
        if (len(groups) >= 3 or "." in value) and any(char.isdigit() for char in value) and _is_host(value):
            yield PiiSpan("ip", match.start(), match.end(), value, "ipv6")


def _is_host(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    mask = value.startswith("255.") or value.endswith(".0.0.0")
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or mask)


def phones(text: str, regions: Sequence[str]) -> Iterator[PiiSpan]:
    """Phone numbers: international ones, those beside a word like "call", and those written as only a phone number is.

    A run of digits alone is no phone number: ``phonenumbers`` must know it in a region *and* its form or its
    surroundings must say so, or else every large number would be one.
    """
    candidates = [match for match in _PHONE.finditer(text) if not _DATE.match(match.group()) and not _YEARS.match(match.group())]
    if not candidates:
        return
    try:
        import phonenumbers
    except ImportError as error:
        raise MissingExtraError.for_extra("phonenumbers", "prompts") from error
    for match in candidates:
        value = match.group()
        start = match.start()
        if value.startswith("(") and ")" not in value:  # "(555-1234)": the brackets are the sentence's
            value, start = value[1:], start + 1
        rule = _phone_rule(phonenumbers, text, value, start, regions)
        if rule:
            yield PiiSpan("phone", start, start + len(value), value, rule)


def _phone_rule(library: "phonenumbers", text: str, value: str, start: int, regions: Sequence[str]) -> str:  # type: ignore[valid-type]
    body = _EXTENSION.sub("", value)
    digits = sum(char.isdigit() for char in body)
    if not 7 <= digits <= 15 or _ARITHMETIC.search(body):
        return ""
    if body.startswith(("+", "00")):
        number = _parse(library, "+" + body.lstrip("+0 ") if body.startswith("00") else body, None)
        if number is not None and library.is_possible_number(number):  # type: ignore[attr-defined]
            return "international"
    before = text[max(0, start - _REACH_BEFORE_CHARS) : start]
    after = text[start + len(value) : start + len(value) + _REACH_AFTER_CHARS]
    separated = any(char in body for char in " -./(")
    if _CALL_AFTER.match(after):
        return "beside a word"
    called = _CALL_BEFORE.search(before)
    if called and not _MONEY_AFTER.match(after):
        return "beside a word"
    if _NORTH_AMERICAN.match(body):
        return "form"
    if separated and body[0] in "0(" and not _MONEY_AFTER.match(after):
        numbers = [_parse(library, body, region) for region in regions]
        if any(number is not None and library.is_valid_number(number) for number in numbers):  # type: ignore[attr-defined]
            return "form"
    return ""


def _parse(library: "phonenumbers", value: str, region: str | None) -> "phonenumbers.PhoneNumber | None":  # type: ignore[valid-type]
    try:
        return library.parse(value, region)  # type: ignore[attr-defined, no-any-return]
    except library.NumberParseException:  # type: ignore[attr-defined]
        return None
