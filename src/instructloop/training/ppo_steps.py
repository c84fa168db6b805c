"""What an iteration of PPO calls: passes without gradient, the reward's unit, checks, evaluators."""

import logging
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from instructloop.config.ppo import PPOConfig
from instructloop.core.errors import TrainingDiverged
from instructloop.core.protocols import Evaluator, Verdict
from instructloop.core.records import Prompt
from instructloop.core.seeds import derive
from instructloop.data.batching import batch_at, micro_batches
from instructloop.data.codec import TextCodec
from instructloop.data.prompts import keep_prompts
from instructloop.data.sequences import TokenBatch
from instructloop.generation.rollouts import Rollouts
from instructloop.generation.torch_engine import TorchEngine
from instructloop.models.adapters import has_adapters
from instructloop.models.device import compute_dtype, evaluating, set_compute_dtype
from instructloop.models.load import context_tokens
from instructloop.models.logprobs import completion_logprobs
from instructloop.models.packing import packing_of, set_packing
from instructloop.models.ranks import ALONE, Ranks
from instructloop.models.scalar import ScalarModel
from instructloop.models.sharding import gathered
from instructloop.rewards import Reward
from instructloop.runs import RunDir
from instructloop.training.ppo_state import Learner, express_values_in, measured_unit, reference_model
from instructloop.training.rollout import roll_out

logger = logging.getLogger(__name__)


def frozen_reference(policy: PreTrainedModel, reference: PreTrainedModel | None) -> PreTrainedModel | None:
    """The KL reference without gradients; None where the policy's adapters can be switched off instead."""
    if reference is None and has_adapters(policy):
        return None
    frozen = reference
    if frozen is None:
        frozen = deepcopy(policy)
        set_compute_dtype(frozen, compute_dtype(policy))
        set_packing(frozen, packing_of(policy))
    return frozen.requires_grad_(False).eval()


def usable_prompts(cfg: PPOConfig, policy: PreTrainedModel, codec: TextCodec, prompts: Sequence[Prompt], run: RunDir) -> tuple[Prompt, ...]:
    """The prompts that leave room for a completion (spec A7); the others are counted in an event."""
    limit = cfg.max_prompt_tokens or context_tokens(policy) - cfg.sampling.max_new_tokens
    kept = keep_prompts(prompts, codec, limit)
    if kept.over_long and run.latest() is None:
        run.event(0, "skipped", f"{kept.over_long} of {len(prompts)} prompts are longer than {limit} tokens", count=kept.over_long)
    return kept.prompts


def measure_reward(
    cfg: PPOConfig,
    learner: Learner,
    reference: PreTrainedModel | None,
    codec: TextCodec,
    reward: Reward,
    prompts: Sequence[Prompt],
    *,
    ranks: Ranks = ALONE,
) -> None:
    """Fix the reward's shift and scale on completions of the reference, and express the value network in that unit."""
    with reference_model(learner.policy, reference) as tether:
        chosen = batch_at(0, len(prompts), cfg.reward_samples, derive(cfg.seed, "reward_unit"))
        seed = derive(cfg.seed, "reward_unit_rollout")
        asked = [prompts[row] for row in chosen]
        output = roll_out(TorchEngine(tether, codec), reward, asked, sampling=cfg.sampling, seed=seed, ranks=ranks).output
    learner.unit = measured_unit(cfg, output.scores)
    express_values_in(learner.unit, learner.value_model)
    logger.info("reward of the reference: mean %.4f, standard deviation %.4f", learner.unit.reference_mean, learner.unit.reference_std)


def logprobs_of(model: PreTrainedModel, batch: TokenBatch, cfg: PPOConfig, *, ranks: Ranks = ALONE) -> Float[Tensor, "batch response"]:
    """Log-probs of the sampled tokens without gradient, in micro-batches, at the sampling temperature (PPO-12)."""
    result = torch.zeros(batch.completion_mask.shape, device=batch.tokens.device)
    with gathered(model), evaluating(model):
        for rows in micro_batches_of(batch, cfg.compute.micro_batch_tokens, ranks):
            part = completion_logprobs(model, batch.select(rows), temperature=cfg.sampling.temperature).logprobs
            result[rows, : part.shape[1]] = part
    return ranks.sum_rows(result)


