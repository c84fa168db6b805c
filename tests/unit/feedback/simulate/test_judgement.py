"""What a simulated labeler feels and answers: each bias alone, ties, scales, every kind of task."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Message, Prompt
from instructloop.feedback.answers import (
    CritiqueAnswer,
    DemonstrationAnswer,
    InstructionAnswer,
    PairwiseAnswer,
    RankingAnswer,
    RatingAnswer,
)
from instructloop.feedback.simulate import Candidate, SimulatedLabeler, make_pool, utility_of
from instructloop.feedback.simulate.pool import Pool
from instructloop.feedback.simulate.utility import echo

PROMPT = Prompt(prompt="Is the sea salt?", meta={"use_case": "open_qa"})
STEADY = SimulatedLabeler(code="S1", utility=utility_of("meta:score"), noise=0.0)


def shown(*scores: float, texts: tuple[str, ...] = ()) -> list[Candidate]:
    return [Candidate(text=texts[n] if texts else f"answer {n}", meta={"score": score}) for n, score in enumerate(scores)]


def felt(labeler: SimulatedLabeler, candidates: list[Candidate], order: tuple[int, ...] | None = None) -> tuple[float, ...]:
    return labeler.feel(PROMPT, candidates, order or tuple(range(len(candidates))), seed=1)


def test_without_noise_the_ranking_is_the_utility() -> None:
    assert STEADY.answer("rank", PROMPT, shown(0.1, 0.9, 0.5), (0, 1, 2), 0) == RankingAnswer(tiers=(3, 1, 2))


def test_what_rounds_to_one_step_is_tied() -> None:
    blunt = replace(STEADY, tie_width=0.5)
    # 0.1, 0.9, 1.1, 2.0 are 0, 2, 2, 4 half units
    assert blunt.answer("rank", PROMPT, shown(0.1, 0.9, 1.1, 2.0), (0, 1, 2, 3), 0) == RankingAnswer(tiers=(3, 2, 2, 1))


def test_the_length_bias_adds_its_worth_for_every_doubling() -> None:
    one, three = shown(0, 0, texts=("one", "one two three"))
    values = felt(replace(STEADY, length_bias=2.0), [one, three])
    # log2(1 + words) is 1 and 2, their mean 1.5
    assert values == pytest.approx((-1.0, 1.0))


def test_the_agreement_bias_adds_the_share_of_words_the_user_had_said() -> None:
    assert echo(PROMPT, "the sea is blue") == 0.75
    talk = Prompt(prompt=(Message("user", "I like tea"), Message("assistant", "sea"), Message("user", "Is tea good?")))
    assert echo(talk, "tea sea") == 0.5
    assert felt(replace(STEADY, agreement_bias=4.0), shown(0, 0, texts=("the sea is blue", "nothing"))) == pytest.approx((3.0, 0.0))


def test_the_position_bias_follows_the_shown_order_not_the_slots() -> None:
    biased = replace(STEADY, position_bias=1.0)
    assert felt(biased, shown(0, 0, 0), (2, 0, 1)) == pytest.approx((0.0, -1.0, 1.0))


def test_the_same_look_is_the_same_noise_and_another_labeler_seed_or_text_another() -> None:
    noisy = replace(STEADY, noise=1.0)
    same = felt(noisy, shown(0, 0))
    assert felt(noisy, shown(0, 0)) == same
    assert felt(replace(noisy, code="S2"), shown(0, 0)) != same
    assert noisy.feel(PROMPT, shown(0, 0), (0, 1), seed=2) != same
    assert felt(noisy, shown(0, 0, texts=("a", "b"))) != same


def test_the_noise_has_the_stated_spread() -> None:
    noisy = replace(STEADY, noise=2.0)
    values = [noisy.feel(PROMPT, shown(1.0), (0,), seed)[0] for seed in range(2000)]
    mean = sum(values) / 2000
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / 1999)
    # standard errors: 2/sqrt(2000) = 0.045 of the mean, 2/sqrt(4000) = 0.032 of the spread
    assert mean == pytest.approx(1.0, abs=4 * 0.045)
    assert spread == pytest.approx(2.0, abs=4 * 0.032)


@pytest.mark.parametrize(
    ("scores", "vote"),
    [
        ((2.0, 0.0), PairwiseAnswer(winner="0", strength=3)),
        ((0.0, 1.5), PairwiseAnswer(winner="1", strength=2)),
        ((1.0, 1.0), PairwiseAnswer(winner="tie")),
        ((-3.0, -2.0), PairwiseAnswer(winner="both_bad")),
    ],
)
def test_votes(scores: tuple[float, float], vote: PairwiseAnswer) -> None:
    assert replace(STEADY, unacceptable_below=-1.0).answer("pairwise", PROMPT, shown(*scores), (0, 1), 0) == vote


def test_ratings_follow_the_scale_and_every_field_that_applies_is_answered() -> None:
    judge = replace(STEADY, center=0.0, scale=1.0)
    asked = Prompt(prompt="p", meta={"closed_domain": "yes", "use_case": "chat"})
    answer = judge.answer("rate_and_rank", asked, shown(0.0, 1.0, 9.0, -9.0), (0, 1, 2, 3), 0)
    assert isinstance(answer, RatingAnswer)
    answer.check(4)
    # 4 + 1.5 * value, cut to 1..7; 5.5 rounds to the even 6
    assert [output.overall for output in answer.outputs] == [4, 6, 7, 1]
    assert [output.flags["fails_task"] for output in answer.outputs] == ["no", "no", "no", "yes"]
    assert "hallucination" in answer.outputs[0].flags, "asked in a closed domain"
    assert "satisfies_constraint" not in answer.outputs[0].flags
    assert answer.ranking == RankingAnswer(tiers=(3, 2, 1, 4))


def test_the_other_kinds_can_be_stored() -> None:
    writer = replace(STEADY, writer=lambda prompt, random: f"To {prompt.prompt} I say {random.randint(1, 9)}.")
    instruction = writer.answer("instruction", PROMPT, [], (), 0)
    assert isinstance(instruction, InstructionAnswer)
    instruction.check(0)
    assert instruction.prompt_flags["use_case"] == "open_qa"
    critique = writer.answer("critique", PROMPT, shown(0.0, 1.25), (0, 1), 0)
    assert critique == CritiqueAnswer(texts=("Worth less to me than the best one, by 1.25.", ""))
    edit = writer.answer("edit", PROMPT, shown(0.0), (0,), 0)
    assert isinstance(edit, DemonstrationAnswer)
    assert edit.edited_from == 0
    assert "demonstration" not in STEADY.kinds, "nobody writes without a writer"


def test_the_overlap_utility_prefers_what_stands_in_the_reference() -> None:
    prompt = Prompt(prompt="ask", meta={"reference": "the sea is salt"})
    # F1 of 4 against 2 words with 2 shared: 4/6; nothing shared: 0
    values = utility_of("overlap")(prompt, [Candidate(text="sea salt"), Candidate(text="no idea")])
    assert list(values) == pytest.approx([2 / 3, 0.0])


def test_a_utility_of_ones_own_is_called_like_a_reward(tmp_path: Path) -> None:
    file = tmp_path / "score.py"
    file.write_text("def score(prompts, completions):\n    return [len(text) for text in completions]\n\ndef bad(p, c):\n    return [1]\n")
    assert list(utility_of(f"{file}:score")(PROMPT, shown(0, 0, texts=("a", "abc")))) == [1.0, 3.0]
    with pytest.raises(DataError, match="1 numbers for 2 completions"):
        utility_of(f"{file}:bad")(PROMPT, shown(0, 0))
    with pytest.raises(ConfigError, match="no utility is called 'beauty'"):
        utility_of("beauty")
    with pytest.raises(DataError, match="no number 'score'"):
        utility_of("meta:score")(PROMPT, [Candidate(text="x")])


def test_a_pool_has_different_codes_and_cohorts_in_order() -> None:
    pool = make_pool(2, utility_of("length"), heldout=1, researchers=1, seed=4)
    assert [labeler.code for labeler in pool] == ["S001", "S002", "S003", "S004"]
    assert [pool.cohort(place) for place in range(4)] == ["training", "training", "heldout", "researcher"]
    assert make_pool(2, utility_of("length"), seed=4)[0].noise == pool[0].noise
    with pytest.raises(ConfigError, match="different codes"):
        Pool((STEADY, STEADY))
