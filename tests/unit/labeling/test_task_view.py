"""What task pages say: answers in letters, guideline changes line by line, keys that cannot collide."""

from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.core.records import Message
from instructloop.feedback import own_answers, preferences
from instructloop.feedback.answers import (
    Answer,
    CritiqueAnswer,
    DemonstrationAnswer,
    InstructionAnswer,
    OutputRating,
    OutputToxicity,
    PairwiseAnswer,
    RankingAnswer,
    RatingAnswer,
    ToxicityAnswer,
)
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.labelers import create_labeler, get_labeler
from instructloop.feedback.refusals import UnknownTaskError
from instructloop.feedback.submissions import submit
from instructloop.labeling.tasks import columns, view
from instructloop.labeling.tasks.forms import Asked
from instructloop.testing.tasks import seed_queue

LETTERS = {0: "C", 1: "A", 2: "B"}


def rating(*overall: int, tiers: tuple[int, ...]) -> RatingAnswer:
    outputs = tuple(OutputRating(overall=value, flags={"opinion": "yes" if value == 1 else "no"}) for value in overall)
    return RatingAnswer(prompt_flags={"use_case": "chat", "pii": "no"}, outputs=outputs, ranking=RankingAnswer(tiers=tiers))


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (RankingAnswer(tiers=(3, 1, 1)), ["A = B > C"]),
        (RankingAnswer(tiers=(None, None, None), none_acceptable=True), ["no order (none acceptable)"]),
        (PairwiseAnswer(winner="0", strength=2), ["C is better", "by 2 of 3"]),
        (PairwiseAnswer(winner="both_bad"), ["Both bad"]),
        (InstructionAnswer(prompt_flags={"pii": "no"}), ["all no"]),
        (InstructionAnswer(prompt_flags={"closed_domain": "yes", "use_case": "open_qa"}), ["Closed domain; Kind of task: open qa"]),
        (DemonstrationAnswer(text="a text"), ["a text"]),
        (CritiqueAnswer(texts=("too long", "", "wrong")), ["C: too long", "B: wrong"]),
        (
            rating(1, 7, 4, tiers=(3, 1, 2)),
            ["A > B > C", "A: 7 of 7", "B: 4 of 7", "C: 1 of 7; Expresses an opinion", "Instruction: Kind of task: chat"],
        ),
        (
            ToxicityAnswer(
                input_toxicity=1, outputs=(OutputToxicity(toxicity=2, relative=-1, continuity=6),), ranking=RankingAnswer(tiers=(1,))
            ),
            ["C", "beginning: toxicity 1", "C: toxicity 2, against it -1, continuity 6"],
        ),
    ],
)
def test_an_answer_is_told_in_the_letters_of_the_page(answer: Answer, lines: list[str]) -> None:
    assert columns.told(answer, LETTERS) == lines


def test_ratings_against_the_ranking_are_told_by_letter() -> None:
    """Shown order C-slot first: slot 2 is A, slot 0 is B, slot 1 is C; A is ranked first but rated below B."""
    asked = Asked(order=(2, 0, 1))
    told = view.contradictions(rating(6, 2, 3, tiers=(2, 3, 1)), asked)
    assert told == ["In the answer before this, A (rated 3) is ranked above B (rated 6)."]
    assert view.contradictions(rating(6, 2, 7, tiers=(2, 3, 1)), asked) == []


def test_changed_lines_of_a_guideline_are_found() -> None:
    assert view.changes("one\n\ntwo\nthree", "one\ntwo and a half\nthree\nfour") == [
        ("del", "two"),
        ("ins", "two and a half"),
        ("ins", "four"),
    ]


def test_a_conversation_is_shown_turn_by_turn() -> None:
    turns = view.turns_of((Message("system", "Be brief."), Message("user", "Why?")))
    assert [(turn.role, turn.text) for turn in turns] == [("System", "Be brief."), ("User", "Why?")]
    assert [turn.role for turn in view.turns_of("Why?")] == [""]


def test_every_command_of_the_pages_has_a_name_and_a_key() -> None:
    assert set(view.COMMAND_NAMES) == set(preferences.KEYS)
    assert len(set(preferences.KEYS.values())) == len(preferences.KEYS)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"skip": "u"}, "keys"),
        ({"skip": "3"}, "keys.skip"),
        ({"skip": ""}, "keys.skip"),
        ({"sing": "q"}, "keys.sing"),
        ({"skip": "ab"}, "keys.skip"),
    ],
)
def test_a_key_that_cannot_work_is_refused_by_name(database: Database, keys: dict[str, str], named: str) -> None:
    labeler = create_labeler(database)
    with pytest.raises(DataError, match=named):
        preferences.save_keys(database, labeler, keys)
    assert preferences.keys_of(get_labeler(database, labeler)) == preferences.KEYS


def test_keys_stay_when_other_choices_change(database: Database) -> None:
    labeler = create_labeler(database)
    preferences.save_keys(database, labeler, {"skip": "W"})
    preferences.note_guideline(database, labeler, "default", 3)
    preferences.save(database, labeler, preferences.Preferences(blur=False))
    row = get_labeler(database, labeler)
    assert preferences.keys_of(row)["skip"] == "w"
    assert preferences.seen_guideline(row, "default") == 3
    assert not preferences.of(row).blur


@pytest.mark.parametrize("marked", [{"flags": {"asks_violent": "yes"}}, {"sensitive": ("violent",)}])
def test_a_category_opted_out_of_is_never_offered_however_it_was_marked(database: Database, marked: dict[str, Any]) -> None:
    queue = seed_queue(database, "rank", tasks=1, k=2, **marked)
    calm, other = (create_labeler(database, state="qualified") for _ in range(2))
    preferences.save(database, calm, preferences.Preferences(opt_out=("violent",)))
    assert preferences.of(get_labeler(database, calm)).opt_out == ("violent",)
    assert next_lease(database, calm, queue) is None
    assert next_lease(database, other, queue) is not None


def test_own_answers_are_counted_and_found_by_their_owner_alone(database: Database) -> None:
    queue = seed_queue(database, "demonstration", tasks=2)
    mine, other = (create_labeler(database, state="qualified") for _ in range(2))
    lease = next_lease(database, mine, queue)
    assert lease is not None
    receipt = submit(database, lease.assignment_id, mine, lease.idem_key, DemonstrationAnswer(text="x"))
    assert own_answers.assignment_of(database, receipt.submission_id, mine) == lease.assignment_id
    assert (own_answers.answered_today(database, mine), own_answers.answered_today(database, other)) == (1, 0)
    with pytest.raises(UnknownTaskError):
        own_answers.assignment_of(database, receipt.submission_id, other)
