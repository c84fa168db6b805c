"""Configuration of ``instructloop select``: which of several trained models goes on, by preference on held-out prompts."""

from dataclasses import dataclass, field

from instructloop.config.evaluation import EvaluationConfig
from instructloop.config.judge import JudgeConfig
from instructloop.config.shared import ComputeConfig, SamplingConfig, require


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """The candidates, the prompts on which they are compared, and one voter: ``reward_model``, ``judge`` or ``votes``.

    The voter should be none that the candidates were trained against: a PPO run is chosen by held-out preference (spec C3, J-P18).
    """

    seed: int = 0
    """Base of every random stream of the stage."""
    models: tuple[str, ...] = ()
    """Candidates as ``name=path``; the first is the one that the others must beat."""
    prompts: str = ""
    """Validation prompts: neither trained on, nor ever to be tested on."""
    limit: int = 0
    """Use the first n prompts; 0 uses all."""
    completions_per_prompt: int = 1
    """Completions of each prompt and model."""
    reward_model: str = ""
    """Reward-model directory that votes; one trained on other rankings than the candidates' own."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """A language model that votes."""
    accept_biased_judge: bool = False
    """Count the verdicts of a judge that is position-biased."""
    votes: str = ""
    """File of human votes on the candidates' answers; their prompts are the selection prompts, and nothing is sampled."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How completions are drawn."""
    chat_template: bool = True
    """Wrap string prompts as a user turn if the tokenizer has a chat template."""
    bootstrap_samples: int = 2000
    """Resamples behind each 95 % interval."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device and precision."""

    def __post_init__(self) -> None:
        _ = self.as_evaluation  # checks what both have in common
        require(
            len(self.models) != 1, f"select: {self.models[:1]} alone leaves no choice", hint="name at least two: --models a=runs/a b=runs/b"
        )
        voters = [bool(self.reward_model), self.judge.wanted, bool(self.votes)]
        require(
            sum(voters) <= 1, "select: several voters are named, and they may disagree", hint="one of --reward-model, --judge.url, --votes"
        )

    @property
    def as_evaluation(self) -> EvaluationConfig:
        """The comparison behind the choice."""
        named = EvaluationConfig(models=self.models).named_models
        return EvaluationConfig(
            seed=self.seed,
            models=self.models,
            prompts=self.prompts,
            limit=self.limit,
            completions_per_prompt=self.completions_per_prompt,
            reward_model=self.reward_model,
            judge=self.judge,
            accept_biased_judge=self.accept_biased_judge,
            votes=self.votes,
            baseline=named[0][0] if named else "",
            sampling=self.sampling,
            chat_template=self.chat_template,
            bootstrap_samples=self.bootstrap_samples,
            compute=self.compute,
        )
