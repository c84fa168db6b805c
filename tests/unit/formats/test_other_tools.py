"""HH-RLHF, AlpacaEval and Open-Assistant in their published layouts; votes, ratings and TRL's rows."""

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.core.records import Comparison, Demonstration, Message, Pair, Prompt, Ranking, Rating, Text, Unpaired
from instructloop.formats import (
    read_alpaca_eval,
    read_comparisons,
    read_demonstrations,
    read_hh,
    read_oasst,
    read_rankings,
    read_ratings,
    trl_rows,
    write_comparisons,
    write_ratings,
)

START = "\n\nHuman: Hello?\n\nAssistant: Yes?\n\nHuman: A joke."


def test_hh_pairs_share_the_conversation_before_the_last_turn() -> None:
    row = {"chosen": f"{START}\n\nAssistant: No.", "rejected": f"{START}\n\nAssistant: A bad one.", "row": 4}
    (ranking,) = read_hh([row]).of(Ranking)
    assert ranking.prompt == (Message("user", "Hello?"), Message("assistant", "Yes?"), Message("user", "A joke."))
    assert (ranking.completions, ranking.ranks) == (("No.", "A bad one."), (0, 1))
    assert ranking.meta == {"hh": {"row": 4}}


def test_hh_red_team_transcripts_are_prompts_with_all_their_fields() -> None:
    row = {
        "min_harmlessness_score_transcript": -1.7,
        "num_params": "52B",
        "model_type": "plain lm",
        "transcript": f"{START}\n\nAssistant: No.",
        "rating": 4.0,
        "task_description": "jokes",
        "task_description_harmlessness_score": 0.1,
        "red_team_member_id": 3,
        "is_upworker": False,
        "tags": None,
    }
    (prompt,) = read_hh([row]).of(Prompt)
    assert isinstance(prompt.prompt, tuple)
    assert prompt.prompt[-1] == Message("user", "A joke.")
    assert prompt.meta == {"hh": row}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": f"{START}\n\nAssistant: a"}, "rejected: is missing"),
        ({"chosen": 3, "rejected": "x"}, "chosen: must be a text, got int"),
        ({"chosen": "hello", "rejected": "x"}, 'chosen: does not begin with "Human:"'),
        ({"chosen": f"{START}\n\nAssistant: a", "rejected": f"{START}\n\nAssistant: a"}, "rejected: is identical to chosen"),
        ({"chosen": f"{START}\n\nAssistant: a", "rejected": f"{START}\n\nAssistant: "}, "rejected: is empty"),
        ({"chosen": f"{START}\n\nAssistant: a", "rejected": "\n\nHuman: b\n\nAssistant: c"}, "rejected: differs from chosen"),
        ({"transcript": "\n\nAssistant: a"}, "transcript: holds no human turn"),
    ],
)
def test_malformed_hh_rows(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"<list>:1: {message}"):
        read_hh([row])


def test_hh_file_of_the_real_kind(shared: Path) -> None:
    """The data guide: 1,858 rows, of which 5 diverge early and 3 have an empty side."""
    loaded = read_hh(shared / "data" / "hh-harmless-test" / "raw_train.jsonl.gz", skip_bad_rows=True)
    assert (len(loaded.items), len(loaded.skipped)) == (1850, 8)


def judged(preference: Any, **more: Any) -> dict[str, Any]:
    """One object of ``annotations.json``."""
    return {
        "instruction": "Sum up.",
        "output_1": "short",
        "generator_1": "baseline",
        "dataset": "helpful_base",
        "output_2": "long",
        "generator_2": "mine",
        "annotator": "weighted_judge",
        "preference": preference,
        "raw_completion": {"logprobs": [1]},
        **more,
    }


@pytest.mark.parametrize(
    ("preference", "winner"), [(1, "a"), (2, "b"), (1.5, "tie"), (0, "tie"), (1.000001, "a"), (1.73, "b"), (2.0, "b"), (0.0, "tie")]
)
def test_alpaca_eval_preferences(preference: float, winner: str) -> None:
    (vote,) = read_alpaca_eval([judged(preference)]).of(Comparison)
    assert (vote.winner, vote.model_a, vote.model_b, vote.labeler) == (winner, "baseline", "mine", "weighted_judge")
    assert (vote.completion_a, vote.completion_b) == ("short", "long")
    assert vote.meta == {"alpaca_eval": {"dataset": "helpful_base", "preference": preference, "raw_completion": {"logprobs": [1]}}}


def test_alpaca_eval_judgements_that_could_not_be_read_are_counted() -> None:
    loaded = read_alpaca_eval([judged(2), judged(None), judged(float("nan"))])
    assert (len(loaded.items), loaded.notes) == (1, {"unread_judgements": 2})


