"""Configuration of ``instructloop sample``: completions for people (or simulated labelers) to rank."""

from dataclasses import dataclass, field

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
        require(self.portion >= 1, f"sample.portion must be >= 1, got {self.portion}")

    @property
    def samples_per_prompt(self) -> int:
        """How many are drawn before identical ones are dropped."""
        return self.draws or self.max_completions + -(-self.max_completions // 3)
