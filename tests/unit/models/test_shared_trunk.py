"""Several models on one trunk: each computes what it would alone, and only its own adapter learns."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from instructloop.config import ComputeConfig, LoraConfig
from instructloop.core.errors import CheckpointError, ConfigError
from instructloop.data import TokenSequence, collate
from instructloop.models import (
    EMA,
    ScalarModel,
    add_lora,
    completion_logprobs,
    load_causal,
    load_scalar,
    load_state,
    plain_state_dict,
    reference_of,
    save_causal,
    save_state,
)
from instructloop.models.adapter_files import find_adapter, read_adapter, remember_base, save_adapter, weights_hash
from instructloop.models.shared_trunk import SharedScalarModel, SharedTrunk
from instructloop.testing import ARCHITECTURES, Architecture, save_tiny, tiny_codec, tiny_model, tiny_tokenizer

CPU = ComputeConfig(device="cpu")
BATCH = collate([TokenSequence((1, 5, 6, 7, 8, 2), 3), TokenSequence((1, 9, 2), 1)], 0)
RANK_2 = LoraConfig(rank=2, alpha=4.0)


def disturb(model: nn.Module, seed: int = 1) -> None:
    """Move all trained weights away from their start, where B is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(torch.randn(value.shape, generator=generator) * 0.1)


def logprobs(policy: PreTrainedModel) -> torch.Tensor:
    return completion_logprobs(policy, BATCH).logprobs.detach()


def trained_judge(base: Path, *, targets: str = "all-linear") -> ScalarModel:
    """A reward model with an adapter of rank 3, as ``train rm`` leaves it."""
    judge = load_scalar(base, CPU, seed=5)
    remember_base(judge)
    add_lora(judge, LoraConfig(rank=3, alpha=6.0, targets=targets), seed=5)
    disturb(judge, seed=2)
    judge.score_bias.fill_(0.25)
    return judge


def family(
    folder: Path, arch: Architecture = "llama", **judging: str
) -> tuple[PreTrainedModel, SharedScalarModel, SharedScalarModel, ScalarModel]:
    """(policy, reward view, value view, the reward model alone)."""
    base = Path(save_tiny(str(folder / "base"), tiny_model(arch), tiny_tokenizer()))
    judge = trained_judge(base, **judging)
    save_adapter(judge, tiny_tokenizer(), folder / "adapter", base="base", card="x")
    stored = read_adapter(folder / "adapter")
    policy = load_causal(base, CPU)
    add_lora(policy, RANK_2, seed=0)
    shared = SharedTrunk(policy)
    reward = SharedScalarModel(shared, shared.load("reward", stored), names=("reward",), stored=stored)
    value = SharedScalarModel(shared, shared.add("value", RANK_2, seed=3), names=("reward", "value"), stored=stored)
    return policy, reward, value, judge


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_each_view_computes_what_its_model_would_alone(arch: Architecture, tmp_path: Path) -> None:
    policy, reward, value, judge = family(tmp_path, arch)
    alone = tiny_model(arch)
    reference = logprobs(alone)
    add_lora(alone, RANK_2, seed=0)
    for model in (policy, alone):
        disturb(model)
    with torch.no_grad():
        expected = judge.scores(BATCH)
        assert torch.equal(logprobs(policy), logprobs(alone))
        assert torch.equal(reward.scores(BATCH), expected)
        assert torch.equal(value.values(BATCH), judge.values(BATCH))  # a fresh adapter changes nothing
        disturb(value)
        assert not torch.allclose(value.scores(BATCH), expected, atol=1e-3)
        with reference_of(policy):
            assert torch.equal(reward.scores(BATCH), expected)  # also while the policy is the reference
            assert torch.equal(logprobs(policy), reference)
        assert torch.equal(reward.token_scores(BATCH), judge.token_scores(BATCH))
        assert torch.equal(logprobs(policy), logprobs(alone))


