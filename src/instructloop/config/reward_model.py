"""Configuration of ``instructloop train rm`` (spec D)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from instructloop.config.shared import CheckpointConfig, ComputeConfig, LoraConfig, OptimizerConfig, require


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig:
    """A reward model from K-way rankings; all pairs of one prompt are one batch element (spec D3-D4)."""

    seed: int = 0
    """Base of every random stream of the stage."""
    model: str = ""
    """Initial trunk: usually the SFT model (spec D2)."""
    data: tuple[str, ...] = ()
    """Ranking or pair files, snapshots, or project folders, whose newest snapshot is taken; several are concatenated (a second round adds its file here: spec D12)."""
    validation: str = ""
    """Held-out rankings; empty splits ``validation_fraction`` off ``data`` by prompt."""
    validation_fraction: float = 0.2
    """Share of prompts held out when ``validation`` is empty; 0 holds out none."""
    demonstrations: str = ""
    """Demonstrations whose mean reward becomes 0 by a stored bias (spec D8); empty uses the best-ranked completions."""
    epochs: int = 1
    """Passes over the rankings; more over-fit (spec D6-D7)."""
    batch_prompts: int = 64
    """Prompts an optimizer step sees (spec D6)."""
    max_tokens: int = 0
    """Longest prompt + completion; 0 takes the model's context. Longer completions are left out and counted."""
    chat_template: bool = True
    """Wrap string prompts as a user turn if the tokenizer has a chat template."""
    pair_weighting: str = "per_prompt"
    """``per_prompt``: each prompt's mean over its strict pairs (the paper); ``per_pair``: every pair weighs the same."""
    group_weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of a cohort's or a labeler's rankings in the loss (spec L1), e.g. ``{researcher = 2.0, L007 = 0.5}``; scaled to a mean of 1."""
    group_prompt: str = ""
    """Text before every prompt that says whose judgement it is, e.g. ``"[{cohort}] "``; who scores must then name a group (spec L1)."""
    cross_validation_groups: int = 0
    """Labeler groups for a cross-validation before the model itself is trained on all (spec D10: 5); 0 leaves it out."""
    cross_validation_seeds: int = 3
    """Repetitions of the cross-validation (spec D10)."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters instead of full fine-tuning."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-4))
    """AdamW; cosine to 10 % (spec D6)."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device, precision, micro-batches."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """Training-state saves."""
    max_steps: int = 0
    """Stop after this many optimizer steps; 0 runs all epochs."""
    evaluate_every: int = 0
    """Steps between held-out evaluations; 0 evaluates at the end only."""
    skip_bad_rows: bool = False
    """Count and list unusable rows instead of stopping at the first one."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"rm.epochs must be >= 1, got {self.epochs}")
        require(self.batch_prompts >= 1, f"rm.batch_prompts must be >= 1, got {self.batch_prompts}")
        require(0 <= self.validation_fraction < 1, f"rm.validation_fraction must be in [0, 1), got {self.validation_fraction}")
        require(
            self.pair_weighting in {"per_prompt", "per_pair"},
            f"rm.pair_weighting {self.pair_weighting!r} is unknown",
            hint="per_prompt or per_pair",
        )
        for name, weight in self.group_weights.items():
            require(0 <= weight < float("inf"), f"rm.group_weights: {name} must be >= 0 and finite, got {weight}")
        require(self.cross_validation_groups != 1, "rm.cross_validation_groups must be 0 or at least 2", hint="the paper used 5")
        require(self.cross_validation_seeds >= 1, f"rm.cross_validation_seeds must be >= 1, got {self.cross_validation_seeds}")
