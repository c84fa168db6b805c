"""From a configuration to the networks and records of a PPO stage, and from its end to a card and a summary."""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from instructloop.config.ppo import PPOConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt, Text
from instructloop.core.seeds import derive
from instructloop.data import TextCodec
from instructloop.formats import read_prompts
from instructloop.models.adapter_files import find_adapter
from instructloop.models.adapters import add_lora
from instructloop.models.device import compute_dtype, set_compute_dtype
from instructloop.models.load import load_causal, load_scalar, load_tokenizer
from instructloop.models.scalar import ScalarModel
from instructloop.rewards import CheckedReward, LearnedReward, Reward, as_reward, checked
from instructloop.runs import Parent, RunDir
from instructloop.runs.snapshots import data_file
from instructloop.training.cards import card_of
from instructloop.training.inputs import input_parents, load_texts, model_path
from instructloop.training.memory import announce_memory
from instructloop.training.ppo_shared import models_on_one_trunk
from instructloop.training.ppo_state import Learner

logger = logging.getLogger(__name__)
_SKIPS_SHOWN = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class PPOInputs:
    """What ``train_ppo`` takes besides configuration and run directory."""

    policy: PreTrainedModel
    value_model: ScalarModel
    reference: PreTrainedModel | None
    codec: TextCodec
    reward: Reward
    prompts: tuple[Prompt, ...]
    pretrain_texts: tuple[Text, ...]

    def arguments(self) -> dict[str, Any]:
        """As keyword arguments."""
        return {name: getattr(self, name) for name in self.__slots__}


def ppo_parents(cfg: PPOConfig) -> list[Parent]:
    """Hashed inputs of the stage; a learned reward's model is one of them."""
    shared = {"reward_adapter": reward_path(cfg), "value_adapter": cfg.value_model} if cfg.share_trunk else {}
    return input_parents(
        {
            "policy_init": cfg.model,
            "reference": cfg.reference,
            "reward": reward_path(cfg),
            "value_init": cfg.value_model,
            **{role: str(find_adapter(path)) for role, path in shared.items() if path},
            "prompts": cfg.prompts,
            "pretrain_data": cfg.pretrain_data,
            "watch_prompts": cfg.watch.prompts if cfg.watch.every else "",
            "watch_reward": cfg.watch.reward_models if cfg.watch.every else (),
        }
    )


def reward_path(cfg: PPOConfig) -> str:
    """Directory of the learned reward, or nothing if the reward is of another kind."""
    return str(cfg.reward.args.get("path", "")) if cfg.reward.name == "model" else ""


def load_inputs(
    cfg: PPOConfig, run: RunDir, *, prompts: Sequence[Prompt] | None, pretrain_texts: Sequence[Text] | None, reward: Any
) -> PPOInputs:
    """Load networks and records; what is passed in takes the place of what the configuration names.

    Raises:
        ConfigError: no model or no prompts are named, or the tokenizer has no end-of-sequence token.
    """
    if not cfg.model:
        raise ConfigError("ppo.model is empty", hint="name the RL-init SFT model: --model runs/sft")
    directory = model_path(cfg.model)
    codec = TextCodec(load_tokenizer(directory), chat_template=cfg.chat_template, name=str(directory))
    asked = tuple(prompts) if prompts is not None else load_prompts(cfg, run)
    announce_memory(cfg, codec, prompts=asked)
    if cfg.share_trunk:
        policy, value_model, scorer = models_on_one_trunk(cfg, directory, reward)
        scorer = reward_for_policy(scorer, codec)
    else:
        scorer = reward_for_policy(as_reward(cfg.reward if reward is None else reward), codec)
        policy = load_causal(directory, cfg.compute)
        add_lora(policy, cfg.lora, seed=derive(cfg.seed, "policy_lora"))
        value_model = initial_value_model(cfg, scorer)
    return PPOInputs(
        policy=policy,
        value_model=value_model,
        reference=None if cfg.share_trunk else initial_reference(cfg),
        codec=codec,
        reward=scorer,
        prompts=asked,
        pretrain_texts=load_texts(cfg.pretrain_data, pretrain_texts, run=run, what="ppo.pretrain_data", optional=cfg.ptx_coef == 0),
    )


