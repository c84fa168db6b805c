"""The rollout engine against rescoring and against transformers' own generate."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Message, Prompt
from instructloop.data import TextCodec
from instructloop.generation import FinishReason, Rollouts, TorchEngine
from instructloop.models import completion_logprobs, load_causal
from instructloop.testing import ARCHITECTURES, save_tiny, tiny_codec, tiny_model, tiny_tokenizer

TEXTS = ["hello there", "a", "what is the capital of France?", "a", "xyz " * 9]
PROMPTS = [Prompt(prompt=text) for text in TEXTS]
EOS = 2


def lively(arch: str = "llama", **shape: int) -> PreTrainedModel:
    """Random weights large enough that the model has opinions."""
    model = tiny_model(arch, **shape)
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.mul_(3)
    return model


def scripted(model: PreTrainedModel, choose: Callable[[int], int]) -> PreTrainedModel:
    """Make the model all but certain: after a position p comes the token ``choose(p)``. Positions are its own absolute ones."""
    head = model.get_output_embeddings()
    with torch.no_grad():
        for value in model.parameters():
            value.zero_()
        model.transformer.wpe.weight.copy_(torch.eye(*model.transformer.wpe.weight.shape) * 10)
        model.transformer.ln_f.weight.fill_(1)
        # the norm turns 10 at one of 64 places into 7.94 there and -0.126 elsewhere; the bias makes elsewhere 0
        model.transformer.ln_f.bias.fill_(0.126)
        head.weight.zero_()
        for position in range(head.weight.shape[1]):
            head.weight[choose(position), position] += 10
    return model


def scripted_model(choose: Callable[[int], int]) -> PreTrainedModel:
    """GPT-2 whose position p has its own direction; untied, so that the head can read it."""
    model = tiny_model("gpt2", hidden=64, layers=1, context=64)
    model.config.tie_word_embeddings = False
    model.lm_head = nn.Linear(64, 260, bias=False)
    return scripted(model, choose).eval()


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_log_probabilities_and_entropies_equal_rescored_ones(arch: str, temperature: float) -> None:
    """PPO-12, PPO-23: the first ratio is 1 to 1e-4 with prompts of mixed length in one batch."""
    model = lively(arch)
    sampling = SamplingConfig(max_new_tokens=40, temperature=temperature)
    rollouts = TorchEngine(model, tiny_codec()).generate(PROMPTS, n=3, sampling=sampling, seed=11)
    rescored = completion_logprobs(model, rollouts.batch, temperature=temperature, entropy=True)
    assert rescored.entropies is not None
    assert rollouts.entropies is not None
    assert float((rescored.logprobs - rollouts.logprobs).exp().sub(1).abs().max().detach()) < 1e-4
    torch.testing.assert_close(rescored.entropies.detach(), rollouts.entropies, atol=1e-4, rtol=0)
    if temperature != 1:  # scoring at another temperature is not the same thing
        other = completion_logprobs(model, rollouts.batch)
        assert float((other.logprobs - rollouts.logprobs).abs().max().detach()) > 0.05


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_left_padded_row_has_the_log_probabilities_of_the_row_alone(arch: str) -> None:
    """PPO-3: prompts of 2 to 37 tokens decoded together, each checked by a plain forward of its own ids."""
    model = lively(arch)
    rollouts = TorchEngine(model, tiny_codec()).generate(PROMPTS, sampling=SamplingConfig(max_new_tokens=10), seed=5)
    for row, logprobs in zip(rollouts.batch.sequences(), rollouts.logprobs, strict=True):
        full = model(torch.tensor([row.ids])).logits[0].detach().log_softmax(-1)
        places = range(row.prompt_length, len(row))
        expected = torch.stack([full[place - 1, row.ids[place]] for place in places])
        torch.testing.assert_close(logprobs[: len(places)], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_greedy_equals_the_librarys_greedy_token_for_token(arch: str) -> None:
    model, codec = lively(arch), tiny_codec()
    rollouts = TorchEngine(model, codec).generate(PROMPTS, sampling=SamplingConfig(max_new_tokens=30, temperature=0), seed=0)
    for prompt, row in zip(TEXTS, rollouts.batch.sequences(), strict=True):
        ids = torch.tensor([codec.encode_prompt(prompt)])
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30, suppress_tokens=[0])
        assert list(row.ids) == theirs[0].tolist()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_row_is_the_same_in_any_batch(arch: str) -> None:
    """Row-keyed streams: alone, in portions of two or all together; retired neighbours change nothing."""
    model, sampling = lively(arch), SamplingConfig(max_new_tokens=60)
    together = TorchEngine(model, tiny_codec()).generate(PROMPTS, n=4, sampling=sampling, seed=3)
    assert 0 < sum(together.ended.tolist()) < 20
    for rows in (1, 3):
        apart = TorchEngine(model, tiny_codec(), max_rows=rows).generate(PROMPTS, n=4, sampling=sampling, seed=3)
        assert apart.batch.sequences() == together.batch.sequences()
        torch.testing.assert_close(apart.logprobs, together.logprobs, atol=1e-5, rtol=1e-5)


def test_in_bfloat16_the_first_ratio_is_near_one_and_scores_are_float32(tmp_path: Path) -> None:
    """One rounding of bfloat16 is 2^-8; sampling and rescoring may differ by a few of them, which is why trainers rescore."""
    path = save_tiny(str(tmp_path), lively(), tiny_tokenizer())
    model = load_causal(path, ComputeConfig(device="cpu", dtype="bfloat16"))
    rollouts = TorchEngine(model, tiny_codec()).generate(PROMPTS, n=3, sampling=SamplingConfig(max_new_tokens=20), seed=0)
    assert rollouts.logprobs.dtype == torch.float32
    rescored = completion_logprobs(model, rollouts.batch).logprobs.detach()
    assert 0 < float((rescored - rollouts.logprobs).abs().max()) < 0.2
    assert float((rescored - rollouts.logprobs)[rollouts.mask].mean().abs()) < 0.01


def test_rows_of_the_same_prompt_and_calls_with_other_seeds_differ() -> None:
    engine, sampling = TorchEngine(lively(), tiny_codec()), SamplingConfig(max_new_tokens=12)
    rollouts = engine.generate(PROMPTS[:1], n=16, sampling=sampling, seed=1)
    assert len(set(rollouts.batch.sequences())) == 16
    assert rollouts.prompts == (PROMPTS[0],) * 16
    again = engine.generate(PROMPTS[:1], n=16, sampling=sampling, seed=1)
    assert again.batch.sequences() == rollouts.batch.sequences()
    assert torch.equal(again.logprobs, rollouts.logprobs)
    other = engine.generate(PROMPTS[:1], n=16, sampling=sampling, seed=2)
    assert not set(other.batch.sequences()) & set(rollouts.batch.sequences())


def test_the_models_generation_config_has_no_influence() -> None:
    """T2, PPO-4."""
    model, sampling = lively(), SamplingConfig(max_new_tokens=20)
    before = TorchEngine(model, tiny_codec()).generate(PROMPTS, sampling=sampling, seed=1)
    settings = model.generation_config
    settings.do_sample, settings.temperature, settings.top_k, settings.eos_token_id, settings.max_new_tokens = True, 0.01, 1, 70, 3
    after = TorchEngine(model, tiny_codec()).generate(PROMPTS, sampling=sampling, seed=1)
    assert after.batch.sequences() == before.batch.sequences()


def test_padding_is_never_sampled_unless_it_is_the_end_token() -> None:
    """T13: a model that wants nothing but PAD."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.model.norm.weight.zero_()
    wants_pad = nn.Linear(32, 260)
    nn.init.zeros_(wants_pad.weight)
    nn.init.zeros_(wants_pad.bias)
    with torch.no_grad():
        wants_pad.bias[0] = 9  # PAD: e^9 / (e^9 + 259) = 97 %
    model.lm_head = wants_pad
    sampling = SamplingConfig(max_new_tokens=20)
    rollouts = TorchEngine(model, tiny_codec()).generate(PROMPTS, n=8, sampling=sampling, seed=0)
    assert not any(0 in row.completion for row in rollouts.batch.sequences())
    rescored = completion_logprobs(model, rollouts.batch)
    torch.testing.assert_close(rescored.logprobs.detach(), rollouts.logprobs, atol=1e-5, rtol=1e-5)
    zero_is_eos = TextCodec(tiny_tokenizer(eos_is_zero=True))
    ended = TorchEngine(model, zero_is_eos).generate(PROMPTS, n=8, sampling=sampling, seed=0)
    assert all(0 in row.completion for row in ended.batch.sequences())
    assert ended.ended.all()


