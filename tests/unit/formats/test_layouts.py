"""Other tools' layouts as they stand."""

from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.core.records import Message
from instructloop.formats import read_demonstrations, read_prompts, read_rankings, read_unpaired

USER: dict[str, Any] = {"role": "user", "content": "q"}
GOOD: dict[str, Any] = {"role": "assistant", "content": "good"}
BAD: dict[str, Any] = {"role": "assistant", "content": "bad"}
ASKED = (Message("user", "q"),)


def test_trl_conversational_prompt_and_completion() -> None:
    (record,) = read_demonstrations([{"prompt": [USER], "completion": [GOOD]}])
    assert (record.prompt, record.completion) == (ASKED, "good")
    with pytest.raises(DataError, match="completion: must be one assistant message"):
        read_demonstrations([{"prompt": [USER], "completion": [GOOD, USER, BAD]}])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "q", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        {"prompt": [USER], "completions": [[BAD], [GOOD]], "ranks": [1, 0]},
    ],
)
def test_preferences_over_messages(row: dict[str, Any]) -> None:
    (record,) = read_rankings([row])
    assert record.prompt == ASKED
    ((winner, loser),) = record.strict_pairs()
    assert (record.completions[winner], record.completions[loser]) == ("good", "bad")


def test_conversations_that_diverge_early_have_no_common_prompt() -> None:
    row = {"chosen": [USER, GOOD, USER, GOOD], "rejected": [USER, BAD, USER, BAD]}
    with pytest.raises(DataError, match="rejected: differs from chosen before the last turn"):
        read_rankings([row])
    keep = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert read_rankings([keep, row], skip_bad_rows=True).notes == {"diverging_conversations": 1}


def test_conversations_must_end_in_an_answer() -> None:
    with pytest.raises(DataError, match="rejected: does not end in an assistant turn"):
        read_rankings([{"chosen": [USER, GOOD], "rejected": [USER, USER]}])
    with pytest.raises(DataError, match="chosen: has no prompt before its last turn"):
        read_rankings([{"chosen": [GOOD], "rejected": [BAD]}])


def test_hh_transcripts_become_conversations() -> None:
    start = "\n\nHuman: one\n\ntwo\n\nAssistant: ok\n\nHuman: more"
    (record,) = read_rankings([{"chosen": f"{start}\n\nAssistant: yes", "rejected": f"{start}\n\nAssistant: no"}])
    assert record.prompt == (Message("user", "one\n\ntwo"), Message("assistant", "ok"), Message("user", "more"))
    assert record.completions == ("yes", "no")


def test_ultrafeedback_scores_become_ranks() -> None:
    answers = [{"response": "a", "overall_score": 6.5}, {"response": "b", "overall_score": 9}, {"response": "c", "overall_score": 6.5}]
    (record,) = read_rankings([{"instruction": "q", "completions": answers, "source": "s"}])
    assert record.prompt == "q"
    assert record.ranks == (1, 0, 1)
    assert record.meta == {"source": "s", "scores": [6.5, 9.0, 6.5]}
    with pytest.raises(DataError, match="completions: are objects without a number"):
        read_rankings([{"instruction": "q", "completions": [{"response": "a"}, {"response": "b"}]}])


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, "Add.\n\n1 2"),
        ({"instruction": "Add.", "input": "", "output": "3"}, "Add."),
        ({"instruction": "Add.", "context": "1 2", "response": "3", "category": "math"}, "Add.\n\n1 2"),
    ],
)
def test_instruction_rows(row: dict[str, Any], prompt: str) -> None:
    (record,) = read_demonstrations([row])
    assert (record.prompt, record.completion) == (prompt, "3")


def test_sharegpt_conversations() -> None:
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "good"}]
    (record,) = read_demonstrations([{"conversations": turns}])
    assert record.prompt == (Message("system", "s"), Message("user", "q"))
    assert record.completion == "good"


def test_text_parts_of_a_message_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    (record,) = read_prompts([{"messages": [{"role": "user", "content": parts}]}])
    assert record.prompt == (Message("user", "ab"),)
    with pytest.raises(DataError, match=r"prompt\[0\].content: must be a text, got list"):
        read_prompts([{"messages": [{"role": "user", "content": [{"type": "image"}]}]}])


def test_messages_with_a_label() -> None:
    (record,) = read_unpaired([{"messages": [USER, BAD], "label": False}])
    assert (record.prompt, record.completion, record.label) == (ASKED, "bad", False)


def test_the_prompts_of_demonstrations_are_read_without_their_answers() -> None:
    (record,) = read_prompts([{"messages": [USER, GOOD], "id": 3}])
    assert record.prompt == ASKED
    assert record.meta == {"id": 3, "completion": [GOOD]}


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": [USER], "completions": [[BAD], [GOOD]], "ranks": [5, 2]},
        {"instruction": "q", "completions": [{"response": "a", "score": 1}, {"response": "b", "score": 2}]},
    ],
)
def test_rows_given_are_never_changed(row: dict[str, Any]) -> None:
    before = repr(row)
    assert len(read_rankings([row])) == 1
    assert repr(row) == before
