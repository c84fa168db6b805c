"""Configuration of ``instructloop sample``: completions for people (or simulated labelers) to rank."""

from dataclasses import dataclass, field
from typing import Literal

from instructloop.config.shared import ComputeConfig, SamplingConfig, require


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """K distinct completions for every prompt, K drawn anew for each (spec D1: 4 to 9)."""

    seed: int = 0
    """Base of every random stream of the stage."""
    models: tuple[str, ...] = ()
    """Model or run directories; with several, a prompt's completions come from them in turn."""
    prompts: str = ""
    """Prompts to complete."""
    limit: int = 0
    """Use the first n prompts; 0 uses all."""
    min_completions: int = 4
    """Smallest K."""
    max_completions: int = 9
    """Largest K."""
    draws: int = 0
    """Samples per prompt from which the distinct ones are taken; 0 draws a third more than ``max_completions``."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How completions are drawn."""
    engine: Literal["torch", "vllm"] = "torch"
    """What draws them: ``torch``, or vLLM (extra ``vllm``)."""
    k_weights: tuple[float, ...] = ()
    """Relative frequencies of K = min_completions, min_completions + 1...; empty draws every K equally often."""
    project: str = ""
    """Project folder: its prompts are completed, and the completions become tasks of ``queue``; ``prompts`` then only narrows the choice."""
    queue: str = ""
    """Queue to fill, made if it is not there; empty calls it ``rankings``, or ``comparison`` with ``pairwise``."""
    queue_kind: str = "rank"
    """What labelers do with the completions: rank, rate, rate_and_rank, toxicity, critique or edit."""
    pairwise: bool = False
    """A blind comparison instead: one completion of each of two models, with a plan that is frozen (needs ``project``)."""
    split: str = "train"
    """Which of the project's prompts; a comparison should take ``test``."""
    per_owner: int = 200
    """At most so many prompts of one owner in the queue (spec A4)."""
    portion: int = 128
    """Prompts sampled between two lines of progress."""
    chat_template: bool = True
    """Wrap string prompts as a user turn if the tokenizer has a chat template."""
    skip_bad_rows: bool = False
    """Count and list unusable prompt rows instead of stopping at the first one."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device and precision."""

    def __post_init__(self) -> None:
        require(
            self.min_completions >= 2,
            f"sample.min_completions must be >= 2, got {self.min_completions}",
            hint="one completion cannot be ranked",
        )
        require(
            self.max_completions >= self.min_completions,
            f"sample.max_completions {self.max_completions} is below min_completions {self.min_completions}",
        )
        require(
            self.draws == 0 or self.draws >= self.max_completions,
            f"sample.draws {self.draws} is below max_completions {self.max_completions}",
            hint="0 chooses",
        )
        require(self.sampling.temperature > 0, "sample.sampling.temperature must be > 0: greedy completions are all the same")
        ks = self.max_completions - self.min_completions + 1
        require(
            not self.k_weights or (len(self.k_weights) == ks and min(self.k_weights) >= 0 and sum(self.k_weights) > 0),
            f"sample.k_weights needs {ks} numbers >= 0 for K = {self.min_completions}..{self.max_completions}, got {self.k_weights}",
        )
        require(not self.pairwise or bool(self.project), "sample.pairwise needs sample.project", hint="--project DIR")
        require(
            not self.pairwise or len(self.models) in (0, 2),
            f"sample.pairwise compares two models, got {len(self.models)}",
            hint="--models A B",
        )
        require(not self.project or self.max_completions <= 9, "a ranking task has at most 9 completions", hint="lower max_completions")
        require(self.per_owner >= 1, f"sample.per_owner must be >= 1, got {self.per_owner}", hint="200 in the paper")
        require(self.portion >= 1, f"sample.portion must be >= 1, got {self.portion}")

    @property
    def samples_per_prompt(self) -> int:
        """How many are drawn before identical ones are dropped."""
        if self.pairwise:
            return 2  # one of each model
        return self.draws or self.max_completions + -(-self.max_completions // 3)
