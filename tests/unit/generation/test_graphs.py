"""Steps of static shapes: their CPU twin against the plain step. (The capture itself needs CUDA.)"""

import pytest
import torch

from instructloop.config import SamplingConfig
from instructloop.core.records import Prompt
from instructloop.generation import TorchEngine
from instructloop.generation.graphs import StaticStep, static_shape
from instructloop.generation.lean import LeanStep
from instructloop.generation.library import Library, StepFunction
from instructloop.generation.slots import SlotCache, Zone
from instructloop.generation.stepping import step_function
from instructloop.testing import tiny_codec, tiny_model

PROMPTS = [Prompt(prompt=text) for text in ("hello there", "a", "what is the capital of France?", "b", "xyz " * 9)]


@pytest.mark.parametrize(
    ("rows", "longest", "shape"),
    [(1, 1, (1, 128)), (3, 128, (4, 128)), (5, 129, (8, 256)), (8, 256, (8, 256)), (9, 257, (11, 300)), (11, 300, (11, 300))],
)
def test_rows_and_columns_are_rounded_up_to_few_shapes_within_the_cache(rows: int, longest: int, shape: tuple[int, int]) -> None:
    cache = SlotCache(1, 11, 300, torch.float32)
    cache.begin(torch.zeros(rows, dtype=torch.long), [Zone(0, rows, longest)])
    assert static_shape(rows, cache) == shape


@pytest.mark.parametrize("max_rows", [3, 5, 16])
def test_the_padded_step_samples_what_the_plain_step_samples(monkeypatch: pytest.MonkeyPatch, max_rows: int) -> None:
    """With refilling, retirement and moved rows; columns are padded to the whole cache here."""
    model = tiny_model("llama")
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.mul_(3)
    engine, sampling = TorchEngine(model, tiny_codec(), max_rows=max_rows), SamplingConfig(max_new_tokens=40)
    plain = engine.generate(PROMPTS, n=3, sampling=sampling, seed=5)
    made: list[StaticStep] = []

    def static(library: Library, capacity: int) -> StepFunction:
        step = step_function(library, capacity)
        assert isinstance(step, LeanStep)
        made.append(StaticStep(step, torch.device("cpu")))
        return made[-1]

    monkeypatch.setattr("instructloop.generation.torch_engine.step_function", static)
    padded = engine.generate(PROMPTS, n=3, sampling=sampling, seed=5)
    assert len(made) == 1
    assert padded.batch.sequences() == plain.batch.sequences()
    torch.testing.assert_close(padded.logprobs, plain.logprobs, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are captured on CUDA alone")
def test_replayed_graphs_sample_what_the_plain_step_samples_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama").cuda()
    engine, sampling = TorchEngine(model, tiny_codec(), max_rows=5), SamplingConfig(max_new_tokens=40)
    replayed = engine.generate(PROMPTS, n=3, sampling=sampling, seed=5)
    monkeypatch.setattr("instructloop.generation.torch_engine.StaticStep", lambda step, _device: step)
    plain = engine.generate(PROMPTS, n=3, sampling=sampling, seed=5)
    assert replayed.batch.sequences() == plain.batch.sequences()
    torch.testing.assert_close(replayed.logprobs, plain.logprobs, atol=1e-4, rtol=1e-4)
