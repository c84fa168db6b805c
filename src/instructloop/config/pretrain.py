"""Configuration of ``instructloop train pretrain``: a small base model from scratch."""

from dataclasses import dataclass, field

from instructloop.config.shared import CheckpointConfig, ComputeConfig, OptimizerConfig, require


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A Llama-shaped language model trained on documents from random weights, or further from given ones."""

    seed: int = 0
    """Base of every random stream of the stage."""
    data: str = ""
    """Documents: a JSONL file with ``{"text"}`` rows."""
    validation: str = ""
    """Held-out documents in the same layout; empty means none."""
    tokenizer: str = ""
    """A tokenizer directory (with ``init`` empty)."""
    init: str = ""
    """A model directory to continue from; empty starts from random weights of the shape below."""
    hidden_size: int = 128
    """Width of the residual stream."""
    layers: int = 4
    """Transformer blocks."""
    heads: int = 4
    """Attention heads."""
    intermediate_size: int = 344
    """Width of the gated MLP."""
    context_tokens: int = 256
    """Longest sequence."""
    steps: int = 1000
    """Optimizer steps."""
    batch_tokens: int = 8192
    """Tokens an optimizer step sees."""
    evaluate_every: int = 200
    """Steps between losses on the held-out documents."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(lr=3e-3, warmup_steps=50, weight_decay=0.01, final_fraction=0.05)
    )
    """AdamW and schedule."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device, precision, micro-batches."""
    checkpoint: CheckpointConfig = field(default_factory=lambda: CheckpointConfig(every_steps=200))
    """Training-state saves."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"pretrain.steps must be >= 1, got {self.steps}")
        require(self.hidden_size % self.heads == 0, f"pretrain.hidden_size {self.hidden_size} must be a multiple of heads {self.heads}")
        require(self.batch_tokens >= self.context_tokens, "pretrain.batch_tokens must hold at least one sequence of context_tokens")