def test_a_pass_gives_gradients_to_its_own_adapter_and_head_alone(tmp_path: Path) -> None:
    policy, reward, value, _ = family(tmp_path)
    models: dict[str, nn.Module] = {"policy": policy, "value": value, "reward": reward}

    def with_gradient() -> dict[str, int]:
        found = {kind: sum(weight.grad is not None for weight in model.parameters()) for kind, model in models.items()}
        for model in models.values():
            model.zero_grad()
        return found

    value.values(BATCH).sum().backward()
    assert with_gradient() == {"policy": 0, "value": len(list(value.parameters())), "reward": 0}
    completion_logprobs(policy, BATCH).logprobs.sum().backward()
    adapted = sum(weight.requires_grad for weight in policy.parameters())
    assert with_gradient() == {"policy": adapted, "value": 0, "reward": 0}


def test_no_model_counts_anothers_weights_as_its_own(tmp_path: Path) -> None:
    policy, reward, value, _ = family(tmp_path)
    weights = [{id(weight) for weight in model.parameters()} for model in (policy, reward, value)]
    assert sum(map(len, weights)) == len(set.union(*weights))
    assert len(EMA(policy, 0.9).state_dict()["average"]) == len(list(value.own.parameters()))  # type: ignore[arg-type]
    with value._shared.active("reward", "value"), pytest.raises(ZeroDivisionError):
        1 / 0  # noqa: B018 - an error inside leaves the policy as it was
    assert {id(weight) for weight in policy.parameters()} == weights[0]


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_checkpointed_activations_are_computed_again_with_the_adapters_of_their_pass(arch: Architecture, tmp_path: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        base = Path(save_tiny(str(tmp_path / "base"), tiny_model(arch), tiny_tokenizer()))
        policy = load_causal(base, ComputeConfig(device="cpu", gradient_checkpointing=checkpointing))
        add_lora(policy, RANK_2, seed=0)
        value = SharedScalarModel(shared := SharedTrunk(policy), shared.add("value", RANK_2, seed=3), names=("value",))
        disturb(policy), disturb(value, seed=7)
        policy.train(checkpointing)
        loss = value.values(BATCH).sum() + completion_logprobs(policy, BATCH).logprobs.sum()
        loss.backward()
        gradients.append([weight.grad for model in (policy, value) for weight in model.parameters() if weight.requires_grad])
    for plain, again in zip(*gradients, strict=True):
        assert plain is not None
        torch.testing.assert_close(again, plain)


def test_a_fresh_adapter_starts_as_it_would_on_a_model_of_its_own(tmp_path: Path) -> None:
    _, _, value, _ = family(tmp_path)
    alone = tiny_model()
    add_lora(alone, RANK_2, seed=3)
    expected = [weight for weight in alone.parameters() if weight.requires_grad]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(value.own.parameters(), expected, strict=True))


def test_a_reward_adapter_on_other_layers_than_the_policys_leaves_no_trace_in_the_policy(tmp_path: Path) -> None:
    base = Path(save_tiny(str(tmp_path / "base"), tiny_model(), tiny_tokenizer()))
    judge = trained_judge(base, targets="down_proj,q_proj")
    save_adapter(judge, tiny_tokenizer(), tmp_path / "adapter", base="base", card="x")
    policy, alone = load_causal(base, CPU), load_causal(base, CPU)
    for model in (policy, alone):
        add_lora(model, LoraConfig(rank=2, alpha=4.0, targets="q_proj,v_proj"), seed=0)
    shared = SharedTrunk(policy)
    stored = read_adapter(tmp_path / "adapter")
    reward = SharedScalarModel(shared, shared.load("reward", stored), names=("reward",), stored=stored)
    for model in (policy, alone):
        disturb(model)
    with torch.no_grad():
        assert torch.equal(reward.scores(BATCH), judge.scores(BATCH))
    assert torch.equal(logprobs(policy), logprobs(alone))
    merged, expected = plain_state_dict(policy), plain_state_dict(alone)
    assert merged.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in merged.items())
    save_causal(policy, tiny_codec(), tmp_path / "out", card="x")
    torch.testing.assert_close(logprobs(load_causal(tmp_path / "out", CPU)), logprobs(policy), rtol=0, atol=1e-5)


