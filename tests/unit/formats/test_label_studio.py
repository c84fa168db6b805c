"""Label Studio's JSON and JSON-MIN, with each control tag that judges texts."""

import json
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.core.records import Comparison, Demonstration, Prompt, Ranking, Rating
from instructloop.formats import read_label_studio

ITEMS = [{"id": "mdn", "title": "M", "body": "text m"}, {"id": "blog", "body": "text b"}, {"id": "wiki", "body": "text w"}]


def task(data: dict[str, Any], *results: dict[str, Any], **annotation: Any) -> dict[str, Any]:
    """A task of the full export with one annotation."""
    return {
        "id": 1,
        "data": data,
        "annotations": [
            {
                "id": 1001,
                "completed_by": 10,
                "result": list(results),
                "was_cancelled": False,
                "ground_truth": False,
                "created_at": "2021-03-09T22:16:08.728353Z",
                "updated_at": "2021-03-09T22:16:08.728378Z",
                "lead_time": 4.288,
                "prediction": {},
                "result_count": 0,
                "task": 1,
                **annotation,
            }
        ],
        "predictions": [{"model_version": "m1", "result": [], "score": 0.5}],
        "meta": {"shard": 3},
        "project": 83,
    }


def result(kind: str, value: dict[str, Any], name: str = "tag", to: str = "txt") -> dict[str, Any]:
    return {"id": "Dx", "from_name": name, "to_name": to, "type": kind, "value": value}


PAIR = {"prompt": "Q?", "text1": "yes", "text2": "no", "topic": "logic"}


def test_ranker_gives_a_strict_order_of_the_items_by_their_ids() -> None:
    row = task({"question": "Q?", "items": ITEMS}, result("ranker", {"ranker": {"rank": ["wiki", "mdn", "blog"]}}))
    (ranking,) = read_label_studio([row]).of(Ranking)
    assert ranking.prompt == "Q?"
    assert ranking.completions == ("text m", "text b", "text w")
    assert (ranking.ranks, ranking.labeler) == ((1, 2, 0), "10")


def test_buckets_are_tiers_and_the_unsorted_column_has_no_rank() -> None:
    value = {"ranker": {"Rank 2": ["mdn"], "Rank 1": ["blog"], "_": ["wiki"]}}
    (ranking,) = read_label_studio([task({"question": "Q?", "items": ITEMS}, result("ranker", value))]).of(Ranking)
    assert ranking.ranks == (1, 0, None)


def test_buckets_without_numbers_need_their_order() -> None:
    row = task({"question": "Q?", "items": ITEMS}, result("ranker", {"ranker": {"bad": ["mdn", "wiki"], "good": ["blog"]}}))
    with pytest.raises(DataError, match="has buckets whose order is not known: bad, good") as caught:
        read_label_studio([row])
    assert caught.value.hint == "say it, best first: --map 'buckets=bad>good'"
    (ranking,) = read_label_studio([row], names={"buckets": "good>bad"}).of(Ranking)
    assert ranking.ranks == (1, 0, 1)


def test_the_old_ranker_holds_texts_in_their_new_order() -> None:
    value = {"items": ["abc", "def"], "weights": [1.0, 0.7], "selected": [False, False]}
    (ranking,) = read_label_studio([task({"text": "x", "prompt": "Q?"}, result("ranker", value))]).of(Ranking)
    assert (ranking.completions, ranking.ranks) == (("abc", "def"), (0, 1))


def test_pairwise_names_a_side() -> None:
    loaded = read_label_studio([task(PAIR, result("pairwise", {"selected": "right"}, "pw", "text1,text2"))])
    (vote,) = loaded.of(Comparison)
    assert (vote.completion_a, vote.completion_b, vote.winner) == ("yes", "no", "b")
    kept = vote.meta["label_studio"]
    assert kept["data"]["topic"] == "logic"
    assert kept["predictions"][0]["model_version"] == "m1"
    assert kept["meta"] == {"shard": 3}
    assert kept["annotation"]["lead_time"] == 4.288


def test_sides_are_said_where_the_fields_have_free_names() -> None:
    row = task({"prompt": "Q?", "human": "yes", "machine": "no"}, result("pairwise", {"selected": "left"}))
    with pytest.raises(DataError, match=r"result\[0\].value.selected: 'left' names none of two completions") as caught:
        read_label_studio([row])
    assert caught.value.hint == "say which fields of data were compared: --map left=FIELD right=FIELD"
    (vote,) = read_label_studio([row], names={"left": "machine", "right": "human"}).of(Comparison)
    assert (vote.completion_a, vote.winner) == ("no", "a")


