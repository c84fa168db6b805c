"""Our side of the benchmark: the real trainers and the real engine, stopped at the end of each round. Started by ``compare.py``."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from pacing import Pace, serve
from workloads import (
    BATCH,
    EPISODES,
    NEW_TOKENS,
    PRETRAIN_TOKENS,
    RESPONSE_TOKENS,
    ROWS_TOGETHER,
    even_prompts,
    ragged_lengths,
    read_json,
)

from instructloop.config import ComputeConfig, OptimizerConfig, PPOConfig, RewardModelConfig, SamplingConfig, SFTConfig, to_json
from instructloop.config.ppo import RewardSpec
from instructloop.config.shared import CheckpointConfig
from instructloop.core.records import Demonstration, Prompt, Ranking, Text
from instructloop.data import TextCodec, TokenSequence, batch_at, collate
from instructloop.generation import FinishReason, Rollouts, TorchEngine
from instructloop.models import load_causal, load_scalar, load_tokenizer
from instructloop.objectives.gae import gae
from instructloop.objectives.masking import masked_mean
from instructloop.objectives.reward_shaping import kl_shaped_rewards
from instructloop.objectives.value import clipped_value_loss
from instructloop.runs import RunDir
from instructloop.training.ppo import train_ppo
from instructloop.training.ppo_setup import PPOInputs, load_inputs
from instructloop.training.ppo_steps import logprobs_of, values_of
from instructloop.training.reward_model import train_reward_model
from instructloop.training.sft import train_sft

COMPUTE = ComputeConfig(device="cpu")
NEVER = CheckpointConfig(every_steps=1_000_000)
"""Nothing is saved while the clock runs: the other side saves nothing either."""
# the other side's optimizer: AdamW with its library's betas, a linear fall to 0, gradients clipped to norm 1
ADAMW = OptimizerConfig(lr=1e-4, betas=(0.9, 0.999), schedule="linear", final_fraction=0.0)


class PacedRun:
    """A run directory like any other, whose record of a step's time is the end of a step to the harness."""

    def __init__(self, run: RunDir, at_step: Callable[[int, float, float], None]) -> None:
        self._run, self._at_step = run, at_step
        self._loss = 0.0

    def __getattr__(self, name: str) -> Any:
        """Everything else is the real one's."""
        return getattr(self._run, name)

    def metrics(self, step: int, stage: str, values: dict[str, float]) -> None:
        """Write them, and remember the loss."""
        self._run.metrics(step, stage, values)
        self._loss = values.get("loss", 0.0)

    def timing(self, step: int, values: dict[str, float]) -> None:
        """Write them; a step ends here."""
        self._run.timing(step, values)
        stage = next(iter(values)).partition("/")[0]
        self._at_step(step, values[f"{stage}/seconds"] * values[f"{stage}/tokens_per_s"], self._loss)


def compared(pace: Pace, step: int, loss: float) -> None:
    """The losses of the first two steps are compared: the second one has an optimizer step behind it."""
    if step <= 2:
        pace.checks[f"loss of step {step}"] = loss


def train_demonstrations(command: dict[str, Any], pace: Pace) -> None:
    """SFT: batches of 16 rows, loss on completions."""
    place, rows = Path(command["place"]), [Demonstration(**row) for row in read_json(Path(command["rows"]))]
    cfg = SFTConfig(
        model="lm", epochs=1, batch_size=BATCH, dropout=0.0, optimizer=ADAMW, compute=COMPUTE, checkpoint=NEVER, select_by="last"
    )

    def at_step(step: int, tokens: float, loss: float) -> None:
        compared(pace, step, loss)
        if step == 1:
            pace.checks["tokens of step 1"] = round(tokens)
        pace.step(tokens=round(tokens))

    with RunDir.open(command["run"], stage="sft", config=to_json(cfg)) as opened:
        run: Any = PacedRun(opened, at_step)
        model, codec = load_causal(place / "lm", COMPUTE), _codec(place)
        train_sft(cfg, run=run, model=model, codec=codec, demonstrations=rows)


