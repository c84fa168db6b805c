"""IFEval's rules: by hand, and against the copy of the official program that lm-eval ships."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.core.seeds import stream
from instructloop.scoring import ifeval, ifeval_text
from instructloop.scoring.ifeval import RULES, Followed, accuracies, check, follows, signature, undecided
from instructloop.scoring.ifeval_text import count_capital_words, count_words, split_sentences

CASES: list[tuple[str, dict[str, Any], str, str]] = [  # kind, arguments, a text that follows, one that does not
    ("keywords:existence", {"keywords": ["river", "bank"]}, "The BANK of the river.", "The river."),
    ("keywords:frequency", {"keyword": "rain", "frequency": 2, "relation": "at least"}, "Rain, rainbow.", "Rain."),
    ("keywords:frequency", {"keyword": "rain", "frequency": 2, "relation": "less than"}, "Rain.", "Rain and rain."),
    ("keywords:forbidden_words", {"forbidden_words": ["cat", "dog"]}, "A concatenation.", "The Dog sleeps."),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": "at least"}, "Quick quiz", "Quick"),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 1, "let_relation": "less than"}, "none", "#one"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "one, two-three", "one two"),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "Only one.", "First one. Second one."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\none\n***\ntwo\n***", "one\n***\n***\ntwo"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Hello"},
        'one\n\n"hello, you',
        "hello\n\nyou",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "Dear [name], at [place]", "Dear [name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np. s. call me", "Bye. PS call"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S call me", "Bye.\nP.S. call"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n- two", "* one\n- two\n- three"),
    ("detectable_format:constrained_response", {}, "Well. My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and *two*", "*one* and **"),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2}, "Section 1\na\nSection 2\nb", "Section 1"),
    ("detectable_format:json_format", {}, '```json\n{"a": [1, 2]}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<Song>>\nla", "<< >>\nla"),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it"}, " say IT: it", "It. Say it"),
    ("startend:end_checker", {"end_phrase": "The end."}, 'So. the END."', "The end. Really."),
    ("startend:quotation", {}, ' "all of it" ', '"'),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "I am TOP-SECRET.", "I am."),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "less than"}, "I am.", "I AM."),
    ("punctuation:no_comma", {}, "one; two", "one, two"),
]
LANGUAGE_CASES: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "language:response_language",
        {"language": "fr"},
        "Le chat dort sur le tapis devant la porte.",
        "The cat sleeps on the mat at the door.",
    ),
    ("change_case:english_capital", {}, "THE CAT SLEEPS ON THE MAT AT THE DOOR.", "THE CAT sleeps on the mat at the door."),
    ("change_case:english_lowercase", {}, "the cat sleeps on the mat at the door.", "The cat sleeps on the mat at the door."),
]


@pytest.mark.parametrize(("kind", "arguments", "good", "bad"), CASES)
def test_a_rule_tells_a_text_that_follows_from_one_that_does_not(kind: str, arguments: dict[str, Any], good: str, bad: str) -> None:
    assert follows(kind, good, arguments) is True
    assert follows(kind, bad, arguments) is False


@pytest.mark.parametrize(("kind", "arguments", "good", "bad"), LANGUAGE_CASES)
def test_languages_are_told_where_langdetect_is_installed(kind: str, arguments: dict[str, Any], good: str, bad: str) -> None:
    pytest.importorskip("langdetect", reason="langdetect tells languages")
    assert follows(kind, good, arguments) is True
    assert follows(kind, bad, arguments) is False


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES + LANGUAGE_CASES} == set(RULES)
    assert len(RULES) == 25


@pytest.mark.parametrize("kind", sorted(RULES))
def test_an_empty_text_follows_nothing(kind: str) -> None:
    assert follows(kind, " \n", {}) is False


def test_loose_forgives_an_opening_line_stars_and_a_closing_line() -> None:
    text = "Sure, here it is:\n**my answer**\nI hope this helps, truly."
    found = check(text, ["punctuation:no_comma", "startend:quotation"], [{}, {}])
    assert found == Followed(("punctuation:no_comma", "startend:quotation"), (False, False), (True, False))
    assert found.all_strict is False
    assert found.all_loose is False
    assert found.share == 0


@pytest.fixture
def no_langdetect() -> Iterator[None]:
    """As if langdetect were not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "langdetect", None)
        ifeval_text._detectors.cache_clear()
        yield
    ifeval_text._detectors.cache_clear()


@pytest.mark.usefixtures("no_langdetect")
def test_without_langdetect_a_language_is_undecided_and_never_right() -> None:
    asked = (["language:response_language", "punctuation:no_comma"], [{"language": "de"}, {}])
    found, comma = check("Guten Tag", *asked), check("Guten, Tag", *asked)
    assert found.strict == (None, True)
    assert (found.all_strict, found.all_loose, found.share) == (None, None, 1.0)
    assert comma.all_strict is False  # one instruction is broken, whatever the language is
    assert follows("change_case:english_capital", "not in capitals", {}) is False
    assert accuracies([found, comma]) == {
        "prompt_strict": [0.0],
        "prompt_loose": [0.0],
        "instruction_strict": [1.0, 0.0],
        "instruction_loose": [1.0, 0.0],
    }
    assert undecided([found, comma]) == {"language:response_language": 2}
    assert signature().endswith("languages:none")


