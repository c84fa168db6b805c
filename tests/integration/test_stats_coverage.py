"""Nominal 95 % intervals hold the truth in 93 to 97 % of simulated studies, each made through the public functions."""

from collections.abc import Callable

import numpy as np
import pytest

from instructloop.stats import (
    Interval,
    Leaderboard,
    Reliability,
    Resampling,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    leaderboard,
    length_controlled,
    mean_tau_b,
    pairwise_agreement,
    preference_rate,
    strength_difference,
    two_way_interval,
    votes,
    win_rate,
)
from instructloop.stats.bradley_terry import strengths
from instructloop.stats.length_control import fit
from instructloop.stats.reliability import MISSING, Ratings

Bounds = tuple[float, float]
Study = Callable[[np.random.Generator, int], Bounds]
"""From a generator and a seed for the resampling to the interval of one simulated study."""
SAMPLES = 1000


def _bounds(interval: Interval | Reliability | None) -> Bounds:
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


# --- win rate: 100 prompts, 3 labelers each, prompts differ in how good the model is on them, a fifth ties


def _win_rate_study(random: np.random.Generator, seed: int) -> Bounds:
    better = np.repeat(random.beta(1.8, 1.2, size=100), 3)
    outcome = np.where(random.random(300) < 0.2, 0.5, (random.random(300) < better).astype(float))
    return _bounds(win_rate(outcome.tolist(), np.repeat(np.arange(100), 3).tolist(), samples=SAMPLES, seed=seed))


WIN_RATE = 0.5 * 0.2 + 0.8 * 0.6


# --- rankings: 4 completions, utilities seen with noise and rounded, so that near ones tie


def _tiers(random: np.random.Generator, prompts: int, labelers: int) -> np.ndarray:
    utility = random.normal(size=(prompts, 1, 4))
    return np.round(utility + random.normal(0.0, 0.6, size=(prompts, labelers, 4))).astype(int)


def _ranking_truth() -> dict[str, float]:
    tiers = _tiers(np.random.default_rng(1), 400_000, 2)
    i, j = np.triu_indices(4, 1)
    first, second = (np.sign(tiers[:, side, i] - tiers[:, side, j]) for side in (0, 1))
    clear, equal = (first != 0) & (second != 0), first == second
    counted = clear.any(axis=1)
    untied = np.sqrt(np.abs(first).sum(axis=1) * np.abs(second).sum(axis=1))
    return {
        "strict": float(((clear & equal).sum(axis=1)[counted] / clear.sum(axis=1)[counted]).mean()),
        "exact": float(equal.mean()),
        "tie_half": float((1 - np.abs(first - second) / 2).mean()),
        "tau_b": float(((first * second).sum(axis=1)[untied > 0] / untied[untied > 0]).mean()),
    }


RANKINGS = _ranking_truth()


def _agreement_study(figure: str) -> Study:
    def study(random: np.random.Generator, seed: int) -> Bounds:
        rankings = dict(enumerate(_tiers(random, 100, 2).tolist()))
        if figure == "tau_b":
            return _bounds(mean_tau_b(rankings, samples=SAMPLES, seed=seed).mean)
        return _bounds(getattr(pairwise_agreement(rankings, samples=SAMPLES, seed=seed), figure))

    return study


# --- strengths: rankings of 4 models by utilities with Gumbel noise, whose pairs follow Bradley-Terry and depend on each other

THETA = np.array([0.6, 0.2, 0.0, -0.8])
FIRST, SECOND = np.triu_indices(4, 1)


def _strength_study(random: np.random.Generator, seed: int) -> Bounds:
    utility = THETA + random.gumbel(size=(150, 4))
    outcome = (utility[:, FIRST] > utility[:, SECOND]).astype(float)
    names, prompts = np.array(["a", "b", "c", "d"]), np.repeat(np.arange(150), 6)
    ballots = votes(np.tile(names[FIRST], 150).tolist(), np.tile(names[SECOND], 150).tolist(), outcome.ravel().tolist(), prompts.tolist())
    return _bounds(strength_difference(ballots, "a", "b", samples=SAMPLES, seed=seed))


