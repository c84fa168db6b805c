"""PPO's four models on one trunk: policy, reference, reward model and value network differ by adapters and heads alone."""

from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel

from instructloop.config.ppo import PPOConfig
from instructloop.core.errors import ConfigError
from instructloop.core.seeds import derive
from instructloop.models.adapter_files import StoredAdapter, find_adapter, read_adapter, weights_hash
from instructloop.models.adapters import add_lora
from instructloop.models.load import load_causal
from instructloop.models.scalar import ScalarModel
from instructloop.models.shared_trunk import SharedScalarModel, SharedTrunk
from instructloop.rewards import CheckedReward, LearnedReward, as_reward, checked, learned_on_trunk

_PLACES = ("path", "device", "dtype")
"""Arguments of the reward ``model`` that the trunk decides."""


class SharedModels(NamedTuple):
    """The networks of ``train_ppo``; the reference is the policy with its adapter off."""

    policy: PreTrainedModel
    value_model: ScalarModel
    reward: CheckedReward


def models_on_one_trunk(cfg: PPOConfig, directory: Path, reward: Any = None) -> SharedModels:
    """Load the base model once and make all networks of it.

    The value network starts as the reward model (spec E10): the reward's adapter stays frozen under a fresh one, and the
    head is a copy. Beside a reward of another kind it starts as the bare trunk with a zero head, as without sharing.

    Args:
        cfg: the stage's configuration, with ``share_trunk``.
        directory: the initial policy's model directory.
        reward: a reward to use instead of ``cfg.reward``.

    Raises:
        ConfigError: the reward or value model has no adapter, or one of another base model.
    """
    policy = load_causal(directory, cfg.compute)
    learned = reward is None and cfg.reward.name == "model"
    path = str(cfg.reward.args.get("path", "")) if learned else ""
    if learned and not path:
        raise ConfigError("rewards 'model': path is empty", hint="train one first: instructloop train rm --lora.rank 16")
    base = weights_hash(policy.base_model) if path or cfg.value_model else ""
    judge = _adapter_of(path, directory, base) if path else None
    critic = _adapter_of(cfg.value_model, directory, base) if cfg.value_model else judge
    add_lora(policy, cfg.lora, seed=derive(cfg.seed, "policy_lora"))
    shared = SharedTrunk(policy)
    if judge is None:
        scorer = as_reward(cfg.reward if reward is None else reward)
        _refuse_own_trunk(scorer)
    else:
        view = SharedScalarModel(shared, shared.load("reward", judge), names=("reward",), stored=judge).requires_grad_(False)
        scorer = _learned(cfg, view, judge)
    under: tuple[str, ...] = ()
    if critic is judge is not None:
        under = ("reward",)
    elif critic is not None:
        shared.load("value_init", critic)
        under = ("value_init",)
    own = shared.add("value", cfg.lora, seed=derive(cfg.seed, "value_lora"))
    value_model = SharedScalarModel(shared, own, names=(*under, "value"), stored=critic)
    return SharedModels(policy=policy, value_model=value_model.eval(), reward=scorer)


def _adapter_of(path: str, directory: Path, base: str) -> StoredAdapter:
    stored = read_adapter(find_adapter(path))
    if stored.base_sha256 != base:
        raise ConfigError(
            f"{stored.path} was trained on other base weights than the policy's ({directory}), so they cannot share a trunk",
            hint=f"train it on the policy's own start (train rm --model {directory} --lora.rank 16), or leave share_trunk out",
        )
    return stored


def _learned(cfg: PPOConfig, view: ScalarModel, stored: StoredAdapter) -> CheckedReward:
    arguments = {name: value for name, value in cfg.reward.args.items() if name not in _PLACES}
    try:
        return checked(learned_on_trunk(view, stored, **arguments), name=cfg.reward.name)
    except TypeError as error:
        raise ConfigError(f"reward 'model': {error}", hint="its arguments: path, chat_template, micro_batch_tokens, group") from error


def _refuse_own_trunk(reward: CheckedReward) -> None:
    if isinstance(reward.inner, LearnedReward):
        raise ConfigError(
            "share_trunk was given a reward model that is already in memory, with a trunk of its own",
            hint='name its run instead: reward = {name = "model", args = {path = "runs/rm"}}, or leave share_trunk out',
        )
