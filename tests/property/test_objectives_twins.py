"""Every objective twice: the fast tensor form must equal a slow loop over plain numbers, written from the formula alone."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from instructloop.objectives.gae import gae
from instructloop.objectives.group import group_advantages, group_policy_loss, rloo_advantages
from instructloop.objectives.kl import sequence_kl
from instructloop.objectives.logprobs import selected_logprobs, token_entropy
from instructloop.objectives.masking import length_mask, masked_whiten
from instructloop.objectives.policy import clipped_policy_loss
from instructloop.objectives.reward import pairwise_ranking_loss, plackett_luce_loss, ranking_loss, strict_pairs
from instructloop.objectives.reward_shaping import kl_shaped_rewards
from instructloop.objectives.sft import sequence_nll, token_nll
from instructloop.objectives.value import clipped_value_loss, explained_variance

SETTINGS = settings(deadline=None, max_examples=60)
NUMBERS = st.floats(-3, 3, width=32)
Row = list[float]


@st.composite
def ragged(draw: st.DrawFn, matrices: int) -> tuple[list[list[Row]], list[int]]:
    """Several ragged matrices of one shape as lists of rows, and their row lengths (each at least 1)."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    return [[draw(st.lists(NUMBERS, min_size=n, max_size=n)) for n in lengths] for _ in range(matrices)], lengths


def _tensor(rows: list[Row], lengths: list[int]) -> Tensor:
    return torch.tensor([row + [float("nan")] * (max(lengths) - len(row)) for row in rows], dtype=torch.float64)


def _mask(lengths: list[int]) -> Tensor:
    return length_mask(torch.tensor(lengths), max(lengths))


def _close(ours: Tensor, slow: float) -> None:
    assert ours.item() == pytest.approx(slow, rel=1e-6, abs=1e-6)


def _log_sigmoid(z: float) -> float:
    return -math.log1p(math.exp(-z)) if z > 0 else z - math.log1p(math.exp(z))


@given(ragged(1))
@SETTINGS
def test_cross_entropies(drawn: tuple[list[list[Row]], list[int]]) -> None:
    (rows,), lengths = drawn
    x, mask = _tensor(rows, lengths), _mask(lengths)
    _close(token_nll(x, mask), -sum(map(sum, rows)) / sum(lengths))
    _close(sequence_nll(x, mask), -sum(map(sum, rows)) / len(rows))


@given(ragged(3), st.floats(0.5, 1), st.floats(0, 1))
@SETTINGS
def test_generalized_advantages_by_their_infinite_sum(drawn: tuple[list[list[Row]], list[int]], gamma: float, lam: float) -> None:
    (rewards, values, _), lengths = drawn
    fast = gae(_tensor(rewards, lengths), _tensor(values, lengths), _mask(lengths), gamma=gamma, lam=lam)
    for b, n in enumerate(lengths):
        delta = [rewards[b][t] + gamma * (values[b][t + 1] if t + 1 < n else 0.0) - values[b][t] for t in range(n)]
        for t in range(n):
            slow = sum((gamma * lam) ** (u - t) * delta[u] for u in range(t, n))
            _close(fast.advantages[b, t], slow)
            _close(fast.returns[b, t], slow + values[b][t])


@given(ragged(3), st.floats(0.05, 0.5), st.sampled_from([None, 2.0]))
@SETTINGS
def test_clipped_policy_loss(drawn: tuple[list[list[Row]], list[int]], clip: float, dual: float | None) -> None:
    (new, old, advantages), lengths = drawn
    fast = clipped_policy_loss(*(_tensor(m, lengths) for m in (new, old, advantages)), _mask(lengths), clip=clip, dual_clip=dual)
    total, ratios = 0.0, []
    for b, n in enumerate(lengths):
        for t in range(n):
            r, a = math.exp(new[b][t] - old[b][t]), advantages[b][t]
            term = min(r * a, min(max(r, 1 - clip), 1 + clip) * a)
            total += max(term, dual * a) if dual and a < 0 else term
            ratios.append(r)
    _close(fast.loss, -total / sum(lengths))
    _close(fast.ratio_mean, sum(ratios) / len(ratios))
    _close(fast.ratio_min, min(ratios))
    _close(fast.ratio_max, max(ratios))
    _close(fast.approx_kl, sum(math.log(r) ** 2 / 2 for r in ratios) / len(ratios))


