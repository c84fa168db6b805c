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


@pytest.mark.parametrize("vocabulary", [1, 63, 64, 65, 200, 12_288])
@given(noise=st.floats(0, 1, exclude_max=True), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_token_is_the_one_that_the_float64_cumulative_distribution_names(vocabulary: int, noise: float, seed: int) -> None:
    """A second implementation in float64; a number within a float32 rounding of a border may fall on either side of it."""
    logits = torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3
    token = int(draw(logits, torch.tensor([noise], dtype=torch.float64), PLAIN).tokens)
    borders = np.concatenate([[0.0], torch.softmax(logits[0].double(), 0).cumsum(0).numpy()])
    assert borders[token] - 1e-6 <= noise <= borders[token + 1] + 1e-6


def test_a_block_without_probability_is_never_entered() -> None:
    """Of 200 tokens only number 70 can be, whatever the noise; it is the 7th of the second block."""
    logits = torch.full((5, 200), -torch.inf)
    logits[:, 70] = 1
    drawn = draw(logits, torch.tensor([0, 1e-300, 0.5, 0.999, float(np.nextafter(1, 0))], dtype=torch.float64), PLAIN)
    assert drawn.tokens.tolist() == [70] * 5
    assert drawn.logprobs.tolist() == [0] * 5
    assert drawn.entropies.tolist() == [0] * 5


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_scores_are_those_of_log_softmax(scale: float) -> None:
    logits = torch.randn(40, 1000, generator=torch.Generator().manual_seed(1)) * scale - 50
    drawn = draw(logits, row_noise(0, range(40), 1)[:, 0], PLAIN)
    expected = torch.log_softmax(logits.double(), -1)
    torch.testing.assert_close(drawn.logprobs.double(), expected.gather(1, drawn.tokens[:, None])[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn.entropies.double(), -(expected.exp() * expected).sum(-1), atol=5e-5, rtol=1e-5)


def test_ten_thousand_draws_pass_a_chi_square_test_against_softmax() -> None:
    """300 tokens, so 299 degrees of freedom: above 394 with probability 1 in 5,000 (noise is keyed, so it is one draw for good)."""
    rows = 10_000
    logits = torch.randn(300, generator=torch.Generator().manual_seed(3))
    drawn = draw(logits.expand(rows, -1), row_noise(11, range(rows), 1)[:, 0], PLAIN)
    expected = torch.softmax(logits.double(), 0) * rows
    counts = torch.bincount(drawn.tokens, minlength=300).double()
    assert 205 < float(((counts - expected) ** 2 / expected).sum()) < 394


def test_top_k_and_top_p_together_take_the_smaller_set() -> None:
    """p = (.1, .4, .2, .3): top 3 are tokens 1, 3, 2; of these .6 needs the first two."""
    grid = torch.linspace(0, 0.999, 100, dtype=torch.float64)
    logits = logits_of(0.1, 0.4, 0.2, 0.3, rows=100)
    assert set(draw(logits, grid, SamplingConfig(top_k=3, top_p=0.6)).tokens.tolist()) == {1, 3}
    assert set(draw(logits, grid, SamplingConfig(top_k=99, top_p=0.95)).tokens.tolist()) == {0, 1, 2, 3}


def test_a_repetition_penalty_divides_positive_and_multiplies_negative_logits_of_seen_tokens() -> None:
    """Logits (2, 1.5, -1): token 0 seen at penalty 2 falls to 1, so token 1 is the likeliest; scores stay the model's."""
    logits = torch.tensor([[2.0, 1.5, -1.0]])
    seen = torch.tensor([[True, False, True]])
    noise = torch.tensor([0.5], dtype=torch.float64)
    drawn = draw(logits, noise, SamplingConfig(temperature=0, repetition_penalty=2.0), None, seen)
    assert drawn.tokens.tolist() == [1]
    assert float(drawn.logprobs) == pytest.approx(float(torch.log_softmax(logits[0], 0)[1]), abs=1e-6)
    # shares over a grid: softmax of (1, 1.5, -2)
    grid = torch.linspace(0, 0.9999, 4000, dtype=torch.float64)
    tokens = draw(logits.expand(4000, -1), grid, SamplingConfig(repetition_penalty=2.0), None, seen.expand(4000, -1)).tokens
    expected = torch.softmax(torch.tensor([1.0, 1.5, -2.0]), 0)
    torch.testing.assert_close(torch.bincount(tokens, minlength=3) / 4000, expected, atol=1e-3, rtol=0)


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
