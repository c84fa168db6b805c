"""Noise calibrated to a wanted agreement: against an independent simulation, and against theory where there is one."""

import math
import random
from itertools import combinations

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt
from instructloop.feedback.simulate import Candidate, Group, Habits, calibrate_noise, make_pool, utility_of
from instructloop.feedback.simulate.calibrate import Calibration

SCORE = utility_of("meta:score")


def groups(count: int, k: tuple[int, int] = (4, 9), spread: float = 1.0) -> list[Group]:
    random_ = random.Random(count)
    made = []
    for number in range(count):
        texts = [Candidate(text=f"{number}.{place}", meta={"score": random_.gauss(0, spread)}) for place in range(random_.randint(*k))]
        made.append(Group(Prompt(prompt=f"p{number}"), tuple(texts)))
    return made


def by_hand(found: Calibration, data: list[Group], seed: int) -> tuple[float, float]:
    """Strict agreement (mean within a prompt first) and tie rate of the calibrated labelers themselves, pair by pair."""
    shares, ties, pairs = [], 0, 0
    chance = random.Random(seed)
    for group in data:
        first, second = chance.sample(list(found.pool), 2)
        order = tuple(range(len(group.candidates)))
        a, b = (one.ranks(one.feel(group.prompt, group.candidates, order, seed)) for one in (first, second))
        signs = [((a[j] > a[i]) - (a[j] < a[i]), (b[j] > b[i]) - (b[j] < b[i])) for i, j in combinations(order, 2)]
        ties += sum((x == 0) + (y == 0) for x, y in signs)
        pairs += 2 * len(signs)
        strict = [x == y for x, y in signs if x and y]
        if strict:
            shares.append(sum(strict) / len(strict))
    return sum(shares) / len(shares), ties / pairs


@pytest.mark.parametrize("wanted", [0.6, 0.726, 0.9])
def test_two_labelers_agree_as_often_as_asked_for(wanted: float) -> None:
    data = groups(400)
    found = calibrate_noise(make_pool(6, SCORE), data, wanted)
    assert found.agreement == pytest.approx(wanted, abs=1e-3)
    measured, _ = by_hand(found, [group for _ in range(1) for group in data], 11)
    # a prompt's share has a standard deviation of about 0.2: 0.01 for 400 prompts
    assert measured == pytest.approx(wanted, abs=3 * 0.01)


def test_agreement_on_pairs_follows_the_normal_law() -> None:
    """Two candidates one apart, noise s: a labeler prefers the better with p = Phi(1 / (s sqrt 2)); two agree with p^2 + (1-p)^2."""
    data = [
        Group(Prompt(prompt=f"p{n}"), (Candidate(text="a", meta={"score": 0.0}), Candidate(text="b", meta={"score": 1.0})))
        for n in range(50)
    ]
    pool = make_pool(2, SCORE).with_noise(0.0)
    pool = type(pool)(tuple(type(one)(code=one.code, utility=SCORE, noise=1.0) for one in pool))
    found = calibrate_noise(pool, data, 0.726)
    p = 0.5 * (1 + math.erf(1 / (found.pool[0].noise * math.sqrt(2)) / math.sqrt(2)))
    assert p * p + (1 - p) ** 2 == pytest.approx(0.726, abs=0.01)


def test_the_tie_rate_can_be_asked_for_too() -> None:
    data = groups(300, (3, 5))
    found = calibrate_noise(make_pool(6, SCORE), data, 0.726, tie_rate=0.15)
    agreement, ties = by_hand(found, data, 5)
    assert found.tie_rate == pytest.approx(0.15, abs=2e-3)
    assert ties == pytest.approx(0.15, abs=0.02)
    assert agreement == pytest.approx(0.726, abs=0.035)


def test_noise_is_in_units_of_the_utility() -> None:
    plain = calibrate_noise(make_pool(4, SCORE), groups(200, (3, 4)), 0.7)
    tenfold = calibrate_noise(make_pool(4, SCORE), groups(200, (3, 4), spread=10.0), 0.7)
    assert tenfold.factor / plain.factor == pytest.approx(10, rel=0.01)


def test_what_cannot_be_reached_is_refused_with_the_ceiling() -> None:
    pool = make_pool(4, SCORE, position_bias=3.0, habits=Habits())
    with pytest.raises(ConfigError, match="even without noise, 90"):
        calibrate_noise(pool, groups(100), 0.9)
    with pytest.raises(ConfigError, match="cannot be asked for"):
        calibrate_noise(pool, groups(10), 0.5)
    same = [Group(Prompt(prompt="p"), (Candidate(text="a", meta={"score": 1}), Candidate(text="b", meta={"score": 1})))]
    with pytest.raises(DataError, match="no difference"):
        calibrate_noise(make_pool(2, SCORE), same, 0.7)
    with pytest.raises(DataError, match="two labelers and a prompt"):
        calibrate_noise(make_pool(1, SCORE), groups(5), 0.7)