@given(ragged(3), st.floats(0.05, 1))
@SETTINGS
def test_clipped_value_loss(drawn: tuple[list[list[Row]], list[int]], clip: float) -> None:
    (new, old, returns), lengths = drawn
    fast = clipped_value_loss(*(_tensor(m, lengths) for m in (new, old, returns)), _mask(lengths), clip=clip)
    total = 0.0
    for v_row, o_row, r_row in zip(new, old, returns, strict=True):
        for v, o, r in zip(v_row, o_row, r_row, strict=True):
            total += 0.5 * max((v - r) ** 2, (min(max(v, o - clip), o + clip) - r) ** 2)
    _close(fast.loss, total / sum(lengths))


@given(ragged(2), st.floats(0, 2), st.data())
@SETTINGS
def test_token_rewards_and_sequence_kl(drawn: tuple[list[list[Row]], list[int]], beta: float, data: st.DataObject) -> None:
    (policy, ref), lengths = drawn
    scores = data.draw(st.lists(NUMBERS, min_size=len(lengths), max_size=len(lengths)))
    p, q, mask = _tensor(policy, lengths), _tensor(ref, lengths), _mask(lengths)
    fast = kl_shaped_rewards(torch.tensor(scores, dtype=torch.float64), p, q, mask, beta=beta)
    kl, k3 = sequence_kl(p, q, mask), sequence_kl(p, q, mask, estimator="k3")
    for b, n in enumerate(lengths):
        gaps = [policy[b][t] - ref[b][t] for t in range(n)]
        for t in range(n):
            _close(fast[b, t], -beta * gaps[t] + (scores[b] if t == n - 1 else 0.0))
        _close(kl[b], sum(gaps))
        _close(k3[b], sum(math.exp(-g) - 1 + g for g in gaps))


@given(ragged(1))
@SETTINGS
def test_whitening_and_explained_variance(drawn: tuple[list[list[Row]], list[int]]) -> None:
    (rows,), lengths = drawn
    flat = [value for row in rows for value in row]
    mean = sum(flat) / len(flat)
    variance = sum((value - mean) ** 2 for value in flat) / len(flat)
    x, mask = _tensor(rows, lengths), _mask(lengths)
    for ours, value in zip(masked_whiten(x, mask)[mask], flat, strict=True):
        _close(ours, (value - mean) / math.sqrt(variance + 1e-8))
    if variance > 1e-6:
        _close(explained_variance(x / 2, x, mask), 0.75)


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 3)), min_size=1, max_size=7))
@SETTINGS
def test_ranking_loss_over_all_pairs(completions: list[tuple[float, int]]) -> None:
    terms = [_log_sigmoid(a[0] - b[0] if a[1] < b[1] else b[0] - a[0]) for a, b in combinations(completions, 2) if a[1] != b[1]]
    scores = torch.tensor([score for score, _ in completions], dtype=torch.float64)
    fast = ranking_loss(scores, torch.tensor([rank for _, rank in completions]))
    _close(fast.loss, -sum(terms) / len(terms) if terms else 0.0)
    assert fast.pairs.item() == len(terms)


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 3)), min_size=2, max_size=6), st.data())
@SETTINGS
def test_ranking_loss_does_not_depend_on_the_order_of_completions(completions: list[tuple[float, int]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(completions))
    first, second = (
        ranking_loss(torch.tensor([s for s, _ in group], dtype=torch.float64), torch.tensor([r for _, r in group]))
        for group in (completions, shuffled)
    )
    torch.testing.assert_close(first, second)


@given(st.lists(st.lists(st.tuples(NUMBERS, st.integers(0, 3)), min_size=2, max_size=5), min_size=2, max_size=4))
@SETTINGS
def test_ppo_29_ranking_losses_of_single_prompts_add_up_to_the_batch(prompts: list[list[tuple[float, int]]]) -> None:
    scores, winners, losers, weights, alone, offset = [], [], [], [], [], 0
    for group in prompts:
        group_scores, ranks = torch.tensor([s for s, _ in group], dtype=torch.float64), torch.tensor([r for _, r in group])
        pairs = strict_pairs(ranks)
        count = pairs.winners.numel()
        if count:
            alone.append(ranking_loss(group_scores, ranks).loss.item())
        scores.append(group_scores)
        winners.append(pairs.winners + offset)
        losers.append(pairs.losers + offset)
        weights.append(torch.full((count,), 1 / max(1, count), dtype=torch.float64))
        offset += len(group)
    fast = pairwise_ranking_loss(torch.cat(scores), torch.cat(winners), torch.cat(losers), torch.cat(weights), prompts=len(alone))
    _close(fast.loss, sum(alone) / max(1, len(alone)))


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.randoms())
@SETTINGS
def test_plackett_luce_by_removing_the_best_again_and_again(scores: list[float], random: object) -> None:
    order = list(range(len(scores)))
    random.shuffle(order)  # type: ignore[attr-defined]
    slow, left = 0.0, list(order)
    for best in order:
        slow -= scores[best] - math.log(sum(math.exp(scores[i]) for i in left))
        left.remove(best)
    _close(plackett_luce_loss(torch.tensor(scores, dtype=torch.float64), torch.tensor(order)), slow)


