"""Decoding over slots: against rescoring, against itself in other batches, and against a plain forward."""

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    GPTNeoXConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    SmolLM3Config,
)

from instructloop.config import LoraConfig, SamplingConfig
from instructloop.core.errors import DataError
from instructloop.core.records import Prompt
from instructloop.data import TokenSequence, collate
from instructloop.generation import Rollouts, TorchEngine
from instructloop.generation.lean import LeanStep
from instructloop.generation.library import Library
from instructloop.generation.slots import KeysValues, SlotCache, Zone
from instructloop.generation.stepping import narrowest_window, step_function
from instructloop.models import completion_logprobs
from instructloop.models.adapters import add_lora
from instructloop.testing import ARCHITECTURES, tiny_codec, tiny_model

PROMPTS = [
    Prompt(prompt=text) for text in ("hello there", "a", "what is the capital of France?", "b", "xyz " * 9, "a longer prompt", "c", "dd")
]
SAMPLING = SamplingConfig(max_new_tokens=40)
TOKENS = {"vocab_size": 260, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SHAPE = {**TOKENS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


def opinionated(model: PreTrainedModel) -> PreTrainedModel:
    """Weights large enough that positions and attention matter."""
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.mul_(3)
    return model.eval()


def model_of(config: PreTrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return opinionated(AutoModelForCausalLM.from_config(config))


def rescored_difference(model: PreTrainedModel, rollouts: Rollouts) -> float:
    rescored = completion_logprobs(model, rollouts.batch).logprobs.detach()
    return float((rescored - rollouts.logprobs).abs().max())


def architectures() -> list[tuple[str, PreTrainedModel]]:
    known = [(arch, opinionated(tiny_model(arch))) for arch in ARCHITECTURES]
    others = {
        "qwen3": Qwen3Config(**SHAPE, head_dim=16),
        "bloom": BloomConfig(**TOKENS, hidden_size=32, n_layer=2, n_head=4),
        "cohere": CohereConfig(**SHAPE, logit_scale=0.5),
        "gemma2": Gemma2Config(**SHAPE, head_dim=8),
        "neox, one after the other": GPTNeoXConfig(
            **TOKENS, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, use_parallel_residual=False
        ),
    }
    return known + [(name, model_of(config)) for name, config in others.items()]


MODELS = dict(architectures())


@pytest.mark.parametrize("name", MODELS)
def test_rows_refilled_into_three_slots_score_what_a_rescoring_does_and_are_the_rows_of_one_batch(name: str) -> None:
    """16 rows through 3 slots, prompts of 2 to 37 tokens: a row's neighbours, its slot and when it began change nothing."""
    engine = TorchEngine(MODELS[name], tiny_codec(), max_rows=3)
    few = engine.generate(PROMPTS, n=2, sampling=SAMPLING, seed=4)
    assert 0 < sum(few.ended.tolist()) < 16
    assert rescored_difference(MODELS[name], few) < 1e-4
    all_together = TorchEngine(MODELS[name], tiny_codec(), max_rows=16).generate(PROMPTS, n=2, sampling=SAMPLING, seed=4)
    assert few.batch.sequences() == all_together.batch.sequences()
    torch.testing.assert_close(few.logprobs, all_together.logprobs, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(few.entropies, all_together.entropies, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 5, 7])
def test_the_number_of_slots_changes_no_row(rows: int) -> None:
    """Five completions of a prompt are spread over admissions here, so its keys are kept from one to the next."""
    whole = TorchEngine(MODELS["llama"], tiny_codec(), max_rows=40).generate(PROMPTS, n=5, sampling=SAMPLING, seed=9)
    some = TorchEngine(MODELS["llama"], tiny_codec(), max_rows=rows).generate(PROMPTS, n=5, sampling=SAMPLING, seed=9)
    assert some.batch.sequences() == whole.batch.sequences()
    assert some.finish_reasons == whole.finish_reasons
    assert some.completions == whole.completions


def test_each_distinct_prompt_is_read_once_however_many_completions_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    read = Library.read

    def counting(self: Library, prompts: list[list[int]]) -> tuple[Tensor, list[KeysValues]]:
        seen.append(len(prompts))
        return read(self, prompts)

    TorchEngine(MODELS["llama"], tiny_codec()).generate(PROMPTS[:1], sampling=SAMPLING, seed=0)  # the experiment, once
    monkeypatch.setattr(Library, "read", counting)
    TorchEngine(MODELS["llama"], tiny_codec(), max_rows=4).generate(PROMPTS * 2, n=7, sampling=SAMPLING, seed=0)
    assert sum(seen) == len(PROMPTS)


def test_long_prompts_are_read_in_passes_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instructloop.generation.refilling.PREFILL_TOKENS", 80)
    sizes: list[int] = []
    read = Library.read

    def noting(self: Library, prompts: list[list[int]]) -> tuple[Tensor, list[KeysValues]]:
        sizes.append(len(prompts) * max(map(len, prompts)))
        return read(self, prompts)

    whole = TorchEngine(MODELS["llama"], tiny_codec()).generate(PROMPTS, sampling=SAMPLING, seed=2)
    monkeypatch.setattr(Library, "read", noting)
    again = TorchEngine(MODELS["llama"], tiny_codec()).generate(PROMPTS, sampling=SAMPLING, seed=2)
    assert len(sizes) > 1
    assert max(sizes) < 80 + 37
    assert again.batch.sequences() == whole.batch.sequences()


def test_adapters_are_seen_by_every_step() -> None:
    """The verdict on the model was reached before it had adapters; B is made large, so ignoring it would show."""
    model = opinionated(tiny_model("llama"))
    plain = TorchEngine(model, tiny_codec(), max_rows=5).generate(PROMPTS, n=2, sampling=SAMPLING, seed=1)
    add_lora(model, LoraConfig(rank=4), seed=0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.1)
    adapted = TorchEngine(model, tiny_codec(), max_rows=5).generate(PROMPTS, n=2, sampling=SAMPLING, seed=1)
    assert adapted.batch.sequences() != plain.batch.sequences()
    assert rescored_difference(model, adapted) < 1e-4


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_row_ends_at_its_own_limit_and_begins_like_the_longer_one(name: str) -> None:
    limits = [1, 2, 3, 40, 5, 6, 7, 8]
    engine = TorchEngine(MODELS[name], tiny_codec(), max_rows=3)
    whole = engine.generate(PROMPTS, sampling=SAMPLING, seed=6)
    cut = engine.generate(PROMPTS, sampling=SAMPLING, seed=6, limits=limits)
    for long, short, limit in zip(whole.batch.sequences(), cut.batch.sequences(), limits, strict=True):
        assert short.completion == long.completion[:limit]
    with pytest.raises(DataError, match=r"8 numbers of 1\.\.40"):
        engine.generate(PROMPTS, sampling=SAMPLING, seed=6, limits=[41] * 8)
    with pytest.raises(DataError, match="8 numbers"):
        engine.generate(PROMPTS, sampling=SAMPLING, seed=6, limits=[1] * 7)


def test_a_share_of_the_rows_draws_what_it_draws_in_the_whole() -> None:
    engine = TorchEngine(MODELS["llama"], tiny_codec())
    whole = engine.generate(PROMPTS, n=2, sampling=SAMPLING, seed=8).batch.sequences()
    shares = [engine.generate(PROMPTS[first : first + 4], n=2, sampling=SAMPLING, seed=8, first_row=2 * first) for first in (0, 4)]
    assert [row for share in shares for row in share.batch.sequences()] == whole


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_greedy_with_a_repetition_penalty_equals_the_librarys(name: str) -> None:
    """The library counts the prompt's tokens too. Slots are refilled, so what a slot's earlier row held must be forgotten."""
    model, codec = MODELS[name], tiny_codec()
    sampling = SamplingConfig(max_new_tokens=25, temperature=0, repetition_penalty=1.7)
    rollouts = TorchEngine(model, codec, max_rows=3).generate(PROMPTS, sampling=sampling, seed=0)
    for prompt, row in zip(PROMPTS, rollouts.batch.sequences(), strict=True):
        ids = torch.tensor([codec.encode_prompt(prompt.prompt)])
        settings = {"do_sample": False, "max_new_tokens": 25, "suppress_tokens": [0], "repetition_penalty": 1.7}
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        assert list(row.ids) == theirs[0].tolist()
    assert rescored_difference(model, rollouts) < 1e-4


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_joining_small_products_changes_no_row(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    engine = TorchEngine(MODELS[name], tiny_codec())
    joined = engine.generate(PROMPTS, sampling=SAMPLING, seed=3)
    monkeypatch.setattr("instructloop.generation.lean.JOIN_BELOW", 0)
    apart = engine.generate(PROMPTS, sampling=SAMPLING, seed=3)
    assert joined.batch.sequences() == apart.batch.sequences()
    torch.testing.assert_close(joined.logprobs, apart.logprobs, atol=1e-5, rtol=1e-5)


def test_which_step_a_model_takes_is_found_by_experiment() -> None:
    kinds = {name: getattr((step := step_function(Library(model), 64)), "__name__", type(step).__name__) for name, model in MODELS.items()}
    assert kinds == {
        "llama": "LeanStep",
        "gpt2": "LeanGPT2Step",
        "gpt_neox": "LeanNeoXStep",
        "neox, one after the other": "LeanNeoXStep",
        "qwen2": "LeanStep",
        "qwen3": "LeanStep",
        "bloom": "step",  # its positions come from a mask of two dimensions
        "cohere": "direct_step",  # its norms and its blocks side by side are its own
        "gemma2": "step",  # its attention is not the fused one
    }


def test_models_that_differ_from_a_llama_in_one_thing_are_told_apart() -> None:
    """SmolLM3's fourth layer has no positions; a Mistral's window must not be narrower than the slots; Mamba has no attention."""
    without = model_of(SmolLM3Config(**{**SHAPE, "num_hidden_layers": 4}))
    assert not isinstance(step_function(Library(without), 64), LeanStep)
    window = model_of(MistralConfig(**SHAPE, sliding_window=20))
    assert narrowest_window(window.config) == 20
    assert isinstance(step_function(Library(window), 20), LeanStep)
    assert step_function(Library(window), 21) is None
    assert step_function(Library(model_of(MambaConfig(**TOKENS, hidden_size=32, num_hidden_layers=2))), 8) is None


def test_an_attention_chosen_by_the_user_stays() -> None:
    model = model_of(MistralConfig(**SHAPE, sliding_window=None))
    other = model_of(CohereConfig(**SHAPE))
    other.set_attn_implementation("eager")
    step = step_function(Library(other), 64)
    assert getattr(step, "__name__", "") == "step"
    before = model.config._attn_implementation
    TorchEngine(model, tiny_codec()).generate(PROMPTS, sampling=SAMPLING, seed=0)
    assert model.config._attn_implementation == before


@pytest.mark.parametrize(
    "zones",
    [
        [Zone(0, 2, 3)],
        [Zone(0, 1, 3), Zone(1, 2, 1)],
        [Zone(0, 1, 3), Zone(1, 2, 2)],
        [Zone(0, 1, 3, even=True), Zone(1, 2, 1, even=True)],
    ],
)
def test_attention_over_slots_is_softmax_attention(zones: list[Zone]) -> None:
    """Two rows of 3 and 1 columns, two query heads on each of two key heads; columns beyond a row's own are not seen."""
    generator = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(2, 2, 3, 4, generator=generator) for _ in range(2))
    query = torch.randn(2, 4, 4, generator=generator)
    cache = SlotCache(1, 2, 8, torch.float32)
    cache.begin(torch.tensor([2, 0]), zones)
    mixed = cache.attend(query, KeysValues(keys, values), 0.5).view(2, 4, 4)
    for row, columns in ((0, 3), (1, 1)):
        for head in range(4):
            scores = keys[row, head // 2, :columns] @ query[row, head] * 0.5
            expected = torch.softmax(scores, 0) @ values[row, head // 2, :columns]
            torch.testing.assert_close(mixed[row, head], expected)


def test_slots_hold_what_was_filled_moved_and_written() -> None:
    cache = SlotCache(1, 3, 6, torch.float32)
    prompts = KeysValues(torch.arange(16.0).view(2, 1, 4, 2), -torch.arange(16.0).view(2, 1, 4, 2))
    cache.fill(torch.tensor([0, 2]), [prompts], torch.tensor([1, 0]))
    cache.move(torch.tensor([2]), torch.tensor([1]), 4)
    cache.begin(torch.tensor([4, 2]), [Zone(0, 2, 5)])
    keys, values = cache.update(torch.full((2, 1, 1, 2), 7.0), torch.full((2, 1, 1, 2), 8.0), 0)
    assert keys.shape == (2, 1, 5, 2)
    assert keys[0, 0].tolist() == [[8, 9], [10, 11], [12, 13], [14, 15], [7, 7]]
    assert keys[1, 0].tolist() == [[0, 1], [2, 3], [7, 7], [6, 7], [0, 0]]
    assert values[1, 0].tolist() == [[0, -1], [-2, -3], [8, 8], [-6, -7], [0, 0]]
    assert cache.visible().tolist() == [[True] * 5, [True, True, True, False, False]]
    assert cache.get_seq_length() == 4
    assert cache.get_mask_sizes(1, 0) == (5, 0)


def test_two_slots_can_change_places() -> None:
    cache = SlotCache(1, 2, 3, torch.float32)
    cache.fill(
        torch.tensor([0, 1]),
        [KeysValues(torch.ones(2, 1, 2, 2), torch.tensor([[[[1.0]]], [[[2.0]]]]).expand(2, 1, 2, 2))],
        torch.tensor([0, 1]),
    )
    cache.move(torch.tensor([0, 1]), torch.tensor([1, 0]), 2)
    cache.begin(torch.tensor([2, 2]), [Zone(0, 2, 3)])
    _, values = cache.update(torch.zeros(2, 1, 1, 2), torch.zeros(2, 1, 1, 2), 0)
    assert values[:, 0, :, 0].tolist() == [[2, 2, 0], [1, 1, 0]]


def test_no_tensor_of_a_rollout_has_batch_time_and_vocabulary() -> None:
    """The largest allocation of an operation; of 4 rows, 24 tokens and a vocabulary of 20,000 the whole would be 7.7 MB."""
    model = tiny_model("llama", 20_000, hidden=8, layers=1)
    engine = TorchEngine(model, tiny_codec())
    engine.generate(PROMPTS[:1], sampling=SamplingConfig(max_new_tokens=1), seed=0)  # the experiment, once
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        engine.generate(PROMPTS[:1], n=4, sampling=SamplingConfig(max_new_tokens=24), seed=0)
    matrix = 4 * 20_000 * 4
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert matrix <= largest <= 3 * matrix


def test_rows_come_back_right_padded_in_the_order_asked_for() -> None:
    codec = tiny_codec()
    rollouts = TorchEngine(MODELS["llama"], codec, max_rows=2).generate(PROMPTS, sampling=SAMPLING, seed=0)
    again = collate([TokenSequence(row.ids, row.prompt_length) for row in rollouts.batch.sequences()], codec.pad_id)
    assert torch.equal(again.tokens, rollouts.batch.tokens)
    for prompt, row in zip(PROMPTS, rollouts.batch.sequences(), strict=True):
        assert list(row.ids[: row.prompt_length]) == codec.encode_prompt(prompt.prompt)
