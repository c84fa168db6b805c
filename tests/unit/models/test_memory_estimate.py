"""The estimate against what torch really holds."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from instructloop.config import ComputeConfig, LoraConfig, PPOConfig, RewardModelConfig, SamplingConfig, SFTConfig
from instructloop.models import add_lora, estimate_memory, shape_of
from instructloop.models.memory import rollout_rows
from instructloop.testing import ARCHITECTURES, tiny_config, tiny_model

CPU = ComputeConfig(device="cpu", micro_batch_tokens=2048)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_weights_gradients_and_moments_are_exact(arch: str) -> None:
    model = tiny_model(arch)
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.arange(4, 24).reshape(2, 10)
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    parts = estimate_memory(SFTConfig(compute=CPU), shape_of(model.config)).parts
    assert parts["weights"] == sum(value.numel() * 4 for value in model.parameters())
    assert parts["gradients"] == sum(value.grad.numel() * 4 for value in model.parameters() if value.grad is not None)
    moments = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    assert parts["optimizer"] == sum(value.numel() * 4 for value in moments)


def test_activations_are_right_within_a_factor_of_two() -> None:
    model = tiny_model("llama", hidden=128, layers=4)
    kept: dict[int, int] = {}
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    ids = torch.zeros(8, 256, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    real = sum(kept.values())
    assert hidden.requires_grad
    estimated = estimate_memory(SFTConfig(compute=CPU), shape_of(model.config)).parts["activations"]
    assert 0.5 < estimated / real < 2


def test_adapter_parameters_are_counted_exactly_for_llama() -> None:
    model = tiny_model("llama")
    add_lora(model, LoraConfig(rank=4), seed=0)
    real = sum(value.numel() for value in model.parameters() if value.requires_grad)
    parts = estimate_memory(SFTConfig(compute=CPU, lora=LoraConfig(rank=4)), shape_of(model.config)).parts
    assert parts["gradients"] == real * 4


def test_the_paper_sized_run_names_its_largest_term_and_the_remedy() -> None:
    """1.3 B parameters with four models: 2 trained (16 bytes a parameter each, 4 of them weights) and 2 frozen."""
    shape = shape_of(tiny_config("gpt2", 50_257, hidden=2048, layers=24, context=2048))
    assert shape.parameters == pytest.approx(1.3e9, rel=0.05)
    cfg = PPOConfig(compute=ComputeConfig(device="cpu", dtype="bfloat16"), sampling=SamplingConfig(max_new_tokens=1000))
    estimate = estimate_memory(cfg, shape)
    assert estimate.parts["weights"] == shape.parameters * (4 + 4 + 2 + 2)
    assert estimate.parts["average"] == shape.parameters * 4
    # a row of 2048 tokens keeps 24 layers x 2 x 2048 numbers of 2 bytes: 384 MiB, so 10 rows fit into 4 GiB
    assert estimate.parts["kv_cache"] == 10 * 384 * 2**20
    assert estimate.biggest == "optimizer"
    assert "lora.rank" in estimate.advice
    assert "largest: optimizer" in estimate.lines()[-1]
    short = replace(cfg, max_prompt_tokens=24, sampling=SamplingConfig(max_new_tokens=40))
    assert estimate_memory(short, shape).parts["kv_cache"] == 256 * 64 * 24 * 2 * 2048 * 2


def test_with_adapters_policy_and_value_network_learn_little_and_the_reference_is_free() -> None:
    shape = shape_of(tiny_config("llama", 260))
    estimate = estimate_memory(PPOConfig(compute=CPU, lora=LoraConfig(rank=4)), shape)
    adapter = estimate_memory(SFTConfig(compute=CPU, lora=LoraConfig(rank=4)), shape).parts["gradients"]
    assert estimate.parts["gradients"] == 2 * adapter
    assert estimate.parts["average"] == adapter
    assert estimate.parts["weights"] == 3 * 4 * shape.parameters + 2 * adapter  # policy, value network, reward model


def test_rows_decoded_together_depend_on_the_length_of_a_row() -> None:
    cpu = torch.device("cpu")
    assert rollout_rows(columns=64, layers=4, kv_width=128, bytes_each=4, device=cpu) == 256
    assert rollout_rows(columns=1 << 20, layers=4, kv_width=128, bytes_each=4, device=cpu) == 1


def test_the_advice_shrinks_the_term_it_names() -> None:
    shape = shape_of(tiny_config("llama", 32_000, hidden=256, layers=4, context=512))
    full = estimate_memory(SFTConfig(compute=CPU), shape)
    lora = estimate_memory(SFTConfig(compute=CPU, lora=LoraConfig(rank=8)), shape)
    assert lora.parts["optimizer"] < full.parts["optimizer"] / 10
    saved = ComputeConfig(device="cpu", micro_batch_tokens=2048, gradient_checkpointing=True)
    assert estimate_memory(SFTConfig(compute=saved), shape).parts["activations"] < full.parts["activations"] / 2
    half = ComputeConfig(device="cpu", micro_batch_tokens=1024)
    assert estimate_memory(SFTConfig(compute=half), shape).parts["activations"] * 2 == full.parts["activations"]


def test_a_reward_model_needs_neither_logits_nor_cache() -> None:
    parts = estimate_memory(RewardModelConfig(compute=CPU), shape_of(tiny_config("llama", 260))).parts
    assert parts["logits"] == parts["kv_cache"] == 0
