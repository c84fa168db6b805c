"""Best of n, the frontier over beta, and disagreement between reward models, by hand."""

import math

import pytest

from instructloop.evaluation.observatory.answers import gold, proxy
from instructloop.evaluation.observatory.best_of_n import best_of_n, plug_in_kl, sizes, winner_means
from instructloop.evaluation.observatory.ensemble import disagreement, ensemble
from instructloop.evaluation.observatory.frontier_over_beta import end_point, frontier
from instructloop.evaluation.observatory.readings import RunFiles


def test_the_proxys_favourite_of_two_by_hand(answer) -> None:
    group = [answer("x", proxy=p, gold=g) for p, g in ((1.0, 10.0), (2.0, 20.0), (3.0, 0.0))]
    # the three pairs are won by samples 2, 3 and 3
    assert winner_means([group], 2, proxy) == [pytest.approx((2 + 3 + 3) / 3)]
    assert winner_means([group], 2, gold) == [pytest.approx((20 + 0 + 0) / 3)]
    assert winner_means([group], 3, gold) == [0.0]


def test_the_kl_of_two_equally_likely_answers_is_below_the_bound(answer) -> None:
    group = [answer("good", proxy=1.0), answer("bad", proxy=0.0)] * 3
    # best of two: P(good) = 3/4, P(bad) = 1/4 against a half each
    assert plug_in_kl(group, 2) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert plug_in_kl(group, 1) == pytest.approx(0.0)
    assert plug_in_kl([answer("same", proxy=1.0)] * 4, 4) == 0.0


def test_the_curve_starts_at_the_prompts_own_mean_and_names_its_kl_bound(answer) -> None:
    reference = [answer(f"{prompt}{place}", prompt, proxy=float(place), gold=-float(place)) for prompt in "ab" for place in range(4)]
    table = best_of_n(reference).sections[0].tables[0]
    assert [row[0] for row in table.rows] == [1, 2, 4]
    assert [row[1] for row in table.rows] == pytest.approx([0.0, 0.1931, 0.6363], abs=1e-4)  # spec I12
    spread = math.sqrt(1.25)
    # best of 2 of 0, 1, 2, 3: (1 + 2 + 3 + 2 + 3 + 3) / 6 = 14/6
    assert table.rows[1][3]["value"] == pytest.approx((14 / 6 - 1.5) / spread)
    assert table.rows[2][4]["value"] == pytest.approx(-1.5 / spread)


def test_the_law_of_best_of_n_is_fitted_to_every_judge(answer) -> None:
    reference = [answer(f"{prompt}{place}", prompt, proxy=float(place), gold=-abs(place - 5.0)) for prompt in "ab" for place in range(16)]
    law = best_of_n(reference).sections[0].tables[1]
    assert law.title.startswith("R(d) = d (alpha - beta d)")
    rows = {row[0]: row for row in law.rows}
    assert rows["proxy"][1] == rows["gold"][1] == 4  # n = 2, 4, 8, 16
    assert rows["proxy"][2]["value"] > 0  # alpha: the proxy rises
    assert rows["gold"][2]["value"] < rows["proxy"][2]["value"]


def test_sizes_double_up_to_the_number_of_samples() -> None:
    assert sizes(16) == [1, 2, 4, 8, 16]
    assert sizes(6) == [1, 2, 4, 6]


def test_the_end_of_a_run_is_the_mean_of_its_last_five_iterations(make_run) -> None:
    metrics = [{"step": step, "ppo/kl": float(step), "ppo/reward": 3.0 + step} for step in range(1, 11)]
    result = {"reference_reward_mean": 4.0, "reference_reward_std": 2.0}
    end = end_point(RunFiles.read(make_run(metrics=metrics, result=result, config={"beta": 0.1})))
    assert (end.kl, end.gain, end.beta) == (8.0, (11.0 - 4.0) / 2.0, 0.1)


def test_a_run_whose_reward_is_not_shifted_starts_from_its_first_iteration(make_run) -> None:
    metrics = [{"step": s, "ppo/kl": 1.0, "ppo/reward": 3.0 + s, "ppo/reward_std": 2.0} for s in (1, 2)]
    result = {"reference_reward_mean": None, "reference_reward_std": None}
    assert end_point(RunFiles.read(make_run(metrics=metrics, result=result, config={"beta": 0.1}))).gain == 0.5


def test_a_run_that_another_beats_at_less_kl_is_named(make_run) -> None:
    def run(name, beta, kl, reward):
        metrics = [{"step": 1, "ppo/kl": 0.0, "ppo/reward": 0.0}] + [{"step": s, "ppo/kl": kl, "ppo/reward": reward} for s in (2, 3)]
        return RunFiles.read(
            make_run(name, metrics=metrics, result={"reference_reward_mean": 0.0, "reference_reward_std": 1.0}, config={"beta": beta})
        )

    table = frontier(run("low", 0.01, 4.0, 1.0), [run("high", 0.1, 1.0, 2.0)]).sections[0].tables[0]
    assert [row[0] for row in table.rows] == ["low", "high"]
    assert [row[5] for row in table.rows] == ["high", ""]
    assert [row[4] for row in table.rows] == [0.5, 2.0]


def test_runs_of_the_same_name_are_told_apart_by_their_paths(make_run) -> None:
    metrics = [{"step": s, "ppo/kl": 1.0, "ppo/reward": 1.0} for s in (1, 2)]
    first, second = (RunFiles.read(make_run(f"{seed}/stages/ppo", metrics=metrics)) for seed in ("s0", "s1"))
    assert {row[0] for row in frontier(first, [second]).sections[0].tables[0].rows} == {"s0/stages/ppo", "s1/stages/ppo"}


def test_members_that_agree_on_the_reference_and_part_on_the_policy_ring(answer) -> None:
    reference = [answer("r", str(i), proxy=float(i % 2), held_out=(float(i % 2) + 0.2 * (i % 4 == 0),)) for i in range(40)]
    policy = [answer("p", str(i), proxy=3.0, held_out=(-3.0,)) for i in range(40)]
    (alarm,) = ensemble(policy, reference).alarms
    assert alarm.state == "alarm"
    assert alarm.measured > 5
    (same,) = ensemble(reference, reference).alarms
    assert (same.state, same.measured) == ("ok", pytest.approx(1.0))


def test_disagreement_by_hand(answer) -> None:
    reference = [answer("r", proxy=-1.0, held_out=(-2.0,)), answer("r", proxy=1.0, held_out=(2.0,))]
    # standardized the members are equal on the reference; at (1, -2) they say +1 and -1: sd with n - 1 is sqrt 2
    assert disagreement(reference, reference).tolist() == pytest.approx([0.0, 0.0])
    assert disagreement([answer("p", proxy=1.0, held_out=(-2.0,))], reference).tolist() == pytest.approx([math.sqrt(2)])


def test_one_reward_model_alone_cannot_disagree(answer) -> None:
    (alarm,) = ensemble([answer("p", proxy=1.0)], [answer("r", proxy=1.0)]).alarms
    assert alarm.state == "not measured"
    assert "--ensemble" in alarm.explanation