def train_rankings(command: dict[str, Any], pace: Pace) -> None:
    """Reward model: ``per_step`` rankings of K a step; all pairs of a ranking are one batch element."""
    place, k, per_step = Path(command["place"]), command["k"], command["per_step"]
    rows = [
        Ranking(prompt=row["prompt"], completions=tuple(row["completions"]), ranks=tuple(range(k)))
        for row in read_json(Path(command["rows"]))
    ]
    cfg = RewardModelConfig(model="rm", epochs=1, batch_prompts=per_step, optimizer=ADAMW, compute=COMPUTE, checkpoint=NEVER)

    def at_step(step: int, _tokens: float, loss: float) -> None:
        compared(pace, step, loss)
        pace.step(rankings=per_step)

    with RunDir.open(command["run"], stage="rm", config=to_json(cfg)) as opened:
        run: Any = PacedRun(opened, at_step)
        model, codec = load_scalar(place / "rm", COMPUTE, seed=0), _codec(place)
        first = [rows[row] for row in batch_at(0, len(rows), per_step, cfg.seed, epochs=1)]
        pace.checks["tokens of step 1"] = sum(
            len(codec.encode_prompt(row.prompt)) + len(codec.encode_completion(text)) for row in first for text in row.completions
        )
        train_reward_model(cfg, run=run, model=model, codec=codec, rankings=rows)


def train_episodes(command: dict[str, Any], pace: Pace) -> None:
    """PPO: 64 episodes an update, one epoch, one optimizer step of each network; with ``ptx`` the pretraining mix on top."""
    place, prompts = Path(command["place"]), [Prompt(prompt=text) for text in read_json(Path(command["rows"]))]
    texts = [Text(text=text) for text in read_json(Path(command["texts"]))] if command["ptx"] else []
    slow = OptimizerConfig(lr=9.65e-6, betas=(0.9, 0.999), schedule="linear", final_fraction=0.0)
    cfg = PPOConfig(
        model=str(place / "lm"),
        prompts="prompts",
        reward=RewardSpec(name="model", args={"path": str(place / "rm")}),
        steps=command["steps"],
        batch_size=EPISODES,
        minibatches=1,
        inner_epochs=1,
        sampling=SamplingConfig(max_new_tokens=RESPONSE_TOKENS),
        missing_eos="keep",
        chat_template=False,
        optimizer=slow,
        value_optimizer=slow,
        ptx_coef=1.0 if command["ptx"] else 0.0,
        ptx_per_episode=1,
        ptx_tokens=PRETRAIN_TOKENS,
        pretrain_data="texts" if command["ptx"] else "",
        compute=COMPUTE,
        checkpoint=NEVER,
        samples_every=1_000_000,
    )

    def at_step(_step: int, _tokens: float, _loss: float) -> None:
        pace.step(episodes=EPISODES)

    with RunDir.open(command["run"], stage="ppo", config=to_json(cfg)) as opened:
        run: Any = PacedRun(opened, at_step)
        inputs = load_inputs(cfg, run, prompts=prompts, pretrain_texts=texts, reward=None)
        if command.get("recorded"):
            pace.checks = first_update(cfg, inputs, read_json(Path(command["recorded"])))
        train_ppo(cfg, run=run, **inputs.arguments())


def first_update(cfg: PPOConfig, inputs: PPOInputs, recorded: dict[str, list[list[int]]]) -> dict[str, float]:
    """What the first update says of recorded rollouts, by the same calls as ``train_ppo``, as the peer logs it."""
    rows = zip(recorded["prompts"], recorded["responses"], strict=True)
    batch = collate([TokenSequence((*prompt, *response), len(prompt)) for prompt, response in rows], inputs.codec.pad_id)
    mask = batch.completion_mask
    assert inputs.reference is not None
    logprobs, reference = logprobs_of(inputs.policy, batch, cfg), logprobs_of(inputs.reference, batch, cfg)
    values = values_of(inputs.value_model, batch, cfg)
    names = tuple(Prompt(prompt="") for _ in recorded["prompts"])
    rollouts = Rollouts(
        batch=batch,
        logprobs=logprobs,
        entropies=None,
        finish_reasons=(FinishReason.LENGTH,) * len(names),
        prompts=names,
        completions=("",) * len(names),
    )
    scores = inputs.reward(rollouts).scores
    rewards = kl_shaped_rewards(scores, logprobs, reference, mask, beta=cfg.beta)
    _, returns = gae(rewards, values, mask, gamma=cfg.gamma, lam=cfg.lam)
    value_loss = clipped_value_loss(values, values, returns, mask, clip=cfg.value_clip).loss
    return {
        "mean score": float(scores.mean()),
        "value loss": float(value_loss),
        "mean log-prob": float(masked_mean(logprobs, mask)),
        "mean reference log-prob": float(masked_mean(reference, mask)),
    }


