"""Configuration of ``instructloop train sft`` (spec C)."""

from dataclasses import dataclass, field

from instructloop.config.shared import CheckpointConfig, ComputeConfig, LoraConfig, OptimizerConfig, SamplingConfig, require


@dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """Supervised fine-tuning on demonstrations.

    The defaults are the paper's SFT baseline scaled to small models; presets hold the paper's own numbers and the
    RL-init variant (2 epochs, 10 % pretraining mix: spec C6).
    """

    seed: int = 0
    """Base of every random stream of the stage."""
    model: str = ""
    """Base model: a Hugging Face directory or hub name."""
    data: str = ""
    """Demonstrations: JSONL, JSONL.gz, CSV, Parquet or a ``datasets`` folder; a snapshot, or a project folder, whose newest snapshot is taken."""
    validation: str = ""
    """Held-out demonstrations; empty splits ``validation_fraction`` off ``data`` by prompt."""
    validation_fraction: float = 0.1
    """Share of prompts held out when ``validation`` is empty; 0 holds out none."""
    pretrain_data: str = ""
    """Documents for the pretraining mix; needed when ``pretrain_fraction`` > 0."""
    pretrain_fraction: float = 0.0
    """Share of each batch's sequences that are pretraining text (spec C6: 0.1 for the RL-init model)."""
    epochs: int = 16
    """Passes over the demonstrations (spec C1: 16; the RL-init model takes 2)."""
    batch_size: int = 32
    """Sequences an optimizer step sees (spec C1)."""
    max_tokens: int = 0
    """Longest prompt + completion; 0 takes the model's context. Longer rows are skipped and counted."""
    dropout: float = 0.0
    """Residual dropout where the architecture has it (spec C1: 0.2); architectures without it say so in the log."""
    chat_template: bool = True
    """Wrap string prompts as a user turn if the tokenizer has a chat template."""
    select_by: str = "last"
    """``last``, ``validation_loss`` or ``rm_score`` (spec C3: mean reward-model score on validation prompts)."""
    reward_model: str = ""
    """Reward model directory for ``select_by = "rm_score"``."""
    selection_prompts: int = 64
    """Validation prompts sampled for ``rm_score`` at each epoch end."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How selection samples are drawn."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters instead of full fine-tuning."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-4))
    """AdamW; cosine to 10 %, no warm-up (spec C1)."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device, precision, micro-batches."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """Training-state saves."""
    max_steps: int = 0
    """Stop after this many optimizer steps; 0 runs all epochs."""
    skip_bad_rows: bool = False
    """Count and list unusable rows instead of stopping at the first one."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"sft.epochs must be >= 1, got {self.epochs}")
        require(self.batch_size >= 1, f"sft.batch_size must be >= 1, got {self.batch_size}")
        require(0 <= self.pretrain_fraction < 1, f"sft.pretrain_fraction must be in [0, 1), got {self.pretrain_fraction}")
        require(0 <= self.validation_fraction < 1, f"sft.validation_fraction must be in [0, 1), got {self.validation_fraction}")
        require(0 <= self.dropout < 1, f"sft.dropout must be in [0, 1), got {self.dropout}")
        require(
            self.select_by in {"last", "validation_loss", "rm_score"},
            f"sft.select_by {self.select_by!r} is unknown",
            hint="one of: last, validation_loss, rm_score",
        )
        require(
            self.select_by != "rm_score" or bool(self.reward_model),
            "sft.select_by = 'rm_score' needs sft.reward_model",
            hint="train one first: instructloop train rm",
        )
