"""Configuration of ``instructloop evaluate``: models side by side on held-out prompts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from instructloop.config.judge import JudgeConfig
from instructloop.config.shared import ComputeConfig, SamplingConfig, require


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Which models answer which prompts, and who says which answer is better.

    Give ``reward_model`` (its score decides), ``votes`` (a file of human votes), ``judge`` (a language model), or several: each makes a
    table of its own.
    ``suite`` puts public test sets to the models, with or without a voter.
    """

    seed: int = 0
    """Base of every random stream of the stage."""
    models: tuple[str, ...] = ()
    """Models as ``name=path``, in the order in which they were trained; a run directory stands for its model."""
    few_shot: tuple[str, ...] = ()
    """Plain-text prompt templates as ``name=file``: the model called ``name`` gets the file's text with ``{prompt}`` filled in."""
    few_shot_stop: tuple[str, ...] = ("\n\n",)
    """Texts that end a few-shot completion, since a base model does not stop by itself."""
    prompts: str = ""
    """Held-out prompts; further fields of a row are kept (``use_case`` makes groups)."""
    sets: tuple[str, ...] = ()
    """Further prompt files reported apart, as ``name=file``."""
    limit: int = 0
    """Use the first n prompts of each file; 0 uses all."""
    completions_per_prompt: int = 1
    """Completions of each prompt and model; intervals resample prompts, so more of them do not pretend to more n."""
    reward_model: str = ""
    """Reward-model directory that votes."""
    gold: str = ""
    """A function that votes, as ``file.py:function`` or ``package.module:function``: of prompts (with their meta) and completions, a number each."""
    votes: str = ""
    """File of human votes: rows ``{"prompt", "model_a", "model_b", "winner": "a" | "b" | "tie"}``."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """A language model that compares the answers; with ``votes`` beside it, its agreement with people is measured."""
    accept_biased_judge: bool = False
    """Count the verdicts of a judge that is position-biased; its table says so. May be added to ``--resume``."""
    completions: str = ""
    """Judge completions made earlier (``completions.jsonl`` of an evaluation, rows with prompt, model and completion) instead of sampling."""
    allow_seen_prompts: bool = False
    """Go on although test prompts were trained on, or something was selected on them; every table says so."""
    texts: str = ""
    """Held-out documents for the language-modeling loss of each model; empty leaves it out."""
    reference: str = ""
    """Name of the model that the others' sequence KL is measured against; empty leaves it out."""
    baseline: str = ""
    """Name of the model that the others are first of all compared with; voters who compare pairs are asked about its pairs only."""
    prefixes: tuple[str, ...] = ()
    """Text files: the one with the highest mean reward-model score on ``prefix_prompts`` makes a prompted baseline of ``prefix_model`` (F2)."""
    prefix_model: str = ""
    """Name of the model that the prefixes are put before; the first model by default."""
    prefix_prompts: str = ""
    """Validation prompts that the prefix is chosen on; none of them may be a test prompt."""
    temperatures: tuple[str, ...] = ()
    """Sampling temperature of single models as ``name=value``; the others take ``sampling.temperature`` (the paper: base 0.7, aligned 1)."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How completions are drawn."""
    suite: tuple[str, ...] = ()
    """Public test sets by name or group (``paper``, ``further``, ``all``, ``likelihood``); see docs/how-to/public-suites.md."""
    data: tuple[str, ...] = ()
    """Where the sets' files lie: folders, single files, or ``hub:`` names (the library ``datasets``); the first place that has a set wins."""
    compare: tuple[str, ...] = ()
    """Further checkpoints as ``name=path``, side by side and ahead of those named otherwise; differences are to the very first model."""
    shots: Literal["zero", "few", "both"] = "both"
    """Suites without worked examples in the prompt, with them, or both ways."""
    suite_limit: int = 0
    """Score a random part of this many items of each suite; 0 scores all."""
    toxicity_judge: str = ""
    """A trained toxicity classifier (``.npz``), or ``perspective`` (or the address of a service like it); empty trains one from
    RealToxicityPrompts' own scores, where they lie in ``data``."""
    truth_judge: str = ""
    """A trained judge of truth (``.npz``, or a folder with a reward model's threshold); empty trains one from ``truth_labels.jsonl`` and
    ``info_labels.jsonl`` in ``data``."""
    suite_chat_template: bool = False
    """Wrap the suites' frames, plain text in the paper, as a user turn where the tokenizer has a chat template."""
    chat_template: bool = True
    """Wrap string prompts as a user turn if the tokenizer has a chat template."""
    bootstrap_samples: int = 2000
    """Resamples behind each 95 % interval."""
    samples_shown: int = 48
    """Prompts whose completions are kept for the report."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device and precision."""

    def __post_init__(self) -> None:
        count = len(self.models) + len(self.compare)
        require(len(dict(self.named_models)) == count, "evaluate.models names a model twice", hint="give each its own name")
        named = {*dict(self.named_models), *([f"{self.prefixed} prompted"] if self.prefixes else [])}
        used = (*dict(self.templates), *self.warmth, self.reference, self.baseline, self.prefix_model)
        of_file = bool(self.completions) and not named  # then the models are those of the file
        unknown = [name for name in used if name and name not in named and not of_file]
        require(not unknown, f"evaluate: {unknown[:1]} is none of the models", hint=f"models: {', '.join(dict(self.named_models))}")
        require(self.completions_per_prompt >= 1, f"evaluate.completions_per_prompt must be >= 1, got {self.completions_per_prompt}")
        require(self.bootstrap_samples >= 100, f"evaluate.bootstrap_samples must be >= 100, got {self.bootstrap_samples}")
        require(self.limit >= 0, f"evaluate.limit must be >= 0, got {self.limit}", hint="0 uses all prompts")
        require(self.suite_limit >= 0, f"evaluate.suite_limit must be >= 0, got {self.suite_limit}", hint="0 scores all items")
        require(self.samples_shown >= 0, f"evaluate.samples_shown must be >= 0, got {self.samples_shown}")
        _pairs(self.sets, "sets")
        if self.prefixes:
            given = bool(self.reward_model and self.prefix_prompts and self.named_models)
            require(given, "evaluate.prefixes need models, reward_model and prefix_prompts", hint="--reward-model RM --prefix-prompts FILE")

    @property
    def named_models(self) -> tuple[tuple[str, str], ...]:
        """``compare`` and ``models`` as (name, path); a bare path is called by its last part."""
        return _pairs(self.compare, "compare") + _pairs(self.models, "models")

    @property
    def templates(self) -> tuple[tuple[str, str], ...]:
        """``few_shot`` as (model name, file)."""
        return _pairs(self.few_shot, "few_shot")

    @property
    def prefixed(self) -> str:
        """Name of the model that the prefixes are put before."""
        return self.prefix_model or next(iter(dict(self.named_models)), "")

    @property
    def warmth(self) -> dict[str, float]:
        """``temperatures`` by model."""
        found = {}
        for name, value in _pairs(self.temperatures, "temperatures"):
            number = float(value) if value.replace(".", "", 1).isdigit() else -1.0
            require(0 <= number <= 10, f"evaluate.temperatures: {name}={value} is no temperature", hint="for example base=0.7")
            found[name] = number
        return found

    @property
    def named_sets(self) -> tuple[tuple[str, str], ...]:
        """``sets`` as (name, file)."""
        return _pairs(self.sets, "sets")


def _pairs(values: tuple[str, ...], what: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for value in values:
        name, equals, path = value.partition("=")
        if not equals:
            name, path = Path(value).name, value
        require(bool(name and path), f"evaluate.{what}: {value!r} is not name=path", hint=f"for example --{what} sft=runs/sft")
        pairs.append((name, path))
    return tuple(pairs)
