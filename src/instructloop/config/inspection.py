"""Configuration of ``instructloop inspect``: what a run is examined with."""

from dataclasses import dataclass, field
from typing import Literal

from instructloop.config.shared import ComputeConfig, require


@dataclass(frozen=True, kw_only=True)
class InspectionConfig:
    """Everything is optional: what a run's own files and models tell is told; more needs what only you have."""

    seed: int = 0
    """Base of every random stream."""
    models: Literal["auto", "yes", "no"] = "auto"
    """Sample from and score with the models: yes; no, the run's files alone (seconds); auto, where they are there and small or on a GPU."""
    prompts: str = ""
    """Prompts to sample on; empty takes the watch's selection prompts, else the run's training prompts."""
    limit: int = 128
    """Use the first n of them; 0 uses all."""
    best_of_n: int = 16
    """Samples of the reference for each prompt: the longest best-of-n; 0 leaves the curve out and takes one sample."""
    rankings: str = ""
    """Held-out rankings for the reward model; empty takes those that its training held out."""
    ensemble: tuple[str, ...] = ()
    """Further reward models, trained on other rankings; they are held-out judges and members of the ensemble."""
    others: tuple[str, ...] = ()
    """Runs at other betas (or with other settings), for the KL / reward frontier."""
    gold: str = ""
    """Your gold function of prompts and completions, as ``file.py:function`` or ``package.module:function``; nothing trains on it."""
    human: str = ""
    """People's votes between answers of the run and of the reference to the same prompts, with ``completion_a`` and ``completion_b``."""
    probes: bool = False
    """Ask the policy and the reference the sycophancy probes."""
    probe_files: tuple[str, ...] = ()
    """Further sycophancy questions: JSON or JSONL rows ``{"kind": "fact", "question", "right", "wrong"}`` (see the how-to)."""
    generate_probes: bool = False
    """Let the model answer the probes in words and look for the options, instead of comparing the options' likelihoods (chat models)."""
    bootstrap_samples: int = 1000
    """Resamples behind the fits' intervals."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device and precision."""

    def __post_init__(self) -> None:
        require(self.limit >= 0, f"inspect.limit must be >= 0, got {self.limit}", hint="0 uses all prompts")
        require(self.best_of_n != 1 and self.best_of_n >= 0, f"inspect.best_of_n must be 0 or >= 2, got {self.best_of_n}")
        require(self.bootstrap_samples >= 100, f"inspect.bootstrap_samples must be >= 100, got {self.bootstrap_samples}")
