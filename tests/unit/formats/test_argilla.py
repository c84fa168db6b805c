"""Argilla's records in each form that its versions write."""

import json
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.core.records import Comparison, Demonstration, Prompt, Ranking, Rating
from instructloop.formats import read_argilla

FIELDS = {"prompt": "Name a fruit.", "response-1": "An apple.", "response-2": "A stone.", "response-3": "A pear.", "hint": "sweet"}
SUGGESTION = {"question_name": "quality", "value": 3, "score": 0.7, "agent": "model-x", "type": "model"}


def version_1() -> dict[str, Any]:
    """A record as version 1 writes it: responses by person, values by question."""
    return {
        "id": "3f0c",
        "external_id": "row-7",
        "fields": FIELDS,
        "metadata": {"batch": 2},
        "vectors": {},
        "suggestions": [SUGGESTION],
        "responses": [
            {
                "user_id": "u-1",
                "status": "submitted",
                "values": {
                    "preference": {
                        "value": [
                            {"rank": 1, "value": "response-3"},
                            {"rank": 1, "value": "response-1"},
                            {"rank": 2, "value": "response-2"},
                        ]
                    },
                    "why": {"value": "a stone is no fruit"},
                },
            },
            {
                "user_id": "u-2",
                "status": "submitted",
                "values": {"preference": {"value": [{"rank": 2, "value": "response-1"}, {"rank": 1, "value": "response-2"}]}},
            },
            {"user_id": "u-3", "status": "discarded", "values": {}},
            {"user_id": "u-4", "status": "draft", "values": {"why": {"value": "not sure"}}},
        ],
    }


def test_each_person_gives_a_ranking_of_their_own() -> None:
    loaded = read_argilla([version_1()])
    first, second = loaded.of(Ranking)
    assert first.prompt == "Name a fruit."
    assert first.completions == ("An apple.", "A stone.", "A pear.")
    assert (first.ranks, first.labeler) == ((0, 1, 0), "u-1")
    assert (second.ranks, second.labeler) == ((1, 0, None), "u-2")


def test_everything_else_is_kept_under_the_name_of_the_tool() -> None:
    loaded = read_argilla([version_1()])
    kept = loaded.of(Ranking)[0].meta["argilla"]
    assert kept["external_id"] == "row-7"
    assert kept["metadata"] == {"batch": 2}
    assert kept["suggestions"] == [SUGGESTION]
    assert kept["fields"] == {"hint": "sweet"}
    assert kept["response"]["values"]["why"] == "a stone is no fruit"
    assert kept["completions"] == ["response-1", "response-2", "response-3"]
    assert kept["question"] == "preference"


def test_drafts_and_discarded_answers_are_listed_as_left_out() -> None:
    loaded = read_argilla([version_1()])
    assert loaded.notes == {"discarded_responses": 1, "draft_responses": 1}
    assert [(skip.field, skip.reason) for skip in loaded.skipped] == [
        ("responses[2]", "is discarded, not submitted"),
        ("responses[3]", "is draft, not submitted"),
    ]


def test_version_2_groups_answers_by_question() -> None:
    row = {
        "id": "row-7",
        "fields": {"instruction": "Name a fruit.", "response": "A stone."},
        "metadata": {},
        "suggestions": {"rating": {"value": 4, "score": None, "agent": None}},
        "responses": {
            "rating": [{"value": 2, "user_id": "u-1"}, {"value": 5, "user_id": "u-2"}],
            "corrected_response": [{"value": "An apple.", "user_id": "u-1"}],
        },
        "vectors": {},
        "_server_id": "99",
    }
    loaded = read_argilla([row])
    assert [(rating.completion, rating.overall, rating.labeler) for rating in loaded.of(Rating)] == [
        ("A stone.", 2.0, "u-1"),
        ("A stone.", 5.0, "u-2"),
    ]
    (written,) = loaded.of(Demonstration)
    assert (written.completion, written.meta["labeler"]) == ("An apple.", "u-1")
    assert written.meta["argilla"]["completions"] == {"response": "A stone."}


def test_flat_columns_of_version_2() -> None:
    row = {
        "id": "1",
        "status": "completed",
        "_server_id": "s",
        "prompt": "Q?",
        "response_a": "yes",
        "response_b": "no",
        "choice.responses": ["response_a", "tie"],
        "choice.responses.users": ["u-1", "u-2"],
        "choice.responses.status": ["submitted", "submitted"],
        "choice.suggestion": "response_b",
    }
    votes = read_argilla([row]).of(Comparison)
    assert [(vote.winner, vote.labeler) for vote in votes] == [("a", "u-1"), ("tie", "u-2")]
    assert votes[0].meta["argilla"]["choice.suggestion"] == "response_b"
    assert votes[0].meta["argilla"]["status"] == "completed"


