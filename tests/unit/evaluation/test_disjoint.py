"""Test prompts are compared with everything behind a model: what it was trained on, and what it was chosen by."""

import json
from pathlib import Path

import pytest

from instructloop.core.errors import ConfigError
from instructloop.core.records import Message
from instructloop.evaluation.disjoint import refuse_seen, seen_prompts
from instructloop.runs import RunDir, parent
from instructloop.runs.prompts_used import prompt_hash, record_selection, selections


def rows(path: Path, *values: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return str(path)


def run(path: Path, stage: str, **parents: str) -> str:
    given = [parent(role.replace("__", " "), place) for role, place in parents.items()]
    with RunDir.open(path, stage=stage, config={}, parents=given) as opened:
        opened.publish("model", lambda place: (place / "config.json").write_text("{}"))
    return str(path)


@pytest.fixture
def ppo(tmp_path: Path) -> str:
    """SFT on two files, a reward model on rankings, PPO on prompts with a watch."""
    first = rows(tmp_path / "d1.jsonl", {"prompt": "trained  One", "completion": "x"})
    second = rows(tmp_path / "d2.jsonl", {"prompt": "trained two", "completion": "x"})
    held = rows(tmp_path / "valid.jsonl", {"prompt": "validated", "completion": "x"})
    ranked = rows(tmp_path / "r.jsonl", {"prompt": "ranked", "completions": ["a", "b"], "ranks": [0, 1]})
    prompts = rows(tmp_path / "p.jsonl", {"prompt": "rolled out"})
    watched = rows(tmp_path / "w.jsonl", {"prompt": "watched"})
    sft = run(tmp_path / "sft", "sft", demonstrations=first, demonstrations__2=second, validation=held)
    rm = run(tmp_path / "rm", "rm", trunk=sft, rankings=ranked)
    return run(tmp_path / "ppo", "ppo", policy_init=sft, reward=rm, prompts=prompts, watch_prompts=watched)


@pytest.mark.parametrize(
    ("prompt", "use"),
    [
        ("trained one", "training"), ("trained two", "training"), ("ranked", "training"), ("rolled out", "training"),
        ("validated", "selection"), ("watched", "selection"), ("new", None),
    ],
)  # fmt: skip
def test_every_file_behind_a_model_counts_once_with_what_it_was_used_for(ppo: str, prompt: str, use: str | None) -> None:
    found = seen_prompts([ppo, f"{ppo}/model"], [prompt, "also new"])
    assert [contact.use for contact in found.contacts] == ([use] if use else [])
    assert (found.prompts, len(found.hashes), found.checked, found.unread) == (2, int(use is not None), 6, ())


def test_case_white_space_and_unicode_forms_do_not_make_another_prompt() -> None:
    assert prompt_hash("Caf\u00e9  au\nLait ") == prompt_hash("cafe\u0301 au lait")
    assert prompt_hash("ﬁne") == prompt_hash("fine")
    assert prompt_hash("fine") != prompt_hash("fine?")
    assert prompt_hash((Message("user", "fine"),)) != prompt_hash("fine"), "a conversation is another prompt than its text"


def test_a_choice_noted_in_a_run_is_found_and_noted_once(tmp_path: Path) -> None:
    sft = run(tmp_path / "sft", "sft")
    record_selection(Path(sft), "epoch by rm_score", ["one", "two"])
    record_selection(Path(sft), "epoch by rm_score", ["One", "three"])
    record_selection(Path(sft), "best of three", ["four"], by="runs/select")
    assert [(one.what, one.by, len(one.hashes)) for one in selections(Path(sft))] == [
        ("epoch by rm_score", "", 2),
        ("best of three", "runs/select", 1),
    ]
    assert "four" not in (tmp_path / "sft/selection_prompts.json").read_text(), "hashes, not texts"
    below = run(tmp_path / "ppo", "ppo", policy_init=sft)
    found = seen_prompts([below], ["two", "three", "four", "five"])
    assert [(contact.use, len(contact.hashes)) for contact in found.contacts] == [("selection", 1), ("selection", 1)]


def test_seen_prompts_are_refused_with_counts_an_example_and_the_place(ppo: str) -> None:
    with pytest.raises(ConfigError, match=r"3 of 4 test prompts are not held out \(2 trained on, 1 used for selection\)") as refused:
        refuse_seen([ppo], ["fresh", "Ranked", "rolled out", "watched"])
    assert "'Ranked'" in refused.value.message
    assert "--allow-seen-prompts" in str(refused.value.hint)
    allowed = refuse_seen([ppo], ["fresh", "Ranked"], allow=True).as_json()
    assert (allowed["n"], allowed["of"], allowed["by"][0]["use"]) == (1, 2, "training")
    assert refuse_seen([ppo], ["fresh"]).as_json()["n"] == 0


def test_prompts_of_an_evaluation_are_test_prompts_and_not_seen_ones(tmp_path: Path, ppo: str) -> None:
    tests = rows(tmp_path / "t.jsonl", {"prompt": "fresh"})
    out = run(tmp_path / "eval", "evaluate", model=ppo, prompts=tests)
    assert seen_prompts([out], ["fresh"]).contacts == ()
    assert len(seen_prompts([out], ["ranked"]).contacts) == 1, "its models' lineage still counts"


def test_data_that_is_gone_or_on_a_hub_is_listed_and_not_guessed(tmp_path: Path) -> None:
    data = rows(tmp_path / "d.jsonl", {"prompt": "one", "completion": "x"})
    sft = run(tmp_path / "sft", "sft", demonstrations=data, prompts="hub/name")
    Path(data).unlink()
    found = seen_prompts([sft, "some-org/some-model"], ["one"])
    assert found.contacts == ()
    assert len(found.unread) == 2