def test_saved_states_hold_adapters_and_heads_alone_and_come_back(tmp_path: Path) -> None:
    policy, _, value, _ = family(tmp_path)
    disturb(value)
    save_state(tmp_path / "state", modules={"value": value})
    before = {name: weight.clone() for name, weight in value.state_dict().items()}
    disturb(value, seed=9)
    load_state(tmp_path / "state", modules={"value": value})
    assert all(torch.equal(weight, before[name]) for name, weight in value.state_dict().items())
    assert sum(weight.numel() for weight in before.values()) < 0.1 * policy.num_parameters()


def test_the_hash_of_a_base_model_knows_its_weights_and_nothing_else(tmp_path: Path) -> None:
    model = tiny_model()
    found = weights_hash(model.base_model)
    add_lora(model, RANK_2, seed=0)
    disturb(model)
    assert weights_hash(model.base_model) == found
    scalar = load_scalar(save_tiny(str(tmp_path / "base"), tiny_model(), tiny_tokenizer()), CPU, seed=1)
    assert weights_hash(scalar.trunk) == found
    with torch.no_grad():
        next(model.base_model.parameters())[3, 3] += 1e-6
    assert weights_hash(model.base_model) != found


def test_in_lower_precision_the_trunk_is_rounded_and_the_adapters_are_not(tmp_path: Path) -> None:
    base = Path(save_tiny(str(tmp_path / "base"), tiny_model(), tiny_tokenizer()))
    save_adapter(trained_judge(base), tiny_tokenizer(), tmp_path / "adapter", base="base", card="x")
    stored = read_adapter(tmp_path / "adapter")
    policy = load_causal(base, ComputeConfig(device="cpu", dtype="bfloat16"))
    add_lora(policy, RANK_2, seed=0)
    shared = SharedTrunk(policy)
    reward = SharedScalarModel(shared, shared.load("reward", stored), names=("reward",), stored=stored)
    value = SharedScalarModel(shared, shared.add("value", RANK_2, seed=3), names=("reward", "value"), stored=stored)
    assert {weight.dtype for weight in policy.parameters() if not weight.requires_grad} == {torch.bfloat16}
    assert {weight.dtype for model in (reward, value) for weight in model.parameters()} == {torch.float32}
    exact = trained_judge(base)
    with torch.no_grad():
        torch.testing.assert_close(reward.scores(BATCH), exact.scores(BATCH), rtol=0, atol=0.1)
    value.values(BATCH).sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in value.parameters())


def test_an_adapter_that_does_not_fit_or_is_incomplete_is_refused(tmp_path: Path) -> None:
    policy, _, _, _ = family(tmp_path)
    other = tiny_model("gpt2")
    add_lora(other, RANK_2, seed=0)
    with pytest.raises(ConfigError, match="does not have"):
        SharedTrunk(other).load("reward", read_adapter(tmp_path / "adapter"))
    with pytest.raises(ConfigError, match="has none"):
        SharedTrunk(tiny_model())
    assert find_adapter(tmp_path) == find_adapter(tmp_path / "model") == find_adapter(tmp_path / "adapter") == tmp_path / "adapter"
    (tmp_path / "adapter/adapter_model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="no complete adapter"):
        read_adapter(tmp_path / "adapter")
    plain = load_scalar(tmp_path / "base", CPU, seed=0)
    with pytest.raises(ConfigError, match="no adapter to write"):
        save_adapter(plain, tiny_tokenizer(), tmp_path / "nothing", base="base", card="x")
    assert policy is not other
