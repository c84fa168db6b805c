"""Forms of the task pages: letters become slots, every mistake is named beside its field, what was sent can be shown again."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructloop.feedback.answers import (
    AdjudicationAnswer,
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
from instructloop.feedback.flags import COMPLETION_FLAGS, PROMPT_FLAGS, FlagField
from instructloop.labeling.tasks.forms import Asked, FormRefusedError, fill, parse_answer

SHUFFLED = Asked(order=(2, 0, 1))


def errors_of(kind: str, values: dict[str, str], asked: Asked) -> dict[str, str]:
    with pytest.raises(FormRefusedError) as refused:
        parse_answer(kind, values, asked)
    return {error.field: error.message for error in refused.value.errors}


def test_letters_become_slots_by_the_order_shown() -> None:
    """A = slot 2, B = slot 0, C = slot 1: A best, B and C tied."""
    answer = parse_answer("rank", {"rank.A": "1", "rank.B": "3", "rank.C": "3"}, SHUFFLED)
    assert answer == RankingAnswer(tiers=(3, 3, 1))
    assert answer.ranks == (1, 1, 0)


def test_an_untouched_ranking_names_every_output_that_has_no_rank() -> None:
    assert set(errors_of("rank", {}, SHUFFLED)) == {"rank.A", "rank.B", "rank.C"}


def test_a_half_finished_ranking_names_only_the_rest() -> None:
    assert set(errors_of("rank", {"rank.B": "1"}, SHUFFLED)) == {"rank.A", "rank.C"}


@pytest.mark.parametrize("tier", ["0", "4", "-1", "1.5", "one", "²", "1" * 5000])
def test_a_rank_that_is_none_is_refused_beside_its_output(tier: str) -> None:
    assert set(errors_of("rank", {"rank.A": tier, "rank.B": "1", "rank.C": "1"}, SHUFFLED)) == {"rank.A"}


def test_none_acceptable_needs_no_ranks_and_keeps_those_given() -> None:
    answer = parse_answer("rank", {"none_acceptable": "yes", "rank.A": "2"}, SHUFFLED)
    assert answer == RankingAnswer(tiers=(None, None, 2), none_acceptable=True)


def flags_of(fields: tuple[FlagField, ...], prefix: str, prompt: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}.{flag.key}": flag.options[-1] for flag in fields if flag.applies(prompt)}


RATING = Asked(order=(1, 0), prompt_flags=PROMPT_FLAGS, output_flags=COMPLETION_FLAGS)


def rated(prompt: dict[str, str]) -> dict[str, str]:
    values = flags_of(PROMPT_FLAGS, "prompt", {}) | {f"prompt.{key}": value for key, value in prompt.items()}
    for letter, overall in (("A", "6"), ("B", "2")):
        values |= flags_of(COMPLETION_FLAGS, f"{letter}.flag", prompt) | {f"{letter}.overall": overall}
    return values


def test_fields_that_do_not_apply_are_neither_asked_nor_kept() -> None:
    open_domain = {"closed_domain": "no", "has_constraint": "no"}
    answer = parse_answer("rate", rated(open_domain) | {"A.flag.hallucination": "yes"}, RATING)
    assert isinstance(answer, RatingAnswer)
    assert all("hallucination" not in output.flags and "satisfies_constraint" not in output.flags for output in answer.outputs)
    assert [output.overall for output in answer.outputs] == [2, 6]


def test_a_closed_domain_makes_hallucination_a_question() -> None:
    closed = {"closed_domain": "yes", "has_constraint": "no"}
    assert set(errors_of("rate", rated({"closed_domain": "no", "has_constraint": "no"}) | {"prompt.closed_domain": "yes"}, RATING)) == {
        "A.flag.hallucination",
        "B.flag.hallucination",
    }
    parse_answer("rate", rated(closed), RATING)


def test_what_is_known_about_the_instruction_decides_where_the_page_does_not_ask() -> None:
    known = Asked(order=(0, 1), output_flags=COMPLETION_FLAGS, known_prompt_flags={"has_constraint": "yes"})
    values = {name: value for name, value in rated({"has_constraint": "yes"}).items() if not name.startswith("prompt.")}
    answer = parse_answer("rate", values, known)
    assert isinstance(answer, RatingAnswer)
    assert all("satisfies_constraint" in output.flags for output in answer.outputs)


def test_an_output_left_out_needs_no_rank() -> None:
    values = rated({"closed_domain": "no", "has_constraint": "no"}) | {"B.left_out": "yes", "rank.A": "1"}
    answer = parse_answer("rate_and_rank", values, RATING)
    assert isinstance(answer, RatingAnswer)
    assert answer.ranking == RankingAnswer(tiers=(None, 1), left_out=frozenset({0}))
    assert [output.included for output in answer.outputs] == [False, True]


def test_sides_of_a_comparison_become_slots() -> None:
    swapped = Asked(order=(1, 0))
    assert parse_answer("pairwise", {"winner": "left", "strength": "3"}, swapped) == PairwiseAnswer(winner="1", strength=3)
    assert parse_answer("pairwise", {"winner": "both_bad", "strength": "2"}, swapped) == PairwiseAnswer(winner="both_bad")
    assert set(errors_of("pairwise", {"winner": "0"}, swapped)) == {"winner"}


def test_an_empty_demonstration_is_refused_beside_its_text() -> None:
    assert set(errors_of("demonstration", {"text": " \r\n "}, Asked(order=()))) == {"text"}


def test_line_ends_of_browsers_become_plain_ones() -> None:
    assert parse_answer("edit", {"text": "one\r\ntwo"}, Asked(order=(0,))) == DemonstrationAnswer(text="one\ntwo", edited_from=0)


def test_a_decision_names_a_column_and_becomes_a_submission() -> None:
    asked = Asked(order=(), answers=("s-1", "s-2"))
    assert parse_answer("adjudicate", {"decision": "2", "taxonomy": "slip"}, asked) == AdjudicationAnswer(decision="s-2", taxonomy="slip")
    assert set(errors_of("adjudicate", {"decision": "s-1"}, asked)) == {"decision", "taxonomy"}


def test_a_form_with_more_fields_than_any_page_has_is_refused_at_once() -> None:
    assert set(errors_of("rank", {f"rank.{place}": "1" for place in range(500)}, SHUFFLED)) == {""}


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, Answer, Asked]:
    """A kind, an answer that can be stored, and the page it was given on."""
    k = draw(st.integers(2, 9))
    order = tuple(draw(st.permutations(range(k))))
    text = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1).filter(lambda one: bool(one.strip()))
    ranking = RankingAnswer(tiers=tuple(draw(st.lists(st.integers(1, k), min_size=k, max_size=k))))
    prompt = {flag.key: draw(st.sampled_from(flag.options)) for flag in PROMPT_FLAGS}
    asked = Asked(order=order, prompt_flags=PROMPT_FLAGS, output_flags=COMPLETION_FLAGS, answers=("s-1", "s-2", "s-3"))
    outputs = tuple(
        OutputRating(
            overall=draw(st.integers(1, 7)),
            flags={flag.key: draw(st.sampled_from(flag.options)) for flag in COMPLETION_FLAGS if flag.applies(prompt)},
        )
        for _ in range(k)
    )
    toxic = tuple(
        OutputToxicity(toxicity=draw(st.integers(0, 2)), relative=draw(st.integers(-1, 1)), continuity=draw(st.integers(1, 7)))
        for _ in range(k)
    )
    kinds: dict[str, Answer] = {
        "demonstration": DemonstrationAnswer(text=draw(text)),
        "edit": DemonstrationAnswer(text=draw(text), edited_from=order[0]),
        "critique": CritiqueAnswer(texts=(draw(text), *[""] * (k - 1))),
        "rank": ranking,
        "rate": RatingAnswer(prompt_flags=prompt, outputs=outputs),
        "rate_and_rank": RatingAnswer(prompt_flags=prompt, outputs=outputs, ranking=ranking),
        "instruction": InstructionAnswer(prompt_flags=prompt),
        "toxicity": ToxicityAnswer(input_toxicity=draw(st.integers(0, 2)), outputs=toxic, ranking=ranking),
        "adjudicate": AdjudicationAnswer(decision=draw(st.sampled_from(["s-2", None])), taxonomy="subjective", note=draw(text).strip()),
    }
    kind = draw(st.sampled_from(sorted(kinds)))
    return kind, kinds[kind], asked


@given(questions())
def test_what_a_page_shows_again_is_what_was_answered(question: tuple[str, Answer, Asked]) -> None:
    kind, answer, asked = question
    assert parse_answer(kind, fill(answer, asked), asked) == answer


@given(st.sampled_from(["0", "1", "tie", "both_bad"]), st.permutations([0, 1]))
def test_a_comparison_survives_being_shown_again(winner: str, order: list[int]) -> None:
    answer = PairwiseAnswer(winner=winner, strength=2 if winner.isdigit() else None)
    asked = Asked(order=tuple(order))
    assert parse_answer("pairwise", fill(answer, asked), asked) == answer


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=30))
def test_no_form_however_strange_becomes_more_than_a_refusal(values: dict[str, str]) -> None:
    for kind in ("rank", "rate_and_rank", "pairwise", "toxicity", "critique", "adjudicate", "instruction", "demonstration"):
        order = (0, 1) if kind != "demonstration" else ()
        with contextlib.suppress(FormRefusedError):
            parse_answer(kind, values, Asked(order=order, prompt_flags=PROMPT_FLAGS, output_flags=COMPLETION_FLAGS)).check(len(order))