def test_alpaca_farm_rows_have_an_input_apart() -> None:
    (vote,) = read_alpaca_eval([judged(1, input="The text.")]).of(Comparison)
    assert vote.prompt == "Sum up.\n\nThe text."


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (judged(3), "preference: is 3;"),
        (judged("2"), "preference: must be a number, got str"),
        (judged(True), "preference: must be a number, got bool"),
        (judged(1, output_2=" "), "output_2: is empty"),
        ({"instruction": "x", "output_1": "y"}, "output_2: is missing"),
        ({**{name: value for name, value in judged(1).items() if name != "preference"}}, "preference: is missing"),
    ],
)
def test_malformed_alpaca_eval_rows(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"<list>:1: {message}"):
        read_alpaca_eval([row])


def test_alpaca_eval_win_rates_of_the_real_judgements(shared: Path) -> None:
    """Published discrete win rates = votes for the model plus half of the ties, over all votes."""

    def rows(name: str) -> list[dict[str, Any]]:
        with gzip.open(shared / "data" / "alpaca-eval-judgements" / f"{name}.jsonl.gz", "rt") as file:
            return [json.loads(line) for line in file]

    prompts = {row["prompt_id"]: row["prompt"] for row in rows("prompts")}
    published = {row["model"]: row for row in rows("leaderboard")}
    for model, row in published.items():
        given = [
            judged(item["preference"], instruction=prompts[item["prompt_id"]], generator_2=model)
            for item in rows("judgements")
            if item["model"] == model
        ]
        votes = read_alpaca_eval(given).of(Comparison)
        won = sum(vote.winner == "b" for vote in votes) + sum(vote.winner == "tie" for vote in votes) / 2
        assert 100 * won / len(votes) == pytest.approx(float(row["discrete_win_rate"]), abs=0.2)


