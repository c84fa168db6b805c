"""Use cases under their many names, lengths by a stated rule, languages."""

from pathlib import Path

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback.flags import USE_CASES
from instructloop.feedback.prompts import ESTIMATE, TABLE_7, USE_CASE_LABELS, estimated_tokens, identify, tokenizer_counter, use_case


def test_the_ten_use_cases_are_known_by_key_and_by_the_papers_label() -> None:
    assert len(USE_CASES) == 10
    assert set(USE_CASE_LABELS) == set(USE_CASES)
    for key, label in USE_CASE_LABELS.items():
        assert use_case(key) == use_case(label) == use_case(f" {label.upper()} ") == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Translate", "rewriting"),
        ("closed-QA", "closed_qa"),
        ("summarise", "summarization"),
        ("Open QA", "open_qa"),
        ("brainstorm", "brainstorming"),
    ],
)
def test_usual_names_are_understood_and_translation_counts_as_rewriting(name: str, key: str) -> None:
    assert use_case(name) == key


def test_an_unknown_use_case_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(DataError, match="did you mean 'summarization'"):
        use_case("sumarization")


def test_table_7_has_the_papers_eleven_rows() -> None:
    assert len(TABLE_7) == 11


def test_the_estimate_is_a_quarter_of_the_bytes_rounded_up() -> None:
    assert [estimated_tokens(text) for text in ("", "a", "abcd", "abcde", "äöü")] == [0, 1, 1, 2, 2]
    assert ESTIMATE.rule == "bytes/4"


def test_a_tokenizer_counts_instead_and_its_rule_names_it(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "bear": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    counter = tokenizer_counter(tmp_path)
    assert counter.count("a bear goes to the beach") == 6
    assert counter.rule.startswith("tokenizer sha256:")
    with pytest.raises(ConfigError, match="no tokenizer at"):
        tokenizer_counter(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Write a short story about a bear who goes to the beach.", "en"),
        ("Schreibe bitte eine kurze Geschichte über einen Bären am Strand.", "de"),
        ("Écris une petite histoire sur un ours qui va à la plage.", "fr"),
        ("Escribe un cuento corto sobre un oso que va a la playa.", "es"),
        ("写一个关于熊去海滩的短篇故事。", "zh"),
        ("1 + 1 =", "und"),
        ("Hi", "und"),
        ("```python\nfor place in range(10): print(place)\n```", "und"),
    ],
)
def test_languages_are_told_apart_and_what_is_too_short_is_undetermined(text: str, code: str) -> None:
    assert identify(text).code == code
