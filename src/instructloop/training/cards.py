"""Model cards: Markdown from the run's own numbers, with the limits every such model has (spec L8)."""

from collections.abc import Mapping
from typing import Any

from instructloop.config import PretrainConfig, RewardModelConfig, SFTConfig

_LIMITS = (
    "It repeats itself, states false things, knows nothing after its training text, carries the biases of its text and its labelers, "
    "varies from prompt to prompt, and follows harmful instructions."
)


def _card(title: str, facts: Mapping[str, Any], numbers: Mapping[str, Any], limits: str) -> str:
    lines = [
        f"# {title}",
        "",
        *(f"- {name}: {value}" for name, value in facts.items() if value not in ("", None, ())),
        "",
        "## Numbers",
        "",
    ]
    lines += [f"- {name}: {value:.4g}" if isinstance(value, float) else f"- {name}: {value}" for name, value in numbers.items()]
    return "\n".join([*lines, "", "## Limits", "", limits, ""])


def pretrain_card(cfg: PretrainConfig, result: Mapping[str, Any]) -> str:
    """Card of a base model."""
    facts = {"Stage": "pretraining", "Started from": cfg.init or "random weights", "Seed": cfg.seed}
    return _card("A base language model", facts, result, "It continues text and does not follow instructions. " + _LIMITS)


def sft_card(cfg: SFTConfig, result: Mapping[str, Any]) -> str:
    """Card of an SFT model."""
    facts = {
        "Stage": "supervised fine-tuning on demonstrations",
        "Base": cfg.model,
        "Epochs": cfg.epochs,
        "Pretraining mix": f"{result['pretrain_share']:.0%} of the sequences" if result["pretrain_share"] else "",
        "Selected by": cfg.select_by.replace("_", " "),
        "Adapters": f"LoRA of rank {cfg.lora.rank}, merged" if cfg.lora.rank else "",
        "Seed": cfg.seed,
    }
    return _card("An instruction-following model (SFT)", facts, _numbers(result), _LIMITS)


def reward_model_card(cfg: RewardModelConfig, result: Mapping[str, Any], *, merged: bool = True) -> str:
    """Card of a reward model, or of its adapter alone."""
    facts = {
        "Stage": "reward model from K-way rankings",
        "Trunk": cfg.model,
        "Epochs": cfg.epochs,
        "Needs": "" if merged else f"the base model {cfg.model}, under this adapter",
        "Score": "read at the last token of prompt + completion, EOS included; the stored bias puts demonstrations at mean 0",
        "Adapters": f"LoRA of rank {cfg.lora.rank}{', merged' if merged else ''}" if cfg.lora.rank else "",
        "Seed": cfg.seed,
    }
    limits = (
        "A score compares completions of one prompt; across prompts, and on text unlike its rankings, it means little. "
        "A policy that maximises it finds its mistakes: watch the divergence from the reference policy."
    )
    held_out = result.get("held_out") or {}
    shown = {f"held-out {name}": held_out[name] for name in ("accuracy", "low", "high", "pairs", "longer_wins") if name in held_out}
    return _card("A reward model", facts, {**_numbers(result), **shown}, limits)


def _numbers(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if isinstance(value, int | float) and not isinstance(value, bool)}
