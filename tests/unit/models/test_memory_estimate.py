"""The estimate against what torch really holds."""

from dataclasses import replace

import pytest
import torch

from instructloop.config import ComputeConfig, LoraConfig, PPOConfig, PretrainConfig, RewardModelConfig, SamplingConfig, SFTConfig
from instructloop.models import Workload, add_lora, estimate_memory, packing, shape_of
from instructloop.models.memory import Row, rollout_rows
from instructloop.models.memory_advice import advice_for
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


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_adapter_parameters_are_counted_exactly(arch: str) -> None:
    model = tiny_model(arch)
    add_lora(model, LoraConfig(rank=4), seed=0)
    real = sum(value.numel() for value in model.parameters() if value.requires_grad)
    parts = estimate_memory(SFTConfig(compute=CPU, lora=LoraConfig(rank=4)), shape_of(model.config)).parts
    assert parts["gradients"] == real * 4


def test_the_paper_sized_run_names_its_largest_term_and_the_remedy() -> None:
    """1.3 B parameters with four models: 2 trained (16 bytes a parameter each, 4 of them weights) and 2 frozen."""
    shape = shape_of(tiny_config("gpt2", 50_257, hidden=2048, layers=24, context=2048))
    assert shape.parameters == pytest.approx(1.3e9, rel=0.05)
    cfg = PPOConfig(compute=ComputeConfig(device="cpu", dtype="bfloat16"), max_prompt_tokens=24, sampling=SamplingConfig(max_new_tokens=40))
    estimate = estimate_memory(cfg, shape)
    scalar = shape.parameters + 2048  # GPT-2 ties its head to its embedding: a scalar model has one vector more
    assert estimate.parts["weights"] == 4 * (shape.parameters + scalar) + 2 * (shape.parameters + scalar)
    assert estimate.parts["average"] == shape.parameters * 4
    assert estimate.parts["kv_cache"] == 256 * 63 * 24 * 2 * 2048 * 2
    assert estimate.biggest == "optimizer"
    assert "lora.rank" in estimate.advice
    assert "largest: optimizer" in estimate.lines()[-1]
    # a row of 2048 tokens keeps 24 layers x 2 x 2048 numbers of 2 bytes: 384 MiB, so 10 rows fit into 4 GiB
    long = replace(cfg, max_prompt_tokens=1048, sampling=SamplingConfig(max_new_tokens=1000))
    assert estimate_memory(long, shape).parts["kv_cache"] == 10 * 384 * 2**20 * 2047 // 2048


def test_with_adapters_policy_and_value_network_learn_little_and_the_reference_is_free() -> None:
    shape = shape_of(tiny_config("gpt2", 260))
    full, lora = (estimate_memory(PPOConfig(compute=CPU, lora=LoraConfig(rank=rank)), shape) for rank in (0, 4))
    adapter = estimate_memory(SFTConfig(compute=CPU, lora=LoraConfig(rank=4)), shape).parts["gradients"]
    assert lora.parts["average"] == adapter
    head = 32 * 4  # the value network's head is trained beside its adapters
    assert lora.parts["optimizer"] == 2 * (2 * adapter + head)
    assert lora.parts["weights"] == full.parts["weights"] - 4 * shape.parameters + 2 * adapter


def test_rows_decoded_together_depend_on_the_length_of_a_row() -> None:
    cpu = torch.device("cpu")
    assert rollout_rows(columns=64, layers=4, kv_width=128, bytes_each=4, device=cpu) == 256
    assert rollout_rows(columns=1 << 20, layers=4, kv_width=128, bytes_each=4, device=cpu) == 1


def test_the_advice_shrinks_the_term_it_names() -> None:
    shape = shape_of(tiny_config("llama", 32_000, hidden=256, layers=4, context=512))
    full = estimate_memory(SFTConfig(compute=CPU), shape)
    lora = estimate_memory(SFTConfig(compute=CPU, lora=LoraConfig(rank=8)), shape)
    assert lora.parts["optimizer"] < full.parts["optimizer"] / 10
    assert full.biggest == "activations"
    assert full.advice == "compute.micro_batch_tokens = 1024 (now 2048) or compute.gradient_checkpointing = true"
    saved = ComputeConfig(device="cpu", micro_batch_tokens=2048, gradient_checkpointing=True)
    assert estimate_memory(SFTConfig(compute=saved), shape).parts["activations"] < full.parts["activations"] / 2
    half = ComputeConfig(device="cpu", micro_batch_tokens=1024)
    assert estimate_memory(SFTConfig(compute=half), shape).parts["activations"] < full.parts["activations"] * 0.7