def test_pad_equal_to_eos_can_be_sampled_and_stops() -> None:
    """T1, T8: with the pad token on EOS the end is still an end, and lengths tell filler from it."""
    codec = TextCodec(tiny_tokenizer(pad_is_eos=True))
    rollouts = TorchEngine(lively(), codec).generate(PROMPTS, n=8, sampling=SamplingConfig(max_new_tokens=60), seed=0)
    for row, reason in zip(rollouts.batch.sequences(), rollouts.finish_reasons, strict=True):
        assert row.completion.count(EOS) == (reason is FinishReason.STOP)
        assert reason is FinishReason.LENGTH or row.completion[-1] == EOS


def test_an_end_token_on_the_very_last_position_is_a_stop() -> None:
    """T14. The prompt "ab" has 3 tokens with BOS, so position 5 decides the fourth completion token."""
    model = scripted_model(lambda position: EOS if position == 5 else 104)
    generate = TorchEngine(model, tiny_codec()).generate
    exact = generate([Prompt(prompt="ab")], sampling=SamplingConfig(max_new_tokens=4, temperature=0), seed=0)
    assert exact.batch.sequences()[0].completion == (104, 104, 104, EOS)
    assert exact.finish_reasons == (FinishReason.STOP,)
    assert exact.ended.tolist() == [True]
    short = generate([Prompt(prompt="ab")], sampling=SamplingConfig(max_new_tokens=3, temperature=0), seed=0)
    assert short.finish_reasons == (FinishReason.LENGTH,)
    assert short.ended.tolist() == [False]


