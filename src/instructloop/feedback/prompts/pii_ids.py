"""Numbers that name a person or an account, told from other numbers by their check digits (``python-stdnum``)."""

import importlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from instructloop.core.errors import MissingExtraError
from instructloop.feedback.prompts.pii import PiiSpan

_WORDS_BEFORE_CHARS, _WORDS_AFTER_CHARS = 60, 20
_IBAN_CHARS = range(34, 14, -1)

_CARD = re.compile(r"(?<![\w.,+-])\d(?:[ -]?\d){11,18}(?![\w]|[.,]\d|-\d)")
_ISSUER = re.compile(r"4|5[0-8]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3(?:[47]|0[0-5]|[689])|35|6(?:01|0|[2-9])|1800|2131")
_CARD_WORD = re.compile(r"\b(?:card|visa|mastercard|maestro|amex)\b", re.IGNORECASE)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[ ]?\d{2}(?:[ -]?[A-Z0-9]){11,40}", re.IGNORECASE)
_LICENSE = re.compile(
    r"\bdriv(?:er|ing)(?:['’]?s)?\W{1,2}(?:licen[sc]e|permit)\b[^\n\d]{0,30}?((?=[A-Z\d-]*\d{4})[A-Z]{0,3}\d[A-Z\d-]{4,18})(?!\w)",
    re.IGNORECASE,
)
_PASSPORT = re.compile(r"\bpassport\b[^\n\d]{0,30}?(?<!\w)((?=[A-Z]*\d{5})[A-Z]{0,2}\d{6,9}|[A-Z]\d[A-Z\d]{5,8})(?!\w)", re.IGNORECASE)
_UK_INSURANCE = re.compile(r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)")

_CLAIMED = re.compile(
    r"\b(?:ssn|social security(?: (?:number|no\.?|nr\.?|#))?)[\s:=]*(?:is|was)?[\s:=#]*(\d{3}([- ]?)\d{2}\2\d{4})(?!\w|-\d)"
    r"|\b(?:sin|social insurance(?: (?:number|no\.?|nr\.?|#))?)[\s:=]*(?:is|was)?[\s:=#]*(\d{3}([- ]?)\d{3}\4\d{3})(?!\w|-\d)"
    r"|\b(?:nino|ni|national insurance)(?: (?:number|no\.?|nr\.?|#))?[\s:=]*(?:is|was)?[\s:=#]*([A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D])(?!\w)",
    re.IGNORECASE,
)
"""Said to be such a number: then the check does not matter, since a person wrote it down as theirs, with a slip perhaps."""
_SINGAPORE = re.compile(r"(?<!\w)([STFGM])(\d{7})([A-Z])(?!\w)")
_SINGAPORE_WEIGHTS = (2, 7, 6, 5, 4, 3, 2)
_SINGAPORE_LETTERS = {
    "S": (0, "JZIHGFEDCBA"),
    "T": (4, "JZIHGFEDCBA"),
    "F": (0, "XWUTRQPNMLK"),
    "G": (4, "XWUTRQPNMLK"),
    "M": (3, "XWUTRQPNJLK"),
}

_ANY_ID = (
    r"ssn|social security|social insurance|national (?:id|identity|identification|insurance)|(?:identity|identification|citizen|personal|id)"
    r" ?(?:card|number|no\b|code|nr)|tax(?:payer)? ?(?:id|number|no\b|file|code|identification)|insurance (?:number|no\b)"
    r"|ausweis|personalausweis|carte d.identité|documento|my id\b|(?:his|her|their) id\b|id:|id is|id\W{0,3}$"
)


class _Scheme(NamedTuple):
    """One numbering scheme: how it is written, and the words beside it without which its digits say nothing."""

    module: str
    pattern: str
    words: str = ""
    """Empty: the form is telling enough. Otherwise one of these words, or a general one such as "tax number", must stand near."""


