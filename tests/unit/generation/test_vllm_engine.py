"""What comes back from vLLM becomes rollouts by the rules of the engine of this package; vLLM itself is not needed here."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch

from instructloop.config import SamplingConfig
from instructloop.core.errors import DataError, MissingExtraError
from instructloop.core.records import Prompt
from instructloop.generation import FinishReason, Rollouts, TorchEngine
from instructloop.generation.endings import Endings
from instructloop.generation.vllm_engine import make_engine, rollouts_from
from instructloop.testing import tiny_codec, tiny_model

PROMPTS = [Prompt(prompt=text) for text in ("hello there", "a", "what is the capital of France?")]


@dataclass(frozen=True)
class Told:
    """A log-probability in the shape of vLLM's."""

    logprob: float


@dataclass(frozen=True)
class Output:
    """A completion in the shape of vLLM's: one mapping from token to log-probability for each token."""

    token_ids: Sequence[int]
    logprobs: Sequence[Mapping[int, Told]] | None


def output(tokens: Sequence[int], logprobs: Sequence[float]) -> Output:
    return Output(tokens, [{259: Told(-99.0)} | {token: Told(value)} for token, value in zip(tokens, logprobs, strict=True)])


def converted(outputs: Sequence[Output], ids: Sequence[tuple[int, ...]], *stop: str) -> Rollouts:
    endings = Endings(tiny_codec(), SamplingConfig(stop=stop))
    return rollouts_from(outputs, [PROMPTS[0]] * len(outputs), ids, endings, tiny_codec())


def test_tokens_log_probabilities_and_reasons_land_in_their_rows() -> None:
    """Row 0 ends itself after 3 tokens, row 1 runs out of room after 2; PAD 0 fills up."""
    letters = tiny_codec().encode_completion("ab")
    rollouts = converted([output(letters, [-0.5, -0.25, -1.0]), output(letters[:2], [-2.0, -3.0])], [(1, 9), (1,)])
    assert rollouts.batch.tokens.tolist() == [[1, 9, *letters], [1, *letters[:2], 0, 0]]
    assert rollouts.logprobs.tolist() == [[-0.5, -0.25, -1.0], [-2.0, -3.0, 0.0]]
    assert rollouts.mask.tolist() == [[True, True, True], [True, True, False]]
    assert rollouts.finish_reasons == (FinishReason.STOP, FinishReason.LENGTH)
    assert rollouts.completions == ("ab", "ab")
    assert rollouts.entropies is None


def test_what_was_sampled_after_a_stop_text_is_cut_off() -> None:
    letters = tiny_codec().encode_completion("go on. stop")[:-1]
    rollouts = converted([output(letters, [-float(place) for place in range(len(letters))])], [(1,)], ".")
    assert rollouts.completions == ("go on",)
    assert rollouts.finish_reasons == (FinishReason.STOP,)
    assert rollouts.logprobs.tolist() == [[0.0, -1.0, -2.0, -3.0, -4.0, -5.0]]


@pytest.mark.parametrize("stop", [(), ("e",), ("zq", "t")])
def test_the_same_samples_give_the_same_rollouts_as_the_torch_engine(stop: tuple[str, ...]) -> None:
    """Real samples of a random model, told as vLLM would and with three tokens too many: nothing but entropies is lost."""
    codec, sampling = tiny_codec(), SamplingConfig(max_new_tokens=40, stop=stop)
    own = TorchEngine(tiny_model(), codec).generate(PROMPTS, n=4, sampling=sampling, seed=3)
    rows, outputs = own.batch.sequences(), list[Output]()
    for row, reason, logprobs in zip(rows, own.finish_reasons, own.logprobs.tolist(), strict=True):
        surplus = [50, 51, 52] if reason is FinishReason.STOP else []
        tokens = [*row.completion, *surplus]
        outputs.append(output(tokens, [*logprobs[: len(row.completion)], *([-7.0] * len(surplus))]))
    ids = [tuple(row.ids[: row.prompt_length]) for row in rows]
    again = rollouts_from(outputs, own.prompts, ids, Endings(codec, sampling), codec)
    assert again.batch.sequences() == own.batch.sequences()
    assert again.finish_reasons == own.finish_reasons
    assert again.completions == own.completions
    assert FinishReason.STOP in own.finish_reasons or not stop
    torch.testing.assert_close(again.logprobs, own.logprobs, atol=0, rtol=0)


@pytest.mark.parametrize("broken", [Output([], []), Output([5, 6], None), Output([5, 6], [{5: Told(-1.0)}])])
def test_a_row_without_tokens_or_log_probabilities_is_an_error(broken: Output) -> None:
    with pytest.raises(DataError, match="row 1"):
        converted([output([5], [-1.0]), broken], [(1,), (1,)])


def test_without_vllm_the_error_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match="vllm") as missing:
        make_engine("vllm", tiny_model(), tiny_codec(), sampling=SamplingConfig(), follow=False)
    assert missing.value.hint == "pip install 'instructloop[vllm]'"


def test_the_engine_is_torch_where_the_configuration_says_so() -> None:
    model = tiny_model()
    engine = make_engine("torch", model, tiny_codec(), sampling=SamplingConfig(), follow=True)
    assert isinstance(engine, TorchEngine)
    assert engine.model is model