def test_an_end_token_in_the_prompt_does_not_count() -> None:
    """T6: few-shot prompts hold end tokens."""
    codec = tiny_codec()
    prompt = Prompt(prompt="one</s>two</s>")
    assert codec.encode_prompt(prompt.prompt).count(EOS) == 2
    model = scripted_model(lambda _position: 104)
    rollouts = TorchEngine(model, codec).generate([prompt], sampling=SamplingConfig(max_new_tokens=5), seed=0)
    assert rollouts.batch.completion_lengths.tolist() == [5]
    assert rollouts.finish_reasons == (FinishReason.LENGTH,)


def byte(text: str) -> int:
    return tiny_codec().encode_completion(text)[0]


def test_a_stop_text_ends_the_completion_and_is_not_kept_in_its_text() -> None:
    """T7: a completion that ends in a configured stop text has ended; its sampled ids are kept as they are."""
    wanted = "go on. stop"
    model = scripted_model(lambda position: byte(wanted[(position - 2) % len(wanted)]))
    engine = TorchEngine(model, tiny_codec())
    rollouts = engine.generate([Prompt(prompt="ab")], sampling=SamplingConfig(max_new_tokens=11, stop=(".",)), seed=0)
    assert rollouts.completions == ("go on",)
    assert rollouts.finish_reasons == (FinishReason.STOP,)
    assert rollouts.batch.sequences()[0].completion == tuple(byte(letter) for letter in "go on.")
    several = engine.generate([Prompt(prompt="ab")], sampling=SamplingConfig(max_new_tokens=11, stop=("zz", " st")), seed=0)
    assert several.completions == ("go on.",)
    none = engine.generate([Prompt(prompt="ab")], sampling=SamplingConfig(max_new_tokens=11, stop=("?",)), seed=0)
    assert none.completions == ("go on. stop",)
    assert none.finish_reasons == (FinishReason.LENGTH,)


def test_a_stop_text_that_is_a_special_token_stops_too() -> None:
    """The turn marker has id 3 and leaves no text."""
    model = scripted_model(lambda position: 3 if position == 4 else byte("x"))
    rollouts = TorchEngine(model, tiny_codec()).generate(
        [Prompt(prompt="ab")], sampling=SamplingConfig(max_new_tokens=9, stop=("<|turn|>",)), seed=0
    )
    assert rollouts.completions == ("xx",)
    assert rollouts.finish_reasons == (FinishReason.STOP,)


