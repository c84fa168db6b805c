"""Each training stage on made-up rows of an exact length, so that its memory and its time can be measured at any size."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, SFTConfig
from instructloop.core.records import Demonstration, Prompt, Ranking, Text
from instructloop.core.seeds import derive
from instructloop.data.codec import TextCodec
from instructloop.models.adapters import add_lora
from instructloop.models.load import _settle as settle
from instructloop.models.load import set_dropout
from instructloop.models.scalar import ScalarModel
from instructloop.rewards import LearnedReward
from instructloop.runs import RunDir
from instructloop.testing.tokenizers import tiny_tokenizer
from instructloop.training.ppo import train_ppo
from instructloop.training.pretrain import train_pretrain
from instructloop.training.reward_model import train_reward_model
from instructloop.training.sft import train_sft


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """How the made-up data look; one token is one byte, and every row also has a BOS and an EOS."""

    prompt_tokens: int = 16
    completion_tokens: int = 48
    completions: int = 2
    """K of a ranking."""
    count: int = 64
    ragged: bool = False
    """Completions have a quarter to all of ``completion_tokens``."""

    def completion(self, number: int) -> int:
        """Tokens of a completion, EOS included."""
        return max(2, self.completion_tokens * (1 + number % 4) // 4) if self.ragged else self.completion_tokens


class Prepared:
    """A stage with its models in memory, ready to run."""

    def __init__(self, models: list[nn.Module], run: Callable[[], object]) -> None:
        self.models, self.run = models, run

    @property
    def weights(self) -> int:
        """Bytes of all models, tied weights once."""
        return sum(value.numel() * value.itemsize for model in self.models for value in model.parameters())


def prepare(
    cfg: PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig, config: PreTrainedConfig, rows: Rows, directory: Path
) -> Prepared:
    """Random models of the shape ``config`` (at least 260 tokens), and a function that trains them as ``cfg`` says, its run in ``directory``."""
    codec = TextCodec(tiny_tokenizer(), name="tiny", chat_template=False)
    if isinstance(cfg, PPOConfig):
        return _ppo(cfg, config, rows, codec, directory)
    if isinstance(cfg, RewardModelConfig):
        scalar = _scalar(config, cfg, seed=1)
        add_lora(scalar, cfg.lora, seed=1)
        rankings = [
            Ranking(
                prompt=_text(row, rows.prompt_tokens - 1),
                completions=tuple(_text(row * rows.completions + k, rows.completion(row + k) - 1) for k in range(rows.completions)),
                ranks=tuple(range(rows.completions)),
            )
            for row in range(rows.count)
        ]

        def train_rm() -> None:
            with RunDir.open(directory / "rm", stage="rm", config={}) as run:
                train_reward_model(cfg, run=run, model=scalar, codec=codec, rankings=rankings)

        return Prepared([scalar], train_rm)
    model = _causal(config, cfg, seed=1)
    if isinstance(cfg, SFTConfig):
        add_lora(model, cfg.lora, seed=1)
        demonstrations = [
            Demonstration(prompt=_text(row, rows.prompt_tokens - 1), completion=_text(row + 7, rows.completion(row) - 1))
            for row in range(rows.count)
        ]

        def train() -> None:
            with RunDir.open(directory / "sft", stage="sft", config={}) as run:
                train_sft(cfg, run=run, model=model, codec=codec, demonstrations=demonstrations)

        return Prepared([model], train)
    texts = [Text(text=_text(row, cfg.context_tokens)) for row in range(rows.count)]

    def pretrain() -> None:
        with RunDir.open(directory / "pretrain", stage="pretrain", config={}) as run:
            train_pretrain(cfg, run=run, model=model, codec=codec, documents=texts)

    return Prepared([model], pretrain)


def _ppo(cfg: PPOConfig, config: PreTrainedConfig, rows: Rows, codec: TextCodec, directory: Path) -> Prepared:
    policy, value = _causal(config, cfg, seed=1), _scalar(config, cfg, seed=2)
    reference = None if cfg.lora.rank else _causal(config, cfg, seed=1, trainable=False)
    reward = _scalar(config, cfg, seed=3, trainable=False)
    add_lora(policy, cfg.lora, seed=1)
    add_lora(value, cfg.lora, seed=2)
    prompts = [Prompt(prompt=_text(row, rows.prompt_tokens - 1)) for row in range(rows.count)]
    texts = [Text(text=_text(row, cfg.ptx_tokens)) for row in range(rows.count)]

    def train() -> None:
        with RunDir.open(directory / "ppo", stage="ppo", config={}) as run:
            train_ppo(
                cfg,
                run=run,
                policy=policy,
                value_model=value,
                reference=reference,
                codec=codec,
                reward=LearnedReward(reward, codec),
                prompts=prompts,
                pretrain_texts=texts if cfg.ptx_coef else (),
            )

    return Prepared([policy, value, reward, *([reference] if reference is not None else [])], train)


Trained = PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig


def _causal(config: PreTrainedConfig, cfg: Trained, *, seed: int, trainable: bool = True) -> PreTrainedModel:
    copy = type(config).from_dict(config.to_dict())
    set_dropout(copy, cfg.dropout if isinstance(cfg, SFTConfig) else 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "stage_model"))
        model: PreTrainedModel = AutoModelForCausalLM.from_config(copy, dtype=torch.float32)
    settled: PreTrainedModel = settle(model, model, cfg.compute, trainable=trainable)
    return settled


def _scalar(config: PreTrainedConfig, cfg: Trained, *, seed: int, trainable: bool = True) -> ScalarModel:
    copy = type(config).from_dict(config.to_dict())
    copy.num_labels = 1
    set_dropout(copy, 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "stage_model"))
        classifier: PreTrainedModel = AutoModelForSequenceClassification.from_config(copy, dtype=torch.float32)
    model = ScalarModel(classifier)
    model.reset_head(seed)
    settled: ScalarModel = settle(model, classifier, cfg.compute, trainable=trainable)
    return settled


def _text(number: int, tokens: int) -> str:
    """Letters that differ from row to row."""
    start = str(number)
    return (start + "abcdefghij"[number % 10] * tokens)[:tokens]
