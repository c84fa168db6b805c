"""Rows into records: the contract fields, the rule for every kind of bad row, strict and with skip_bad_rows."""

from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.core.records import Demonstration, Message, Pair, Ranking
from instructloop.formats import Skip, concat, read_demonstrations, read_prompts, read_rankings, read_texts, read_unpaired

GOOD: dict[str, Any] = {"prompt": "q", "completions": ["a", "b", "c"], "ranks": [0, 1, 2]}
PAIR: dict[str, Any] = {"prompt": "q", "chosen": "a", "rejected": "b"}


def test_a_demonstration_keeps_its_further_fields_in_meta() -> None:
    (record,) = read_demonstrations([{"prompt": "q", "completion": "a", "source": "web", "n": None}])
    assert record == Demonstration(prompt="q", completion="a", meta={"source": "web", "n": None})


def test_a_ranking_reads_every_contract_field() -> None:
    row = GOOD | {"ranks": [30, -5, 30], "labeler": 7, "confidence": 1, "none_acceptable": False, "models": ["x", "y", "z"]}
    (record,) = read_rankings([row])
    assert record.ranks == (1, 0, 1)
    assert (record.labeler, record.confidence, record.none_acceptable) == ("7", 1.0, False)
    assert record.meta == {"models": ["x", "y", "z"]}


def test_a_confidence_in_words_stays_in_meta() -> None:
    (record,) = read_rankings([GOOD | {"confidence": "high"}])
    assert record.confidence is None
    assert record.meta == {"confidence": "high"}


def test_a_null_rank_means_left_out_by_the_labeler() -> None:
    (record,) = read_rankings([GOOD | {"ranks": [4, None, 2]}])
    assert record.ranks == (1, None, 0)
    assert list(record.strict_pairs()) == [(2, 0)]


def test_a_pair_is_a_ranking_of_two() -> None:
    (record,) = read_rankings([PAIR | {"labeler": "w", "confidence": 0.9, "topic": "t"}])
    expected = Ranking(prompt="q", completions=("a", "b"), ranks=(0, 1), labeler="w", confidence=0.9, meta={"topic": "t"})
    assert record == expected


def test_prompts_keep_everything_else_in_meta() -> None:
    (record,) = read_prompts([{"prompt": "q", "use_case": "qa", "completion": "a"}])
    assert record.meta == {"use_case": "qa", "completion": "a"}


def test_lists_of_strings_are_prompts_and_texts() -> None:
    assert [record.prompt for record in read_prompts(["a", "b"])] == ["a", "b"]
    assert [record.text for record in read_texts(["a", "b"])] == ["a", "b"]


def test_records_are_checked_like_rows() -> None:
    ranking = Ranking(prompt="q", completions=("a", "b"), ranks=(0, 1), labeler="w", meta={"x": 1})
    assert read_rankings([ranking]).records == (ranking,)
    assert read_rankings([Pair(prompt="q", chosen="a", rejected="b")]).records[0].ranks == (0, 1)
    with pytest.raises(DataError, match=r"<list>:1: completion: is empty"):
        read_demonstrations([Demonstration(prompt="q", completion="")])
    with pytest.raises(DataError, match="not a record: int"):
        read_demonstrations([3])  # type: ignore[list-item]


