"""SFT and PPO-ptx of a large Llama on one GPU in bf16: tokens a second, share of the peak, memory. No peer, absolute numbers.

    python benchmarks/gpu.py --shape llama-1.3b --out benchmarks/results

The workload is the paper's in small: prompts and completions of 128 tokens, 512 episodes a batch in 8 minibatches, 8 pretraining
sequences of 512 tokens an episode accumulated into the same steps, reward and value models as large as the policy. Weights are random.
``--shape micro --device cpu`` runs the same code in seconds anywhere.
"""

import argparse
import datetime
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification
from useful_flops import TRAIN, forward, sampled
from workloads import SHAPES, Shape, Speech, make_tokenizer, model_config

from instructloop.config import ComputeConfig, OptimizerConfig, PPOConfig, SamplingConfig, SFTConfig, to_json
from instructloop.config.ppo import RewardSpec
from instructloop.config.shared import CheckpointConfig
from instructloop.core.records import Demonstration, Prompt, Text
from instructloop.data import TextCodec
from instructloop.models import load_causal, load_tokenizer
from instructloop.runs import RunDir
from instructloop.training.ppo import train_ppo
from instructloop.training.ppo_setup import load_inputs
from instructloop.training.sft import train_sft

LARGE = {
    "llama-1.3b": Shape(hidden=2048, layers=24, heads=16, kv_heads=16, intermediate=5504, vocab=32000),
    "micro": SHAPES["micro"],
}
SIZES: dict[str, dict[str, int]] = {
    "llama-1.3b": {"length": 128, "episodes": 512, "minibatches": 8, "ptx_per_episode": 8, "ptx_tokens": 512, "sft_rows": 256},
    "micro": {"length": 8, "episodes": 8, "minibatches": 2, "ptx_per_episode": 1, "ptx_tokens": 16, "sft_rows": 8},
}
NEVER = CheckpointConfig(every_steps=1_000_000)
ADAMW = OptimizerConfig(lr=1e-6, schedule="constant")


def save_random(shape: Shape, place: Path, positions: int) -> None:
    """A causal LM and a reward model of the shape, with random weights, and a tokenizer of at most 4,096 tokens for both."""
    tokenizer = make_tokenizer(min(shape.vocab, 4096))
    torch.manual_seed(0)
    config = model_config(shape)
    config.max_position_embeddings = positions
    for name, model_class, labels in (("lm", LlamaForCausalLM, {}), ("rm", LlamaForSequenceClassification, {"num_labels": 1})):
        config.update(labels)
        model_class(config).to(torch.bfloat16).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)


def texts_of(count: int, tokens: int, tokenizer: Any, seed: int) -> list[str]:
    """Texts of exactly so many tokens once encoded again."""
    speech, found = Speech(seed), list[str]()
    while len(found) < count:
        ids = tokenizer.encode(speech.sentence(tokens, tokens), add_special_tokens=False)[:tokens]
        text = tokenizer.decode(ids)
        if len(tokenizer.encode(text, add_special_tokens=False)) == tokens:
            found.append(text)
    return found


def measure_sft(shape: Shape, size: dict[str, int], place: Path, compute: ComputeConfig, steps: int) -> dict[str, float]:
    """Optimizer steps of SFT; the first is a warm-up."""
    codec = TextCodec(load_tokenizer(place / "lm"), chat_template=False)
    length, count = size["length"], size["sft_rows"]
    prompts = texts_of(count, length, codec.tokenizer, 1)
    completions = texts_of(count, length - 1, codec.tokenizer, 2)  # and EOS
    rows = [Demonstration(prompt=prompt, completion=text) for prompt, text in zip(prompts, completions, strict=True)]
    cfg = SFTConfig(
        model="lm", epochs=steps, batch_size=count, dropout=0.0, optimizer=ADAMW, compute=compute, checkpoint=NEVER, select_by="last"
    )
    with RunDir.open(place / "sft", stage="sft", config=to_json(cfg)) as run:
        train_sft(cfg, run=run, model=load_causal(place / "lm", compute), codec=codec, demonstrations=rows)
    seconds = _seconds(place / "sft", "sft")
    flops = TRAIN * count * forward(shape, 2 * length, length)
    return {"seconds a step": seconds, "tokens/s": 2 * length * count / seconds, "TFLOP/s": flops / seconds / 1e12, "GB": _peak_gb()}