def test_an_unknown_kind_and_a_missing_argument_are_named() -> None:
    with pytest.raises(DataError, match="no instruction 'rhyme'"):
        follows("rhyme", "text", {})
    with pytest.raises(DataError, match="has no argument 'keywords'"):
        follows("keywords:existence", "text", {"keywords": None})
    with pytest.raises(DataError, match="not 'exactly'"):
        follows("length_constraints:number_words", "text", {"num_words": 3, "relation": "exactly"})


def test_words_sentences_and_capitals_are_counted() -> None:
    assert count_words("It's a well-known fact: 3.5 per cent") == 10  # It s a well known fact 3 5 per cent
    assert split_sentences('Dr. A. Smith left at 3.5 km. "Really?" he asked. Yes! E.g. this one... and more. No') == [
        "Dr. A. Smith left at 3.5 km.",
        '"Really?"',
        "he asked.",
        "Yes!",
        "E.g. this one... and more.",
        "No",
    ]
    assert split_sentences("  ") == []
    assert count_capital_words("I DON'T know, NASA's A-1 (OK)... CANNOT; U.S. 42 x") == 9  # I DO N'T NASA A-1 OK CAN NOT U.S.


def test_the_letters_of_keywords_that_are_no_pattern_are_taken_as_they_stand() -> None:
    assert follows("keywords:existence", "I like c++ best", {"keywords": ["C++"]}) is True


# -- against the official program ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def official() -> Any:
    pytest.importorskip("lm_eval", reason="lm-eval ships the official checker")
    pytest.importorskip("immutabledict", reason="the official checker needs it")
    langdetect, nltk = pytest.importorskip("langdetect"), pytest.importorskip("nltk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nltk, "download", lambda *_, **__: False)  # it would fetch Punkt's data on import
        patch.setattr(langdetect.DetectorFactory, "seed", 0)
        langdetect.detector_factory.init_factory()
        langdetect.detector_factory._factory.seed = 0
        from lm_eval.tasks.ifeval import utils

        yield utils


def _variants(prompt: dict[str, Any], base: str, draw: Any) -> str:
    """A text that has a fair chance to follow, or nearly follow, what this prompt asks."""
    text = draw.choice(
        [
            base,
            base.upper(),
            base.lower(),
            f'"{base}"',
            base.replace(",", ""),
            base.replace(". ", ".\n\n***\n\n", draw.randrange(6)),
            f"<<A title>>\n{base}\n\nP.S. more\nP.P.S. and more",
            f"{base}\n******\n{base[:60]}",
            "* one\n- two\n* three\n *high* and **low**, *lower* " + base,
            '```json\n{"a": [1, 2]}\n```',
            "\n\n".join(f"SECTION {place}\n{part}" for place, part in enumerate(base.split(". ")[:6], 1)),
            f"Sure, here it is:\n{base.replace(',', '')}\nMy answer is yes.",
            "[a] [b] [c] [d] [e] " + base[: draw.randrange(400)],
        ]
    )
    for given in prompt["kwargs"]:
        if draw.random() < 0.5:
            text += " " + given.get("end_phrase", "") + " ".join(given.get("keywords", []))
            text = given.get("prompt_to_repeat", "") + text
        if "first_word" in given:
            text = "\n\n".join([f"{given['first_word']}, {base[:50]}"] * (given["num_paragraphs"] - draw.randrange(2)))
    return text


def test_verdicts_equal_the_official_program_on_all_prompts(official: Any, shared: Path) -> None:
    with gzip.open(shared / "data" / "ifeval" / "prompts.jsonl.gz", "rt") as lines:
        prompts = [json.loads(line) for line in lines]
    with gzip.open(shared / "data" / "hh-harmless-test" / "test_train.jsonl.gz", "rt") as lines:
        bases = [json.loads(line)["chosen"].strip()[:1500] for line, _ in zip(lines, range(400), strict=False)]
    draw, compared, differ = stream(0, "ifeval"), 0, []
    punkt = ifeval.sentence_counter() == "punkt"
    needs_punkt = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
    for prompt in prompts:
        pairs = [
            (kind, given)
            for kind, given in zip(prompt["instruction_id_list"], prompt["kwargs"], strict=True)
            if given.get("letter") not in ("#", "!") and (punkt or kind not in needs_punkt)  # it draws another letter for these two
        ]
        kinds, arguments = [kind for kind, _ in pairs], [given for _, given in pairs]
        text = _variants(prompt, draw.choice(bases), draw)
        asked = official.InputExample(key=prompt["key"], instruction_id_list=kinds, prompt=prompt["prompt"], kwargs=arguments)
        found = check(text, kinds, arguments)
        strict = official.test_instruction_following_strict(asked, text).follow_instruction_list
        loose = official.test_instruction_following_loose(asked, text).follow_instruction_list
        compared += 2 * len(kinds)
        if (list(found.strict), list(found.loose)) != (strict, loose):
            differ.append((prompt["key"], kinds, text))
    assert compared > 1400
    assert not differ


def test_capitals_are_divided_as_the_treebank_tokenizer_does(shared: Path) -> None:
    treebank = pytest.importorskip("nltk.tokenize", reason="the official checker's tokenizer").NLTKWordTokenizer()
    with gzip.open(shared / "data" / "hh-harmless-test" / "test_train.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["chosen"][:800] for line, _ in zip(lines, range(300), strict=False)]
    same = [
        count_capital_words(one) == sum(word.isupper() for word in treebank.tokenize(one)) for text in texts for one in (text, text.upper())
    ]
    assert sum(same) >= 0.99 * len(same)
