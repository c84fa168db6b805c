"""Each alarm of the watch on hand-made replies: where it rings, where it is silent, and what it says."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from instructloop.config.watch import WATCHED, WatchConfig
from instructloop.core.errors import ConfigError
from instructloop.evaluation.observatory.alarms import KINDS, Alarm, from_json
from instructloop.evaluation.observatory.watch_measure import Measured, Paired, Row, alarms_of, better, disagreement, gains, measure

TEXTS = ("one two three four", "red green blue grey", "cat dog owl hen", "sun moon star sky")


def rows(proxy: Sequence[float], *judges: Sequence[float], **columns: Sequence[Any]) -> list[Row]:
    """Replies with the given scores; other columns as given, else unremarkable."""
    plain = {"completion": TEXTS, "tokens": [5] * len(proxy), "ended": [True] * len(proxy)} | columns
    return [
        {
            "prompt": f"p{place}",
            "meta": {},
            "proxy": proxy[place],
            "held_out": [judge[place] for judge in judges],
            **{name: values[place] for name, values in plain.items()},
        }
        for place in range(len(proxy))
    ]


REFERENCE = rows([0, 2, 0, 2], [10, 14, 10, 14])
"""Proxy: standard deviation 1. Judge: standard deviation 2."""


def look(now: Sequence[Row], step: int = 4, **metrics: float) -> Measured:
    return measure(step, now, REFERENCE, metrics)


def rung(now: Sequence[Row], cfg: WatchConfig | None = None, best: Measured | None = None, **metrics: float) -> dict[str, Alarm]:
    found = alarms_of(look(now, **metrics), best, cfg or WatchConfig(), rows=now, reference=REFERENCE)
    assert [alarm.kind for alarm in found] == list(WATCHED) or {alarm.kind for alarm in found} == set(WATCHED)
    return {alarm.kind: alarm for alarm in found}


def test_gains_are_paired_and_in_the_references_standard_deviations() -> None:
    gain = gains(rows([1, 3, 2, 2], [12, 14, 10, 18]), REFERENCE)
    assert gain.proxy.tolist() == [1, 1, 2, 0]
    assert gain.held_out.tolist() == [1, 0, 0, 2]


def test_several_judges_count_alike_and_draws_of_a_prompt_are_averaged() -> None:
    reference = rows([0, 2, 0, 2], [10, 14, 10, 14], [0, 0, 4, 4])
    now = rows([0, 2, 0, 2], [12, 14, 10, 14], [2, 0, 4, 8])
    assert gains(now, reference).held_out.tolist() == [1.0, 0.0, 0.0, 1.0]  # ((1 + 1) / 2, 0, 0, (0 + 2) / 2)
    assert gains(now, reference, draws=2).held_out.tolist() == [0.5, 0.5]


def test_a_mean_with_its_standard_error() -> None:
    """1, 1, 2, 0: mean 1, variance 2/3, standard error sqrt(2/3/4)."""
    found = Paired.of(gains(rows([1, 3, 2, 2]), rows([0, 2, 0, 2])).proxy)
    assert found.mean == 1
    assert found.error == pytest.approx(math.sqrt(2 / 3 / 4))
    assert found.above(0.0, 2.0)
    assert not found.above(0.5, 2.0)
    assert found.below(2.0, 2.0)
    assert not found.below(1.5, 2.0)


def test_a_gain_that_no_judge_sees_rings() -> None:
    """Proxy gains 2, 2, 3, 1 (mean 2); the judge loses half a standard deviation on each: share -.25."""
    alarm = rung(rows([2, 4, 3, 3], [9, 13, 9, 13]))["unconfirmed"]
    assert (alarm.state, alarm.measured, alarm.threshold, alarm.step) == ("alarm", -0.25, 0.5, 4)
    assert alarm.examples[0]["prompt"] == "p2"  # the largest part of the proxy's gain that the judge does not share: 3 + .5
    assert "rose by 2.00" in alarm.explanation
    assert "-0.50" in alarm.explanation
    assert alarm.next.startswith("Roll back")


def test_a_gain_that_the_judges_share_does_not_ring() -> None:
    alarm = rung(rows([2, 4, 2, 4], [12, 16, 12, 16]))["unconfirmed"]
    assert (alarm.state, alarm.measured) == ("ok", 0.5)


def test_a_small_or_uncertain_gain_needs_no_confirmation() -> None:
    small = rung(rows([0.1, 2.1, 0.1, 2.1], [9, 13, 9, 13]))["unconfirmed"]
    assert (small.state, small.measured) == ("ok", None)
    uncertain = rung(rows([6, 2, -4, 2], [9, 13, 9, 13]))["unconfirmed"]  # gains 6, 0, -4, 0: mean .5, error 2.1
    assert uncertain.state == "ok"


def test_too_little_confirmation_within_chance_is_a_warning() -> None:
    """Gains 2, 2, 2, 2; judge -2, 2, -2, 2 (mean 0): the shortfall of .5 has a standard error of 1.15."""
    assert rung(rows([2, 4, 2, 4], [6, 18, 6, 18]))["unconfirmed"].state == "warning"


def test_without_a_held_out_judge_three_alarms_are_not_measured() -> None:
    bare = [{**row, "held_out": []} for row in REFERENCE]
    now = [{**row, "proxy": row["proxy"] + 5} for row in bare]
    found = alarms_of(measure(2, now, bare, {}), None, WatchConfig(), rows=now, reference=bare)
    assert {alarm.kind for alarm in found if alarm.state == "not measured"} == {"unconfirmed", "falling", "disagreement", "kl", "entropy"}


def test_a_fall_from_the_best_look_rings_if_it_is_large_and_beyond_chance() -> None:
    best = look(rows([0, 2, 0, 2], [12, 16, 12, 16]), step=2)  # + 1 everywhere
    fallen = rung(rows([0, 2, 0, 2], [11.5, 15.5, 11.7, 15.7]), best=best)["falling"]  # .75, .75, .85, .85
    assert fallen.state == "alarm"
    assert fallen.measured == pytest.approx(0.2)
    assert "iteration 2" in fallen.explanation
    little = rung(rows([0, 2, 0, 2], [11.9, 15.9, 11.9, 15.9]), best=best)["falling"]  # .05, beyond chance, but small
    assert little.state == "ok"
    by_chance = rung(rows([0, 2, 0, 2], [14, 18, 9, 13]), best=best)["falling"]  # 2, 2, -.5, -.5: lost .25, error .72
    assert by_chance.state == "ok"


def test_disagreement_is_the_spread_between_models_over_what_it_was() -> None:
    """Standardized reference: proxy -1 1 -1 1, judge -1 -1 1 1: spread 0 1 1 0. Now: proxy 1 3 1 3, judge as before: 1 2 0 1."""
    reference = rows([0, 2, 0, 2], [10, 10, 14, 14])
    assert disagreement(reference, reference) == 1.0
    now = rows([2, 4, 2, 4], [10, 10, 14, 14])
    assert disagreement(now, reference) == pytest.approx((1 + 2 + 0 + 1) / (0 + 1 + 1 + 0))
    alarm = next(
        a for a in alarms_of(measure(2, now, reference, {}), None, WatchConfig(), rows=now, reference=reference) if a.kind == "disagreement"
    )
    assert (alarm.state, alarm.measured) == ("alarm", 2.0)


def test_kl_is_the_replies_own_where_it_was_measured_else_the_rollouts() -> None:
    measured = rows([0, 2, 0, 2], [10, 14, 10, 14], kl=[8.0, 6.0, 9.0, 5.0])
    assert rung(measured, kl=1.0)["kl"].measured == 7.0
    assert rung(measured, kl=1.0)["kl"].state == "alarm"
    assert rung(measured)["kl"].examples[0]["prompt"] == "p2"
    assert rung(REFERENCE, kl=1.0)["kl"].state == "ok"


def test_entropy_rings_below_its_threshold() -> None:
    assert rung(REFERENCE, entropy=0.05)["entropy"].state == "alarm"
    assert rung(REFERENCE, entropy=0.2)["entropy"].state == "ok"


def test_replies_that_share_their_word_pairs_have_lost_variety() -> None:
    """All 12 pairs of the reference differ; four times the same reply has 3 different pairs of 12: a quarter."""
    same = rows([0, 2, 0, 2], [10, 14, 10, 14], completion=[TEXTS[0]] * 4)
    assert rung(same)["variety"].measured == 0.25
    assert rung(same)["variety"].state == "alarm"
    assert rung(REFERENCE)["variety"].state == "ok"


@pytest.mark.parametrize(
    ("tokens", "measured", "state"), [([9, 9, 9, 5], 1.6, "alarm"), ([3, 3, 3, 3], 5 / 3, "alarm"), ([6, 6, 6, 6], 1.2, "ok")]
)
def test_length_counts_in_both_directions(tokens: list[int], measured: float, state: str) -> None:
    alarm = rung(rows([0, 2, 0, 2], [10, 14, 10, 14], tokens=tokens))["length"]
    assert (alarm.measured, alarm.state) == (pytest.approx(measured), state)


def test_truncation_refusals_and_hedging_count_as_rises_over_the_reference() -> None:
    cut = rung(rows([0, 2, 0, 2], [10, 14, 10, 14], ended=[True, False, True, True]))["truncation"]
    assert (cut.measured, cut.state, cut.examples[0]["prompt"]) == (0.25, "alarm", "p1")
    said = rung(rows([0, 2, 0, 2], [10, 14, 10, 14], completion=["I cannot help with that.", *TEXTS[1:]]))["refusals"]
    assert (said.measured, said.state) == (0.25, "alarm")
    assert "cannot help" in said.examples[0]["completion"]
    unsure = rung(rows([0, 2, 0, 2], [10, 14, 10, 14], completion=["Perhaps it depends.", *TEXTS[1:]]))["hedging"]
    assert (unsure.measured, unsure.state) == (0.25, "alarm")


def test_the_best_look_moves_only_beyond_chance() -> None:
    first = look(rows([0, 2, 0, 2], [12, 16, 12, 16]), step=2)
    assert better(look(rows([0, 2, 0, 2], [12.5, 16.5, 12.7, 16.7])), first, 1.0)
    assert not better(look(rows([0, 2, 0, 2], [16, 16, 9, 16])), first, 1.0)  # 2, 0, -1.5, 0: + .125, error .72
    assert not better(first, first, 0.0)


def test_every_watched_alarm_is_registered_with_words_and_survives_json() -> None:
    for alarm in rung(rows([2, 4, 3, 3], [9, 13, 9, 13])).values():
        assert from_json(alarm.json()) == alarm
        assert alarm.title == KINDS[alarm.kind].title
        assert alarm.next
    defaults = WatchConfig()
    fields = {"unconfirmed": "confirmed", "falling": "fall"}
    for kind in WATCHED:
        assert KINDS[kind].threshold == getattr(defaults, fields.get(kind, kind)), kind


def test_numbers_for_the_metrics_are_finite_and_named() -> None:
    numbers = look(rows([1, 3, 2, 2], [12, 14, 10, 18]), entropy=0.4, kl=0.2).numbers
    assert numbers["proxy"] == 2
    assert numbers["proxy_gain"] == 1
    assert numbers["held_out_gain"] == 0.75
    assert numbers["held_out_wins"] == 0.75  # two better, two equal
    assert numbers["kl"] == 0.2
    assert all(math.isfinite(value) for value in numbers.values())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every": 5}, "prompts is empty"),
        ({"acts_on": ("typo",)}, "no alarm is called 'typo'"),
        ({"select": True}, "needs held-out reward models"),
        ({"length": 0.5}, "must be >= 1"),
        ({"kl": -1.0}, "kl must be >= 0"),
        ({"looks": 0}, "looks must be >= 1"),
    ],
)
def test_a_watch_that_means_nothing_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WatchConfig(**values)
