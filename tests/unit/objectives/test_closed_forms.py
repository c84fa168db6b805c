"""Best-of-n and the Gibbs optimum (spec I2, I12, K5; section 8.6)."""

import math
from itertools import combinations, product

import pytest
import torch

from instructloop.core.errors import ConfigError
from instructloop.objectives.bon import best_of_n_kl, best_of_n_probabilities, expected_best_of_n
from instructloop.objectives.gibbs import gibbs_logprobs, gibbs_value, regularized_value

TABLE = {1: 0.0, 2: 0.1931, 4: 0.6363, 8: 1.2044, 16: 1.8351, 64: 3.1745, 128: 3.8598, 256: 4.5491, 512: 5.2403}


@pytest.mark.parametrize(("n", "kl"), TABLE.items())
def test_8_6_best_of_n_kl_table(n: int, kl: float) -> None:
    assert best_of_n_kl(n) == pytest.approx(kl, abs=5e-5)


def test_8_6_two_equal_candidates_best_of_two() -> None:
    base, scores = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])
    chosen = best_of_n_probabilities(base, scores, 2)
    assert chosen.tolist() == [0.25, 0.75]
    kl = (chosen * (chosen / base).log()).sum().item()
    assert kl == pytest.approx(0.1308, abs=5e-5)
    assert kl <= best_of_n_kl(2)


def test_8_6_best_of_one_returns_the_base_policy() -> None:
    base = torch.tensor([0.2, 0.5, 0.3])
    torch.testing.assert_close(best_of_n_probabilities(base, torch.tensor([1.0, 1.0, 0.0]), 1), base)


def test_8_6_best_of_n_with_ties_equals_enumeration_of_all_draws() -> None:
    base, scores = [0.1, 0.4, 0.2, 0.3], [2.0, 0.0, 2.0, 1.0]
    expected = [0.0] * 4
    for draws in product(range(4), repeat=3):
        weight = base[draws[0]] * base[draws[1]] * base[draws[2]]
        top = max(scores[d] for d in draws)
        winners = [d for d in draws if scores[d] == top]
        for winner in winners:
            expected[winner] += weight / len(winners)
    chosen = best_of_n_probabilities(torch.tensor(base, dtype=torch.float64), torch.tensor(scores), 3)
    assert chosen.tolist() == pytest.approx(expected)


def test_8_6_expected_best_of_two_of_three_scores() -> None:
    assert expected_best_of_n(torch.tensor([3.0, 1.0, 2.0]), 2).item() == pytest.approx(2.6667, abs=5e-5)


def test_8_6_expected_best_equals_the_mean_over_all_subsets() -> None:
    scores = [0.3, -1.0, 2.2, 0.3, 5.0, -0.7]
    for n in range(1, 7):
        tops = [max(subset) for subset in combinations(scores, n)]
        assert expected_best_of_n(torch.tensor(scores, dtype=torch.float64), n).item() == pytest.approx(sum(tops) / len(tops))


def test_expected_best_stays_exact_for_many_samples() -> None:
    scores = torch.arange(1, 2001, dtype=torch.float64)
    # the mean maximum of n of 1..N without replacement is n (N + 1) / (n + 1)
    assert expected_best_of_n(scores, 500).item() == pytest.approx(500 * 2001 / 501)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 4 scored samples"):
        expected_best_of_n(torch.tensor([1.0, 2.0]), 4)
    with pytest.raises(ConfigError, match="n >= 1"):
        best_of_n_kl(0)


def test_8_6_gibbs_optimum_of_two_candidates() -> None:
    ref, rewards = torch.tensor([0.5, 0.5]).log(), torch.tensor([1.0, 0.0])
    assert gibbs_logprobs(ref, rewards, beta=1.0).exp().tolist() == pytest.approx([0.7311, 0.2689], abs=5e-5)
    assert gibbs_value(ref, rewards, beta=1.0).item() == pytest.approx(0.6201, abs=5e-5)


def test_spec_i2_the_gibbs_policy_attains_the_value_and_no_other_policy_does() -> None:
    generator = torch.Generator().manual_seed(4)
    ref = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(-1)
    rewards = torch.randn(6, generator=generator, dtype=torch.float64)
    best = regularized_value(gibbs_logprobs(ref, rewards, beta=0.3), ref, rewards, beta=0.3)
    torch.testing.assert_close(best, gibbs_value(ref, rewards, beta=0.3))
    for _ in range(20):
        other = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(-1)
        assert regularized_value(other, ref, rewards, beta=0.3) < best


def test_small_beta_takes_the_best_candidate_and_large_beta_returns_the_reference() -> None:
    ref, rewards = torch.tensor([0.7, 0.2, 0.1]).log(), torch.tensor([0.0, 1.0, 0.5])
    torch.testing.assert_close(gibbs_logprobs(ref, rewards, beta=1e-3).exp(), torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(gibbs_logprobs(ref, rewards, beta=1e5).exp(), ref.exp(), atol=1e-4, rtol=1e-4)
    assert regularized_value(torch.tensor([0.0, -torch.inf, -torch.inf]), ref, rewards, beta=1.0).item() == pytest.approx(math.log(0.7))
