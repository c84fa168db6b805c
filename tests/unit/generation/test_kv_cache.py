"""The cache written in place, against the library's growing cache."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    DynamicCache,
    JambaConfig,
    Lfm2Config,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
)

from instructloop.config import SamplingConfig
from instructloop.core.records import Prompt
from instructloop.generation import TorchEngine
from instructloop.generation.kv_cache import RolloutCache, new_cache, rearrange
from instructloop.testing import tiny_codec, tiny_config


def states(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 2, columns, 4, generator=torch.Generator().manual_seed(seed))


def test_it_holds_what_the_growing_cache_holds_through_growth_expansion_and_retirement() -> None:
    ours, theirs = RolloutCache(2, 3), DynamicCache()
    moves = [(2, 3, None), (6, 1, [0, 0, 0, 1, 1, 1]), (6, 1, None), (3, 1, [5, 0, 2]), (1, 1, [1])]
    for number, (rows, columns, index) in enumerate(moves):
        if index is not None:
            rearrange(ours, torch.tensor(index), 7)
            theirs.batch_select_indices(torch.tensor(index))
        for layer in range(2):
            new = states(rows, columns, 10 * number + layer), states(rows, columns, 10 * number + layer + 5)
            keys, values = ours.update(*new, layer)
            expected_keys, expected_values = theirs.update(*new, layer)
            assert torch.equal(keys, expected_keys)
            assert torch.equal(values, expected_values)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(1, 0) == theirs.get_mask_sizes(1, 0)


def test_growing_by_a_token_moves_no_memory() -> None:
    cache = RolloutCache(1, 8)
    places = {cache.update(states(2, 1, step), states(2, 1, step), 0)[0].data_ptr() for step in range(8)}
    assert len(places) == 1


def test_recurrent_architectures_get_the_librarys_cache() -> None:
    assert isinstance(new_cache(tiny_config("llama", 260), 8), RolloutCache)
    assert isinstance(new_cache(JambaConfig(num_hidden_layers=4, attn_layer_period=2, attn_layer_offset=1), 8), DynamicCache)


TOKENS = {"vocab_size": 260, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SHAPE = {**TOKENS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**SHAPE, sliding_window=6, max_position_embeddings=128),
        Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"], max_position_embeddings=128),
        CohereConfig(**SHAPE, logit_scale=0.5, max_position_embeddings=128),
        MambaConfig(**TOKENS, hidden_size=32, num_hidden_layers=2),
    ],
    ids=["sliding window", "convolution and attention", "scaled logits", "recurrent"],
)
def test_architectures_of_other_kinds_sample_what_they_rescore(config: PreTrainedConfig) -> None:
    """Prompts of different length, one longer than the window: a mask must count from each row's own start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.mul_(3)
    prompts = [Prompt(prompt="a long prompt beyond the window"), Prompt(prompt="b")]
    rollouts = TorchEngine(model, tiny_codec()).generate(prompts, n=3, sampling=SamplingConfig(max_new_tokens=20), seed=0)
    for row, logprobs in zip(rollouts.batch.sequences(), rollouts.logprobs, strict=True):
        full = model(torch.tensor([row.ids]), use_cache=False).logits[0].detach().log_softmax(-1)
        places = range(row.prompt_length, len(row))
        expected = torch.stack([full[place - 1, row.ids[place]] for place in places])
        torch.testing.assert_close(logprobs[: row.completion_length], expected, atol=1e-4, rtol=0)