@pytest.mark.parametrize(("label", "winner"), [("text2", "b"), ("Text 1", "a"), ("Tie", "tie"), ("Both bad", "both_bad")])
def test_choices_that_name_a_completion_are_a_vote(label: str, winner: str) -> None:
    (vote,) = read_label_studio([task(PAIR, result("choices", {"choices": [label]}))]).of(Comparison)
    assert vote.winner == winner


def test_other_choices_are_kept_beside_the_prompt() -> None:
    loaded = read_label_studio([task(PAIR, result("choices", {"choices": ["Off topic"]}))])
    (prompt,) = loaded.of(Prompt)
    assert prompt.meta["label_studio"]["annotation"]["result"][0]["value"] == {"choices": ["Off topic"]}
    assert loaded.notes == {"answers_without_judgement": 1}


def test_ratings_and_written_answers() -> None:
    row = task(
        {"instruction": "Q?", "answer": "yes"},
        result("rating", {"rating": 4}, "quality", "answer"),
        result("textarea", {"text": ["better"]}, "correction", "answer"),
        completed_by={"id": 7, "email": "someone@example.org"},
    )
    loaded = read_label_studio([row])
    (rating,) = loaded.of(Rating)
    assert (rating.completion, rating.overall, rating.labeler) == ("yes", 4.0, "7")
    (written,) = loaded.of(Demonstration)
    assert (written.completion, written.meta["labeler"]) == ("better", "7")


def test_rating_of_one_of_two_completions_is_found_by_its_tag() -> None:
    row = task(PAIR, result("rating", {"rating": 2}, "quality", "text2"), result("rating", {"rating": 5}, "quality", "page"))
    (rating,) = read_label_studio([row]).of(Rating)
    assert (rating.completion, rating.overall) == ("no", 2.0)


def test_json_min_is_one_flat_object_an_annotation() -> None:
    row = {
        "id": 5,
        "question": "Q?",
        "items": ITEMS,
        "rank": [{"ranker": {"rank": ["blog", "wiki", "mdn"]}}],
        "annotator": 3,
        "annotation_id": 9,
        "created_at": "2021-03-09T22:16:08.728353Z",
        "updated_at": "2021-03-09T22:16:08.728378Z",
        "lead_time": 2.5,
    }
    (ranking,) = read_label_studio([row]).of(Ranking)
    assert (ranking.ranks, ranking.labeler) == ((2, 0, 1), "3")
    assert ranking.meta["label_studio"]["annotation"]["lead_time"] == 2.5
    vote = {**PAIR, "id": 6, "annotator": 3, "annotation_id": 10, "pw": [{"selected": "left"}]}
    assert read_label_studio([vote]).of(Comparison)[0].winner == "a"
    tie = {**PAIR, "id": 6, "annotator": 3, "annotation_id": 10, "choice": "tie"}
    assert read_label_studio([tie]).of(Comparison)[0].winner == "tie"


def test_cancelled_annotations_and_empty_tasks_are_not_lost() -> None:
    row = task(PAIR, was_cancelled=True)
    loaded = read_label_studio([row, {"id": 2, "data": PAIR, "annotations": [], "predictions": []}])
    assert len(loaded.of(Prompt)) == 2
    assert loaded.notes == {"cancelled_annotations": 1, "tasks_without_answers": 2}
    assert loaded.skipped[0].field == "annotations[0]"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "annotations": []}, "data: is missing"),
        (task({"only": 1}), "data: holds no prompt"),
        ({**task(PAIR), "annotations": 3}, "annotations: must be a list, got int"),
        (task(PAIR, 4), r"annotations\[0\].result\[0\]: must be an object, got int"),  # type: ignore[arg-type]
        (task({"prompt": "Q?", "items": ITEMS}, result("ranker", {"ranker": {"rank": ["mdn", "zzz"]}})), "ranks 'zzz', which is no item"),
        (task({"prompt": "Q?", "items": ITEMS}, result("ranker", {"ranker": {"rank": ["mdn", "mdn"]}})), "ranks 'mdn' twice"),
        (task({"prompt": "Q?", "items": ITEMS}, result("ranker", {"ranker": {"rank": ["mdn"]}})), "ranks fewer than 2 completions"),
        (task({**PAIR, "prompt": ""}), "data.prompt: is empty"),
    ],
)
def test_malformed_tasks_name_field_and_reason(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"<list>:1: .*{message}"):
        read_label_studio([row])


def test_an_export_is_a_json_list(tmp_path: Path) -> None:
    file = tmp_path / "project-1.json"
    file.write_text(json.dumps([task(PAIR, result("pairwise", {"selected": "left"})), task({"x": 1})]))
    with pytest.raises(DataError, match=r"project-1\.json:2: data: holds no prompt"):
        read_label_studio(file)
    assert len(read_label_studio(file, skip_bad_rows=True).of(Comparison)) == 1
