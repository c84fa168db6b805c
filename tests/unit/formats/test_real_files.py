"""Real files with their real dirt: every count of the data guide's table is what our readers report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.core.records import Message
from instructloop.formats import Loaded, read_demonstrations, read_prompts, read_rankings, read_texts, read_unpaired

Reader = Callable[..., Loaded[Any]]

# file, records kept with skip_bad_rows, rows skipped, notes
PREFERENCES: list[tuple[str, int, int, dict[str, int]]] = [
    ("alpaca-eval-prefs/rankings_k9_train", 643, 0, {"duplicate_completions": 16, "contradictory_duplicates": 1}),
    ("alpaca-eval-prefs/rankings_short_train", 1829, 0, {"all_tied_groups": 164}),
    ("alpaca-eval-prefs/pairs_short_train", 9174, 0, {}),
    # the table's 8 groups with identical answers: 7 kept, and one whose two answers are identical with different ranks
    (
        "auto-j/rankings_with_ties_train",
        1117,
        2,
        {"all_tied_groups": 310, "duplicate_completions": 7, "duplicate_rows": 1, "empty_completions": 1, "identical_pairs": 1},
    ),
    ("auto-j/pairs_train", 807, 2, {"identical_pairs": 1, "empty_completions": 1}),
    # the table's 25 groups with identical answers: 24 kept, and one in which all are identical
    ("rmb/bon_train", 3048, 1, {"duplicate_completions": 24, "contradictory_duplicates": 4, "identical_pairs": 1}),
    # the table's 6 duplicate rows: 4 kept, 2 among the identical pairs
    ("rmb/pairs_train", 5994, 6, {"identical_pairs": 6, "duplicate_rows": 4}),
    ("rmb/pairs_short_train", 1590, 7, {"identical_pairs": 7, "duplicate_rows": 10}),
    ("truthfulqa/rankings_train", 1839, 0, {"empty_completions": 29}),
    ("qa-feedback-k4/rankings_train", 381, 0, {"all_tied_groups": 9}),
    ("hh-harmless-test/raw_train", 1850, 8, {"diverging_conversations": 5, "empty_completions": 3}),
    ("hh-harmless-test/test_train", 1855, 3, {"empty_completions": 3}),
    ("small-demos/rasbt_preference_1100_train", 889, 4, {"identical_pairs": 4}),
    ("small-demos/llamafactory_dpo_300", 300, 0, {"duplicate_rows": 5}),
    ("small-demos/bpo_pairs_200", 200, 0, {}),
]


def load(shared: Path, reader: Reader, name: str, **options: bool) -> Loaded[Any]:
    path = shared / "data" / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the shared data has no {name}")
    return reader(path, **options)


@pytest.mark.parametrize(("name", "kept", "skipped", "notes"), PREFERENCES)
def test_preference_files_give_the_counts_of_the_data_guide(
    shared: Path, name: str, kept: int, skipped: int, notes: dict[str, int]
) -> None:
    loaded = load(shared, read_rankings, name, skip_bad_rows=True)
    assert (len(loaded), loaded.skipped_rows, loaded.notes) == (kept, skipped, notes)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("small-demos/rasbt_preference_1100_train", r":102: rejected: is identical to chosen"),
        ("truthfulqa/rankings_train", r":85: completions\[7\]: is empty"),
        ("auto-j/pairs_train", r":317: rejected: is empty"),
        ("rmb/bon_train", r":1115: completions: are all identical but have different ranks"),
        ("hh-harmless-test/raw_train", r":67: chosen: is empty"),
    ],
)
def test_the_first_bad_row_stops_a_strict_reader_by_name(shared: Path, name: str, place: str) -> None:
    with pytest.raises(DataError, match=place):
        load(shared, read_rankings, name)


def test_the_empty_answers_of_truthfulqa_are_left_out_one_by_one(shared: Path) -> None:
    loaded = load(shared, read_rankings, "truthfulqa/rankings_train", skip_bad_rows=True)
    assert len({(skip.file, skip.line) for skip in loaded.skipped}) == 29
    assert not any(skip.whole_row for skip in loaded.skipped)
    assert {len(record.completions) for record in loaded} == set(range(4, 10))


def test_hh_transcripts_agree_with_their_normalised_form(shared: Path) -> None:
    raw = load(shared, read_rankings, "hh-harmless-test/raw_train", skip_bad_rows=True)
    flat = load(shared, read_rankings, "hh-harmless-test/test_train", skip_bad_rows=True)
    answers = {tuple(text.strip() for text in record.completions) for record in flat}
    assert sum(tuple(text.strip() for text in record.completions) in answers for record in raw) == len(raw)
    turns = [sum(message.role == "user" for message in record.prompt) for record in raw if isinstance(record.prompt, tuple)]
    assert (min(turns), max(turns)) == (1, 18)


DEMONSTRATIONS: list[tuple[str, int, dict[str, int]]] = [
    ("lima/train", 1029, {}),
    ("t0-instructions/short", 29447, {}),
    ("t0-instructions/sample", 8000, {"duplicate_rows": 60}),
    ("small-demos/llamafactory_alpaca_gpt4_999", 999, {"duplicate_rows": 14}),
    ("small-demos/dolly_human_200", 200, {}),
    ("gsm8k/train", 7473, {}),
    ("gpteacher/roleplay", 1923, {}),
    ("gpteacher/codegen", 4535, {}),
    ("self-instruct/seed_tasks", 175, {}),
    ("halueval-general/general", 4507, {}),
]


@pytest.mark.parametrize(("name", "rows", "notes"), DEMONSTRATIONS)
def test_demonstration_files_are_read_whole(shared: Path, name: str, rows: int, notes: dict[str, int]) -> None:
    loaded = load(shared, read_demonstrations, name)
    assert (len(loaded), loaded.skipped, loaded.notes) == (rows, (), notes)


@pytest.mark.parametrize(
    ("reader", "name", "rows"),
    [
        (read_texts, "pretrain-mix/all", 4956),
        (read_prompts, "prompts/instructionwild", 872),
        (read_prompts, "prompts/do_not_answer", 939),
        (read_prompts, "prompts/wizardlm_testset", 218),
        (read_prompts, "alpaca-eval-prefs/prompts_train", 643),
        (read_prompts, "ifeval/prompts", 541),
        (read_prompts, "xstest/prompts", 450),
        (read_prompts, "small-demos/llamafactory_kto_300", 300),
    ],
)
def test_texts_and_prompts_are_read_whole(shared: Path, reader: Reader, name: str, rows: int) -> None:
    loaded = load(shared, reader, name)
    assert (len(loaded), loaded.skipped) == (rows, ())


def test_labelled_conversations_keep_their_turns(shared: Path) -> None:
    loaded = load(shared, read_unpaired, "small-demos/llamafactory_kto_300")
    assert sum(record.label for record in loaded) == 150
    assert sum(len(record.prompt) > 1 for record in loaded) == 77
    assert all(isinstance(record.prompt[-1], Message) and record.prompt[-1].role == "user" for record in loaded)
