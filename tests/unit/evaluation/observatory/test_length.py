"""Does the reward like length? Scorers whose answer is known."""

import math

import numpy as np
import pytest

from instructloop.evaluation.observatory.length import PADDINGS, altered, length, length_fit, probed, within


def words(prompts, texts):
    return [float(len(text.split())) for text in texts]


def ignorant(prompts, texts):
    """Cares about the first word alone."""
    return [float(len(text.split()[0])) for text in texts]


@pytest.fixture
def reference(answer):
    random = np.random.default_rng(0)
    made = []
    for prompt in range(30):
        for _ in range(4):
            count = int(random.integers(2, 12))
            text = " ".join(["w" * int(random.integers(1, 9)), *(["word"] * (count - 1))])
            made.append(answer(text, str(prompt)))
    return made


def scored(answers, scorer):
    from dataclasses import replace

    return [replace(one, proxy=scorer([one.prompt], [one.completion])[0]) for one in answers]


def test_values_are_taken_less_their_prompts_mean() -> None:
    assert within([1.0, 3.0, 10.0, 20.0], ["a", "a", "b", "b"]).tolist() == [-1, 1, -5, 5]
    assert within([1.0, 3.0], ["a", "b"]).tolist() == [-1, 1]  # one answer a prompt: less the whole mean


def test_a_prompt_with_long_answers_and_high_scores_is_no_correlation_within(answer) -> None:
    easy = [answer("w " * 20, "easy", proxy=5.0 + 0.1 * (i % 2), tokens=20 + i // 2 % 2) for i in range(8)]
    hard = [answer("w", "hard", proxy=0.0 + 0.1 * (i % 2), tokens=3 + i // 2 % 2) for i in range(8)]
    assert length_fit([*easy, *hard]).correlation.value == pytest.approx(0.0, abs=1e-9)


def test_a_reward_that_counts_words_is_named(reference) -> None:
    likes = scored(reference, words)
    alarm = next(one for one in length(None, [], likes, probe=probed(likes, words)).alarms if one.kind == "length_bias")
    assert alarm.state == "alarm"
    assert alarm.measured > 0.9
    assert "longer ones score higher" in alarm.explanation


def test_a_reward_that_ignores_length_is_not(reference) -> None:
    likes = scored(reference, ignorant)
    probe = probed(likes, ignorant)
    assert [probe[name].value for name in PADDINGS] == [0.0, 0.0, 0.0]
    alarm = next(one for one in length(None, [], likes, probe=probe).alarms if one.kind == "length_bias")
    assert alarm.state == "ok"


def test_the_alterations_by_hand(answer) -> None:
    made = altered([answer("one two three", "a"), answer("four", "b")])
    assert made["itself once more after it"] == ["one two three one two three", "four four"]
    assert made["another prompt's answer after it"] == ["one two three four", "four one two three"]
    assert made["its first half alone"] == ["one", "four"]
    assert made["a confident filler sentence after it"][1].startswith("four This is certainly")


def test_a_gain_that_is_length_alone_is_gone_at_equal_length(answer) -> None:
    def one(prompt, count):
        return answer("w " * count, prompt, tokens=count, proxy=math.log(count))

    reference = [one(str(p), count) for p in range(10) for count in (2, 4, 8)]
    policy = [one(str(p), 16) for p in range(10)]
    table = next(t for t in length(None, policy, reference).sections[0].tables if t.title == "What is left at equal length")
    rows = {row[0]: row[1]["value"] for row in table.rows}
    assert rows["gain in score"] > 1
    assert rows["of it paid for length"] == pytest.approx(rows["gain in score"])
    assert rows["length-controlled gain"] == pytest.approx(0.0, abs=1e-9)


def test_answers_that_grow_and_are_cut_off_ring(answer) -> None:
    reference = [answer("w", str(i), tokens=4) for i in range(20)]
    policy = [answer("w", str(i), tokens=10, ended=i % 2 == 0) for i in range(20)]
    alarms = {one.kind: one for one in length(None, policy, reference).alarms}
    assert (alarms["length"].measured, alarms["length"].state) == (2.5, "alarm")
    assert (alarms["truncation"].measured, alarms["truncation"].state) == (0.5, "alarm")
    assert alarms["length_bias"].state == "not measured"