# --- the same by voters: 60 prompts, every pair of the 4 models voted on by 3 labelers, who share how good each answer is


def _voted_strength_study(random: np.random.Generator, seed: int) -> Bounds:
    shift = random.normal(scale=0.7, size=(60, 4))[:, None, :]
    better = 1 / (1 + np.exp(-(THETA[FIRST] - THETA[SECOND] + shift[..., FIRST] - shift[..., SECOND])))
    outcome = (random.random((60, 3, 6)) < better).astype(float)
    names, prompts = np.array(["a", "b", "c", "d"]), np.repeat(np.arange(60), 18)
    first, second = np.tile(names[FIRST], 180).tolist(), np.tile(names[SECOND], 180).tolist()
    return _bounds(_strength_of("a", leaderboard(first, second, outcome.ravel().tolist(), prompts.tolist(), samples=SAMPLES, seed=seed)))


def _strength_of(model: str, board: Leaderboard) -> Interval:
    return next(line.strength for line in board.standings if line.model == model)


def _voted_strength_truth() -> float:
    """Answers differ from prompt to prompt, which draws every share towards one half: so the strengths of very many votes."""
    shift = np.random.default_rng(3).normal(scale=0.7, size=(400_000, 4))
    better = 1 / (1 + np.exp(-(THETA[FIRST] - THETA[SECOND] + shift[:, FIRST] - shift[:, SECOND])))
    wins = np.zeros((4, 4))
    wins[FIRST, SECOND], wins[SECOND, FIRST] = better.sum(axis=0), (1 - better).sum(axis=0)
    return float(strengths(wins[None])[0, 0])


# --- length control: 100 prompts, 3 labelers each, who like length; answers of a prompt have one length ratio and one quality


def _length_study(random: np.random.Generator, seed: int) -> Bounds:
    ratio, outcome = _length_votes(random, 100, 3)
    lengths = np.exp(5 + ratio)
    found = length_controlled(
        outcome.ravel().tolist(),
        np.repeat(lengths, 3).tolist(),
        [float(np.exp(5))] * 300,
        np.repeat(np.arange(100), 3).tolist(),
        samples=500,
        seed=seed,
    )
    return _bounds(found.rate)


def _length_votes(random: np.random.Generator, prompts: int, labelers: int) -> tuple[np.ndarray, np.ndarray]:
    ratio, quality = random.normal(0.5, 0.6, size=prompts), random.normal(0.0, 0.8, size=prompts)
    better = 1 / (1 + np.exp(-(0.3 + 0.9 * ratio + quality)))
    won = (random.random((prompts, labelers)) < better[:, None]).astype(float)
    return ratio, np.where(random.random((prompts, labelers)) < 0.15, 0.5, won)


def _length_truth() -> float:
    ratio, outcome = _length_votes(np.random.default_rng(4), 1_000_000, 1)
    identity = fit(outcome[:, 0], ratio, np.ones((1, len(ratio))))[0, 0]
    return float(1 / (1 + np.exp(-identity)))


# --- weighted verdicts: 100 prompts, 3 verdicts each between 0 and 1


def _weighted_study(random: np.random.Generator, seed: int) -> Bounds:
    level = random.beta(1.5, 1.0, size=(100, 1))
    verdicts = random.beta(0.4 + 4 * level, 0.4 + 4 * (1 - level), size=(100, 3))
    return _bounds(preference_rate(verdicts.ravel().tolist(), np.repeat(np.arange(100), 3).tolist(), samples=SAMPLES, seed=seed))


WEIGHTED = (0.4 + 4 * 0.6) / 4.8


# --- people who differ in taste: 120 prompts, 3 of 20 labelers each; the truth is that of all prompts and all people


def _taste_study(random: np.random.Generator, seed: int) -> Bounds:
    del seed  # a formula
    prompts, people = np.repeat(np.arange(120), 3), random.permuted(np.tile(np.arange(20), (120, 1)), axis=1)[:, :3].ravel()
    better = np.clip(0.6 + random.normal(0, 0.15, size=120)[prompts] + random.normal(0, 0.12, size=20)[people], 0.02, 0.98)
    outcome = (random.random(360) < better).astype(float)
    return _bounds(two_way_interval(outcome.tolist(), prompts.tolist(), people.tolist()))


