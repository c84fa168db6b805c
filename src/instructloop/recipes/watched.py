"""The stage ``ppo`` with its watch: training may not know evaluation, so the two meet here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instructloop.config.ppo import PPOConfig
from instructloop.core.protocols import Evaluator
from instructloop.core.records import Prompt, Text


def run_ppo(
    cfg: PPOConfig,
    out: Path,
    *,
    resume: bool = False,
    prompts: Sequence[Prompt] | None = None,
    pretrain_texts: Sequence[Text] | None = None,
    reward: Any = None,
    evaluators: Sequence[Evaluator] = (),
) -> Path:
    """``training.ppo.run_ppo`` under the watch that ``cfg.watch`` describes (none where ``watch.every`` is 0); same arguments."""
    from instructloop.training.ppo import run_ppo as train

    watch = [] if cfg.watch.every == 0 else [watch_of(cfg, Path(out), reward=reward)]
    return train(cfg, out, resume=resume, prompts=prompts, pretrain_texts=pretrain_texts, reward=reward, evaluators=[*evaluators, *watch])


def watch_of(cfg: PPOConfig, out: Path, *, reward: Any = None) -> Evaluator:
    """The evaluator that ``cfg.watch`` describes, for a run in ``out``. Models are loaded at the first look, by the process that looks.

    Args:
        cfg: of the run.
        out: its directory.
        reward: what is maximized, where it is not ``cfg.reward``.
    """
    from instructloop.evaluation.observatory.watch import Watch

    return Watch(
        cfg.watch,
        out,
        steps=cfg.steps,
        reference=cfg.reference or cfg.model,
        reward=cfg.reward if reward is None else reward,
        sampling=cfg.sampling,
        seed=cfg.seed,
        compute=cfg.compute,
        chat_template=cfg.chat_template,
    )