@given(st.lists(NUMBERS, min_size=2, max_size=6), st.floats(0.3, 3), st.data())
@SETTINGS
def test_log_probabilities_and_entropy_of_a_softmax(logits: list[float], temperature: float, data: st.DataObject) -> None:
    token = data.draw(st.integers(0, len(logits) - 1))
    weights = [math.exp(z / temperature) for z in logits]
    p = [w / sum(weights) for w in weights]
    x = torch.tensor(logits, dtype=torch.float64)
    _close(selected_logprobs(x, torch.tensor(token), temperature=temperature), math.log(p[token]))
    _close(token_entropy(x, temperature=temperature), -sum(q * math.log(q) for q in p))


@given(st.lists(NUMBERS, min_size=2, max_size=6))
@SETTINGS
def test_group_advantages(rewards: list[float]) -> None:
    k, mean = len(rewards), sum(rewards) / len(rewards)
    deviation = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (k - 1))
    x = torch.tensor([rewards], dtype=torch.float64)
    for i, r in enumerate(rewards):
        _close(rloo_advantages(x)[0, i], r - (sum(rewards) - r) / (k - 1))
        _close(group_advantages(x)[0, i], 0.0 if len(set(rewards)) == 1 else (r - mean) / (deviation + 1e-4))


@given(ragged(3), st.data())
@SETTINGS
def test_group_losses(drawn: tuple[list[list[Row]], list[int]], data: st.DataObject) -> None:
    (new, old, ref), lengths = drawn
    advantages = data.draw(st.lists(NUMBERS, min_size=len(lengths), max_size=len(lengths)))
    sums = []
    for b, n in enumerate(lengths):
        total = 0.0
        for t in range(n):
            r, d = math.exp(new[b][t] - old[b][t]), ref[b][t] - new[b][t]
            total -= min(r * advantages[b], min(max(r, 0.8), 1.28) * advantages[b]) - 0.04 * r * (math.exp(d) - 1 - d)
        sums.append(total)
    slow = {
        "sequence": sum(s / n for s, n in zip(sums, lengths, strict=True)) / len(sums),
        "token": sum(sums) / sum(lengths),
        "fixed": sum(sums) / (len(sums) * 9),
    }
    p, q, ref_logprob = (_tensor(m, lengths) for m in (new, old, ref))
    for kind, expected in slow.items():
        fast = group_policy_loss(
            p, q, torch.tensor(advantages, dtype=torch.float64), _mask(lengths), clip=0.2, clip_high=0.28, aggregation=kind, fixed_length=9,
            ref_logprob=ref_logprob, kl_coef=0.04,
        )  # fmt: skip
        _close(fast.loss, expected)
