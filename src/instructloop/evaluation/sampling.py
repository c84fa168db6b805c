"""Completions of several models for the same prompts."""

import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt, prompt_json, prompt_text
from instructloop.core.seeds import derive
from instructloop.data import TextCodec
from instructloop.generation import Rollouts, TorchEngine
from instructloop.models import context_tokens, load_causal, load_tokenizer

PLACEHOLDER = "{prompt}"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A model under comparison and the way it is asked."""

    path: str | Path
    """Model directory, run directory or hub name."""
    template: str = ""
    """Plain text with ``{prompt}`` in it, e.g. worked examples before the question (a few-shot base); empty asks as in training."""
    stop: tuple[str, ...] = ()
    """Further texts that end a completion; a base model does not stop by itself."""
    temperature: float | None = None
    """Sampling temperature of this model; None takes the evaluation's (the paper drew base models at 0.7, aligned ones at 1, spec J-P16)."""

    def __post_init__(self) -> None:
        if self.template and PLACEHOLDER not in self.template:
            raise ConfigError(f"the template of {self.path} has no {PLACEHOLDER} in it", hint=f"end it with e.g. 'Q: {PLACEHOLDER}\\nA:'")

    def asked(self, prompt: Prompt) -> Prompt:
        """The prompt in the form this model gets."""
        if not self.template:
            return prompt
        return replace(prompt, prompt=self.template.replace(PLACEHOLDER, prompt_text(prompt.prompt)))


Models = Mapping[str, str | Path | Candidate]


@dataclass(frozen=True, slots=True)
class Subject:
    """An opened candidate."""

    name: str
    candidate: Candidate
    model: PreTrainedModel
    codec: TextCodec

    def fitting(self, prompts: Sequence[Prompt], sampling: SamplingConfig) -> set[int]:
        """Places of the prompts that leave room for a whole completion in the model's context."""
        room = context_tokens(self.model) - sampling.max_new_tokens
        return {place for place, one in enumerate(prompts) if len(self.codec.encode_prompt(self.candidate.asked(one).prompt)) <= room}

    def sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """How this candidate's completions are drawn."""
        warmth = sampling.temperature if self.candidate.temperature is None else self.candidate.temperature
        return replace(sampling, temperature=warmth, stop=(*sampling.stop, *self.candidate.stop))

    def answer(self, prompts: Sequence[Prompt], *, n: int, sampling: SamplingConfig, seed: int) -> Rollouts:
        """``n`` completions of each prompt, asked in the candidate's form.

        The random streams do not depend on the model, so that equal models give equal answers (common random numbers).
        """
        settings = self.sampling(sampling)
        asked = [self.candidate.asked(prompt) for prompt in prompts]
        return TorchEngine(self.model, self.codec).generate(asked, n=n, sampling=settings, seed=derive(seed, "evaluate"))


def as_candidate(model: str | Path | Candidate) -> Candidate:
    """A bare path as a candidate asked in the ordinary way."""
    return model if isinstance(model, Candidate) else Candidate(path=model)


@contextmanager
def opened(name: str, model: str | Path | Candidate, compute: ComputeConfig, *, chat_template: bool = True) -> Iterator[Subject]:
    """Load one model, and let go of it afterwards: comparisons hold one model at a time."""
    candidate = as_candidate(model)
    tokenizer = load_tokenizer(candidate.path)
    codec = TextCodec(tokenizer, chat_template=chat_template and not candidate.template, name=str(candidate.path))
    subject = Subject(name, candidate, load_causal(candidate.path, compute, trainable=False), codec)
    try:
        yield subject
    finally:
        del subject
        gc.collect()


def sample_rows(subject: Subject, prompts: Sequence[Prompt], rollouts: Rollouts, *, n: int) -> list[dict[str, Any]]:
    """Rollouts as JSONL rows; ``prompt_id`` is the prompt's place in the list, ``draw`` counts its completions."""
    lengths, ended = rollouts.batch.completion_lengths.tolist(), rollouts.ended.tolist()
    prompt_lengths = rollouts.batch.prompt_lengths.tolist()
    return [
        {
            "prompt_id": row // n,
            "prompt": prompt_json(prompts[row // n].prompt),
            "use_case": prompts[row // n].meta.get("use_case"),
            "model": subject.name,
            "draw": row % n,
            "completion": rollouts.completions[row].strip() if subject.candidate.template else rollouts.completions[row],
            "tokens": int(lengths[row]),
            "prompt_tokens": int(prompt_lengths[row]),
            "ended": bool(ended[row]),
        }
        for row in range(len(rollouts))
    ]


def sample_models(
    models: Models,
    prompts: Sequence[Prompt],
    *,
    sampling: SamplingConfig | None = None,
    seed: int = 0,
    n: int = 1,
    compute: ComputeConfig | None = None,
    chat_template: bool = True,
) -> list[dict[str, Any]]:
    """Rows ``{"prompt_id", "prompt", "use_case", "model", "draw", "completion", "tokens", "prompt_tokens", "ended"}``, model by model."""
    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        with opened(name, model, compute or ComputeConfig(), chat_template=chat_template) as subject:
            rollouts = subject.answer(prompts, n=n, sampling=sampling or SamplingConfig(), seed=seed)
            rows += sample_rows(subject, prompts, rollouts, n=n)
        logger.info("%s: %d completions", name, len(prompts) * n)
    return rows
