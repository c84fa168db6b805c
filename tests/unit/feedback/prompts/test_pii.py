"""Personal data: a planted corpus with check digits computed here, hard negatives, redaction."""

import itertools
import random
import string
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructloop.core.errors import DataError
from instructloop.feedback.prompts import find_pii, redact, score_file
from instructloop.feedback.prompts.pii import DEFAULT_TYPES, OPTIONAL_TYPES, PiiSpan, summary
from instructloop.feedback.prompts.pii_report import LabeledSpan, score

# --- a second implementation of the check digits, from their definitions ---------------------------------------------------


def _digits(rng: random.Random, n: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(n))


def luhn_digit(body: str) -> str:
    total = sum(sum(divmod(int(d) * 2, 10)) if place % 2 == 0 else int(d) for place, d in enumerate(reversed(body)))
    return str(-total % 10)


def card(rng: random.Random) -> str:
    prefix, length = rng.choice(
        [("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("3530", 16), ("36", 14)]
    )
    body = prefix + _digits(rng, length - len(prefix) - 1)
    number = body + luhn_digit(body)
    if length == 16 and rng.random() < 0.5:
        return rng.choice(" -").join(number[i : i + 4] for i in range(0, 16, 4))
    return number


def iban(rng: random.Random) -> str:
    country, form = rng.choice([("DE", "n18"), ("GB", "a4n14"), ("NL", "a4n10"), ("AT", "n16"), ("PL", "n24"), ("CH", "n17")])
    bban = {
        "n18": lambda: _digits(rng, 18),
        "a4n14": lambda: "".join(rng.choices(string.ascii_uppercase, k=4)) + _digits(rng, 14),
        "a4n10": lambda: "".join(rng.choices(string.ascii_uppercase, k=4)) + _digits(rng, 10),
        "n16": lambda: _digits(rng, 16),
        "n24": lambda: _digits(rng, 24),
        "n17": lambda: _digits(rng, 17),
    }[form]()
    as_number = int("".join(str(int(char, 36)) for char in bban + country + "00"))
    value = f"{country}{98 - as_number % 97:02d}{bban}"
    return " ".join(value[i : i + 4] for i in range(0, len(value), 4)) if rng.random() < 0.5 else value


def email(rng: random.Random) -> str:
    name = rng.choice(["ana", "j.doe", "li_wei", "o'brien", "müller", "x+news", "KIM-99"])
    return f"{name}@{rng.choice(['mail', 'my-shop', 'post.uni'])}.{rng.choice(['com', 'org', 'co.uk', 'io', 'de'])}"


def ip(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return ".".join(str(rng.randint(11, 223)) for _ in range(4))
    return (
        ":".join(f"{rng.randint(4096, 65535):x}" for _ in range(8)) if rng.random() < 0.5 else f"2001:db8:{rng.randint(4096, 65535):x}::1"
    )


def phone(rng: random.Random) -> str:
    local = f"{rng.randint(2, 9)}{_digits(rng, 2)}"
    line = f"{rng.randint(2, 9)}{_digits(rng, 2)}"
    last = _digits(rng, 4)
    forms = [f"+1 {local} {line} {last}", f"({local}) {line}-{last}", f"{local}-{line}-{last}", f"{local}.{line}.{last}", f"+49 30 {_digits(rng, 7)}",
             f"+44 20 7{_digits(rng, 3)} {last}", f"1-{local}-{line}-{last} x{_digits(rng, 3)}"]  # fmt: skip
    return rng.choice(forms)


def ssn(rng: random.Random) -> str:
    return f"{rng.choice([101, 234, 457, 589, 702]):03d}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"


def cpf(rng: random.Random) -> str:
    body = _digits(rng, 9)
    for _ in range(2):
        body += str(sum(int(d) * w for d, w in zip(reversed(body), range(2, 12), strict=False)) * 10 % 11 % 10)
    return f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"


def dni(rng: random.Random) -> str:
    number = _digits(rng, 8)
    return number + "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23]


def bsn(rng: random.Random) -> str:
    while True:
        body = str(rng.randint(1, 9)) + _digits(rng, 7)
        check = sum(int(d) * w for d, w in zip(body, range(9, 1, -1), strict=True)) % 11
        if check < 10:
            return f"BSN {body}{check}"


def pesel(rng: random.Random) -> str:
    body = f"{rng.randint(50, 99)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}{_digits(rng, 4)}"
    check = -sum(int(d) * w for d, w in zip(body, (1, 3, 7, 9) * 3, strict=False)) % 10
    return f"PESEL {body}{check}"


def nir(rng: random.Random) -> str:
    body = f"{rng.choice('12')}{rng.randint(40, 99)}{rng.randint(1, 12):02d}{rng.randint(1, 19):02d}{_digits(rng, 3)}{_digits(rng, 3)}"
    return f"{body[0]} {body[1:3]} {body[3:5]} {body[5:7]} {body[7:10]} {body[10:]} {97 - int(body) % 97:02d}"


def personnummer(rng: random.Random) -> str:
    body = f"{rng.randint(50, 99)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}{_digits(rng, 3)}"
    return f"{body[:6]}-{body[6:]}{luhn_digit(body)}"


def sin(rng: random.Random) -> str:
    body = str(rng.randint(1, 7)) + _digits(rng, 7)
    number = body + luhn_digit(body)
    return f"social insurance number {number[:3]} {number[3:6]} {number[6:]}"


def nino(rng: random.Random) -> str:
    return f"{rng.choice(['AB', 'CE', 'JK', 'PW'])} {_digits(rng, 2)} {_digits(rng, 2)} {_digits(rng, 2)} {rng.choice('ABCD')}"


NATIONAL = (ssn, cpf, dni, bsn, pesel, nir, personnummer, sin, nino)
SENTENCES = (
    "{}",
    "Please note {} for later.",
    "Customer record: {}; thanks",
    "I was told that it is {}, is that right?",
    "({})",
    "before\n{}\nafter",
)
MAKERS: dict[str, tuple[Callable[[random.Random], str], ...]] = {
    "email": (email,), "phone": (phone,), "card": (card,), "iban": (iban,), "ip": (ip,), "national_id": NATIONAL,
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_planted_personal_data_is_found_with_a_recall_of_at_least_95_percent(kind: str) -> None:
    rng = random.Random(7)
    rows = []
    for number in range(240):
        value = MAKERS[kind][number % len(MAKERS[kind])](rng)
        frame = SENTENCES[rng.randrange(len(SENTENCES))]
        text = frame.format(value)
        span_text = value.split(" ", 1)[1] if value.startswith(("BSN", "PESEL")) else value.removeprefix("social insurance number ")
        start = text.index(span_text)
        rows.append((text, [LabeledSpan(kind, start, start + len(span_text))]))
    by_type = {item.type: item for item in score(rows, types=DEFAULT_TYPES)}
    assert by_type[kind].labeled == 240
    assert by_type[kind].hit >= 0.95 * 240
    assert sum(item.found - item.right for item in by_type.values()) <= 0.05 * 240


def test_types_that_are_looked_for_reach_95_percent_recall_on_presidios_sentences(shared: Path) -> None:
    by_type = {item.type: item for item in score_file(shared / "data" / "pii-presidio" / "synth.jsonl.gz")}
    for kind in ("email", "phone", "card", "iban", "ip", "national_id"):
        assert (by_type[kind].recall or 0) >= 0.95, kind
        assert (by_type[kind].precision or 0) >= 0.95, kind
    assert not by_type["name"].looked_for


@pytest.mark.parametrize(
    "text",
    [
        "The meeting is on 2024-03-15 at 10:30, not on 15.03.2024.",
        "It cost $1,234,567.89 in 1998-2003 and 100 000 000 people came.",
        "pi is 3.14159265358979 and e is 2.718281828",
        "Install version 1.2.3.4 of the driver, release 10.15.7.",
        "ISBN 978-3-16-148410-0, order 4111111111111112, and 12345678901234567890",
        "Compute (150(100/100)) and $0.75 - $0.25 - $0.10 = 0.40",
        "std::vector<int> face::add; 12:34:56; http://127.0.0.1:8000 and 0.0.0.0/0, mask 255.255.255.0",
        "Sequence 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987",
        "The number 123456789 divided by 987654321",
        "@handle and user@localhost, a@b and clone git@github.com:acme/tool.git",
        "0.546554\nsum = 31493160000",
        "12345678X is no DNI, 12.345.678/0001-95 is a company",
        "DE00 1234 5678 9012 3456 78 has the wrong check digits",
        "She was born in 1955 and is 66.",
        "Dexter (2006-2013) 1. Breaking Bad; Better Call Saul (2015-2022)",
        "Call me Ishmael. Call 911 or dial 112.",
        "RGB 255 255 255 and 1920 x 1080 pixels, 16384 16384",
    ],
)
def test_numbers_that_are_nobodys_are_left_alone(text: str) -> None:
    assert find_pii(text) == []


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("write to jane [at] example.org today", "email", "jane [at] example.org"),
        ("<bob@acme.com>", "email", "bob@acme.com"),
        ("my iban is gb82 west 1234 5698 7654 32 and so on", "iban", "gb82 west 1234 5698 7654 32"),
        ("Telefon: 030 1234567", "phone", "030 1234567"),
        ("call 467 3395 after six", "phone", "467 3395"),
        ("My driver's license number is F162823540116.", "driver_license", "F162823540116"),
        ("passport no. C01X00T47", "national_id", "C01X00T47"),
        ("His SSN: 536904399", "national_id", "536904399"),
        ("IP ::ffff:93.184.216.34 answered", "ip", "::ffff:93.184.216.34"),
        ("SSN: 078-05-1120", "national_id", "078-05-1120"),
        ("NI number QQ 12 34 56 C", "national_id", "QQ 12 34 56 C"),
        ("NRIC S1234567D", "national_id", "S1234567D"),
        ("CPF 390.533.447-05", "national_id", "390.533.447-05"),
        ("Aadhaar 2341 2341 2346", "national_id", "2341 2341 2346"),
        ("(555-123-4567)", "phone", "555-123-4567"),
    ],
)
def test_usual_ways_of_writing_are_found_to_the_character(text: str, kind: str, value: str) -> None:
    assert [(span.type, span.value) for span in find_pii(text)] == [(kind, value)]


@pytest.mark.parametrize(
    "value",
    ["RSSMRA85T10A562S", "BOXW310820HNERXN09", "131052-308T", "211062-5629", "756.9217.0769.85", "1-2345-45678-78-1", "770727-01-5286"],
)
def test_national_ids_published_as_examples_are_found_without_a_word_beside_them(value: str) -> None:
    assert [(span.type, span.value) for span in find_pii(f"here: {value}, then")] == [("national_id", value)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Born on March 3rd, 1961 in Oslo", "date_of_birth", "March 3rd, 1961"),
        ("He lives at 221 Baker Street, London", "street_address", "221 Baker Street"),
        ("see https://example.org/~ana?x=1.", "url", "https://example.org/~ana?x=1"),
    ],
)
def test_optional_kinds_are_found_only_when_asked_for(text: str, kind: str, value: str) -> None:
    assert find_pii(text) == []
    assert [(span.type, span.value) for span in find_pii(text, types=OPTIONAL_TYPES)] == [(kind, value)]


def test_redaction_leaves_the_rest_of_the_text_and_no_personal_data() -> None:
    text = "Ana <ana@mail.com>, +1 415 555 2671, card 4111 1111 1111 1111."
    assert redact(text, find_pii(text)) == "Ana <[EMAIL]>, [PHONE], card [CARD]."
    assert find_pii(redact(text, find_pii(text))) == []


def test_where_two_kinds_overlap_the_number_with_a_check_digit_wins() -> None:
    spans = find_pii("call about card 4111 1111 1111 1111")
    assert [(span.type, span.rule) for span in spans] == [("card", "luhn")]


def test_a_summary_holds_places_and_no_values() -> None:
    assert summary([PiiSpan("email", 3, 12, "a@b.com", "email")]) == [{"type": "email", "rule": "email", "start": 3, "end": 12}]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="horoscope"):
        find_pii("x", types=("horoscope",))


