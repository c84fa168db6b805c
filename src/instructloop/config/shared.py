"""Settings that several stages share: optimizer, schedule, LoRA, sampling, where to compute."""

from dataclasses import dataclass
from typing import Literal

from instructloop.core.errors import ConfigError


def require(condition: bool, message: str, *, hint: str | None = None) -> None:
    """Raise ConfigError unless the condition holds; used by every ``__post_init__``."""
    if not condition:
        raise ConfigError(message, hint=hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW and its learning-rate schedule."""

    lr: float = 1e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Adam's moment decays (the paper's C0)."""
    eps: float = 1e-8
    """Adam's epsilon."""
    weight_decay: float = 0.0
    """Decoupled weight decay; not applied to biases and norms."""
    max_grad_norm: float = 1.0
    """Clip the global gradient norm to this; 0 switches clipping off."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """How the rate falls from its peak."""
    final_fraction: float = 0.1
    """Where the fall ends, as a fraction of the peak (the paper: cosine to 10 %)."""
    warmup_steps: int = 0
    """Linear warm-up over this many steps."""
    warmup_start: float = 0.1
    """Fraction of the peak at step 0 of the warm-up (spec E6: 1/10)."""
    adam_style: Literal["torch", "tf"] = "torch"
    """Where Adam's epsilon enters: PyTorch's form or TensorFlow 1's (ppo-details section 4)."""

    def __post_init__(self) -> None:
        require(self.lr > 0, f"optimizer.lr must be > 0, got {self.lr}")
        require(all(0 <= beta < 1 for beta in self.betas), f"optimizer.betas must be in [0, 1), got {self.betas}")
        require(self.eps > 0, f"optimizer.eps must be > 0, got {self.eps}")
        require(0 <= self.final_fraction <= 1, f"optimizer.final_fraction must be in [0, 1], got {self.final_fraction}")
        require(self.warmup_steps >= 0, f"optimizer.warmup_steps must be >= 0, got {self.warmup_steps}")
        require(0 <= self.warmup_start <= 1, f"optimizer.warmup_start must be in [0, 1], got {self.warmup_start}")
        require(self.max_grad_norm >= 0, f"optimizer.max_grad_norm must be >= 0, got {self.max_grad_norm}", hint="0 switches clipping off")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Low-rank adapters instead of full fine-tuning. ``rank = 0`` means full fine-tuning."""

    rank: int = 0
    """Rank r of the update; 0 trains all weights."""
    alpha: float = 32.0
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Dropout on the adapter's input."""
    targets: str = "all-linear"
    """Modules to adapt: ``all-linear`` or a comma-separated list of names."""

    def __post_init__(self) -> None:
        require(self.rank >= 0, f"lora.rank must be >= 0, got {self.rank}", hint="0 trains all weights")
        require(0 <= self.dropout < 1, f"lora.dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How completions are drawn."""

    temperature: float = 1.0
    """0 means greedy; logits are divided by it in rollouts and in every rescoring alike."""
    max_new_tokens: int = 64
    """Longest completion in tokens, the end-of-sequence token included."""
    top_k: int = 0
    """Keep the k most likely tokens; 0 keeps all. Refused in PPO."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with this total probability; 1 keeps all. Refused in PPO."""
    repetition_penalty: float = 1.0
    """Divide the positive logits of tokens that prompt or completion hold by this, multiply negative ones; 1 is off. Refused in PPO."""
    stop: tuple[str, ...] = ()
    """Texts that end a completion (not kept in it)."""

    def __post_init__(self) -> None:
        require(self.temperature >= 0, f"sampling.temperature must be >= 0, got {self.temperature}", hint="0 is greedy")
        require(self.max_new_tokens >= 1, f"sampling.max_new_tokens must be >= 1, got {self.max_new_tokens}")
        require(self.top_k >= 0, f"sampling.top_k must be >= 0, got {self.top_k}", hint="0 keeps all tokens")
        require(0 < self.top_p <= 1, f"sampling.top_p must be in (0, 1], got {self.top_p}", hint="1 keeps all tokens")
        require(self.repetition_penalty > 0, f"sampling.repetition_penalty must be > 0, got {self.repetition_penalty}", hint="1 is off")

    @property
    def truncated(self) -> bool:
        """Whether the sampled distribution differs from the model's own."""
        return self.top_k > 0 or self.top_p < 1 or self.repetition_penalty != 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeConfig:
    """Where and in which precision to compute."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """``auto`` takes CUDA where there is one, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: float32 on a CPU (bfloat16 is slower there), bfloat16 on CUDA."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    micro_batch_tokens: int = 4096
    """Tokens (padding included) in one forward-backward pass; changes memory and speed, never the gradient."""
    matmul: Literal["auto", "torch", "onednn"] = "auto"
    """Kernels of float32 linear layers on a CPU: ``auto`` takes oneDNN's on AMD processors with AVX-512 (twice as fast), else torch's."""
    packing: Literal["auto", "off"] = "auto"
    """``auto`` computes ragged batches without their padding and a prompt shared by several rows once, where the model allows it."""
    compile: bool = False
    """``torch.compile`` of right-padded training passes (packed ones stay as they are). Needs a C++ compiler; see docs/how-to/speed.md
    for when it pays: 25 s of compilation save 12 ms of a 60 ms step of a 1.3 M model, that is after 2,000 steps."""
    sharding: Literal["ddp", "fsdp"] = "ddp"
    """What several processes hold: each all weights (ddp), or each a part of every decoder layer (fsdp). One process holds everything."""

    memory_check: Literal["stop", "warn", "off"] = "stop"
    """A stage that needs more memory than is free warns before it loads a model; ``stop`` also refuses one that needs 1.5 times all there is; ``off`` makes no estimate."""

    def __post_init__(self) -> None:
        require(self.micro_batch_tokens >= 16, f"compute.micro_batch_tokens must be >= 16, got {self.micro_batch_tokens}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """When a stage saves its state, for ``--resume`` and for its result."""

    every_steps: int = 50
    """Save the whole training state every n optimizer steps; the last step is always saved."""
    keep: int = 2
    """Training states kept (the newest ones); a state that an evaluator called the best is kept besides."""

    def __post_init__(self) -> None:
        require(self.every_steps >= 1, f"checkpoint.every_steps must be >= 1, got {self.every_steps}")
        require(self.keep >= 1, f"checkpoint.keep must be >= 1, got {self.keep}")
