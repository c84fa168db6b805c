"""What holds of every text: marks keep to their ranges, loose is never stricter than strict, odd texts cost no time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructloop.scoring import arithmetic, diversity, phrases
from instructloop.scoring.ifeval import RULES, check
from instructloop.scoring.ifeval_text import count_capital_words, split_sentences

TEXTS = st.text(alphabet=st.sampled_from("aBcI .,!?'\"*-\n[]<>#123sS()"), max_size=80) | st.text(max_size=40)
ARGUMENTS = {
    "keywords": ["a"],
    "keyword": "b",
    "frequency": 1,
    "relation": "at least",
    "forbidden_words": ["c"],
    "letter": "a",
    "let_frequency": 2,
    "let_relation": "less than",
    "language": "en",
    "num_sentences": 2,
    "num_paragraphs": 1,
    "num_words": 3,
    "nth_paragraph": 1,
    "first_word": "a",
    "num_placeholders": 1,
    "postscript_marker": "P.S.",
    "num_bullets": 1,
    "num_highlights": 1,
    "section_spliter": "a",
    "num_sections": 1,
    "prompt_to_repeat": "a",
    "end_phrase": "a",
    "capital_frequency": 1,
    "capital_relation": "at least",
}
KINDS = [kind for kind in RULES if "language" not in kind and "english" not in kind]


@settings(deadline=None)
@given(TEXTS)
def test_what_holds_strictly_holds_loosely(text: str) -> None:
    found = check(text, KINDS, [ARGUMENTS] * len(KINDS))
    assert all(loose for strict, loose in zip(found.strict, found.loose, strict=True) if strict)
    assert 0 <= found.share <= 1


@settings(deadline=None)
@given(TEXTS)
def test_sentences_hold_every_letter_of_the_text_once(text: str) -> None:
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
    assert count_capital_words(text) >= 0


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_phrases_of_any_text(text: str, prompt: str) -> None:
    assert isinstance(phrases.refuses(text, prompt), bool)
    assert isinstance(phrases.restates(text, prompt), bool)
    assert min(phrases.hedges(text), phrases.qualifiers(text), phrases.bullets(text)) >= 0
    assert not phrases.refuses("")
    assert phrases.refuses("I'm sorry, but I can't help with that. " + text)


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=6), st.integers(1, 4))
def test_variety_keeps_to_its_ranges(texts: list[str], n: int) -> None:
    assert 0 <= diversity.distinct_n(texts, n) <= 1
    assert 1 / len(texts) <= diversity.mode_share(texts) <= 1
    assert diversity.ngram_entropy(texts, n) >= 0
    assert diversity.distinct_n(texts + texts, n) == pytest.approx(diversity.distinct_n(texts, n) / 2)
    assert diversity.ngram_entropy(texts + texts, n) == pytest.approx(diversity.ngram_entropy(texts, n))
    assert all(0 <= diversity.repetition(text, n) < 1 for text in texts)
    if sum(bool(text.split()) for text in texts) > 1:
        assert 0 <= diversity.self_bleu(texts) <= 1 + 1e-12
        assert diversity.self_bleu([texts[0] + " a", texts[0] + " a"]) == pytest.approx(1)


@settings(deadline=None)
@given(TEXTS)
def test_numbers_of_any_text(text: str) -> None:
    assert arithmetic.last_number(f"{text} so it is 42") == 42
    assert arithmetic.correct(f"#### 7\n{text}", "7")


@pytest.mark.parametrize(
    "text", ["a" * 20_000, "." * 20_000, "a." * 10_000, " " * 20_000, "I " * 10_000, "[" * 4_000, "*" * 4_000, "'" * 4_000]
)
def test_degenerate_texts_take_no_time(text: str) -> None:
    started = time.process_time()
    check(text, KINDS, [ARGUMENTS] * len(KINDS))
    split_sentences(text)
    for habit in (phrases.refuses, phrases.hedges, phrases.qualifiers, phrases.restates, phrases.bullets):
        habit(text, text)
    diversity.longest_repeat(text)
    arithmetic.last_number(text)
    assert time.process_time() - started < 5
