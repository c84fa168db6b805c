"""Who says which answer is better: a reward model, a function, or (see ``votes``) people.

A voter only ever sees a prompt and the text of a completion, never which model wrote it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from transformers import AutoConfig

from instructloop.config import ComputeConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt, prompt_text
from instructloop.data import TextCodec, TokenSequence, collate
from instructloop.models import context_tokens, device_of, load_scalar, load_tokenizer
from instructloop.models.scalar import GROUP_PROMPT_KEY
from instructloop.rewards.learned import score_batch
from instructloop.runs import resolve_model

_SCORING_TOKENS = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What a voter thinks of one completion."""

    score: float
    """Higher wins; equal scores tie."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Named components of the score."""
    flags: Mapping[str, bool | None] = field(default_factory=dict)
    """Things to count as rates. None: the question does not arise (hedging on known, where nothing is known)."""


@runtime_checkable
class Voter(Protocol):
    """Scores completions; the higher one of two wins, equal ones tie."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str], /) -> Sequence[float]:
        """One number a completion."""
        ...


@runtime_checkable
class Judge(Protocol):
    """A voter that also tells parts and flags."""

    def judge(self, prompts: Sequence[Prompt], completions: Sequence[str], /) -> Sequence[Judged]:
        """One judgement a completion."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PairVerdict:
    """What a voter thinks of two completions of one prompt."""

    win_first: float
    """1 if the first is better, 0 if the second is, 0.5 for a tie; in between where the voter is unsure or was asked more than once."""
    both_bad: bool = False
    """A tie in which neither is good enough; counted as a tie and told apart."""
    note: str = ""
    """Why, in the voter's words; kept beside the verdict."""
    counted: bool = True
    """False: no verdict could be had (a judge that can't be read); the pair is left out of every figure."""

    def __post_init__(self) -> None:
        if not 0 <= self.win_first <= 1:
            raise DataError(f"a verdict's win_first must be in [0, 1], got {self.win_first}", hint="1: the first is better, 0.5: a tie")


@runtime_checkable
class PairVoter(Protocol):
    """Compares two completions directly, without a score for each: a language model as judge, a person at a terminal.

    A voter that asks in both orders itself says so by a method ``report() -> Mapping``, whose result goes into the table as ``judge``.
    """

    def vote(self, prompts: Sequence[Prompt], firsts: Sequence[str], seconds: Sequence[str], /) -> Sequence[PairVerdict]:
        """One verdict for each prompt and its two completions, in order."""
        ...


@runtime_checkable
class ReportingVoter(Protocol):
    """A pair voter that asks both orders itself and tells how it fared (position bias, unreadable answers)."""

    def report(self) -> Mapping[str, Any]:
        """The layout of ``judge`` in a comparison table; asked after the last vote."""
        ...


AnyVoter = Voter | Judge | PairVoter | Callable[[Sequence[Prompt], Sequence[str]], Sequence[float | Judged]]
"""What callers may pass: an object with ``score``, ``judge`` or ``vote``, or a plain function of prompts and completions."""


def judge_all(voter: AnyVoter, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Judged]:
    """Judgements of any kind of voter in one form.

    Raises:
        DataError: the voter returned too few or too many judgements, or a score that is not finite.
        ConfigError: the voter compares pairs and has no score for one completion.
    """
    if isinstance(voter, PairVoter):
        raise ConfigError("this voter compares pairs and gives no scores", hint="use compare_pairs, or pass it to evaluate")
    if isinstance(voter, Judge):
        found: Sequence[float | Judged] = voter.judge(prompts, completions)
    elif isinstance(voter, Voter):
        found = voter.score(prompts, completions)
    else:
        found = voter(prompts, completions)
    if len(found) != len(completions):
        raise DataError(f"the voter returned {len(found)} judgements for {len(completions)} completions", hint="return one each, in order")
    judged = [one if isinstance(one, Judged) else Judged(score=float(one)) for one in found]
    for place, one in enumerate(judged):
        if not abs(one.score) < float("inf"):
            asked = prompt_text(prompts[place].prompt)
            raise DataError(f"the voter's score of completion {place} is {one.score} (prompt {asked[:60]!r})", hint="scores must be finite")
    return judged


class RewardModelVoter:
    """A trained reward model as voter. It reads the text anew with its own tokenizer, as a reader would: finished by EOS.

    Args:
        path: run or model directory.
        compute: device and precision.
        chat_template: wrap prompts in its tokenizer's template.

    Raises:
        ConfigError: the directory holds another kind of model, whose head would be random.
    """

    def __init__(self, path: str | Path, compute: ComputeConfig | None = None, *, chat_template: bool = True) -> None:
        config = AutoConfig.from_pretrained(str(resolve_model(path)))
        if not any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
            raise ConfigError(
                f"{path} holds {', '.join(config.architectures or ()) or 'no named architecture'}, which is no reward model",
                hint="train one: instructloop train rm",
            )
        if getattr(config, GROUP_PROMPT_KEY, ""):
            raise ConfigError(
                f"{path} judges for one group of labelers at a time and cannot vote for all",
                hint="evaluate with a reward model trained without rm.group_prompt",
            )
        self._model = load_scalar(path, compute or ComputeConfig(), seed=0, trainable=False)
        self._codec = TextCodec(load_tokenizer(path), chat_template=chat_template, name=str(path))

    def completion_tokens(self, completion: str) -> int:
        """Length of a completion in the reward model's tokens, its end token included."""
        return len(self._codec.encode_completion(completion))

    def fits(self, prompt: Prompt, completion: str) -> bool:
        """Whether a prompt and its completion are no longer than the reward model's context."""
        return len(self._codec.encode_prompt(prompt.prompt)) + self.completion_tokens(completion) <= context_tokens(self._model.trunk)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str], /) -> list[float]:
        """Scores in the reward model's unit: 0 is the mean of its demonstrations (spec D8).

        Raises:
            DataError: a prompt and its completion are longer than the reward model's context.
        """
        limit = context_tokens(self._model.trunk)
        rows = []
        for prompt, text in zip(prompts, completions, strict=True):
            head = self._codec.encode_prompt(prompt.prompt)
            tail = self._codec.encode_completion(text) if text.strip() else [self._codec.eos_id]
            if len(head) + len(tail) > limit:
                raise DataError(
                    f"a prompt and its completion have {len(head) + len(tail)} tokens, the reward model's context holds {limit}",
                    hint="lower sampling.max_new_tokens or leave out the longest prompts",
                )
            rows.append(TokenSequence((*head, *tail), len(head)))
        batch = collate(rows, self._codec.pad_id).to(device_of(self._model))
        return [float(score) for score in score_batch(self._model, batch, budget_tokens=_SCORING_TOKENS).tolist()]
