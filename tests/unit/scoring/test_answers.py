"""Answers against references: hand-computed cases, the official code as installed with lm-eval, and the paper's released outputs."""

import csv
import gzip
import importlib.util
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.core.seeds import stream
from instructloop.scoring.answers import NO_ANSWER_QUAC, NOT_IN_BACKGROUND, drop_exact, drop_f1, normalize, quac_f1, squad_exact, squad_f1

WORDS = [
    "the",
    "a",
    "An",
    "cat",
    "Sat",
    "1,000",
    "7",
    "7.0",
    "it's",
    "U.S.",
    "—",
    "é",
    "The",
    "'",
    "",
    "dog.",
    "theory",
    "a-b",
    "twenty-one",
    "$5",
    "-3",
]


def random_text(random: Any, longest: int = 6) -> str:
    return " ".join(random.choice(WORDS) for _ in range(random.randrange(longest)))


def lm_eval_module(name: str) -> ModuleType:
    """One file of lm-eval's tasks, loaded alone: the package itself would import torch."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("lm-eval is not installed; the group dev brings it")
    file = Path(next(iter(spec.submodule_search_locations))) / "tasks" / name
    own = importlib.util.spec_from_file_location(f"oracle_{file.parent.name}", file)
    assert own is not None
    assert own.loader is not None
    module = importlib.util.module_from_spec(own)
    own.loader.exec_module(module)
    return module


def test_normalization_drops_case_punctuation_articles_and_extra_spaces() -> None:
    assert normalize("  The   U.S. Army's  (a) theory, an axe ") == "us armys theory axe"
    assert normalize("a-the b") == "athe b"  # punctuation goes first, so that the hyphen leaves no article behind


def test_f1_is_computed_over_multisets_of_words() -> None:
    # given: yes yes no (3 words), wanted: yes no no (3); shared: yes, no -> 2 * 2 / 6
    assert squad_f1("yes yes no", ["yes no no"]) == pytest.approx(2 / 3)
    assert squad_f1("the North Sea oil", ["north sea"]) == pytest.approx(4 / 5)
    assert squad_f1("Labour", ["North Sea"]) == 0.0


def test_the_best_reference_counts_and_one_that_normalizes_to_nothing_is_no_reference() -> None:
    assert squad_f1("in 1974", ["1978", "1974"]) == pytest.approx(2 / 3)
    assert squad_exact("The cat.", ["dog", "cat"]) == 1.0
    assert squad_f1("", ["the", "cat"]) == 0.0
    assert squad_exact("", []) == 1.0


def test_not_in_background_is_text_unless_it_is_said_to_mean_no_answer() -> None:
    assert squad_f1("in the background", [NOT_IN_BACKGROUND]) == pytest.approx(4 / 5)
    assert squad_f1("in the background", [NOT_IN_BACKGROUND], no_answer=NOT_IN_BACKGROUND) == 0.0
    assert squad_f1("not in background", [NOT_IN_BACKGROUND], no_answer=NOT_IN_BACKGROUND) == 1.0
    assert squad_exact("not in background", ["1974"], no_answer=NOT_IN_BACKGROUND) == 0.0


def test_squad_f1_and_exact_match_equal_the_official_code_on_500_random_cases() -> None:
    oracle = lm_eval_module("qasper/metrics.py")  # the official script's normalization and F1, without version 2's rule for no answer
    random = stream(5, "squad")
    for _ in range(500):
        text, references = random_text(random), [random_text(random) for _ in range(random.randrange(1, 4))]
        golds = [gold for gold in references if oracle.normalize_answer(gold)] or [""]
        f1s, exacts = [], []
        for gold in golds:
            given, wanted = oracle.normalize_answer(text), oracle.normalize_answer(gold)
            f1s.append(oracle.f1_abstractive([text], [gold]) if given and wanted else float(given == wanted))
            exacts.append(float(given == wanted))
        assert squad_f1(text, references) == pytest.approx(max(f1s), abs=1e-12), (text, references)
        assert squad_exact(text, references) == max(exacts), (text, references)


def test_drop_f1_equals_lm_evals_within_its_rounding_on_500_random_cases() -> None:
    oracle = lm_eval_module("drop/utils.py")
    random = stream(6, "drop")
    for _ in range(500):
        text = [random_text(random) for _ in range(random.randrange(1, 4))]
        wanted = [random_text(random) for _ in range(random.randrange(1, 4))]
        exact, f1 = oracle.get_metrics(text, wanted)
        assert drop_f1(text, [wanted]) == pytest.approx(f1, abs=0.005 + 1e-9), (text, wanted)
        assert drop_exact(text, [wanted]) == exact, (text, wanted)


def test_drop_refuses_words_that_agree_where_the_number_does_not() -> None:
    assert drop_f1("24 yards", ["25 yards"]) == 0.0
    assert drop_f1("25.0 yards", ["25 yards"]) == 1.0
    assert drop_f1(["Ann", "Bob"], [["Bob", "Ann"]]) == 1.0
    assert drop_f1(["Ann"], [["Bob", "Ann"]]) == 0.5  # the missing span counts as 0
    with pytest.raises(DataError, match="at least one answer"):
        drop_f1("7", [])
    with pytest.raises(DataError, match="a list"):
        drop_f1("7", "7")


def test_quac_lets_the_majority_of_annotators_decide_whether_there_is_an_answer() -> None:
    assert quac_f1(NO_ANSWER_QUAC, ["CANNOTANSWER", "CANNOTANSWER", "in 1983"]) == 1.0
    assert quac_f1("in 1983", ["CANNOTANSWER", "CANNOTANSWER", "in 1983"]) == 0.0
    assert quac_f1("in 1983", [NO_ANSWER_QUAC, "in 1983", "1983"]) == 1.0
    # leaving one out: 1.0 with "in 1983" there, else 2/3 against "1983" alone
    assert quac_f1("in 1983", ["in 1983", "1983"], leave_one_out=True) == pytest.approx((1 + 2 / 3) / 2)


def test_released_squad_samples_give_the_known_figures_to_the_printed_digit(shared: Path) -> None:
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    unanswerable = set()
    with gzip.open(shared / "data" / "instructgpt-samples" / "squadv2_samples.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            scores[row["model_type"], row["prompt_type"]].append(squad_f1(row["sample"], row["ref_text"].split("|")))
            if row["ref_text"] == NOT_IN_BACKGROUND:
                unanswerable.add(row["context"])
    assert {len(values) for values in scores.values()} == {100}
    assert (len(scores), len(unanswerable)) == (24, 51)
    printed = {key: f"{100 * sum(values) / 100:.2f}" for key, values in scores.items()}
    assert printed["gpt-175b", "zeroshot"] == "56.68"
    assert printed["ppo-ptx-175b", "zeroshot"] == "53.07"
    assert printed["ppo-ptx-175b", "fewshot"] == "65.83"