def scored_again(model: PreTrainedModel, rollouts: Rollouts, cfg: PPOConfig, *, ranks: Ranks = ALONE) -> Rollouts:
    """The same rollouts with log-probs and entropies as the model itself finds them, at the sampling temperature (PPO-12)."""
    batch = rollouts.batch
    logprobs, entropies = (torch.zeros(batch.completion_mask.shape, device=batch.tokens.device) for _ in range(2))
    with gathered(model), evaluating(model):
        for rows in micro_batches_of(batch, cfg.compute.micro_batch_tokens, ranks):
            part = completion_logprobs(model, batch.select(rows), temperature=cfg.sampling.temperature, entropy=True)
            assert part.entropies is not None
            logprobs[rows, : part.logprobs.shape[1]] = part.logprobs
            entropies[rows, : part.logprobs.shape[1]] = part.entropies
    return replace(rollouts, logprobs=ranks.sum_rows(logprobs), entropies=ranks.sum_rows(entropies))


def values_of(value_model: ScalarModel, batch: TokenBatch, cfg: PPOConfig, *, ranks: Ranks = ALONE) -> Float[Tensor, "batch response"]:
    """V(s_t) before each completion token, without gradient, in micro-batches."""
    result = torch.zeros(batch.completion_mask.shape, device=batch.tokens.device)
    with gathered(value_model), evaluating(value_model):
        for rows in micro_batches_of(batch, cfg.compute.micro_batch_tokens, ranks):
            part = value_model.values(batch.select(rows)).float()
            result[rows, : part.shape[1]] = part
    return ranks.sum_rows(result)


def micro_batches_of(batch: TokenBatch, budget_tokens: int, ranks: Ranks) -> Iterator[list[int]]:
    """Row numbers of this process's share of a batch, in micro-batches."""
    lengths = batch.lengths.tolist()
    mine = ranks.share(lengths)
    for part in micro_batches([lengths[row] for row in mine], budget_tokens):
        yield [mine[place] for place in part]


def refuse_divergence(cfg: PPOConfig, run: RunDir, step: int, metrics: dict[str, float]) -> None:
    """Stop before the optimizer step when the KL is past its bound; the numbers that say so are recorded first."""
    if cfg.stop_kl > 0 and metrics["kl"] > cfg.stop_kl:
        run.event(step, "diverged", f"mean sequence KL {metrics['kl']:.2f} nats is above stop_kl {cfg.stop_kl:g}", **metrics)
        raise TrainingDiverged(
            f"ppo: iteration {step}: mean sequence KL {metrics['kl']:.2f} nats is above stop_kl {cfg.stop_kl:g}; the step was not taken",
            hint="raise ppo.beta or lower ppo.optimizer.lr; the last checkpoint is from before",
        )


def evaluate(
    cfg: PPOConfig, run: RunDir, learner: Learner, evaluators: Sequence[Evaluator], metrics: dict[str, float], *, ranks: Ranks = ALONE
) -> bool:
    """Ask the evaluators about the averaged policy; True if one calls this iteration the best so far. Its alarms become events.

    Of several processes only the main one asks: an evaluator may write files, or cost money.
    """
    if not evaluators or not _due(cfg, learner.steps_done):
        return False
    best = False
    with learner.averaged() as model, gathered(model), evaluating(model):
        for evaluator in evaluators:
            judgement = ranks.by_main(partial(evaluator, step=learner.steps_done, model=model, metrics=dict(metrics)))
            metrics |= {f"eval/{name}": value for name, value in judgement.metrics.items()}
            best = best or judgement.best_step == learner.steps_done
            for alarm in judgement.alarms:
                told = {name: value for name, value in alarm.items() if name not in {"kind", "message", "step"}}
                run.event(learner.steps_done, "alarm", str(alarm["message"]), item=str(alarm["kind"]), **told)
            if judgement.verdict is not Verdict.CONTINUE:
                learner.ended_early = f"{judgement.verdict.value}: {judgement.reason}"
    return best


def _due(cfg: PPOConfig, step: int) -> bool:
    """Whether evaluators are asked after an iteration: by their own rhythm or the watch's, which also looks at the last one."""
    rhythms = [every for every in (cfg.evaluate_every, cfg.watch.every) if every]
    return any(step % every == 0 for every in rhythms) or (cfg.watch.every > 0 and step == cfg.steps)


def roll_back(run: RunDir, learner: Learner, *, ranks: Ranks = ALONE) -> None:
    """If an evaluator asked for it, give the learner the state of the best iteration; the reason stays."""
    if not learner.ended_early.startswith(Verdict.ROLL_BACK.value):
        return
    best, reason = ranks.by_main(run.best), learner.ended_early
    if best is None:
        run.event(learner.steps_done, "warning", "an evaluator asked to roll back, but never named a best iteration: the last one stays")
        return
    learner.restore(best.path)
    learner.ended_early = reason
    run.event(learner.steps_done, "rolled_back", f"the result is iteration {learner.steps_done} ({reason})")
