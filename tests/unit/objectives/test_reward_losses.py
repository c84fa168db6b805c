"""Bradley-Terry and its K-way forms, by closed forms and hand-counted pairs."""

import math
from itertools import combinations, permutations

import pytest
import torch

from instructloop.objectives.reward import (
    best_of_k_softmax,
    bradley_terry_loss,
    davidson_loss,
    davidson_probabilities,
    pairwise_ranking_loss,
    plackett_luce_loss,
    preference_probability,
    ranking_loss,
    strict_pairs,
)


def test_spec_i1_printed_values_of_bradley_terry() -> None:
    chosen, rejected = torch.tensor([2.5]), torch.tensor([1.0])
    assert preference_probability(chosen, rejected).item() == pytest.approx(0.8176, abs=5e-5)
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(0.2014, abs=5e-5)


def test_spec_i1_one_pair_sends_opposite_gradients_of_one_minus_its_probability() -> None:
    scores = torch.tensor([2.5, 1.0], requires_grad=True)
    bradley_terry_loss(scores[:1], scores[1:]).backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx([-(1 - 0.817574), 1 - 0.817574], abs=1e-6)


def test_section_8_1_scores_2_1_0_in_order_cost_02512() -> None:
    result = ranking_loss(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0, 1, 2]))
    assert result.loss.item() == pytest.approx(0.2512, abs=5e-5)
    assert (result.accuracy.item(), result.pairs.item()) == (1.0, 3)


def test_spec_d5_ties_are_dropped_and_the_strict_pairs_normalize() -> None:
    scores = torch.tensor([1.0, 0.0, 3.0])
    result = ranking_loss(scores, torch.tensor([0, 1, 1]))
    by_hand = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(2.0))) / 2
    assert result.loss.item() == pytest.approx(by_hand)
    assert (result.accuracy.item(), result.pairs.item()) == (0.5, 2)


def test_spec_d5_an_all_tied_prompt_costs_nothing_and_teaches_nothing() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    result = ranking_loss(scores, torch.tensor([0, 0, 0]))
    result.loss.backward()
    assert (result.loss.item(), result.accuracy.item(), result.pairs.item()) == (0.0, 0.0, 0)
    assert scores.grad is not None
    assert scores.grad.tolist() == [0.0, 0.0, 0.0]


def test_k5_a_batch_of_64_rankings_of_nine_has_2304_pairs() -> None:
    assert 64 * strict_pairs(torch.arange(9)).winners.numel() == 2304


def test_spec_d3_each_prompt_weighs_the_same_whatever_its_k() -> None:
    first, second = torch.tensor([0.3, -1.0, 0.8, 0.1]), torch.tensor([0.5, 0.2])
    a, b = strict_pairs(torch.tensor([0, 2, 1, 3])), strict_pairs(torch.tensor([1, 0]))
    weights = torch.tensor([1 / 6] * 6 + [1.0])
    together = pairwise_ranking_loss(
        torch.cat([first, second]), torch.cat([a.winners, b.winners + 4]), torch.cat([a.losers, b.losers + 4]), weights, prompts=2
    )
    apart = (ranking_loss(first, torch.tensor([0, 2, 1, 3])).loss + ranking_loss(second, torch.tensor([1, 0])).loss) / 2
    torch.testing.assert_close(together.loss, apart)
    assert together.pairs.item() == 7


def test_the_k_way_loss_equals_a_plain_loop_over_pairs() -> None:
    scores, ranks = torch.tensor([0.2, -0.7, 1.5, 0.4, 0.0]), torch.tensor([2, 0, 1, 1, 3])
    terms = []
    for i, j in combinations(range(5), 2):
        if ranks[i] != ranks[j]:
            winner, loser = (i, j) if ranks[i] < ranks[j] else (j, i)
            terms.append(math.log1p(math.exp(-(scores[winner] - scores[loser]).item())))
    assert ranking_loss(scores, ranks).loss.item() == pytest.approx(sum(terms) / len(terms))


def test_kill_9_the_loss_stays_finite_at_huge_margins() -> None:
    scores = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = ranking_loss(scores, torch.tensor([0, 1])).loss
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert scores.grad is not None
    assert scores.grad.tolist() == [-1.0, 1.0]


def test_a_margin_shifts_the_difference_and_the_center_penalty_adds_squares() -> None:
    chosen, rejected = torch.tensor([1.0, 2.0]), torch.tensor([0.0, -1.0])
    shifted = bradley_terry_loss(chosen, rejected, margin=torch.tensor([1.0, 3.0]))
    assert shifted.item() == pytest.approx(math.log(2))
    centered = bradley_terry_loss(chosen, rejected, center=0.01) - bradley_terry_loss(chosen, rejected)
    assert centered.item() == pytest.approx(0.01, abs=1e-7)
    both = pairwise_ranking_loss(
        torch.cat([chosen, rejected]),
        torch.tensor([0, 1]),
        torch.tensor([2, 3]),
        torch.ones(2),
        prompts=2,
        margins=torch.tensor([1.0, 3.0]),
        center=0.01,
    )
    assert both.loss.item() == pytest.approx(math.log(2) + 0.01)


def test_equal_scores_count_as_half_right() -> None:
    assert ranking_loss(torch.tensor([1.0, 1.0]), torch.tensor([0, 1])).accuracy.item() == 0.5


def test_section_8_1_plackett_luce_value_and_normalization() -> None:
    scores = torch.tensor([2.0, 1.0, 0.0])
    assert plackett_luce_loss(scores, torch.tensor([0, 1, 2])).item() == pytest.approx(0.7209, abs=5e-5)
    total = sum(math.exp(-plackett_luce_loss(scores, torch.tensor(order)).item()) for order in permutations(range(3)))
    assert total == pytest.approx(1.0)


def test_plackett_luce_of_two_is_bradley_terry() -> None:
    scores = torch.tensor([0.3, 1.1])
    torch.testing.assert_close(plackett_luce_loss(scores, torch.tensor([1, 0])), bradley_terry_loss(scores[1:], scores[:1]))


def test_best_of_k_is_the_cross_entropy_of_the_pick() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    by_hand = math.log(sum(math.exp(s) for s in (2, 1, 0, -1))) - 1
    assert best_of_k_softmax(scores, torch.tensor([1])).item() == pytest.approx(by_hand)


def test_davidson_ties_are_proportional_to_the_geometric_mean() -> None:
    first, second = torch.tensor([1.0]), torch.tensor([0.0])
    result = davidson_probabilities(first, second, log_nu=math.log(0.5))
    weights = [math.e, 0.5 * math.exp(0.5), 1.0]
    assert [p.item() for p in result] == pytest.approx([w / sum(weights) for w in weights])
    assert davidson_loss(first, second, torch.tensor([1]), log_nu=math.log(0.5)).item() == pytest.approx(
        -math.log(weights[1] / sum(weights))
    )


def test_davidson_without_ties_is_bradley_terry() -> None:
    first, second = torch.tensor([1.3, 0.2]), torch.tensor([0.0, 0.9])
    torch.testing.assert_close(davidson_loss(first, second, torch.tensor([0, 0]), log_nu=-math.inf), bradley_terry_loss(first, second))