def test_a_row_longer_than_the_budget_is_a_pass_of_its_own_and_only_shorter_rows_help() -> None:
    shape = shape_of(tiny_config("llama", 260, hidden=128, layers=4, context=256))
    cfg = SFTConfig(compute=ComputeConfig(device="cpu", micro_batch_tokens=64, gradient_checkpointing=True))
    estimate = estimate_memory(cfg, shape, Workload(groups=((Row(50, 200),),)))
    assert estimate.parts["activations"] > estimate_memory(cfg, shape, Workload(groups=((Row(10, 50),),))).parts["activations"] * 1.5
    assert advice_for(cfg, "activations", row_tokens=200) == "shorter rows: max_tokens"


def test_a_reward_model_needs_neither_logits_nor_cache() -> None:
    parts = estimate_memory(RewardModelConfig(compute=CPU), shape_of(tiny_config("llama", 260))).parts
    assert parts["logits"] == 0
    assert "kv_cache" not in parts


def test_what_cannot_run_without_numbers_is_estimated_from_its_shape() -> None:
    """A mixture of experts asks each token's numbers which experts it goes to."""
    from transformers import MixtralConfig

    config = MixtralConfig(
        vocab_size=260, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    estimate = estimate_memory(PretrainConfig(compute=CPU), shape_of(config))
    assert estimate.parts["activations"] > 0
    assert estimate.peak > estimate.parts["weights"] * 4


def test_processes_share_the_batch_and_with_fsdp_the_layers_too() -> None:
    """Of a tied GPT-2 every process keeps embeddings, positions and the last norm; a quarter of the layers' weights, moments, gradients."""
    shape = shape_of(tiny_config("gpt2", 260, hidden=128, layers=4))
    whole = 260 * 128 + 256 * 128 + 2 * 128
    layers = shape.parameters - whole
    split = replace(CPU, sharding="fsdp")
    parts = estimate_memory(SFTConfig(compute=split), shape, ranks=4).parts
    held = whole + layers // 4
    assert (parts["weights"], parts["optimizer"], parts["gradients"]) == (4 * held, 8 * held, 4 * held)
    assert parts["gathered"] == 3 * (layers // 4) * 4
    alone, shared = (estimate_memory(SFTConfig(batch_size=16, compute=CPU), shape, ranks=ranks) for ranks in (1, 16))
    assert shared.parts["weights"] == alone.parts["weights"]
    assert shared.parts["activations"] < alone.parts["activations"] / 2


def test_a_split_policy_is_whole_while_it_samples() -> None:
    shape = shape_of(tiny_config("gpt2", 260, hidden=128, layers=8))
    cfg = PPOConfig(compute=replace(CPU, sharding="fsdp"))
    one, two = (estimate_memory(cfg, shape, ranks=ranks) for ranks in (1, 2))
    layers = shape.parameters - (260 * 128 + 256 * 128 + 2 * 128)
    assert "gathered" not in one.parts
    assert two.parts["gathered"] == layers // 2 * 4
    assert two.parts["weights"] < one.parts["weights"]


def test_an_estimate_draws_no_random_number_and_leaves_nothing_behind() -> None:
    """Training after it must give the same bits as training without it."""
    before, answer = torch.get_rng_state(), packing.lay_out
    cfg = SFTConfig(dropout=0.1, compute=CPU, lora=LoraConfig(rank=2))
    estimate_memory(cfg, shape_of(tiny_config("gpt2", 260)), Workload(groups=((Row(3, 9),), (Row(4, 30),))))
    assert torch.equal(torch.get_rng_state(), before)
    assert packing.lay_out is answer
