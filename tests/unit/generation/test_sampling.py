"""Drawing tokens."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instructloop.config import SamplingConfig
from instructloop.generation.sampling import draw, row_noise

PLAIN = SamplingConfig()


def logits_of(*probabilities: float, rows: int = 1) -> torch.Tensor:
    return torch.tensor(probabilities).log().expand(rows, -1).clone()


def test_uniform_numbers_pick_tokens_by_the_inverse_cumulative_distribution() -> None:
    """p = (.2, .5, .3): [0, .2) is token 0, [.2, .7) token 1, [.7, 1) token 2."""
    noise = torch.tensor([0.0, 0.1, 0.21, 0.69, 0.71, 0.999], dtype=torch.float64)
    drawn = draw(logits_of(0.2, 0.5, 0.3, rows=6), noise, PLAIN)
    assert drawn.tokens.tolist() == [0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(drawn.logprobs.exp(), torch.tensor([0.2, 0.2, 0.5, 0.5, 0.3, 0.3]))


def test_entropy_and_log_probability_are_those_of_the_tempered_distribution() -> None:
    """Logits (0, ln 4) at temperature 2 are (0, ln 2): p = (1/3, 2/3), entropy ln 3 - 2/3 ln 2."""
    drawn = draw(torch.tensor([[0.0, math.log(4)]]), torch.tensor([0.9], dtype=torch.float64), SamplingConfig(temperature=2.0))
    assert drawn.tokens.tolist() == [1]
    assert float(drawn.logprobs) == pytest.approx(math.log(2 / 3), abs=1e-6)
    assert float(drawn.entropies) == pytest.approx(math.log(3) - 2 / 3 * math.log(2), abs=1e-6)


def test_temperature_zero_takes_the_most_likely_token_scored_at_temperature_one() -> None:
    drawn = draw(logits_of(0.2, 0.5, 0.3), torch.tensor([0.99], dtype=torch.float64), SamplingConfig(temperature=0))
    assert drawn.tokens.tolist() == [1]
    assert float(drawn.logprobs.exp()) == pytest.approx(0.5)


@given(st.floats(0, 1, exclude_max=True), st.lists(st.floats(-30, 30), min_size=2, max_size=40), st.integers(0, 39))
@settings(max_examples=200, deadline=None)
def test_a_forbidden_token_is_never_drawn_and_scores_stay_the_models(noise: float, values: list[float], which: int) -> None:
    """T13; whatever the noise, even where the forbidden token holds nearly all probability."""
    forbidden = which % len(values)
    logits = torch.tensor([values])
    for temperature in (0.0, 1.0):
        drawn = draw(logits, torch.tensor([noise], dtype=torch.float64), SamplingConfig(temperature=temperature), torch.tensor([forbidden]))
        token = int(drawn.tokens)
        assert 0 <= token < len(values)
        if float(torch.softmax(logits[0], 0)[[i for i in range(len(values)) if i != forbidden]].sum()) > 0:
            assert token != forbidden
        assert float(drawn.logprobs) == pytest.approx(float(torch.log_softmax(logits[0], 0)[token]), abs=1e-5)


def test_the_largest_uniform_number_still_picks_a_token_with_probability() -> None:
    largest = float(np.nextafter(1, 0))
    for seed in range(200):
        logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(seed)) * 5
        logits[0, -1] = -torch.inf
        token = int(draw(logits, torch.tensor([largest], dtype=torch.float64), PLAIN).tokens)
        assert token < 49


def test_frequencies_match_the_distribution() -> None:
    """40,000 draws: four standard errors of p = .5 are 0.01."""
    rows = 40_000
    drawn = draw(logits_of(0.2, 0.5, 0.3, rows=rows), row_noise(5, range(rows), 1)[:, 0], PLAIN)
    shares = torch.bincount(drawn.tokens, minlength=3) / rows
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.5, 0.3]), atol=0.01, rtol=0)


def test_top_k_and_top_p_keep_the_likeliest_tokens() -> None:
    """p = (.1, .4, .2, .3). Top 2 keeps tokens 1 and 3; top-p .65 keeps .4 and .3, the first set with at least .65."""
    grid = torch.linspace(0, 0.999, 200, dtype=torch.float64)
    logits = logits_of(0.1, 0.4, 0.2, 0.3, rows=200)
    assert set(draw(logits, grid, SamplingConfig(top_k=2)).tokens.tolist()) == {1, 3}
    assert set(draw(logits, grid, SamplingConfig(top_p=0.65)).tokens.tolist()) == {1, 3}
    assert set(draw(logits, grid, SamplingConfig(top_p=0.71)).tokens.tolist()) == {1, 2, 3}
    assert set(draw(logits, grid, SamplingConfig(top_p=1e-9)).tokens.tolist()) == {1}
    kept = draw(logits, grid, SamplingConfig(top_k=2))
    share = float((kept.tokens == 1).float().mean())
    assert share == pytest.approx(4 / 7, abs=0.01)


def test_noise_is_keyed_by_seed_and_row() -> None:
    many = row_noise(7, range(6), 5)
    assert torch.equal(row_noise(7, [4, 2], 5), many[[4, 2]])
    assert torch.equal(row_noise(7, range(6), 3), many[:, :3])
    assert not torch.equal(row_noise(8, range(6), 5), many)
    assert len(set(many.flatten().tolist())) == 30
    assert float(many.min()) >= 0
    assert float(many.max()) < 1


def test_neighbouring_rows_and_seeds_are_uncorrelated() -> None:
    """10,000 numbers: four standard errors of a correlation are 0.04."""
    one, two, other = (row_noise(seed, [row], 10_000)[0] for seed, row in ((1, 0), (1, 1), (2, 0)))
    for pair in ((one, two), (one, other)):
        assert abs(float(torch.corrcoef(torch.stack(pair))[0, 1])) < 0.04