def test_conversations_go_through_the_chat_template() -> None:
    codec = tiny_codec(chat=True)
    prompt = Prompt(prompt=(Message("system", "Be brief."), Message("user", "Hi")))
    rollouts = TorchEngine(lively(), codec).generate([prompt], sampling=SamplingConfig(max_new_tokens=4), seed=0)
    row = rollouts.batch.sequences()[0]
    assert list(row.ids[: row.prompt_length]) == codec.encode_prompt(prompt.prompt)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_context_can_be_filled_to_the_last_token_and_not_beyond(arch: str) -> None:
    model, codec = lively(arch, context=48), tiny_codec()
    length = len(codec.encode_prompt("hello there"))
    fits = SamplingConfig(max_new_tokens=48 - length)
    rollouts = TorchEngine(model, codec).generate([Prompt(prompt="hello there")], n=6, sampling=fits, seed=0)
    assert rollouts.batch.tokens.shape[1] == 48
    with pytest.raises(ConfigError, match=f"prompt of {length} tokens and max_new_tokens = {49 - length}.*context of 48"):
        TorchEngine(model, codec).generate([Prompt(prompt="hello there")], sampling=SamplingConfig(max_new_tokens=49 - length), seed=0)


def test_mode_and_gradients_are_left_as_they_were() -> None:
    model = lively("gpt2").train()
    model.transformer.h[1].eval()
    rollouts = TorchEngine(model, tiny_codec()).generate(PROMPTS, sampling=SamplingConfig(max_new_tokens=4), seed=0)
    assert model.training
    assert model.transformer.h[0].training
    assert not model.transformer.h[1].training
    assert torch.is_grad_enabled()
    assert not rollouts.logprobs.requires_grad
    assert not rollouts.logprobs.is_inference()


def test_dropout_is_off_while_sampling_from_a_training_model() -> None:
    model = lively("gpt2")
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.5
    sampling = SamplingConfig(max_new_tokens=10)
    still = TorchEngine(model.eval(), tiny_codec()).generate(PROMPTS, sampling=sampling, seed=0)
    training = TorchEngine(model.train(), tiny_codec()).generate(PROMPTS, sampling=sampling, seed=0)
    assert training.batch.sequences() == still.batch.sequences()


@pytest.mark.parametrize("stop", [(), ("e",), ("ab", "q"), ("\n",)])
@pytest.mark.parametrize("seed", range(4))
def test_the_pieces_of_a_stream_make_the_generated_text(stop: tuple[str, ...], seed: int) -> None:
    engine = TorchEngine(lively(), tiny_codec())
    sampling = SamplingConfig(max_new_tokens=60, stop=stop)
    whole: Rollouts = engine.generate([PROMPTS[0]], sampling=sampling, seed=seed)
    pieces = list(engine.stream(PROMPTS[0], sampling=sampling, seed=seed))
    assert "".join(pieces) == whole.completions[0]
    assert all(pieces)


def test_a_stream_holds_back_what_may_become_a_stop_text_or_a_character() -> None:
    """ "é" has two bytes; "st" may become the stop text "stop" and must not be shown until it does not."""
    wanted = "é sta stop"
    ids = tiny_codec().encode_completion(wanted)[:-1]
    model = scripted_model(lambda position: ids[(position - 2) % len(ids)])
    sampling = SamplingConfig(max_new_tokens=20, stop=("stop",))
    pieces = list(TorchEngine(model, tiny_codec()).stream("ab", sampling=sampling, seed=0))
    assert "".join(pieces) == "é sta "
    assert pieces[0] == "é"
    assert not any("\ufffd" in piece for piece in pieces)
    assert pieces[2] == "sta"


def test_a_stream_leaves_the_model_in_training_mode_between_pieces() -> None:
    model = lively().train()
    for _ in TorchEngine(model, tiny_codec()).stream("hello", sampling=SamplingConfig(max_new_tokens=3), seed=0):
        assert model.training
        assert torch.is_grad_enabled()


def test_nothing_to_generate_is_an_error() -> None:
    engine = TorchEngine(lively(), tiny_codec())
    with pytest.raises(DataError, match="0 prompts"):
        engine.generate([], sampling=SamplingConfig(), seed=0)
    with pytest.raises(ConfigError, match="max_rows"):
        TorchEngine(lively(), tiny_codec(), max_rows=0)
