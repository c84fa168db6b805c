"""The paper's tables on small data whose numbers were counted by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.feedback.prompts import PromptFacts, Table, facts_of_file, prompt_tables


def _facts(**changed: Any) -> PromptFacts:
    return PromptFacts(**{"source": "labeler", "split": "train", "stages": ("sft",), "owner": "a", "tokens": 10, **changed})


FACTS = [
    _facts(use_case="generation", tokens=4, demonstration_tokens=(8,), flags={"closed_domain": "yes"}, language="en"),
    _facts(use_case="generation", tokens=8, demonstration_tokens=(2, 6), flags={"closed_domain": "no", "ambiguous": "no"}, language="en"),
    _facts(use_case="chat", tokens=6, split="valid", demonstration_tokens=(1,), language="de"),
    _facts(source="customer", stages=("rm", "ppo"), owner="x", tokens=100, use_case="chat", language="en"),
    _facts(source="customer", stages=("ppo",), owner="x", tokens=50, language="en"),
    _facts(source="customer", stages=("ppo",), owner="y", tokens=30, use_case="open_qa", language="fr", flags={"ambiguous": "yes"}),
    _facts(source="dataset", stages=("unused",), owner="z", tokens=1, language="und"),
]


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return {table.key: table for table in prompt_tables(FACTS, token_rule="bytes/4")}


def _rows(table: Table) -> dict[Any, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in table.rows}


def test_all_tables_come_in_the_papers_order(tables: dict[str, Table]) -> None:
    assert list(tables) == ["table_1", "table_6", "table_7", "table_8", "table_9", "table_10", "table_11", "languages"]


def test_table_1_gives_shares_of_the_labeled_prompts(tables: dict[str, Table]) -> None:
    assert tables["table_1"].columns == ("use case", "sft n", "sft %", "rm n", "rm %", "ppo n", "ppo %", "unused n", "unused %")
    rows = _rows(tables["table_1"])
    assert rows["Generation"][:2] == (2, pytest.approx(200 / 3))
    assert rows["Chat"][2:6] == (1, 100.0, 1, 50.0)
    assert rows["Open QA"][4:6] == (1, 50.0)
    assert rows["not labeled"][4:] == (1, None, 1, None)


def test_table_6_counts_prompts_by_source_and_adds_up(tables: dict[str, Table]) -> None:
    assert tables["table_6"].columns == ("source", "SFT train", "SFT valid", "RM train", "PPO train", "unused train")
    rows = _rows(tables["table_6"])
    assert rows["labeler"] == (2, 1, 0, 0, 0)
    assert rows["customer"] == (0, 0, 1, 3, 0)
    assert rows["dataset"] == (0, 0, 0, 0, 1)
    assert rows["sum"] == (2, 1, 1, 3, 1)


def test_sums_of_table_6_equal_the_counts_of_tables_8_9_10_and_11(tables: dict[str, Table]) -> None:
    sums = dict(zip(tables["table_6"].columns[1:], _rows(tables["table_6"])["sum"], strict=True))
    assert {name: row[0] for name, row in _rows(tables["table_9"]).items()} == sums
    customers = dict(zip(tables["table_6"].columns[1:], _rows(tables["table_6"])["customer"], strict=True))
    assert {name: row[0] for name, row in _rows(tables["table_8"]).items()} == {name: n for name, n in customers.items() if n}
    assert sum(row[0] for row in _rows(tables["table_10"]).values()) == sum(bool(prompt.use_case) for prompt in FACTS)
    labelers = dict(zip(tables["table_6"].columns[1:], _rows(tables["table_6"])["labeler"], strict=True))
    assert _rows(tables["table_11"])["labeler prompts"][0] == labelers["SFT train"] + labelers["SFT valid"]


def test_table_7_divides_by_the_prompts_of_which_it_was_asked(tables: dict[str, Table]) -> None:
    rows = _rows(tables["table_7"])
    assert rows["Closed domain"] == (50.0, None, None, None, None)
    assert rows["Ambiguous"] == (0.0, None, None, 100.0, None)
    assert rows["n with any answer"] == (2, 0, 0, 1, 0)


def test_table_8_divides_prompts_by_customers(tables: dict[str, Table]) -> None:
    assert _rows(tables["table_8"]) == {"RM train": (1, 1, 1.0, 1), "PPO train": (3, 2, 1.5, 2)}


def test_table_9_gives_moments_and_quartiles(tables: dict[str, Table]) -> None:
    # 30 50 100: mean 60, sd sqrt((900 + 100 + 1600) / 2) = 36.056, quartiles by linear interpolation 40, 50, 75
    assert _rows(tables["table_9"])["PPO train"] == (3, 60.0, pytest.approx(1300**0.5), 30, 40.0, 50.0, 75.0, 100)
    assert _rows(tables["table_9"])["SFT valid"] == (1, 6.0, None, 6, 6.0, 6.0, 6.0, 6)


def test_table_10_counts_each_prompt_once(tables: dict[str, Table]) -> None:
    assert _rows(tables["table_10"])["Chat"] == (2, 53.0, 53.0)
    assert _rows(tables["table_10"])["Extract"] == (0, None, None)


def test_table_11_holds_every_demonstration(tables: dict[str, Table]) -> None:
    assert _rows(tables["table_11"])["demonstrations for labeler prompts"][:2] == (4, 4.25)


def test_languages_are_shares_of_all_prompts(tables: dict[str, Table]) -> None:
    assert _rows(tables["languages"])["en"] == (4, pytest.approx(400 / 7))


def test_tables_become_json_row_by_row(tables: dict[str, Table]) -> None:
    value = json.loads(json.dumps(tables["table_6"].as_json()))
    assert value["rows"][0] == {"source": "labeler", "SFT train": 2, "SFT valid": 1, "RM train": 0, "PPO train": 0, "unused train": 0}


def test_rows_of_a_file_serve_the_stage_their_layout_says(tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    rows = [
        {"prompt": "abcd", "completion": "abcdefgh", "source": "labeler", "use_case": "Translate", "split": "valid"},
        {"prompt": "abcdefgh", "completions": ["x", "y"], "ranks": [0, 1], "user": "bob", "flags": {"closed_domain": True}},
        {"prompt": "abc", "chosen": "x", "rejected": "y", "user": "bob"},
        {"prompt": "What is the weather like in spring?", "source": "playground"},
        {"prompt": "abc", "source": "synthetic"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = facts_of_file(file)
    assert [fact.stages for fact in facts] == [("sft",), ("rm",), ("rm",), ("ppo",), ("unused",)]
    assert [fact.source for fact in facts] == ["labeler", "customer", "customer", "customer", "synthetic"]
    assert (facts[0].tokens, facts[0].demonstration_tokens, facts[0].use_case, facts[0].split) == (1, (2,), "rewriting", "valid")
    assert facts[1].flags == {"closed_domain": "yes"}
    assert len({fact.owner for fact in facts}) == 4
    assert facts[3].language == "en"


def test_a_file_row_without_a_prompt_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"prompt": "fine"}\n{"text": "no prompt"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2: prompt: is missing"):
        facts_of_file(file)
