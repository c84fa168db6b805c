"""The peer's side of the benchmark: TRL's own trainers and ``generate`` of transformers, stopped at the end of each round.

Started by ``compare.py`` in the peer's environment, which needs neither ``instructloop`` nor anything of it.
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
import transformers
from pacing import Pace, serve
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    TrainerCallback,
)
from workloads import (
    BATCH,
    EPISODES,
    NEW_TOKENS,
    RESPONSE_TOKENS,
    ROWS_TOGETHER,
    even_prompts,
    pairs_of,
    ragged_lengths,
    read_json,
)


class AtStepEnd(TrainerCallback):
    """Tells the pace of each optimizer step."""

    def __init__(self, pace: Pace, **amounts: float) -> None:
        self.pace, self.amounts = pace, amounts

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step has ended; its tokens were counted on the way."""
        self.pace.step(**self.amounts)


def settings(command: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Arguments common to all trainers: fp32, nothing recomputed, nothing saved or reported, rows in the order of the file."""
    return {
        "output_dir": command["run"],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "logging_steps": 10_000,
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "learning_rate": 1e-4,
        "max_grad_norm": 1.0,
        **more,
    }


def watch(trainer: Any, hook: AtStepEnd, pace: Pace, *, repeats: int = 1, count_tokens: bool = False) -> None:
    """Count the real tokens of each step, and keep the loss of the first two; each sequence stands ``repeats`` times in a batch."""
    original = trainer.training_step

    def training_step(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        tokens = int(inputs["attention_mask"].sum())
        if count_tokens:
            hook.amounts["tokens"] = tokens
        loss = original(model, inputs, *rest, **named)
        if pace.number < 2:
            pace.checks[f"loss of step {pace.number + 1}"] = float(loss)
            pace.checks.setdefault("tokens of step 1", tokens / repeats)
        return loss

    trainer.training_step = training_step


def train_demonstrations(command: dict[str, Any], pace: Pace) -> None:
    """SFTTrainer on prompts and completions; the loss is on completions."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    hook = AtStepEnd(pace)
    trainer = SFTTrainer(
        model=language_model(command),
        args=SFTConfig(
            **settings(command, per_device_train_batch_size=BATCH, max_steps=command["steps"], max_length=128),
            train_sampling_strategy="sequential",
        ),
        train_dataset=Dataset.from_list(read_json(Path(command["rows"]))),
        processing_class=tokenizer(command),
        callbacks=[hook],
    )
    watch(trainer, hook, pace, count_tokens=True)
    trainer.train()


def train_rankings(command: dict[str, Any], pace: Pace) -> None:
    """RewardTrainer: it knows pairs only, so a ranking of K is K(K - 1)/2 of them, in one step."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    pairs = command["per_step"] * command["k"] * (command["k"] - 1) // 2
    hook = AtStepEnd(pace, rankings=command["per_step"])
    trainer = RewardTrainer(
        model=scalar_model(command),
        args=RewardConfig(
            **settings(command, per_device_train_batch_size=pairs, max_steps=command["steps"], max_length=128),
            train_sampling_strategy="sequential",
        ),
        train_dataset=Dataset.from_list(list(pairs_of(read_json(Path(command["rows"]))))),
        processing_class=tokenizer(command),
        callbacks=[hook],
    )
    watch(trainer, hook, pace, repeats=command["k"] - 1)
    trainer.train()


def train_episodes(command: dict[str, Any], pace: Pace) -> None:
    """PPOTrainer of TRL 1.12: 64 episodes an update, one epoch, one minibatch."""
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    codec = tokenizer(command)
    codec.padding_side = "left"
    rows = Dataset.from_list([{"input_ids": codec(prompt)["input_ids"]} for prompt in read_json(Path(command["rows"]))])
    hook = AtStepEnd(pace, episodes=EPISODES)
    if command.get("recorded"):
        ppo_trainer.batch_generation = recorded_first(ppo_trainer, read_json(Path(command["recorded"])), codec.pad_token_id)
    trainer = PPOTrainer(
        args=PPOConfig(
            **settings(command, per_device_train_batch_size=EPISODES) | {"learning_rate": 9.65e-6},
            gradient_accumulation_steps=1,
            num_mini_batches=1,
            num_ppo_epochs=1,
            total_episodes=EPISODES * command["steps"],
            response_length=RESPONSE_TOKENS,
            temperature=1.0,
            kl_coef=0.02,
            stop_token="eos",
            num_sample_generations=0,
            local_rollout_forward_batch_size=EPISODES,
        ),
        processing_class=codec,
        model=language_model(command),
        ref_model=language_model(command),
        reward_model=scalar_model(command),
        value_model=scalar_model(command),
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=[hook],
    )
    original = trainer.log

    def log(metrics: dict[str, float], *rest: Any) -> None:
        if pace.number == 0:
            entropy, kl = metrics["objective/entropy"] / RESPONSE_TOKENS, metrics["objective/kl"] / RESPONSE_TOKENS
            pace.checks = {
                "mean score": metrics["objective/scores"],
                "value loss": metrics["loss/value_avg"],
                "mean log-prob": -entropy,
                "mean reference log-prob": -entropy - kl,
            }
        original(metrics, *rest)

    trainer.log = log
    trainer.train()


def recorded_first(module: Any, recorded: dict[str, list[list[int]]], pad_id: int) -> Any:
    """The module's ``batch_generation``, save that its first call, in the warm-up, gives recorded completions."""
    original = module.batch_generation
    answers = {tuple(prompt): row for prompt, row in zip(recorded["prompts"], recorded["responses"], strict=True)}
    calls = 0

    def batch_generation(model: Any, queries: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal calls
        calls += 1
        result: tuple[torch.Tensor, torch.Tensor] = original(model, queries, *rest)
        if calls > 1:
            return result
        rows = [answers[tuple(token for token in row if token != pad_id)] for row in queries.tolist()]
        ids = torch.cat((queries, torch.tensor(rows)), dim=1)
        with torch.no_grad():
            logits = module.forward(model, ids, pad_id).logits[:, queries.shape[1] - 1 : -1]
        return ids, logits

    return batch_generation


def sample(command: dict[str, Any], pace: Pace) -> None:
    """``generate``, 64 rows at a time in the order given, each batch as long as its longest row."""
    model, codec = language_model(command).eval(), tokenizer(command)
    limits = ragged_lengths(command["count"]) if command["ragged"] else [NEW_TOKENS] * command["count"]
    ids = torch.tensor([codec.encode(prompt, add_special_tokens=False) for prompt in even_prompts(command["count"], codec)])
    if probe := command.get("probe"):
        pace.checks = {"log-prob of samples": rescored(model, probe)}

    def draw(batch: torch.Tensor, longest: int) -> None:
        how = GenerationConfig(
            max_new_tokens=longest, do_sample=True, temperature=1.0, top_k=0, pad_token_id=codec.pad_token_id, eos_token_id=None
        )
        with torch.no_grad():
            out = model.generate(batch, attention_mask=torch.ones_like(batch), generation_config=how)
        assert out.shape[1] == batch.shape[1] + longest

    draw(ids[:ROWS_TOGETHER], 8)
    for _ in range(command["steps"]):
        if pace.warming_up:
            pace.step()
            continue
        for start in range(0, len(ids), ROWS_TOGETHER):
            draw(ids[start : start + ROWS_TOGETHER], max(limits[start : start + ROWS_TOGETHER]))
        pace.step(tokens=sum(limits))


@torch.no_grad()
def rescored(model: PreTrainedModel, probe: dict[str, list[list[int]]]) -> float:
    """Mean log-probability of given completions, by one plain forward pass; prompts and completions are of one length each."""
    prompts, responses = torch.tensor(probe["prompts"]), torch.tensor(probe["responses"])
    logits = model(torch.cat((prompts, responses), dim=1)).logits[:, prompts.shape[1] - 1 : -1]
    return float(logits.log_softmax(-1).gather(-1, responses[:, :, None]).mean())


def language_model(command: dict[str, Any]) -> PreTrainedModel:
    """Policy, reference, SFT model."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(Path(command["place"]) / "lm", dtype=torch.float32)
    return model


def scalar_model(command: dict[str, Any]) -> PreTrainedModel:
    """Reward and value model."""
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(Path(command["place"]) / "rm", dtype=torch.float32)
    return model


def tokenizer(command: dict[str, Any]) -> Any:
    """The tokenizer of both."""
    return AutoTokenizer.from_pretrained(Path(command["place"]) / "lm")


def main() -> None:
    """Serve the harness."""
    torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    about = {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl_version()}
    works = {"sft": train_demonstrations, "rm": train_rankings, "ppo": train_episodes, "generate": sample}
    serve(works, about)


def trl_version() -> str:
    """The version on the path."""
    import trl

    return str(trl.__version__)


if __name__ == "__main__":
    main()