_SCHEMES = (
    _Scheme("us.ssn", r"\d{3}-\d{2}-\d{4}"),
    _Scheme("us.itin", r"9\d{2}-\d{2}-\d{4}"),
    _Scheme("us.ssn", r"\d{3} ?\d{2} ?\d{4}", "social"),
    _Scheme("br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
    _Scheme("br.cpf", r"\d{11}", "cpf"),
    _Scheme("it.codicefiscale", r"[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]"),
    _Scheme("es.dni", r"\d{8}[ -]?[A-Z]"),
    _Scheme("es.nie", r"[XYZ][ -]?\d{7}[ -]?[A-Z]"),
    _Scheme("mx.curp", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d"),
    _Scheme("in_.aadhaar", r"\d{4}[ -]\d{4}[ -]\d{4}"),
    _Scheme("in_.aadhaar", r"\d{12}", "aadhaar|uidai"),
    _Scheme("in_.pan", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", "pan|income tax"),
    _Scheme("kr.rrn", r"\d{6}-\d{7}"),
    _Scheme("cn.ric", r"\d{17}[\dX]"),
    _Scheme("se.personnummer", r"(?:\d{2})?\d{6}[-+]\d{4}"),
    _Scheme("se.personnummer", r"(?:\d{2})?\d{10}", "personnummer"),
    _Scheme("fi.hetu", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]"),
    _Scheme("dk.cpr", r"\d{6}-\d{4}"),
    _Scheme("dk.cpr", r"\d{10}", "cpr"),
    _Scheme("is_.kennitala", r"\d{6}-\d{4}"),
    _Scheme("no.fodselsnummer", r"\d{6} ?\d{5}", "f[øo]dselsnummer|personnummer"),
    _Scheme("fr.nir", r"[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}"),
    _Scheme("ie.pps", r"\d{7}[A-W][A-IW]?"),
    _Scheme("cz.rc", r"\d{6}/\d{3,4}"),
    _Scheme("sk.rc", r"\d{6}/\d{3,4}"),
    _Scheme("cl.rut", r"\d{1,2}\.\d{3}\.\d{3}-[\dK]"),
    _Scheme("cl.rut", r"\d{7,8}-?[\dK]", "rut"),
    _Scheme("ch.ssn", r"756\.\d{4}\.\d{4}\.\d{2}"),
    _Scheme("ch.ssn", r"756\d{10}", "ahv|avs"),
    _Scheme("be.nn", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}"),
    _Scheme("be.nn", r"\d{11}", "rijksregister|registre national"),
    _Scheme("pt.cc", r"\d{8} ?\d ?[A-Z]{2}\d"),
    _Scheme("pt.nif", r"\d{9}", "nif|contribuinte"),
    _Scheme("my.nric", r"\d{6}-\d{2}-\d{4}"),
    _Scheme("pk.cnic", r"\d{5}-\d{7}-\d"),
    _Scheme("do.cedula", r"\d{3}-\d{7}-\d"),
    _Scheme("th.pin", r"\d-\d{4}-\d{5}-\d{2}-\d"),
    _Scheme("ca.sin", r"\d{3}[ -]?\d{3}[ -]?\d{3}", r"sin\b"),
    _Scheme("gb.nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}", "nhs"),
    _Scheme("au.tfn", r"\d{3} ?\d{3} ?\d{2,3}", "tfn|tax file"),
    _Scheme("nz.ird", r"\d{2,3}-?\d{3}-?\d{3}", r"ird\b"),
    _Scheme("nl.bsn", r"\d{3,4}[. ]?\d{2}[. ]?\d{3}|\d{9}", "bsn|burgerservicenummer|sofi"),
    _Scheme("de.idnr", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", "steuer|idnr"),
    _Scheme("at.vnr", r"\d{4} ?\d{6}", "sozialversicherung|svnr"),
    _Scheme("pl.pesel", r"\d{11}", "pesel"),
    _Scheme("ee.ik", r"\d{11}", "isikukood"),
    _Scheme("lt.asmens", r"\d{11}", "asmens"),
    _Scheme("hr.oib", r"\d{11}", "oib"),
    _Scheme("tr.tckimlik", r"\d{11}", r"kimlik|t\.?c\.? ?no"),
    _Scheme("gr.amka", r"\d{11}", "amka|αμκα"),
    _Scheme("bg.egn", r"\d{10}", "egn|егн"),
    _Scheme("ua.rntrc", r"\d{10}", "rntrc|рнокпп|іпн"),
    _Scheme("ro.cnp", r"\d{13}", "cnp|cod numeric"),
    _Scheme("si.emso", r"\d{13}", "em[šs]o"),
    _Scheme("za.idnr", r"\d{13}|\d{6} \d{4} \d{2} \d", "south african|identity document"),
    _Scheme("il.idnr", r"\d{9}", "teudat|zehut|תעודת"),
    _Scheme("id.nik", r"\d{16}", r"nik\b|ktp"),
    _Scheme("jp.in_", r"\d{4}[ -]?\d{4}[ -]?\d{4}", "my ?number|個人番号|マイナンバー"),
    _Scheme("ru.inn", r"\d{12}", r"инн|inn\b"),
    _Scheme("ar.dni", r"\d{1,2}\.?\d{3}\.?\d{3}", r"dni\b"),
    _Scheme("ec.ci", r"\d{9}-?\d", "c[ée]dula"),
    _Scheme("pe.cui", r"\d{8}(?:-?\d)?", r"dni\b|cui\b"),
)


class _Compiled(NamedTuple):
    module: str
    pattern: re.Pattern[str]
    words: re.Pattern[str] | None


def _compile(scheme: _Scheme) -> _Compiled:
    words = re.compile(rf"(?<!\w)(?:{scheme.words}|{_ANY_ID})", re.IGNORECASE) if scheme.words else None
    # letters of these ids are capitals, save in lowercased text: a mixed word such as "Nov2020a" is none of them
    return _Compiled(scheme.module, re.compile(rf"(?<![\w.,+/-])(?:{scheme.pattern})(?![\w]|[.,/-]\w)", re.IGNORECASE), words)


_COMPILED = tuple(_compile(scheme) for scheme in _SCHEMES)
_WORTH_A_LOOK = re.compile(r"\d(?:[ ./+-]?\d){4}|[A-Z]{5}\d{4}|[A-Z]\d\d[A-Z]\d", re.IGNORECASE)
"""Something that every scheme's form holds; most prompts hold none and are done with at once."""


def cards(text: str) -> Iterator[PiiSpan]:
    """Payment cards: 12 to 19 digits, of a known issuer or beside the word card, whose Luhn digit is right."""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        known = _ISSUER.match(digits) or _CARD_WORD.search(text[max(0, match.start() - 30) : match.start()])
        if known and len(set(digits)) > 1 and _is_valid("luhn", digits):
            yield PiiSpan("card", match.start(), match.end(), match.group(), "luhn")


def ibans(text: str) -> Iterator[PiiSpan]:
    """Account numbers with their country's length and form and the right remainder modulo 97; spaces and small letters are read."""
    for match in _IBAN.finditer(text):
        places = [place for place, char in enumerate(match.group()) if char not in " -"]
        # the pattern runs on into following words; the country fixes the length, so at most one prefix is valid
        for length in _IBAN_CHARS:
            if length > len(places):
                continue
            value = match.group()[: places[length - 1] + 1]
            rest = text[match.start() + len(value) : match.start() + len(value) + 1]
            if not rest.isalnum() and _is_valid("iban", value):
                yield PiiSpan("iban", match.start(), match.start() + len(value), value, "iban")
                break


def national_ids(text: str) -> Iterator[PiiSpan]:
    """Personal numbers issued by a state; those that are plain digits count only beside a word that says what they are."""
    if not _WORTH_A_LOOK.search(text):
        return
    for match in _UK_INSURANCE.finditer(text):
        yield PiiSpan("national_id", match.start(), match.end(), match.group(), "gb.nino")
    for match in _CLAIMED.finditer(text):
        group = next(number for number in (1, 3, 5) if match.group(number))
        yield PiiSpan("national_id", match.start(group), match.end(group), match.group(group), "said to be one")
    for match in _SINGAPORE.finditer(text):
        start, letters = _SINGAPORE_LETTERS[match.group(1)]
        total = start + sum(int(digit) * weight for digit, weight in zip(match.group(2), _SINGAPORE_WEIGHTS, strict=True))
        if letters[total % 11] == match.group(3):
            yield PiiSpan("national_id", match.start(), match.end(), match.group(), "sg.nric")
    for match in _PASSPORT.finditer(text):
        yield PiiSpan("national_id", match.start(1), match.end(1), match.group(1), "passport")
    for scheme in _COMPILED:
        for match in scheme.pattern.finditer(text):
            if scheme.words and not _near(text, match, scheme.words):
                continue
            if _is_valid(scheme.module, match.group().upper()):
                yield PiiSpan("national_id", match.start(), match.end(), match.group(), scheme.module)


def driver_licenses(text: str) -> Iterator[PiiSpan]:
    """A number right after "driver's license": the forms differ by state, so the words decide."""
    for match in _LICENSE.finditer(text):
        yield PiiSpan("driver_license", match.start(1), match.end(1), match.group(1), "driver license")


def _near(text: str, match: re.Match[str], words: re.Pattern[str]) -> bool:
    before = text[max(0, match.start() - _WORDS_BEFORE_CHARS) : match.start()]
    after = text[match.end() : match.end() + _WORDS_AFTER_CHARS]
    return bool(words.search(before) or words.search(after))


def _is_valid(module: str, value: str) -> bool:
    try:
        scheme = importlib.import_module(f"stdnum.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtraError.for_extra("python-stdnum", "prompts") from error
    return bool(scheme.is_valid(value))
