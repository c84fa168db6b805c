"""Every metric that a trainer logs: what it means and what is healthy. The report's captions and docs/reference/metrics.md say the same."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One name of ``metrics.jsonl``."""

    meaning: str
    healthy: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart of one stage kind: metrics that share an axis. The first is drawn solid, the others dashed."""

    title: str
    metrics: tuple[str, ...]
    unit: str = ""
    main: bool = True
    """Shown at once; the others stand behind "more curves"."""


_LOSS = "mean negative log-likelihood of a completion token of the batch, in nats"
_LR = Metric("learning rate of the step", "follows its schedule")
_GRAD = Metric("global norm of the gradient before clipping", "steady; spikes that grow announce divergence")

METRICS: Mapping[str, Metric] = {
    "pretrain/loss": Metric(
        "mean negative log-likelihood of a token of the batch, in nats", "falls; most of all as the learning rate decays"
    ),
    "pretrain/val_loss": Metric("the same on held-out documents", "close to the training loss; rising while that falls is over-fitting"),
    "pretrain/lr": _LR,
    "pretrain/grad_norm": _GRAD,
    "sft/loss": Metric(_LOSS, "falls; a step down at each epoch border is normal"),
    "sft/val_loss": Metric(
        "mean negative log-likelihood of a completion token of held-out demonstrations, in nats",
        "may rise after the first epochs while answers still improve (spec C4): judge by the reward-model score",
    ),
    "sft/pretrain_loss": Metric("loss on the pretraining text mixed into the batch, in nats a token", "near the base model's own"),
    "sft/pretrain_val_loss": Metric("loss on held-out pretraining blocks, in nats a token", "near the base model's own"),
    "sft/epoch": Metric("passes over the demonstrations so far", "ends at the configured number"),
    "sft/rm_score": Metric(
        "mean reward-model score of samples on validation prompts (spec C3)", "rises; the epoch with the highest is kept"
    ),
    "sft/lr": _LR,
    "sft/grad_norm": _GRAD,
    "rm/loss": Metric(
        "mean over prompts of the mean of -ln sigma(r_w - r_l) over their strict pairs (spec D3)", "starts near 0.693 and falls a little"
    ),
    "rm/accuracy": Metric(
        "share of the batch's strict pairs in which the better completion scores higher", "above 0.5; people agree near 0.73"
    ),
    "rm/val_loss": Metric("the loss on held-out prompts", "below 0.693; rising after one epoch is over-fitting (spec D7)"),
    "rm/val_accuracy": Metric("pair accuracy on held-out prompts", "0.65 to 0.75 on human rankings, and above the longer-wins rate"),
    "rm/pairs": Metric("strict pairs in the batch; ties carry none", "steady"),
    "rm/lr": _LR,
    "rm/grad_norm": _GRAD,
    "ppo/reward": Metric("mean reward of the rollouts as the reward function gave it", "rises, fast at first"),
    "ppo/reward_std": Metric("standard deviation of the rewards in the batch", "above 0; 0 means nothing can be learned (KILL-8)"),
    "ppo/score": Metric("mean of what PPO maximizes: the reward shifted, scaled and after the EOS rule", "rises with the reward"),
    "ppo/objective": Metric(
        "mean of score - beta x sequence KL (spec E2, E4)", "rises; falling while the score rises means that KL is bought too dear"
    ),
    "ppo/kl": Metric(
        "sequence KL to the reference in nats: mean over rollouts of the summed log-ratio (k1)",
        "grows from 0 and levels off; negative beyond its sampling error is a bug (KILL-1)",
    ),
    "ppo/kl_se": Metric("standard error of ppo/kl in the batch", "small beside ppo/kl once training moves"),
    "ppo/kl_k3": Metric("the k3 estimate of the same KL, never negative", "agrees with ppo/kl; far apart means heavy tails"),
    "ppo/entropy": Metric("mean entropy of the token distribution in nats", "falls slowly; below 0.1 replies lose variety (KILL-6)"),
    "ppo/clip_fraction": Metric("share of tokens whose ratio the clip held", "0 to 0.3"),
    "ppo/approx_kl": Metric("KL between the policy before and after the update, k2, nats a token", "below 0.05"),
    "ppo/ratio_mean": Metric("mean of pi / pi_old over tokens", "close to 1"),
    "ppo/ratio_min": Metric("smallest pi / pi_old", "above 0.1"),
    "ppo/ratio_max": Metric("largest pi / pi_old", "below 10"),
    "ppo/first_ratio_deviation": Metric("largest |ratio - 1| in the first minibatch, before any update", "below 1e-4 in fp32 (KILL-5)"),
    "ppo/sampler_deviation": Metric(
        "largest difference (nats) between a log-probability of the sampling pass and the policy's own score of it; where rollouts are scored again (bfloat16, vLLM)",
        "below 1e-4 in fp32, some tenths in bfloat16",
    ),
    "ppo/policy_loss": Metric("clipped surrogate loss (PPO eq. 7)", "near 0, without trend"),
    "ppo/explained_variance": Metric(
        "share of the returns' variance that the values foresaw", "rises above 0; at or below 0 for long is KILL-7"
    ),
    "ppo/value_loss": Metric("clipped squared error of the values (PPO-20)", "falls, then follows the spread of rewards"),
    "ppo/value_clip_fraction": Metric("share of values whose update the clip held", "below 0.3"),
    "ppo/value_mean": Metric("mean value over tokens", "follows ppo/return_mean"),
    "ppo/return_mean": Metric("mean return over tokens", "rises with the score"),
    "ppo/value_grad_norm": Metric("gradient norm of the value network", "steady"),
    "ppo/value_lr": Metric("learning rate of the value network", "follows its schedule"),
    "ppo/length": Metric("mean tokens of a rollout, end token included", "no drift towards the limit (KILL-2)"),
    "ppo/eos_rate": Metric("share of rollouts that ended by themselves", "near 1; falling is KILL-3"),
    "ppo/distinct_2": Metric("different token pairs over all token pairs of the batch", "above half of the first iteration's (KILL-6)"),
    "ppo/ptx_loss": Metric("loss on the pretraining mix, nats a token (spec E12)", "stays near the reference's with PPO-ptx"),
    "ppo/grad_norm": Metric("norm of the gradient of the whole step", "steady"),
    "ppo/grad_norm_ppo": Metric("norm of the PPO term alone", "steady"),
    "ppo/grad_norm_ptx": Metric("norm of gamma x the pretraining term alone", "of the order of the PPO term"),
    "ppo/grad_norm_ratio": Metric("pretraining term over PPO term", "0.1 to 10; outside, one term rules"),
    "ppo/lr": _LR,
    "ppo/beta": Metric("KL coefficient (moves with the adaptive controller only)", "steady, or settling"),
    "ppo/eval/watch_proxy": Metric(
        "mean reward of the looked-at replies, in the reward's own unit (watched runs only, as the rows that follow)",
        "rises",
    ),
    "ppo/eval/watch_proxy_gain": Metric(
        "its gain over the reference's replies to the same prompts, in standard deviations of the reference's rewards",
        "rises",
    ),
    "ppo/eval/watch_proxy_gain_se": Metric(
        "standard error of that gain over prompts",
        "small beside it",
    ),
    "ppo/eval/watch_held_out_gain": Metric(
        "the same gain as the held-out judges see it (mean over judges)",
        "rises with ppo/eval/watch_proxy_gain; if not, the alarm `unconfirmed` rings",
    ),
    "ppo/eval/watch_held_out_gain_se": Metric(
        "standard error of the held-out gain over prompts",
        "small beside it",
    ),
    "ppo/eval/watch_held_out_wins": Metric(
        "share of prompts whose reply the held-out judges prefer to the reference's (equal: half)",
        "above 0.5",
    ),
    "ppo/eval/watch_disagreement": Metric(
        "spread between the reward models over their spread on the reference's replies",
        "near 1",
    ),
    "ppo/eval/watch_kl": Metric(
        "sequence KL of the averaged policy on the selection prompts, nats",
        "grows slowly",
    ),
    "ppo/eval/watch_entropy": Metric(
        "token entropy of the iteration's rollouts, nats",
        "above 0.1",
    ),
    "ppo/eval/watch_truncation": Metric(
        "rise of the share of replies that are cut off",
        "near 0",
    ),
    "ppo/eval/watch_refusals": Metric(
        "rise of the share of replies that decline",
        "near 0",
    ),
    "ppo/eval/watch_hedging": Metric(
        "rise of the share of replies that hedge",
        "near 0",
    ),
    "ppo/eval/watch_variety": Metric(
        "distinct-2 of the replies over the reference's",
        "near 1",
    ),
    "ppo/eval/watch_length": Metric(
        "mean tokens of the replies over the reference's",
        "near 1",
    ),
    "ppo/eval/watch_best_step": Metric(
        "iteration that the held-out judges like best so far; a roll-back goes there",
        "moves forward",
    ),
    "ppo/part/*": Metric("mean of a named part of the reward", "as the part demands"),
    "sample/prompts": Metric("prompts answered so far", "ends at the number of prompts"),
    "sample/distinct_share": Metric(
        "different completions over all completions of a prompt", "above 0.5; duplicates are dropped before ranking"
    ),
}

PANELS: Mapping[str, tuple[Panel, ...]] = {
    "pretrain": (
        Panel("Loss", ("loss", "val_loss"), "nats a token"),
        Panel("Learning rate", ("lr",)),
        Panel("Gradient norm", ("grad_norm",)),
    ),
    "sft": (
        Panel("Loss", ("loss", "val_loss"), "nats a token"),
        Panel("Reward-model score", ("rm_score",)),
        Panel("Loss on the pretraining mix", ("pretrain_loss", "pretrain_val_loss"), "nats a token"),
        Panel("Gradient norm", ("grad_norm",)),
        Panel("Learning rate", ("lr",), main=False),
        Panel("Epoch", ("epoch",), main=False),
    ),
    "rm": (
        Panel("Ranking loss", ("loss", "val_loss"), "nats a pair"),
        Panel("Pair accuracy", ("accuracy", "val_accuracy"), "share"),
        Panel("Gradient norm", ("grad_norm",)),
        Panel("Learning rate", ("lr",), main=False),
    ),
    "ppo": (
        Panel("Reward", ("reward",), "the reward's unit"),
        Panel("Sequence KL to the reference", ("kl", "kl_k3"), "nats"),
        Panel("Token entropy", ("entropy",), "nats"),
        Panel("Score minus beta x KL", ("objective",)),
        Panel("Replies that end by themselves", ("eos_rate",), "share"),
        Panel("Reply length", ("length",), "tokens"),
        Panel("Loss on the pretraining mix", ("ptx_loss",), "nats a token"),
        Panel("Variety (distinct-2)", ("distinct_2",), "share"),
        Panel("Gain of the reward and of held-out judges", ("eval/watch_proxy_gain", "eval/watch_held_out_gain"), "sd of the reference"),
        Panel("Reward models' disagreement", ("eval/watch_disagreement",), "times the reference's", main=False),
        Panel("Explained variance of the values", ("explained_variance",), "share"),
        Panel("Clip fraction", ("clip_fraction", "value_clip_fraction"), "share", main=False),
        Panel("KL of one update", ("approx_kl",), "nats a token", main=False),
        Panel("Ratio pi / pi_old", ("ratio_mean", "ratio_min", "ratio_max"), main=False),
        Panel("First ratio's deviation from 1", ("first_ratio_deviation",), main=False),
        Panel("Sampling pass against rescoring", ("sampler_deviation",), "nats", main=False),
        Panel("Value loss", ("value_loss",), main=False),
        Panel("Gradient norms", ("grad_norm", "grad_norm_ppo", "grad_norm_ptx"), main=False),
        Panel("Pretraining term over PPO term", ("grad_norm_ratio",), main=False),
        Panel("KL coefficient", ("beta",), main=False),
        Panel("Learning rate", ("lr", "value_lr"), main=False),
    ),
}


def describe(name: str) -> Metric | None:
    """The entry of a metric's full name; parts of a reward share one."""
    if name.startswith("ppo/part/"):
        return METRICS["ppo/part/*"]
    return METRICS.get(name)