def test_scores_count_half_covered_spans_as_found_and_strangers_as_wrong() -> None:
    text = "ana@mail.com and bob@mail.com"
    scores = {item.type: item for item in score([(text, [LabeledSpan("email", 0, 12), LabeledSpan("person", 17, 20)])])}
    assert (scores["email"].labeled, scores["email"].hit, scores["email"].found, scores["email"].right) == (1, 1, 2, 1)
    assert (scores["email"].recall, scores["email"].precision) == (1.0, 0.5)
    assert scores["person"].hit == 0
    assert not scores["person"].looked_for
    assert scores["email"].as_json()["precision_interval"] == pytest.approx([0.0945, 0.9055], abs=1e-3)  # Wilson, 1 of 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"spans": []}', "text: is missing"),
        ('{"text": "abc", "spans": [{"type": "x", "start": 1, "end": 9}]}', r"spans\[0\]: start 1 and end 9"),
        ('{"text": "abc", "spans": [{"start": 0, "end": 1}]}', r"spans\[0\]: must be an object with type"),
        ('{"text": "abc", "spans": [{"type": "x", "start": 0, "end": 1, "value": "b"}]}', r"spans\[0\]: value is not what stands there"),
    ],
)
def test_a_labeled_file_that_does_not_fit_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "labeled.jsonl"
    file.write_text('{"text": "fine", "spans": []}\n' + line + "\n")
    with pytest.raises(DataError, match=f"labeled.jsonl:2: {said}"):
        score_file(file)


@given(st.text(alphabet="0123456789 .-+()@:/abA\n", max_size=120))
@settings(max_examples=200, deadline=None)
def test_spans_are_in_order_do_not_overlap_and_say_what_stands_there(text: str) -> None:
    spans = find_pii(text, types=(*DEFAULT_TYPES, *OPTIONAL_TYPES))
    assert all(text[span.start : span.end] == span.value for span in spans)
    assert all(first.end <= second.start for first, second in itertools.pairwise(spans))


@pytest.mark.parametrize(
    "part", ["a@b.co ", "1", "1-", "a.", "x@a.", "1:", "GB29 ", "call 12 34 ", "4111 1111 1111 1111 ", "id 12345678901 ", "(1", "1.2.3."]
)
def test_a_hostile_text_of_64_kilobytes_is_looked_through_in_a_moment(part: str) -> None:
    text = part * (64_000 // len(part))
    start = time.process_time()
    find_pii(text, types=(*DEFAULT_TYPES, *OPTIONAL_TYPES))
    assert time.process_time() - start < 5.0  # quadratic searches would take minutes
