"""Which epoch's weights become the SFT model (spec C3), and how far a run has come."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from transformers import PreTrainedModel

from instructloop.config import SFTConfig
from instructloop.core.errors import ConfigError
from instructloop.core.protocols import Evaluator, Verdict
from instructloop.core.records import Demonstration, Prompt, prompt_json
from instructloop.core.seeds import derive, permutation
from instructloop.data import TextCodec, keep_prompts
from instructloop.generation import TorchEngine
from instructloop.models.load import context_tokens
from instructloop.models.ranks import ALONE, Ranks, joined
from instructloop.models.state import load_state
from instructloop.rewards.base import rewards
from instructloop.rewards.learned import LearnedReward
from instructloop.runs.prompts_used import record_selection
from instructloop.runs.rundir import RunDir
from instructloop.training.loop import TrainState
from instructloop.training.rollout import roll_out

logger = logging.getLogger(__name__)
_SAMPLES_SHOWN = 8
_CRITERIA = {"validation_loss": ("val_loss", -1.0), "rm_score": ("rm_score", 1.0)}


@dataclass(slots=True)
class Progress:
    """What a stopped run must remember besides its weights."""

    last: dict[str, float] = field(default_factory=dict)
    """Numbers of the latest epoch end."""
    best: dict[str, float] = field(default_factory=dict)
    """Numbers of the best epoch end so far."""
    step: int = 0
    best_step: int = 0
    stopped: bool = False
    rolled_back: bool = False

    def note(self, select_by: str, step: int, metrics: dict[str, float]) -> bool:
        """Remember an epoch end; True if it is the best so far by the chosen criterion (the earlier of equals stays)."""
        self.step, self.last = step, dict(metrics)
        if select_by not in _CRITERIA:
            return False
        name, sign = _CRITERIA[select_by]
        if self.best and sign * metrics[name] <= sign * self.best[name]:
            return False
        self.best_step, self.best = step, dict(metrics)
        return True

    def ask(
        self,
        evaluators: Sequence[Evaluator],
        run: RunDir,
        step: int,
        model: PreTrainedModel,
        metrics: dict[str, float],
        *,
        ranks: Ranks = ALONE,
    ) -> None:
        """Let the evaluators look; their numbers join ``metrics``, and a verdict other than continue ends the run.

        Of several processes only the main one asks: an evaluator may write files, or cost money.
        """
        for evaluator in evaluators:
            judgement = ranks.by_main(partial(evaluator, step=step, model=model, metrics=dict(metrics)))
            metrics.update(judgement.metrics)
            if judgement.verdict is not Verdict.CONTINUE:
                self.stopped = True
                self.rolled_back = self.rolled_back or judgement.verdict is Verdict.ROLL_BACK
                run.event(step, str(judgement.verdict), judgement.reason or "an evaluator ended the run")

    def take_selected(self, select_by: str, run: RunDir, state: TrainState, *, ranks: Ranks = ALONE) -> None:
        """Load the best state into the model, where one is asked for and it is not the last one anyway."""
        if select_by not in _CRITERIA and not self.rolled_back:
            return
        saved = ranks.by_main(run.best)
        if saved is None:
            run.event(self.step, "warning", "no state was marked as the best; the last weights are taken")
            return
        load_state(saved.path, modules=state.modules, optimizers=state.optimizers)
        self.best_step = saved.step
        logger.info("selected step %d by %s", saved.step, select_by)

    def result(self, select_by: str) -> dict[str, Any]:
        """The selected epoch's numbers for ``result.json``."""
        chosen = self.best or self.last
        shown = {name: value for name, value in chosen.items() if name not in {"lr", "grad_norm"}}
        return {**shown, "steps": self.step, "selected_step": self.best_step or self.step, "selected_by": select_by}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)


def reward_model_scorer(
    cfg: SFTConfig, run: RunDir, codec: TextCodec, validation: Sequence[Demonstration]
) -> Callable[[PreTrainedModel, int], float]:
    """Mean reward-model score of samples on validation prompts (spec C3), with some of them kept in ``samples/``.

    The prompts and the noise are the same at every epoch end, so epochs are compared on equal terms.

    Raises:
        ConfigError: there is no validation prompt, or the directory holds no reward model.
    """
    if not validation:
        raise ConfigError("sft.select_by = 'rm_score' needs validation prompts", hint="set validation or validation_fraction")
    reward = rewards.build("model", {"path": cfg.reward_model, "device": cfg.compute.device, "chat_template": cfg.chat_template})
    if not isinstance(reward, LearnedReward):
        raise ConfigError(f"sft.reward_model {cfg.reward_model!r} is no reward model", hint="train one: instructloop train rm")
    reward = reward.for_policy(codec)
    order = permutation(len(validation), cfg.seed, "selection prompts")[: cfg.selection_prompts]
    prompts = [Prompt(prompt=validation[index].prompt) for index in order]
    if not run.follows:
        record_selection(run.path, "epoch by rm_score", [prompt.prompt for prompt in prompts])

    def score(model: PreTrainedModel, step: int) -> float:
        fitting = keep_prompts(prompts, codec, context_tokens(model) - cfg.sampling.max_new_tokens).prompts
        seed = derive(cfg.seed, "selection")
        rollouts, output = roll_out(TorchEngine(model, codec), reward, fitting, sampling=cfg.sampling, seed=seed, ranks=joined())
        scores = output.scores
        rows = zip(rollouts.prompts, rollouts.completions, scores.tolist(), strict=True)
        shown = [
            {"prompt": prompt_json(prompt.prompt), "completion": text, "rm_score": value}
            for prompt, text, value in list(rows)[:_SAMPLES_SHOWN]
        ]
        run.samples(step, shown)
        return float(scores.mean())

    return score
