"""Configuration of ``instructloop train ppo`` (spec E): PPO and, with ``ptx_coef`` > 0, PPO-ptx."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from instructloop.config.shared import CheckpointConfig, ComputeConfig, LoraConfig, OptimizerConfig, SamplingConfig, require
from instructloop.config.watch import WatchConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardSpec:
    """A reward by its registered name; the run directory keeps it, so any past reward can be rebuilt."""

    name: str = "model"
    """Registered name: ``model`` (a reward-model directory), a rule, a mix, or a plug-in ``package/name``."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the factory, e.g. ``{"path": "runs/rm"}``."""


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Reinforcement learning against a reward with a KL tether to the initial model, and optionally the pretraining mix."""

    seed: int = 0
    """Base of every random stream of the stage."""
    model: str = ""
    """Initial policy and reference: the RL-init SFT model (spec C6)."""
    reference: str = ""
    """Reference model of the KL tether; empty takes ``model``."""
    value_model: str = ""
    """Initial value network: a reward-model directory (spec E10); empty takes the reward's own model if it is one, else the policy's trunk with a new head."""
    prompts: str = ""
    """Prompts to roll out from."""
    reward: RewardSpec = field(default_factory=RewardSpec)
    """What is maximized."""
    reward_shift: Literal["none", "reference_mean"] = "none"
    """``reference_mean`` subtracts the mean reward of reference samples before training (a learned reward is already at 0 on demonstrations)."""
    reward_scale: Literal["none", "reference_std"] = "none"
    """``reference_std`` divides by the standard deviation of the reference's rewards (the paper does not scale)."""
    reward_samples: int = 256
    """Completions of the reference on which shift and scale are measured."""
    steps: int = 45
    """PPO iterations (rollout batches)."""
    batch_size: int = 256
    """Episodes an iteration rolls out (spec E5: 512)."""
    minibatches: int = 4
    """Optimizer steps an inner epoch makes (spec E5: 8 of 64)."""
    inner_epochs: int = 1
    """Passes over each rollout batch (spec E5: 1)."""
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_new_tokens=48))
    """Rollout sampling; top-k and top-p are refused."""
    engine: Literal["torch", "vllm"] = "torch"
    """What samples the rollouts: the policy itself, or vLLM (extra ``vllm``), which takes its weights every iteration."""
    beta: float = 0.02
    """KL coefficient of the per-token penalty (spec E4)."""
    kl_controller: Literal["fixed", "adaptive"] = "fixed"
    """``adaptive`` steers beta towards ``kl_target`` (Ziegler et al.: PPO-21)."""
    kl_target: float = 6.0
    """Sequence KL in nats that the adaptive controller aims at."""
    kl_horizon: int = 10_000
    """Episodes over which the adaptive controller acts."""
    clip: float = 0.2
    """Ratio clip c in PPO eq. 7 (spec E9)."""
    value_clip: float = 0.2
    """Clip of the value update (0 switches it off)."""
    value_coef: float = 0.1
    """Weight of the value loss (PPO-20); the value network has its own optimizer, so it matters through gradient clipping alone."""
    gamma: float = 1.0
    """Discount (spec E8: none)."""
    lam: float = 0.95
    """Lambda of generalized advantage estimation (not in the paper; Stiennon et al.: 0.95)."""
    whiten_advantages: bool = True
    """Give advantages mean 0 and standard deviation 1 over the rollout batch."""
    whiten_rewards: bool = False
    """Scale token rewards to standard deviation 1 over the batch, mean kept (lm-human-preferences)."""
    missing_eos: Literal["keep", "replace", "subtract"] = "replace"
    """What happens to the score of a completion that did not end by itself: keep it, replace it by ``missing_eos_score`` or subtract its size (T5)."""
    missing_eos_score: float = -1.0
    """The score of the EOS rule, in units of the shifted and scaled reward."""
    ptx_coef: float = 0.0
    """Gamma of the pretraining mix, as the weight of a per-token mean loss (0 = plain PPO; the paper's 27.8 is not portable: J-P13)."""
    ptx_per_episode: int = 1
    """Pretraining sequences per episode (spec E12: 8)."""
    ptx_tokens: int = 64
    """Length of one pretraining sequence."""
    pretrain_data: str = ""
    """Documents of the pretraining mix."""
    ema_decay: float = 0.992
    """Decay of the weight average per iteration (spec E7); 0 switches it off. See ``ema_half_life``."""
    ema_half_life: float = 0.1
    """Half-life of the average as a fraction of the run, for short runs (the paper's is 86 of 500 iterations); 0 uses ``ema_decay`` as it stands."""
    value_warmup_steps: int = 0
    """First iterations in which only the value network learns."""
    freeze_policy_embeddings: bool = False
    """Keep the embedding matrix fixed (cheaper on small models with large vocabularies)."""
    stop_kl: float = 0.0
    """Stop before the step with a TrainingDiverged error if the mean sequence KL passes this; 0 never stops."""
    warn_kl: float = 3.0
    """Warn when the mean sequence KL passes this many nats."""
    warn_entropy: float = 0.1
    """Warn when the mean token entropy falls below this many nats."""
    samples_every: int = 10
    """Iterations between tables of samples."""
    samples_count: int = 8
    """Samples in one table."""
    evaluate_every: int = 0
    """Iterations between calls of the evaluators; 0 never (but see ``watch.every``)."""
    watch: WatchConfig = field(default_factory=WatchConfig)
    """Alarms during the run, judged by reward models that are not maximized."""
    chat_template: bool = True
    """Wrap string prompts as a user turn if the tokenizer has a chat template."""
    max_prompt_tokens: int = 0
    """Longer prompts are dropped and counted (spec A7); 0 takes the context minus ``sampling.max_new_tokens``."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters on the policy (adapter off = reference)."""
    share_trunk: bool = False
    """Policy, reference, reward model and value network are one base model in memory, told apart by adapters; needs ``lora.rank`` and a reward model trained with LoRA on ``model``."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(lr=1e-4, schedule="constant", warmup_steps=10, warmup_start=0.1)
    )
    """The policy's AdamW: constant after warm-up over the first 10 iterations (spec E6)."""
    value_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=3e-4, schedule="constant"))
    """The value network's AdamW (spec E10)."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device, precision, micro-batches."""
    checkpoint: CheckpointConfig = field(default_factory=lambda: CheckpointConfig(every_steps=10))
    """Training-state saves."""
    skip_bad_rows: bool = False
    """Count and list unusable prompt rows instead of stopping at the first one."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"ppo.steps must be >= 1, got {self.steps}")
        require(0 < self.clip < 1, f"ppo.clip must be in (0, 1), got {self.clip}", hint="InstructGPT used 0.2")
        require(self.beta >= 0, f"ppo.beta must be >= 0, got {self.beta}", hint="InstructGPT used 0.02")
        require(0 <= self.gamma <= 1, f"ppo.gamma must be in [0, 1], got {self.gamma}")
        require(0 <= self.lam <= 1, f"ppo.lam must be in [0, 1], got {self.lam}")
        require(self.minibatches >= 1, f"ppo.minibatches must be >= 1, got {self.minibatches}")
        require(
            self.batch_size % self.minibatches == 0,
            f"ppo.batch_size {self.batch_size} must be a multiple of ppo.minibatches {self.minibatches}",
        )
        require(0 <= self.ema_decay < 1, f"ppo.ema_decay must be in [0, 1), got {self.ema_decay}")
        require(self.ema_half_life >= 0, f"ppo.ema_half_life must be >= 0, got {self.ema_half_life}", hint="0 uses ppo.ema_decay")
        require(self.inner_epochs >= 1, f"ppo.inner_epochs must be >= 1, got {self.inner_epochs}", hint="the paper used 1")
        require(self.reward_samples >= 2, f"ppo.reward_samples must be >= 2, got {self.reward_samples}")
        require(self.samples_every >= 1, f"ppo.samples_every must be >= 1, got {self.samples_every}")
        require(self.ptx_tokens >= 2, f"ppo.ptx_tokens must be >= 2, got {self.ptx_tokens}")
        require(self.ptx_per_episode >= 1, f"ppo.ptx_per_episode must be >= 1, got {self.ptx_per_episode}", hint="the paper used 8")
        require(self.kl_target > 0 and self.kl_horizon > 0, "ppo.kl_target and ppo.kl_horizon must be > 0")
        require(self.ptx_coef >= 0, f"ppo.ptx_coef must be >= 0, got {self.ptx_coef}")
        require(
            self.ptx_coef == 0 or bool(self.pretrain_data), "ppo.ptx_coef > 0 needs ppo.pretrain_data", hint='a JSONL file of {"text"} rows'
        )
        require(
            not self.share_trunk or self.lora.rank > 0, "ppo.share_trunk needs adapters: ppo.lora.rank is 0", hint="set lora.rank, e.g. 16"
        )
        require(
            not self.share_trunk or self.reference in {"", self.model},
            "ppo.share_trunk: the reference is the policy's own trunk, so ppo.reference cannot be another model",
            hint="leave ppo.reference empty, or leave share_trunk out",
        )
        require(
            not (self.share_trunk and self.compute.compile),
            "ppo.share_trunk with compute.compile: a trunk whose adapters change at every pass would be compiled again and again",
            hint="choose one of the two",
        )
        require(self.sampling.temperature > 0, "ppo.sampling.temperature must be > 0: PPO learns from sampled noise")
        require(
            not self.sampling.truncated,
            "ppo.sampling uses top_k, top_p or repetition_penalty, which changes the sampled distribution",
            hint="set top_k = 0, top_p = 1 and repetition_penalty = 1; use temperature instead",
        )
