"""Loading, dropout, precision and what is said when it fails."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, T5Config, T5ForConditionalGeneration

from instructloop.config import ComputeConfig
from instructloop.core.errors import CheckpointError, ConfigError
from instructloop.models import (
    compute_dtype,
    context_tokens,
    evaluating,
    load_causal,
    load_scalar,
    load_tokenizer,
    new_llama,
    resolve_device,
    resolve_dtype,
    set_dropout,
)
from instructloop.testing import ARCHITECTURES, save_tiny, tiny_model, tiny_tokenizer

CPU = ComputeConfig(device="cpu")


def gpt2_with_dropout(path: Path) -> Path:
    config = GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=64, vocab_size=260, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    GPT2LMHeadModel(config).save_pretrained(path)
    return path


def test_dropout_is_off_unless_asked_for(tmp_path: Path) -> None:
    model = load_causal(gpt2_with_dropout(tmp_path), CPU).train()
    assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.0}


def test_residual_dropout_alone_can_be_switched_on(tmp_path: Path) -> None:
    """Spec C1: 0.2 on the residual path."""
    model = load_causal(gpt2_with_dropout(tmp_path), CPU, dropout=0.2)
    assert model.transformer.h[0].mlp.dropout.p == 0.2
    assert model.transformer.h[0].attn.resid_dropout.p == 0.2
    assert model.transformer.h[0].attn.attn_dropout.p == 0.0
    assert model.transformer.drop.p == 0.0


def test_an_architecture_without_residual_dropout_says_so() -> None:
    config = LlamaConfig(attention_dropout=0.3)
    assert not set_dropout(config, 0.2)
    assert config.attention_dropout == 0.0
    assert set_dropout(GPT2Config(), 0.2)


def test_the_embedding_of_a_pad_token_that_is_also_eos_can_learn(tmp_path: Path) -> None:
    """torch gives padding_idx no gradient; with PAD = EOS a reward model's last token would stay frozen."""
    source = tiny_model("llama")
    source.config.pad_token_id = 2
    model = load_causal(save_tiny(str(tmp_path), source, tiny_tokenizer(pad_is_eos=True)), CPU)
    model(torch.tensor([[5, 2, 7]])).logits.square().sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient is not None
    assert float(gradient[2].abs().max()) > 0


def test_the_context_comes_from_each_architectures_configuration() -> None:
    assert [context_tokens(tiny_model(arch, context=96)) for arch in ARCHITECTURES] == [96] * 4


def test_a_new_model_is_the_same_for_the_same_seed_and_leaves_the_global_generator_alone() -> None:
    shape = {"vocab_size": 260, "hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 48, "context_tokens": 64}
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one, two, other = (new_llama(**shape, seed=seed, tokenizer=tiny_tokenizer()) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.lm_head.weight, two.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.lm_head.weight is one.get_input_embeddings().weight
    assert one.config.eos_token_id == 2
    assert context_tokens(one) == 64


def test_a_missing_model_is_named_with_a_remedy(tmp_path: Path) -> None:
    for load in (lambda path: load_causal(path, CPU), lambda path: load_scalar(path, CPU, seed=0), load_tokenizer):
        with pytest.raises(CheckpointError, match="nothing-here") as caught:
            load(tmp_path / "nothing-here")
        assert caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_causal(tmp_path / "empty", CPU)
    tiny_model("llama").config.save_pretrained(tmp_path / "empty")
    with pytest.raises(CheckpointError) as caught:
        load_causal(tmp_path / "empty", CPU)
    assert "lacks files" in str(caught.value.hint)


def test_an_encoder_decoder_is_no_causal_model(tmp_path: Path) -> None:
    config = T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=64, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="causal language model"):
        load_causal(tmp_path, CPU)


def test_trained_weights_stay_float32_and_frozen_ones_take_the_compute_precision(tmp_path: Path) -> None:
    path = save_tiny(str(tmp_path), tiny_model("llama"), tiny_tokenizer())
    half = ComputeConfig(device="cpu", dtype="bfloat16")
    trained, frozen = load_causal(path, half), load_causal(path, half, trainable=False)
    assert trained.lm_head.weight.dtype == torch.float32
    assert frozen.lm_head.weight.dtype == torch.bfloat16
    assert compute_dtype(trained) == compute_dtype(frozen) == torch.bfloat16
    assert trained.lm_head.weight.requires_grad
    assert not any(value.requires_grad for value in frozen.parameters())


def test_auto_means_float32_on_a_cpu() -> None:
    assert resolve_dtype(CPU) == torch.float32
    assert resolve_device(CPU).type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuda"):
        resolve_device(ComputeConfig(device="cuda"))


def test_evaluating_restores_each_submodules_mode_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout()).train()
    model[1].eval()

    def fail() -> None:
        with evaluating(model):
            assert not model[0].training
            assert not torch.is_grad_enabled()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert model.training
    assert model[0].training
    assert not model[1].training


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    path = save_tiny(str(tmp_path), tiny_model("llama"), tiny_tokenizer())
    ids = torch.arange(4, 24).reshape(2, 10)
    gradients = []
    for wanted in (False, True):
        model = load_causal(path, ComputeConfig(device="cpu", gradient_checkpointing=wanted)).train()
        assert model.model.layers[0].gradient_checkpointing == wanted
        model(ids, labels=ids, use_cache=False).loss.backward()
        gradients.append(model.model.layers[0].mlp.up_proj.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