def reward_for_policy(reward: CheckedReward, codec: TextCodec) -> CheckedReward:
    """A learned reward scores the policy's ids as they are where both tokenizers agree, else the text (ppo-details T4)."""
    if isinstance(reward.inner, LearnedReward):
        return checked(reward.inner.for_policy(codec), name=reward.name)
    return reward


def initial_reference(cfg: PPOConfig) -> PreTrainedModel | None:
    """A separate reference model; None where the policy as it comes serves (with adapters: switched off, else: a copy)."""
    if not cfg.reference and cfg.lora.rank > 0:
        return None
    return load_causal(model_path(cfg.reference or cfg.model), cfg.compute, trainable=False)


def initial_value_model(cfg: PPOConfig, reward: CheckedReward) -> ScalarModel:
    """The value network: named, or a copy of the learned reward model (spec E10), or the policy's trunk with a zero head.

    A zero head predicts 0 everywhere at first (PPO-13). With ``cfg.lora`` it gets adapters of the same shape; its head is always trained.
    """
    learned = reward.inner if isinstance(reward.inner, LearnedReward) else None
    readable = learned is not None and not learned.retokenize
    if cfg.value_model or (readable and reward_path(cfg)):
        model = load_scalar(model_path(cfg.value_model or reward_path(cfg)), cfg.compute, seed=cfg.seed)
    elif learned is not None and readable:
        model = deepcopy(learned.scalar_model).float().requires_grad_(True)
        set_compute_dtype(model, compute_dtype(learned.scalar_model))
    else:
        model = load_scalar(model_path(cfg.model), cfg.compute, seed=cfg.seed)
        model.head.weight.data.zero_()
    add_lora(model, cfg.lora, seed=derive(cfg.seed, "value_lora"))
    return model


def load_prompts(cfg: PPOConfig, run: RunDir) -> tuple[Prompt, ...]:
    """The prompts of ``cfg.prompts``; what was skipped or noticed is recorded as an event."""
    if not cfg.prompts:
        raise ConfigError("ppo.prompts is empty", hint='name a JSONL file of {"prompt"} rows: --prompts prompts.jsonl')
    loaded = read_prompts(data_file(cfg.prompts, "prompts"), skip_bad_rows=cfg.skip_bad_rows)
    logger.info("ppo.prompts: %s: %s", cfg.prompts, loaded.describe())
    if (loaded.skipped or loaded.notes) and run.latest() is None:
        shown = [str(skip) for skip in loaded.skipped[:_SKIPS_SHOWN]]
        run.event(0, "input", f"ppo.prompts: {loaded.describe()}", source=cfg.prompts, notes=dict(loaded.notes), skipped=shown)
    if not loaded.records:
        raise ConfigError(f"{cfg.prompts} holds no prompt", hint='one JSON object a line: {"prompt": "..."}')
    return tuple(loaded.records)


def policy_card(run: RunDir, cfg: PPOConfig, learner: Learner, *, averaged: bool = False) -> str:
    """Markdown that travels with a published policy."""
    weights = f"the average of its weights (decay {learner.ema.decay:.4f} an iteration)" if averaged and learner.ema else "its last weights"
    return card_of(run, summary(cfg, learner), weights=weights)


def summary(cfg: PPOConfig, learner: Learner) -> dict[str, Any]:
    """``result.json``: the first and last iteration's numbers, and the reward's unit."""
    return {
        "stage": "ppo",
        "algorithm": "ppo-ptx" if cfg.ptx_coef > 0 else "ppo",
        "steps": learner.steps_done,
        "episodes": learner.steps_done * cfg.batch_size,
        "parameters": sum(parameter.numel() for parameter in learner.policy.parameters()),
        "ended_early": learner.ended_early,
        "reward_shift": learner.unit.shift,
        "reward_scale": learner.unit.scale,
        "reference_reward_mean": learner.unit.reference_mean,
        "reference_reward_std": learner.unit.reference_std,
        "ema_decay": None if learner.ema is None else learner.ema.decay,
        "first": learner.history[0] if learner.history else {},
        "last": learner.history[-1] if learner.history else {},
    }