def sample(command: dict[str, Any], pace: Pace) -> None:
    """Generation: 64 x 64 tokens, or ragged lengths; log-probabilities and entropies come with it."""
    place = Path(command["place"])
    codec = _codec(place)
    codec.stop_ids = frozenset()  # no end token: the lengths are given
    limits = ragged_lengths(command["count"]) if command["ragged"] else [NEW_TOKENS] * command["count"]
    prompts = [Prompt(prompt=text) for text in even_prompts(command["count"], codec.tokenizer)]
    engine = TorchEngine(load_causal(place / "lm", COMPUTE, trainable=False), codec, max_rows=ROWS_TOGETHER)

    def draw(rows: int, most: int, seed: int) -> Rollouts:
        return sample_rows(engine, prompts[:rows], [min(most, limit) for limit in limits[:rows]], seed=seed)

    shown = sample_rows(engine, prompts[:4], [8] * 4, seed=0)
    pace.probe = {
        "prompts": [list(engine.codec.encode_prompt(prompt.prompt)) for prompt in shown.prompts],
        "responses": shown.batch.completion_tokens.tolist(),
    }
    pace.checks = {"log-prob of samples": float(shown.logprobs.sum() / shown.mask.sum())}
    draw(min(len(prompts), ROWS_TOGETHER), 8, 1)
    for call in range(command["steps"]):
        if pace.warming_up:
            pace.step()
            continue
        drawn = int(draw(len(prompts), max(limits), call).mask.sum())
        assert drawn == sum(limits), f"{drawn} tokens sampled, {sum(limits)} asked for"
        pace.step(tokens=drawn)


def sample_rows(engine: TorchEngine, prompts: Sequence[Prompt], limits: Sequence[int], *, seed: int) -> Rollouts:
    """One call of the engine with a limit for each row."""
    sampling = SamplingConfig(max_new_tokens=max(limits))
    return engine.generate(prompts, sampling=sampling, seed=seed, limits=limits)


def peaks(_command: dict[str, Any], pace: Pace) -> None:
    """fp32 matrix multiplication at its best, in FLOP a second of the clock used: torch's own, and the best this machine has."""
    found = {"torch.matmul": 0.0}
    linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
    for size in (512, 1024, 2048):
        left, right = torch.randn(size, size), torch.randn(size, size)
        runs: dict[str, Callable[[], Any]] = {"torch.matmul": partial(torch.matmul, left, right)}
        if linear is not None:
            runs["oneDNN"] = partial(linear, left, right, None, "none", [], "")
        for name, run in runs.items():
            found[name] = max(found.get(name, 0.0), 2 * size**3 / _quickest(run, repeats=max(4, 24 * 512 // size)))
    pace.checks = found
    pace.step()


def _quickest(run: Callable[[], Any], *, repeats: int) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    run()
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        run()
        best = min(best, clock() - start)
    return best


def _codec(place: Path) -> TextCodec:
    return TextCodec(load_tokenizer(place / "lm"), chat_template=False)


def main() -> None:
    """Serve the harness."""
    torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
    about = {"torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version()}
    works = {"sft": train_demonstrations, "rm": train_rankings, "ppo": train_episodes, "generate": sample, "peaks": peaks}
    serve(works, about)


if __name__ == "__main__":
    main()