BAD_DEMONSTRATIONS = [
    ({"completion": "a"}, r"prompt: is missing \(the row has completion\)"),
    ({"prompt": None, "completion": "a"}, "prompt: is null"),
    ({"prompt": "q"}, "completion: is missing"),
    ({"prompt": "q", "completion": ""}, "completion: is empty"),
    ({"prompt": "q", "completion": " \n\t"}, "completion: is empty"),
    ({"prompt": " ", "completion": "a"}, "prompt: is empty"),
    ({"prompt": 3, "completion": "a"}, "prompt: must be a list of messages"),
    ({"prompt": "q", "completion": 3}, "completion: must be a list of messages"),
    ({"prompt": "q", "completion": "half \ud83d"}, "completion: holds half of a surrogate pair at character 6"),
    ({"prompt": [], "completion": "a"}, "prompt: must be a list of messages"),
    ({"prompt": [{"role": "user", "content": " "}], "completion": "a"}, "prompt: is empty in its last turn"),
    ({"prompt": [{"role": "robot", "content": "q"}], "completion": "a"}, r"prompt\[0\].role: unknown role 'robot'"),
    ({"prompt": [{"role": "user", "content": 3}], "completion": "a"}, r"prompt\[0\].content: must be a text, got int"),
    ({"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "completion": "b"}, "must end in a user turn"),
    ({"prompt": ["q"], "completion": "a"}, r"prompt\[0\]: must be an object with role and content"),
    ({"messages": [{"role": "assistant", "content": "a"}]}, "messages: has an assistant turn but no prompt"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_DEMONSTRATIONS)
def test_a_bad_demonstration_is_an_error_or_a_counted_skip(row: dict[str, Any], reason: str) -> None:
    good = {"prompt": "q", "completion": "a"}
    with pytest.raises(DataError, match=rf"^<list>:2: .*{reason}") as caught:
        read_demonstrations([good, row])
    assert "--skip-bad-rows" in str(caught.value.hint) or caught.value.hint
    lenient = read_demonstrations([good, row], skip_bad_rows=True)
    assert len(lenient) == 1
    assert lenient.skipped_rows == 1
    assert lenient.skipped[0].line == 2


BAD_RANKINGS = [
    (GOOD | {"completions": ["a"], "ranks": [0]}, "completions: a ranking needs at least 2 completions, got 1"),
    (GOOD | {"completions": [], "ranks": []}, "completions: a ranking needs at least 2 completions, got 0"),
    (GOOD | {"completions": "abc"}, "completions: must be a list of texts, got str"),
    (GOOD | {"completions": ["a", 2, "c"]}, r"completions\[1\]: must be a text, got int"),
    (GOOD | {"ranks": [0, 1]}, "ranks: has 2 entries for 3 completions"),
    (GOOD | {"ranks": "012"}, "ranks: must be a list of integers, got str"),
    (GOOD | {"ranks": [0, 1, 1.5]}, r"ranks\[2\]: must be an integer or null, got 1.5"),
    (GOOD | {"ranks": [0, 1, float("nan")]}, r"ranks\[2\]: must be an integer or null, got nan"),
    (GOOD | {"ranks": [0, 1, True]}, r"ranks\[2\]: must be an integer or null, got True"),
    (GOOD | {"ranks": [0, None, None]}, "ranks: at least 2 completions need a rank, got 1"),
    (GOOD | {"none_acceptable": "false"}, "none_acceptable: must be true or false, got 'false'"),
    (GOOD | {"completions": ["a", "a", "a"]}, "completions: are all identical but have different ranks"),
    ({"prompt": "q", "completions": ["a", "b"]}, "ranks: is missing"),
    (PAIR | {"rejected": "a"}, "rejected: is identical to chosen"),
    (PAIR | {"rejected": ""}, "rejected: is empty"),
    ({"prompt": "q", "chosen": "a"}, "rejected: is missing"),
    (PAIR | {"chosen": None}, "chosen: is null"),
    ({"chosen": "a", "rejected": "b"}, "prompt: is missing"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_RANKINGS)
def test_a_bad_ranking_is_an_error_or_a_counted_skip(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=rf"^<list>:2: {reason}"):
        read_rankings([GOOD, row])
    lenient = read_rankings([GOOD, row], skip_bad_rows=True)
    assert (len(lenient), lenient.skipped_rows) == (1, 1)


def test_identical_pairs_and_single_completions_are_counted_by_name() -> None:
    rows = [GOOD, PAIR | {"rejected": "a"}, PAIR | {"rejected": "a"}, GOOD | {"completions": ["a"], "ranks": [0]}]
    loaded = read_rankings(rows, skip_bad_rows=True)
    assert loaded.notes == {"identical_pairs": 2, "single_completion": 1}
    assert loaded.describe() == "1 rows; skipped 3; identical_pairs 2; single_completion 1"


def test_an_empty_completion_in_a_group_is_an_error_by_default() -> None:
    """T10."""
    with pytest.raises(DataError, match=r"^<list>:1: completions\[1\]: is empty"):
        read_rankings([GOOD | {"completions": ["a", "", "c"]}])


def test_an_empty_completion_in_a_group_is_left_out_alone_when_bad_rows_are_skipped() -> None:
    """T10: the other completions were compared by a person, and that work is kept."""
    loaded = read_rankings([GOOD | {"completions": ["a", " ", "c"]}], skip_bad_rows=True)
    assert loaded.records[0].ranks == (0, None, 1)
    assert loaded.notes == {"empty_completions": 1}
    assert loaded.skipped == (Skip("<list>", 1, "completions[1]", "is empty; left out, the others kept", whole_row=False),)
    assert loaded.skipped_rows == 0


def test_a_group_with_one_completion_left_goes_whole() -> None:
    loaded = read_rankings([GOOD, GOOD | {"completions": ["a", "", " "]}], skip_bad_rows=True)
    assert (len(loaded), loaded.skipped_rows) == (1, 1)
    assert str(loaded.skipped[0]) == "<list>:2: completions[1]: is empty"


def test_an_empty_completion_that_the_labeler_left_out_is_fine() -> None:
    assert read_rankings([GOOD | {"completions": ["a", "", "c"], "ranks": [0, None, 1]}]).skipped == ()


def test_judgements_without_a_pair_are_kept_and_counted() -> None:
    rows = [GOOD | {"ranks": [5, 5, 5]}, GOOD | {"none_acceptable": True}, GOOD | {"ranks": [None] * 3, "none_acceptable": True}]
    loaded = read_rankings(rows)
    assert loaded.notes == {"all_tied_groups": 1, "none_acceptable": 2}
    assert len(loaded) == 3


def test_identical_completions_in_a_group_are_kept_and_counted() -> None:
    rows = [GOOD | {"completions": ["a", "a", "c"], "ranks": [0, 0, 1]}, GOOD | {"completions": ["a", "a", "c"]}]
    assert read_rankings(rows).notes == {"contradictory_duplicates": 1, "duplicate_completions": 2}


def test_rows_that_say_the_same_again_are_kept_and_counted() -> None:
    rows = [{"prompt": "q", "completion": "a", "id": 1}, {"prompt": "q", "completion": "a", "id": 2}]
    loaded = read_demonstrations(rows)
    assert len(loaded) == 2
    assert loaded.notes == {"duplicate_rows": 1}


@pytest.mark.parametrize("label", [1, "true", None])
def test_a_label_must_be_true_or_false(label: object) -> None:
    with pytest.raises(DataError, match=r"^<list>:1: label: "):
        read_unpaired([{"prompt": "q", "completion": "a", "label": label}])


def test_a_document_must_hold_text() -> None:
    with pytest.raises(DataError, match=r"^<list>:2: text: is empty"):
        read_texts([{"text": "a"}, {"text": ""}])
    assert read_texts([{"text": "a"}, {"text": ""}, {}], skip_bad_rows=True).skipped_rows == 2


def test_invalid_utf8_is_a_counted_skip(tmp_path: Path) -> None:
    path = tmp_path / "demos.jsonl"
    path.write_bytes(b'{"prompt": "q", "completion": "a"}\n{"prompt": "q", "completion": "\xc3("}\n')
    with pytest.raises(DataError, match=r"demos\.jsonl:2: not valid UTF-8"):
        read_demonstrations(path)
    assert read_demonstrations(path, skip_bad_rows=True).skipped[0].line == 2


def test_a_source_without_a_usable_row_is_an_error_even_when_bad_rows_are_skipped(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(DataError, match=r"empty\.jsonl: no usable demonstration row"):
        read_demonstrations(empty)
    with pytest.raises(DataError, match=r"the list: no usable ranking row; the first of 1 skipped: <list>:1: prompt: is missing"):
        read_rankings([{}], skip_bad_rows=True)


def test_several_files_are_concatenated_with_their_counts() -> None:
    tied = read_rankings([GOOD | {"ranks": [0, 0, 0]}])
    both = concat([tied, read_rankings([GOOD, {}], skip_bad_rows=True), tied])
    assert len(both) == 3
    assert both.skipped_rows == 1
    assert both.notes == {"all_tied_groups": 2}


def test_messages_split_into_prompt_and_completion() -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    (record,) = read_demonstrations([{"messages": turns, "id": 1}])
    assert record == Demonstration(prompt=(Message("system", "s"), Message("user", "q")), completion="a", meta={"id": 1})
