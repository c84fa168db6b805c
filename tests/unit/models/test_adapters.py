"""LoRA put into a model in place."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from instructloop.config import ComputeConfig, LoraConfig
from instructloop.core.errors import ConfigError
from instructloop.data import TokenSequence, collate
from instructloop.models import (
    add_lora,
    completion_logprobs,
    has_adapters,
    load_causal,
    load_scalar,
    reference_of,
    save_causal,
    save_scalar,
)
from instructloop.testing import ARCHITECTURES, save_tiny, tiny_codec, tiny_model, tiny_tokenizer

CPU = ComputeConfig(device="cpu")
BATCH = collate([TokenSequence((1, 5, 6, 7, 8, 2), 3), TokenSequence((1, 9, 2), 1)], 0)


def logprobs(model: PreTrainedModel) -> torch.Tensor:
    return completion_logprobs(model, BATCH).logprobs.detach()


def disturb(model: torch.nn.Module) -> None:
    """Move the adapters away from their start, where B is zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_new_adapter_changes_nothing_and_adapters_off_is_the_reference(arch: str) -> None:
    model = tiny_model(arch)
    before = logprobs(model)
    add_lora(model, LoraConfig(rank=4), seed=0)
    assert torch.equal(logprobs(model), before)
    disturb(model)
    assert not torch.allclose(logprobs(model), before, atol=1e-3)
    with reference_of(model):
        assert torch.equal(logprobs(model), before)
    assert not torch.allclose(logprobs(model), before, atol=1e-3)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_saving_writes_merged_plain_weights_and_leaves_the_model_alone(tmp_path: Path, arch: str) -> None:
    model = tiny_model(arch)
    add_lora(model, LoraConfig(rank=4), seed=0)
    disturb(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    save_causal(model, tiny_codec(), tmp_path, card="x")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(plain) is type(model)
    assert not has_adapters(plain)
    torch.testing.assert_close(logprobs(plain), logprobs(model), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_only_adapters_learn_and_a_scalar_head_besides(tmp_path: Path) -> None:
    causal = tiny_model("llama")
    add_lora(causal, LoraConfig(rank=2), seed=0)
    learning = [name for name, value in causal.named_parameters() if value.requires_grad]
    assert learning
    assert all("lora_" in name for name in learning)
    assert not any("lm_head" in name for name, _ in causal.named_parameters() if "lora_" in name)
    scalar = load_scalar(save_tiny(str(tmp_path), tiny_model("llama"), tiny_tokenizer()), CPU, seed=0)
    add_lora(scalar, LoraConfig(rank=2), seed=0)
    learning = [name for name, value in scalar.named_parameters() if value.requires_grad]
    assert "classifier.score.weight" in learning
    assert all("lora_" in name or name == "classifier.score.weight" for name in learning)


def test_a_scalar_model_with_adapters_saves_merged(tmp_path: Path) -> None:
    scalar = load_scalar(save_tiny(str(tmp_path / "a"), tiny_model("gpt2"), tiny_tokenizer()), CPU, seed=0)
    add_lora(scalar, LoraConfig(rank=2), seed=0)
    disturb(scalar)
    save_scalar(scalar, tiny_codec(), tmp_path / "b", card="x")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "b")
    torch.testing.assert_close(plain(BATCH.tokens).logits[:, 0], scalar.scores(BATCH), atol=1e-5, rtol=1e-5)


def test_the_start_of_the_adapters_comes_from_the_seed() -> None:
    def start(seed: int) -> list[torch.Tensor]:
        model = tiny_model("llama")
        add_lora(model, LoraConfig(rank=2), seed=seed)
        return [value for name, value in model.named_parameters() if "lora_A" in name]

    assert all(torch.equal(a, b) for a, b in zip(start(1), start(1), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(start(1), start(2), strict=True))


def test_targets_can_be_named_and_wrong_names_are_refused() -> None:
    model = tiny_model("llama")
    add_lora(model, LoraConfig(rank=2, targets="q_proj, v_proj"), seed=0)
    touched = {name.partition(".self_attn.")[2].split(".")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    assert touched == {"q_proj", "v_proj"}
    with pytest.raises(ConfigError, match="no_such_layer"):
        add_lora(tiny_model("llama"), LoraConfig(rank=2, targets="no_such_layer"), seed=0)


def test_rank_zero_leaves_the_model_alone_and_has_no_reference() -> None:
    model = tiny_model("llama")
    add_lora(model, LoraConfig(rank=0), seed=0)
    assert not has_adapters(model)
    assert all(value.requires_grad for value in model.parameters())
    with pytest.raises(ConfigError, match="no adapters"), reference_of(model):
        pass


def test_under_bfloat16_the_frozen_weights_are_half_size_and_the_adapters_are_not(tmp_path: Path) -> None:
    path = save_tiny(str(tmp_path), tiny_model("llama"), tiny_tokenizer())
    model = load_causal(path, ComputeConfig(device="cpu", dtype="bfloat16"))
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    add_lora(model, LoraConfig(rank=2), seed=0)
    kinds = {(value.requires_grad, value.dtype) for value in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    assert torch.isfinite(logprobs(model)).all()
