"""PPO and PPO-ptx (Ouyang et al. 2022, spec E): the whole algorithm, top to bottom, in ``train_ppo``.

    maximize  E[ r(x, y) - beta log(pi(y|x) / pi_SFT(y|x)) ] + gamma E_pretrain[ log pi(x) ]          (spec E3)

Where this differs from the paper, or fills what the paper leaves open:

- Defaults are for small models on a CPU; the preset ``paper-1.3b`` holds the paper's numbers (512 episodes in 8 minibatches, beta 0.02,
  EMA 0.992, 8 pretraining sequences an episode).
- lambda 0.95 (not in the paper: Stiennon et al.), value clip 0.2 and weight 0.1 (Ziegler et al.), advantages whitened over the rollout
  batch (PPO-30: over the batch, not per minibatch), gradients clipped to norm 1.
- The score sits on the last completion token (PPO-18), not behind it.
- A completion cut off at the length limit gets a fixed score (``missing_eos``; T5), -1 by default as in lm-human-preferences.
- The reward may be shifted and scaled on the reference's own samples (``reward_shift``, ``reward_scale``); the paper shifts only, in the
  reward model (spec D8).
- gamma weighs a mean over tokens, as does the PPO loss (ruling J-P13): 27.8 is not portable, the ratio of gradient norms is logged.
- The weight average may have a half-life that is a share of the run (``ema_half_life``), because 0.992 would keep a run of 45
  iterations at its start. Averages are evaluated and published; training goes on from the raw weights.
- Rollout log-probs come from the sampling pass itself, so the first ratio is 1 (PPO-23) and no pass is spent on them; in bfloat16 or
  from vLLM they are scored again by the policy, and ``sampler_deviation`` says how far off they were (nats, the largest of the batch).
- Random streams are keyed by row (PPO-6 is overridden): a row's noise does not depend on its batch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from instructloop.config import to_json
from instructloop.config.ppo import PPOConfig
from instructloop.config.shared import require
from instructloop.core.protocols import Evaluator
from instructloop.core.records import Prompt, Text
from instructloop.core.seeds import derive
from instructloop.data import TextCodec, batch_at, pack_texts
from instructloop.generation.vllm_engine import make_engine
from instructloop.models.device import compute_dtype
from instructloop.models.ranks import joined
from instructloop.models.save import save_causal
from instructloop.models.scalar import ScalarModel
from instructloop.models.sharding import gathered, shard
from instructloop.objectives.gae import gae
from instructloop.objectives.masking import masked_whiten
from instructloop.objectives.reward_shaping import apply_eos_rule, kl_shaped_rewards
from instructloop.rewards import Reward, as_reward
from instructloop.runs import RunDir
from instructloop.training.flops import PPOWork
from instructloop.training.loop import StepClock, open_run, spent
from instructloop.training.ppo_metrics import rollout_metrics, sample_rows
from instructloop.training.ppo_setup import PPOInputs, load_inputs, policy_card, ppo_parents, summary
from instructloop.training.ppo_state import Learner, reference_model
from instructloop.training.ppo_steps import (
    evaluate,
    frozen_reference,
    logprobs_of,
    measure_reward,
    refuse_divergence,
    roll_back,
    scored_again,
    usable_prompts,
    values_of,
)
from instructloop.training.ppo_update import Targets, ppo_epochs
from instructloop.training.rollout import roll_out

SHOWN = ("reward", "kl", "entropy", "length", "eos_rate", "first_ratio_deviation")
"""What the log shows of an iteration."""


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
    """The stage ``ppo`` in the run directory ``out``: load, train, publish ``model`` (averaged) and ``model_raw``, write ``result.json``.

    Args:
        cfg: the stage's configuration.
        out: run directory.
        resume: continue the run that is there.
        prompts: records to use instead of ``cfg.prompts`` (the Python API).
        pretrain_texts: records to use instead of ``cfg.pretrain_data``.
        reward: a Reward, or ``function(prompts, completions) -> numbers``, to use instead of ``cfg.reward``.
        evaluators: see ``train_ppo``; the watch of ``cfg.watch`` is one (``recipes.watched`` makes it).
    """
    require(
        cfg.watch.every == 0 or bool(evaluators),
        "ppo.watch is set, but nobody keeps the watch: no evaluator was passed",
        hint="call instructloop.recipes.watched.run_ppo, or set ppo.watch.every = 0",
    )
    with open_run(out, ranks=joined(), stage="ppo", config=to_json(cfg), parents=ppo_parents(cfg), resume=resume) as run:
        inputs: PPOInputs = load_inputs(cfg, run, prompts=prompts, pretrain_texts=pretrain_texts, reward=reward)
        learner = train_ppo(cfg, run=run, evaluators=evaluators, **inputs.arguments())
        with learner.averaged() as averaged, gathered(averaged):
            run.publish("model", lambda path: save_causal(averaged, inputs.codec, path, card=policy_card(run, cfg, learner, averaged=True)))
        if learner.ema is not None:
            with gathered(learner.policy):
                run.publish("model_raw", lambda path: save_causal(learner.policy, inputs.codec, path, card=policy_card(run, cfg, learner)))
        run.result({**summary(cfg, learner), **spent(run)})
    return out


def train_ppo(
    cfg: PPOConfig,
    *,
    run: RunDir,
    policy: PreTrainedModel,
    value_model: ScalarModel,
    reference: PreTrainedModel | None,
    codec: TextCodec,
    reward: Reward,
    prompts: Sequence[Prompt],
    pretrain_texts: Sequence[Text | str] = (),
    evaluators: Sequence[Evaluator] = (),
) -> Learner:
    """Train the policy, or take up a run that was stopped; every number is a pure function of configuration and inputs.

    Args:
        cfg: the stage's configuration.
        run: an open run directory; metrics, samples, alarms and training states go there.
        policy: the RL-init SFT model, with adapters for LoRA. Trained in place.
        value_model: the value network, usually a copy of the reward model (spec E10). Trained in place.
        reference: the frozen model of the KL tether; None takes the policy as it comes (a copy, or its adapters switched off).
        codec: the policy's text codec.
        reward: what is maximized; a plain ``function(prompts, completions)`` works too.
        prompts: prompts to roll out from; those without room for a completion are left out and counted.
        pretrain_texts: documents of the pretraining mix, needed when ``cfg.ptx_coef`` > 0.
        evaluators: called every ``cfg.evaluate_every`` iterations (and every ``cfg.watch.every``) with the averaged policy.

    Returns:
        The learner: its networks hold the raw weights, ``learner.averaged()`` the published ones.

    Raises:
        TrainingDiverged: a loss or gradient is not finite, or the KL passed ``cfg.stop_kl``; the step is not taken.
        RewardError: the reward raised or returned something unusable.
    """
    ranks = joined()
    reward, policy_engine = as_reward(reward), make_engine(cfg.engine, policy, codec, sampling=cfg.sampling, follow=True)
    reference = frozen_reference(policy, reference)
    usable = usable_prompts(cfg, policy, codec, prompts, run)
    blocks = pack_texts(pretrain_texts, codec, cfg.ptx_tokens) if cfg.ptx_coef > 0 else None
    work = PPOWork.of(cfg, policy, value_model, reward)
    shard(policy, value_model, reference, ranks=ranks, mode=cfg.compute.sharding)
    learner = Learner.start(cfg, policy, value_model)
    if (saved := run.latest()) is not None:
        learner.restore(saved.path)
    elif cfg.reward_shift != "none" or cfg.reward_scale != "none":
        measure_reward(cfg, learner, reference, codec, reward, usable, ranks=ranks)

    clock = StepClock(run, "ppo", cfg.steps)
    for step in range(learner.steps_done, cfg.steps):
        if learner.ended_early:
            break
        rates = learner.set_learning_rates(step)

        # 1. Roll out: prompts from the distribution, completions from the policy, scored whole (spec E1, E9)
        chosen = batch_at(step, len(usable), cfg.batch_size, derive(cfg.seed, "prompts"))
        seed = derive(cfg.seed, "rollout", step)
        asked = [usable[row] for row in chosen]
        rollouts, output = roll_out(policy_engine, reward, asked, sampling=cfg.sampling, seed=seed, ranks=ranks)

        # 2. A completion that did not end by itself falls under the EOS rule (T5)
        scores = apply_eos_rule(learner.unit(output.scores), rollouts.ended, mode=cfg.missing_eos, value=cfg.missing_eos_score)

        # 3. Token rewards: -beta (log pi - log pi_SFT) on each token, the score on the last one (spec E2)
        with reference_model(policy, reference) as tether:
            ref_logprobs = logprobs_of(tether, rollouts.batch, cfg, ranks=ranks)
        sampled = rollouts.logprobs
        if cfg.engine != "torch" or compute_dtype(policy) != torch.float32:
            rollouts = scored_again(policy, rollouts, cfg, ranks=ranks)
        old_logprobs = rollouts.logprobs
        rewards = kl_shaped_rewards(scores, old_logprobs, ref_logprobs, rollouts.mask, beta=learner.beta)
        if output.token_scores is not None:
            rewards = rewards + output.token_scores / learner.unit.scale
        if cfg.whiten_rewards:
            rewards = masked_whiten(rewards, rollouts.mask, shift_mean=False)

        # 4. Advantages and returns, from values before any update (spec E8, PPO-26, PPO-34)
        values = values_of(value_model, rollouts.batch, cfg, ranks=ranks)
        advantages, returns = gae(rewards, values, rollouts.mask, gamma=cfg.gamma, lam=cfg.lam)
        if cfg.whiten_advantages:
            advantages = masked_whiten(advantages, rollouts.mask)
        targets = Targets(old_logprobs, values, advantages, returns, rollouts.mask)
        metrics = rollout_metrics(rollouts, output, scores, ref_logprobs, targets, beta=learner.beta) | {"beta": learner.beta} | rates
        if old_logprobs is not sampled:
            metrics["sampler_deviation"] = float((sampled - old_logprobs).abs().max())
        refuse_divergence(cfg, run, step + 1, metrics)

        # 5. Clipped epochs over minibatches; PPO and pretraining gradients share one optimizer step (spec E5, E9, E12)
        metrics |= ppo_epochs(
            cfg,
            step=step,
            policy=policy,
            value_model=value_model,
            policy_optimizer=learner.policy_optimizer,
            value_optimizer=learner.value_optimizer,
            batch=rollouts.batch,
            targets=targets,
            pretrain_blocks=blocks,
            ranks=ranks,
        )

        # 6. Weight average, KL controller, alarms, evaluation, and the records of the iteration (spec E7, PPO-21, E19)
        for alarm in learner.finish_iteration(metrics):
            run.event(step + 1, "alarm", alarm.message, item=alarm.kind)
        best = evaluate(cfg, run, learner, evaluators, metrics, ranks=ranks)
        run.metrics(step + 1, "ppo", metrics)
        if step == 0 or (step + 1) % cfg.samples_every == 0 or step + 1 == cfg.steps:
            run.samples(step + 1, sample_rows(rollouts, output, scores, ref_logprobs, targets, count=cfg.samples_count))
        shown = {name: metrics[name] for name in SHOWN if name in metrics}
        flops = work.iteration(rollouts.batch, rescored=old_logprobs is not sampled)
        clock.tick(step + 1, int(rollouts.batch.lengths.sum()), shown, flops=flops)
        if (step + 1) % cfg.checkpoint.every_steps == 0 or step + 1 == cfg.steps or learner.ended_early or best:
            run.checkpoint(step + 1, learner.save, keep=cfg.checkpoint.keep, best=best)
    roll_back(run, learner, ranks=ranks)
    return learner
