"""The tiny models and tokenizers are what other tests take them for."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from instructloop.testing import ARCHITECTURES, CHAT_TEMPLATE, Architecture, save_tiny, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_seed_alone_decides_the_weights(arch: Architecture) -> None:
    before = torch.random.get_rng_state()
    one, same, other = tiny_model(arch), tiny_model(arch), tiny_model(arch, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    ids = torch.tensor([[1, 9, 8]])
    assert torch.equal(one(ids).logits, same(ids).logits)
    assert not torch.equal(one(ids).logits, other(ids).logits)
    assert one.config.model_type == arch


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_saved_directory_opens_with_plain_transformers(arch: Architecture, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(arch), tiny_tokenizer(chat_template=CHAT_TEMPLATE)
    save_tiny(str(tmp_path), model, tokenizer)
    reloaded, again = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor([tokenizer.encode("hé </s>")])
    assert torch.equal(model(ids).logits, reloaded(ids).logits)
    assert again.encode("hé </s>") == ids[0].tolist()
    assert again.chat_template == CHAT_TEMPLATE


def test_a_token_is_a_byte() -> None:
    tokenizer = tiny_tokenizer()
    assert len(tokenizer) == 260
    assert len(tokenizer.encode("né", add_special_tokens=False)) == 3