def measure_ppo(shape: Shape, size: dict[str, int], place: Path, compute: ComputeConfig, steps: int) -> dict[str, float]:
    """Iterations of PPO-ptx; the first is a warm-up."""
    length, episodes = size["length"], size["episodes"]
    tokenizer = load_tokenizer(place / "lm")
    prompts = [Prompt(prompt=text) for text in texts_of(episodes, length, tokenizer, 3)]
    texts = [Text(text=text) for text in texts_of(2 * episodes, size["ptx_tokens"], tokenizer, 4)]
    cfg = PPOConfig(
        model=str(place / "lm"),
        prompts="prompts",
        reward=RewardSpec(name="model", args={"path": str(place / "rm")}),
        steps=steps,
        batch_size=episodes,
        minibatches=size["minibatches"],
        sampling=SamplingConfig(max_new_tokens=length),
        missing_eos="keep",
        chat_template=False,
        optimizer=ADAMW,
        value_optimizer=ADAMW,
        ptx_coef=1.0,
        ptx_per_episode=size["ptx_per_episode"],
        ptx_tokens=size["ptx_tokens"],
        pretrain_data="texts",
        compute=compute,
        checkpoint=NEVER,
    )
    with RunDir.open(place / "ppo", stage="ppo", config=to_json(cfg)) as run:
        train_ppo(cfg, run=run, **load_inputs(cfg, run, prompts=prompts, pretrain_texts=texts, reward=None).arguments())
    seconds = _seconds(place / "ppo", "ppo")
    scalar, scored = forward(shape, 2 * length, 0), forward(shape, 2 * length, length)
    mix = TRAIN * size["ptx_per_episode"] * forward(shape, size["ptx_tokens"], size["ptx_tokens"] - 1)
    # rollout; reference, reward and value without gradient; one epoch of both networks; the pretraining mix
    flops = episodes * (sampled(shape, length, length) + scored + 2 * scalar + TRAIN * (scored + scalar) + mix)
    if compute.dtype == "bfloat16":
        flops += episodes * scored  # below fp32 the policy scores its rollouts again
    return {"seconds a step": seconds, "episodes/s": episodes / seconds, "TFLOP/s": flops / seconds / 1e12, "GB": _peak_gb()}


def today() -> str:
    """The date, UTC."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"


def matmul_peak(device: str, dtype: torch.dtype) -> float:
    """TFLOP/s of a large square product."""
    size = 8192 if device == "cuda" else 512
    left = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        for _ in range(8):
            left @ left
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / 8)
    return 2 * size**3 / best / 1e12


def _seconds(run: Path, stage: str) -> float:
    """Median of the steps after the first."""
    rows = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    return median([row[f"{stage}/seconds"] for row in rows][1:])


def _peak_gb() -> float:
    """Most memory the device has held, GB; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0


def table(shape: str, device: str, peak: float, found: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    machine = torch.cuda.get_device_name() if device == "cuda" else "CPU, one thread"
    lines = [
        f"# {shape} on one {machine}",
        "",
        f"Command: `python benchmarks/gpu.py --shape {shape}`, torch {torch.__version__}, {today()}; peak of a matrix product: {peak:,.2f} TFLOP/s.",
        "",
    ]
    for work, numbers in found.items():
        lines += [f"- {work}: " + ", ".join(f"{name} {value:,.3g}" for name, value in numbers.items())]
        lines[-1] += f", {numbers['TFLOP/s'] / peak:.0%} of the peak"
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(LARGE), default="llama-1.3b")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--steps", type=int, default=3, help="steps of each stage, the first of them unmeasured")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    shape, size = LARGE[given.shape], SIZES[given.shape]
    dtype = torch.bfloat16 if given.device == "cuda" else torch.float32
    compute = ComputeConfig(device=given.device, dtype="bfloat16" if given.device == "cuda" else "float32", micro_batch_tokens=16384)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        save_random(shape, place, positions=max(2 * size["length"], size["ptx_tokens"]))
        peak = matmul_peak(given.device, dtype)
        found["SFT"] = measure_sft(shape, size, place, compute, given.steps)
        if given.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        found["PPO-ptx"] = measure_ppo(shape, size, place, replace(compute, micro_batch_tokens=32768), given.steps)
    text = table(given.shape, given.device, peak, found)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / f"{given.shape}_{given.device}_{today()}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