def node(name: str, role: str, text: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A message of an Open-Assistant tree."""
    return {
        "message_id": name,
        "parent_id": None,
        "user_id": f"user-{name}",
        "text": text,
        "role": role,
        "lang": "en",
        "review_count": 3,
        "review_result": True,
        "deleted": False,
        "synthetic": False,
        "model_name": None,
        "emojis": {"+1": 2},
        "labels": {"quality": {"value": 0.75, "count": 3}},
        "replies": list(replies),
        **more,
    }


def tree() -> dict[str, Any]:
    root = node(
        "p",
        "prompter",
        "Hello?",
        node("a0", "assistant", "Hi.", node("p1", "prompter", "And?"), rank=0),
        node("a1", "assistant", "Go away.", rank=2),
        node("a2", "assistant", "Hm.", rank=1, synthetic=True, model_name="m"),
        node("a3", "assistant", "spam", node("p2", "prompter", "below spam"), deleted=True),
        node("a4", "assistant", "No rank."),
        events={
            "ranking": [
                {"type": "ranking", "user_id": "r1", "ranking": [1, 0, 2], "ranked_message_ids": ["a1", "a0", "a2"], "not_rankable": True}
            ]
        },
    )
    return {"message_tree_id": "p", "tree_state": "ready_for_export", "prompt": root, "origin": "web"}


def test_oasst_trees_give_prompts_demonstrations_and_rankings() -> None:
    loaded = read_oasst([tree()])
    hello = (Message("user", "Hello?"),)
    assert [prompt.prompt for prompt in loaded.of(Prompt)] == [hello, (*hello, Message("assistant", "Hi."), Message("user", "And?"))]
    assert [(item.completion, item.meta["labeler"]) for item in loaded.of(Demonstration)] == [
        ("Hi.", "user-a0"),
        ("Go away.", "user-a1"),
        ("No rank.", "user-a4"),
    ]
    consensus, single = loaded.of(Ranking)
    assert consensus.completions == ("Hi.", "Go away.", "Hm.", "No rank.")
    assert (consensus.ranks, consensus.labeler) == ((0, 2, 1, None), "consensus")
    assert (single.ranks, single.labeler, single.none_acceptable) == ((1, 0, 2, None), "r1", True)


def test_oasst_keeps_labels_reviews_and_tree_state() -> None:
    loaded = read_oasst([tree()])
    first = loaded.of(Demonstration)[0].meta["oasst"]
    assert first["labels"] == {"quality": {"value": 0.75, "count": 3}}
    assert first["parent"]["tree_state"] == "ready_for_export"
    assert first["parent"]["origin"] == "web"
    assert loaded.of(Ranking)[0].meta["oasst"]["replies"][2]["model_name"] == "m"


def test_oasst_leaves_out_what_hangs_on_a_deleted_message_and_says_so() -> None:
    loaded = read_oasst([tree()])
    assert loaded.notes == {"deleted_messages": 1}
    assert str(loaded.skipped[0]) == "<list>:1: prompt.replies[3]: was deleted; left out with its 1 replies"
    assert not any("spam" in str(item.record) for item in loaded.items)


def test_flat_messages_give_the_same_records_as_trees() -> None:
    rows: list[dict[str, Any]] = []

    def flatten(message: dict[str, Any], parent: str | None) -> None:
        rows.append({**{name: value for name, value in message.items() if name != "replies"}, "parent_id": parent})
        for reply in message["replies"]:
            flatten(reply, message["message_id"])

    flatten(tree()["prompt"], None)
    flat, nested = read_oasst(rows), read_oasst([tree()])
    without_meta = [[dataclasses.replace(item.record, meta={}) for item in loaded.items] for loaded in (flat, nested)]
    assert without_meta[0] == without_meta[1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"message_tree_id": "p", "prompt": None}], "1: prompt: is null"),
        ([{"message_tree_id": "p", "prompt": node("p", "robot", "x")}], "1: prompt.role: must be prompter or assistant, got 'robot'"),
        ([{"message_tree_id": "p", "prompt": node("p", "prompter", "")}], "1: prompt.text: is empty"),
        ([node("a", "prompter", "x"), node("a", "prompter", "x")], "2: message_id: 'a' stands twice"),
        ([node("a", "assistant", "x", parent_id="gone")], "1: parent_id: 'gone' is no message of this file"),
        ([{"text": "x"}], "1: message_id: is missing"),
    ],
)
def test_malformed_oasst_rows(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=f"<list>:{message}"):
        read_oasst(rows)


def test_compressed_trees_are_read(tmp_path: Path) -> None:
    file = tmp_path / "2023-04-12_oasst_ready.trees.jsonl.gz"
    file.write_bytes(gzip.compress((json.dumps(tree()) + "\n").encode()))
    assert len(read_oasst(file).of(Demonstration)) == 3


def test_votes_and_ratings_survive_their_files(tmp_path: Path) -> None:
    vote = Comparison(
        prompt="q",
        completion_a="x",
        completion_b="y",
        winner="both_bad",
        model_a="m",
        strength=2,
        labeler="L1",
        meta={"submission_id": "s"},
    )
    write_comparisons(tmp_path / "votes.jsonl", [vote])
    assert read_comparisons(tmp_path / "votes.jsonl").of(Comparison) == [vote]
    rating = Rating(prompt="q", completion="x", overall=6, labeler="L1", meta={"flags": {"a": "yes"}})
    write_ratings(tmp_path / "ratings.jsonl", [rating])
    assert read_ratings(tmp_path / "ratings.jsonl").of(Rating) == [rating]


@pytest.mark.parametrize(("overall", "shown"), [(0, "0"), (8, "8"), (2.5, "2.5"), (True, "True"), ("4", "'4'")])
def test_ratings_go_from_1_to_7(overall: Any, shown: str) -> None:
    with pytest.raises(DataError, match=f"overall: must be a whole number from 1 to 7, got {shown}"):
        read_ratings([{"prompt": "q", "completion": "x", "overall": overall}])


RANKED = Ranking(
    prompt="q", completions=("x", "y", "z"), ranks=(0, 1, 0), labeler="L1", meta={"submission_id": "s1", "models": ["a", "b", "c"]}
)


def test_trl_standard_rows() -> None:
    lineage = {"labeler": "L1", "submission_id": "s1"}
    assert [*trl_rows([RANKED], conversational=False)] == [
        {"prompt": "q", "chosen": "x", "rejected": "y", **lineage},
        {"prompt": "q", "chosen": "z", "rejected": "y", **lineage},
    ]
    assert [*trl_rows([Demonstration(prompt="q", completion="x")], conversational=False)] == [{"prompt": "q", "completion": "x"}]
    assert [*trl_rows([Unpaired(prompt="q", completion="x", label=False)], conversational=False)] == [
        {"prompt": "q", "completion": "x", "label": False}
    ]


def test_trl_conversational_rows_come_back_as_the_same_records() -> None:
    demonstration = Demonstration(prompt=(Message("system", "s"), Message("user", "q")), completion="x")
    rows = [*trl_rows([demonstration], conversational=True)]
    assert rows == [
        {
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
            "completion": [{"role": "assistant", "content": "x"}],
        }
    ]
    assert [*read_demonstrations(rows)] == [demonstration]
    pairs = [*read_rankings(trl_rows([Pair(prompt="q", chosen="x", rejected="y")], conversational=True))]
    assert (pairs[0].prompt, pairs[0].completions) == ((Message("user", "q"),), ("x", "y"))


def test_trl_has_no_pair_for_ties_and_for_none_acceptable() -> None:
    tie = Comparison(prompt="q", completion_a="x", completion_b="y", winner="tie")
    lost = Comparison(prompt="q", completion_a="x", completion_b="y", winner="b")
    unusable = Ranking(prompt="q", completions=("x", "y"), ranks=(0, 1), none_acceptable=True)
    assert [*trl_rows([tie, unusable, lost], conversational=False)] == [{"prompt": "q", "chosen": "y", "rejected": "x"}]


def test_trl_standard_rows_of_a_conversation_end_in_the_assistants_turn() -> None:
    prompt = (Message("user", "q"), Message("assistant", "a"), Message("user", "r"))
    (row,) = trl_rows([Prompt(prompt=prompt)], conversational=False)
    assert row == {"prompt": "user: q\nassistant: a\nuser: r\nassistant:"}
    with pytest.raises(DataError, match="TRL has no row for Rating"):
        [*trl_rows([Rating(prompt="q", completion="x", overall=1)], conversational=False)]
    with pytest.raises(DataError, match="TRL has no row for Text"):
        [*trl_rows([Text(text="x")], conversational=False)]
