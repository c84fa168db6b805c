"""What is written reads back equal, whole or not at all."""

import json
from pathlib import Path

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Demonstration, Message, Pair, Prompt, Ranking, Text, Unpaired
from instructloop.formats import (
    read_demonstrations,
    read_prompts,
    read_rankings,
    read_texts,
    read_unpaired,
    split_by_prompt,
    to_row,
    write_demonstrations,
    write_prompts,
    write_rankings,
    write_texts,
    write_unpaired,
)

TALK = (Message("user", "hé"), Message("assistant", "b"), Message("user", "c\u2028d"))


@pytest.mark.parametrize("name", ["x.jsonl", "folder/x.jsonl.gz"])
def test_every_record_reads_back_equal(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    demonstrations = (Demonstration(prompt=TALK, completion="a", meta={"k": [1]}), Demonstration(prompt="q", completion="\n b "))
    write_demonstrations(path, demonstrations)
    assert read_demonstrations(path).records == demonstrations
    rankings = (
        Ranking(prompt="q", completions=("a", "b", "c"), ranks=(1, None, 0), labeler="w", confidence=0.5, meta={"m": None}),
        Ranking(prompt=TALK, completions=("a", "b"), ranks=(0, 1), none_acceptable=True),
    )
    write_rankings(path, rankings)
    assert read_rankings(path).records == rankings
    write_rankings(path, [Pair(prompt="q", chosen="a", rejected="b")])
    assert read_rankings(path).records == (Ranking(prompt="q", completions=("a", "b"), ranks=(0, 1)),)
    prompts = (Prompt(prompt=TALK, meta={"use_case": "qa"}), Prompt(prompt="q"))
    write_prompts(path, prompts)
    assert read_prompts(path).records == prompts
    texts = (Text(text="t", meta={"source": "s"}),)
    write_texts(path, texts)
    assert read_texts(path).records == texts
    unpaired = (Unpaired(prompt="q", completion="a", label=False),)
    write_unpaired(path, unpaired)
    assert read_unpaired(path).records == unpaired


def test_contract_fields_win_over_namesakes_in_meta() -> None:
    assert to_row(Prompt(prompt="q", meta={"prompt": "other", "x": 1})) == {"prompt": "q", "x": 1}


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, "\ud83d"])
def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path: Path, value: object) -> None:
    path = tmp_path / "x.jsonl"
    write_prompts(path, [Prompt(prompt="old")])
    with pytest.raises(DataError, match=r"x\.jsonl: record 2 cannot be written"):
        write_prompts(path, [Prompt(prompt="new"), Prompt(prompt="q", meta={"x": value})])
    assert json.loads(path.read_text()) == {"prompt": "old"}


def test_equal_records_give_equal_bytes_also_compressed(tmp_path: Path) -> None:
    write_prompts(tmp_path / "a.jsonl.gz", [Prompt(prompt="q")])
    write_prompts(tmp_path / "b.jsonl.gz", [Prompt(prompt="q")])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl.gz", "b.jsonl.gz"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        write_prompts(tmp_path / "file" / name, [Prompt(prompt="q")])


def records(count: int, rows_each: int = 3) -> list[Demonstration]:
    return [Demonstration(prompt=f"q{index}", completion=str(row)) for row in range(rows_each) for index in range(count)]


def test_a_split_never_parts_a_prompt() -> None:
    train, held_out = split_by_prompt(records(20), 0.25, seed=0)
    assert {row.prompt for row in train}.isdisjoint(row.prompt for row in held_out)
    assert (len(train), len(held_out)) == (45, 15)


def test_a_split_depends_on_prompts_and_seed_alone() -> None:
    chosen = {row.prompt for row in split_by_prompt(records(20), 0.25, seed=0)[1]}
    assert {row.prompt for row in split_by_prompt(records(20, rows_each=1)[::-1], 0.25, seed=0)[1]} == chosen
    assert {row.prompt for row in split_by_prompt(records(20), 0.25, seed=1)[1]} != chosen


def test_small_sets_still_hold_out_one_prompt_and_keep_one() -> None:
    assert [len(part) for part in split_by_prompt(records(2, 1), 0.01, seed=0)] == [1, 1]
    assert [len(part) for part in split_by_prompt(records(2, 1), 0.99, seed=0)] == [1, 1]
    assert [len(part) for part in split_by_prompt(records(1, 1), 0.5, seed=0)] == [1, 0]
    assert [len(part) for part in split_by_prompt(records(4, 1), 0.0, seed=0)] == [4, 0]


def test_a_fraction_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[0, 1\)"):
        split_by_prompt(records(2), 1.0, seed=0)