def _taste_truth() -> float:
    noise = np.random.default_rng(6).normal(size=(2, 2_000_000))
    return float(np.clip(0.6 + 0.15 * noise[0] + 0.12 * noise[1], 0.02, 0.98).mean())


# --- ratings: a yes/no flag and a 5-point scale, raters right most of the time, some answers missing


def _flags(random: np.random.Generator, items: int, raters: int) -> np.ndarray:
    truth = random.random((items, 1)) < 0.3
    return (truth ^ (random.random((items, raters)) < 0.12)).astype(np.intp)


def _scale(random: np.random.Generator, items: int, raters: int) -> np.ndarray:
    truth = random.normal(3.0, 1.1, size=(items, 1))
    codes = np.clip(np.round(truth + random.normal(0.0, 0.8, size=(items, raters))), 1, 5).astype(np.intp) - 1
    return np.where(random.random((items, raters)) < 0.15, MISSING, codes)


def _table(codes: np.ndarray, categories: int) -> Ratings:
    items, raters = codes.shape
    return Ratings(codes=codes, items=tuple(range(items)), raters=tuple(range(raters)), categories=tuple(range(1, categories + 1)))


COEFFICIENTS: dict[str, tuple[Callable[..., Reliability], Callable[[np.random.Generator, int, int], np.ndarray], int, int]] = {
    "cohen": (cohen_kappa, _flags, 2, 2),
    "fleiss": (fleiss_kappa, _flags, 3, 2),
    "ac1": (gwet_ac1, _flags, 3, 2),
    "alpha nominal": (krippendorff_alpha, _flags, 3, 2),
    "alpha ordinal": (lambda table, *, resampling: krippendorff_alpha(table, metric="ordinal", resampling=resampling), _scale, 3, 5),
    "alpha interval": (lambda table, *, resampling: krippendorff_alpha(table, metric="interval", resampling=resampling), _scale, 3, 5),
}


def _reliability_truth(name: str) -> float:
    measure, draw, raters, categories = COEFFICIENTS[name]
    result = measure(_table(draw(np.random.default_rng(2), 400_000, raters), categories), resampling=Resampling(samples=1))
    assert result.value is not None
    return result.value


def _reliability_study(name: str) -> Study:
    measure, draw, raters, categories = COEFFICIENTS[name]

    def study(random: np.random.Generator, seed: int) -> Bounds:
        return _bounds(measure(_table(draw(random, 150, raters), categories), resampling=Resampling(samples=SAMPLES, seed=seed)))

    return study


STUDIES: dict[str, tuple[Study, Callable[[], float]]] = {
    "win rate": (_win_rate_study, lambda: WIN_RATE),
    **{f"agreement {figure}": (_agreement_study(figure), lambda figure=figure: RANKINGS[figure]) for figure in RANKINGS},  # type: ignore[misc]
    "weighted win rate": (_weighted_study, lambda: WEIGHTED),
    "length-controlled win rate": (_length_study, _length_truth),
    "strength on a leaderboard": (_voted_strength_study, _voted_strength_truth),
    "win rate with other labelers too": (_taste_study, _taste_truth),
    "strength difference": (_strength_study, lambda: float(THETA[0] - THETA[1])),
    **{name: (_reliability_study(name), lambda name=name: _reliability_truth(name)) for name in COEFFICIENTS},  # type: ignore[misc]
}


def _coverage(name: str, studies: int) -> float:
    study, truth = STUDIES[name]
    random, value = np.random.default_rng(5), truth()
    bounds = [study(random, seed) for seed in range(studies)]
    return float(np.mean([low <= value <= high for low, high in bounds]))


@pytest.mark.parametrize("name", ["win rate", "agreement strict", "strength difference", "alpha ordinal", "fleiss"])
def test_a_few_hundred_studies_cover_about_right(name: str) -> None:
    # 3.3 standard errors of 250 studies around 95 %
    assert 0.905 <= _coverage(name, 250) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STUDIES))
def test_2000_studies_cover_93_to_97_percent(name: str) -> None:
    assert 0.93 <= _coverage(name, 2000) <= 0.97