def test_flat_columns_of_version_1() -> None:
    row = {
        "prompt": "Q?",
        "response": "yes",
        "quality": [{"user_id": "u-1", "value": 6, "status": "submitted"}],
        "quality-suggestion": None,
        "external_id": None,
        "metadata": "{}",
    }
    (rating,) = read_argilla([row]).of(Rating)
    assert (rating.overall, rating.labeler) == (6.0, "u-1")
    assert rating.meta["argilla"]["metadata"] == "{}"


def test_ranking_that_the_datasets_library_turned_into_columns() -> None:
    row = version_1()
    row["responses"] = [
        {"user_id": "u", "status": "submitted", "values": {"p": {"value": {"rank": [2, 1], "value": ["response-1", "response-2"]}}}}
    ]
    (ranking,) = read_argilla([row]).of(Ranking)
    assert ranking.ranks == (1, 0, None)


def test_a_record_without_answers_stays_as_a_prompt() -> None:
    loaded = read_argilla([{"id": "1", "fields": FIELDS, "responses": [], "metadata": {"a": 1}}])
    (prompt,) = loaded.of(Prompt)
    assert prompt.prompt == "Name a fruit."
    assert prompt.meta["argilla"]["fields"] == {name: text for name, text in FIELDS.items() if name != "prompt"}
    assert loaded.notes == {"records_without_answers": 1}


def test_names_that_cannot_be_guessed_are_said() -> None:
    row = {
        "id": "1",
        "fields": {"ask": "Q?", "one": "yes", "two": "no"},
        "responses": [
            {"user_id": "u", "status": "submitted", "values": {"order": {"value": [{"rank": 1, "value": "B"}, {"rank": 2, "value": "A"}]}}}
        ],
    }
    with pytest.raises(DataError, match=r"<list>:1: fields: holds no prompt") as caught:
        read_argilla([row])
    assert caught.value.hint == "say which field is the prompt: --map prompt=FIELD"
    with pytest.raises(DataError, match=r"<list>:1: responses\[0\]\.order: ranks 'B', which is no field with a completion") as caught:
        read_argilla([row], names={"prompt": "ask"})
    assert caught.value.hint == "say which field it is: --map 'B=FIELD'"
    (ranking,) = read_argilla([row], names={"prompt": "ask", "A": "one", "B": "two"}).of(Ranking)
    assert (ranking.completions, ranking.ranks) == (("yes", "no"), (1, 0))


def broken(**changes: Any) -> dict[str, Any]:
    return {**version_1(), **changes}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (broken(fields=None), "fields: is missing or empty"),
        (broken(fields=[1]), "fields: must be an object, got list"),
        (broken(fields={**FIELDS, "prompt": " "}), "fields.prompt: is empty"),
        (broken(fields={**FIELDS, "response-1": ""}), "fields.response-1: is empty"),
        (broken(responses="x"), "responses: must be a list, got str"),
        (broken(responses=[3]), r"responses\[0\]: must be an object, got int"),
        (broken(responses=[{"user_id": "u", "values": []}]), r"responses\[0\].values: must be an object, got list"),
        (broken(responses=[{"values": {"p": {"value": [{"rank": "x", "value": "response-1"}]}}}]), r"p\[0\]: must be an integer or null"),
        (broken(responses=[{"values": {"p": {"value": [{"rank": 1, "value": "response-1"}]}}}]), "p: ranks fewer than 2 completions"),
        (broken(responses=[{"values": {"p": {"value": [{"rank": 1, "value": "response-1"}] * 2}}}]), "p: ranks 'response-1' twice"),
        ({"text": "x"}, "fields: is missing"),
    ],
)
def test_malformed_records_name_field_and_reason(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"<list>:1: .*{message}"):
        read_argilla([row])
    loaded = read_argilla([version_1(), row], skip_bad_rows=True)
    assert len(loaded.of(Ranking)) == 2
    assert loaded.skipped[-1].line == 2


def test_a_file_is_read_by_line(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(version_1()) + "\n" + json.dumps(broken(fields={})) + "\n")
    with pytest.raises(DataError, match=r"records\.jsonl:2: fields: is missing or empty"):
        read_argilla(file)
