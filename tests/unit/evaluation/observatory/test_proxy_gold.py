"""Proxy, held-out judges, people and gold against KL."""

import math

import numpy as np
import pytest

from instructloop.evaluation.observatory.answers import Look
from instructloop.evaluation.observatory.proxy_gold import GOLD, HELD_OUT, PEOPLE, PROXY, gain_curves, law_fits, proxy_against_gold, told
from instructloop.evaluation.observatory.readings import RunFiles
from instructloop.evaluation.votes import Vote
from instructloop.stats import rl_gold


@pytest.fixture
def looks(answer):
    """Three looks at two prompts: the proxy rises by one sd a look, gold rises and then falls below the start."""

    def look(step, kl, proxies, golds):
        return Look(
            step=step,
            kl=kl,
            answers=[
                answer(f"{prompt} at {step}", prompt, proxy=p, gold=g, held_out=(2 * p, -p))
                for prompt, p, g in zip("ab", proxies, golds, strict=True)
            ],
        )

    return [look(0, 0.0, (0, 2), (1, 3)), look(10, 1.0, (1, 3), (2, 4.5)), look(20, 4.0, (2, 4), (0.5, 1))]


def test_gains_are_in_standard_deviations_of_the_references_scores(looks) -> None:
    curves = {curve.name: curve for curve in gain_curves(looks)}
    assert curves[PROXY].gains.tolist() == [[0, 1, 2], [0, 1, 2]]  # sd of (0, 2) is 1
    assert curves[GOLD].gains.tolist() == [[0, 1, -0.5], [0, 1.5, -2]]
    # judge 1 doubles the proxy and its sd; judge 2 turns it round: the mean of +1 and -1 sd is 0
    assert curves[HELD_OUT].gains.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert curves["judge 2"].gains.tolist() == [[0, -1, -2], [0, -1, -2]]


def test_the_section_shows_every_look_and_the_best_one(make_run, looks) -> None:
    found = proxy_against_gold(RunFiles.read(make_run()), looks)
    assert found.alarms[0].state == "not measured"  # two prompts are too few to tell a fall from luck
    section = found.sections[0].json()
    assert [row[:2] for row in section["tables"][0]["rows"]] == [[0, 0.0], [10, 1.0], [20, 4.0]]
    assert "best point measured is at KL 1.00" in section["text"]
    assert [series["name"] for series in section["charts"][0]["series"]] == [PROXY, HELD_OUT, GOLD, "judge 1", "judge 2"]


def test_a_fall_of_gold_while_the_proxy_rises_rings(make_run, answer) -> None:
    # sixteen prompts; from the second look to the third gold falls by 1.5 or 3.5, in every half of the prompts alike
    values = {0: (0.0, 0.0, 0.0), 10: (1.0, 2.0, 2.0), 20: (2.0, 0.5, -1.5)}
    looks = [
        Look(
            step=step,
            kl=step / 10,
            answers=[
                answer(f"{i} at {step}", str(i), proxy=p + i % 2, gold=(soft if i // 2 % 2 else hard) + (1 if i % 4 < 2 else -1))
                for i in range(16)
            ],
        )
        for step, (p, soft, hard) in values.items()
    ]
    (alarm,) = proxy_against_gold(RunFiles.read(make_run()), looks).alarms
    # each half: drops 1.5 and 3.5, four times each; sd sqrt(8/7), so that the error of the mean of both halves is 1/sqrt(14)
    assert alarm.measured == pytest.approx(2.5 * math.sqrt(14))
    assert alarm.state == "alarm"
    assert "iteration 20 stands 2.50 sd below iteration 10, while the proxy rose by 2.00 sd" in alarm.explanation
    assert alarm.examples[0]["completion"] == "0 at 20"


def test_votes_that_belong_to_no_look_are_said_to_be_of_no_use(make_run, looks) -> None:
    stray = Vote(prompt="a", model_a="x", model_b="y", win_a=1.0, completion_a="q", completion_b="r")
    section = proxy_against_gold(RunFiles.read(make_run()), looks, votes=[stray]).sections[0]
    assert "None of the 1 votes" in section.text


def test_people_count_between_the_looks_answers_and_the_references(make_run, looks) -> None:
    def vote(prompt, a, b, win):
        return Vote(prompt=prompt, model_a="x", model_b="y", win_a=win, completion_a=a, completion_b=b)

    votes = [
        vote("a", "a at 10", "a at 0", 1.0),
        vote("a", "a at 0", "a at 10", 0.5),  # a tie: (1 + 0) / 2
        vote("b", "b at 0", "b at 20", 1.0),
        vote("b", "b at 10", "b at 20", 1.0),  # not against the reference
        vote("a", "something else", "a at 0", 1.0),
    ]
    people = next(curve for curve in gain_curves(looks, votes) if curve.name == PEOPLE)
    np.testing.assert_array_equal(people.gains, [[0, 0.5, np.nan], [0, np.nan, -1]])


def test_a_law_on_the_points_before_the_highest_predicts_the_peak(answer) -> None:
    kl = [0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.2, 3.0, 4.0, 6.0, 9.0, 12.0]
    found = [
        Look(
            step=step,
            kl=value,
            answers=[
                answer("x", prompt, gold=base + rl_gold(math.sqrt(value), alpha=1.0, beta=0.6)) for prompt, base in (("a", -1), ("b", 1))
            ],
        )
        for step, value in enumerate(kl)
    ]
    (curve,) = gain_curves(found)
    fits = law_fits(np.array(kl), curve)
    peak = math.exp(1 / 0.6 - 1) ** 2  # 3.79 nats: the points before the highest (4.0) end at 3.0
    for fit in fits.values():
        assert fit.peak.distance**2 == pytest.approx(peak, rel=1e-6)
    assert fits["all points"].inside
    assert not fits["points before the highest"].inside
    assert fits["points before the highest"].points == 7


def test_a_curve_that_falls_from_the_start_is_told_as_such(answer) -> None:
    kl = np.array([0.0, 0.5, 1.0, 2.0, 4.0])
    falling = [
        Look(
            step=step,
            kl=x,
            answers=[answer("x", p, gold=b + rl_gold(math.sqrt(x), alpha=-0.15, beta=0.05)) for p, b in (("a", -1), ("b", 1))],
        )
        for step, x in enumerate(kl)
    ]
    (curve,) = gain_curves(falling)
    assert "the fitted curve falls as soon as the policy moves" in told(kl, curve, law_fits(kl, curve))


def test_a_run_that_nothing_watched_shows_its_metrics_and_says_what_to_give(make_run) -> None:
    metrics = [{"step": step, "ppo/kl": step, "ppo/reward": 2 * step, "ppo/eval/mine": -step} for step in (1, 2, 3)]
    found = proxy_against_gold(RunFiles.read(make_run(metrics=metrics)), [])
    assert [series.name for series in found.sections[0].charts[0].series] == ["proxy, on training prompts (reward's unit)", "mine"]
    assert found.sections[0].charts[0].series[1].points == [[2, -1], [3, -3], [3, -2]]
    assert "--gold" in found.sections[0].text
    assert found.alarms[0].state == "not measured"
