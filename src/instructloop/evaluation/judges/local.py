"""A judge that runs here: any causal language model in our engine."""

import math
import time
from collections.abc import Iterator, Sequence

import torch

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.config.judge import JudgeConfig
from instructloop.core.records import Message, Prompt
from instructloop.core.seeds import derive
from instructloop.data import TextCodec, TokenSequence, collate, micro_batches
from instructloop.evaluation.judges.asking import Answer, Question
from instructloop.generation import TorchEngine
from instructloop.models import completion_logprobs, context_tokens, evaluating, load_causal, load_tokenizer

_SCORING_TOKENS = 16_384
_BLOCK = 64
"""Questions answered before the first of them is written down."""


class LocalJudge:
    """Asks a local model.

    With ``reading = "likelihood"`` nothing is sampled: the verdict is the choice with the highest probability after the lead
    (``Verdict:``), each choice's probability being that of all its tokens. A small model that can't hold a form can be read so.

    Args:
        cfg: the model and how it is read.
        compute: device and precision.
        seed: base of the sampling streams where the judge samples.
    """

    def __init__(self, cfg: JudgeConfig, compute: ComputeConfig | None = None, *, seed: int = 0) -> None:
        self.name = cfg.name
        self._cfg, self._seed = cfg, seed
        self._model = load_causal(cfg.path, compute or ComputeConfig(), trainable=False)
        self._codec = TextCodec(load_tokenizer(cfg.path), name=cfg.path)

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Answers block by block; a question longer than the model's context is answered with a problem."""
        room = context_tokens(self._model) - (self._longest_choice(questions) if self._likelihood else self._cfg.max_tokens)
        for start in range(0, len(questions), _BLOCK):
            block, fitting = questions[start : start + _BLOCK], list[tuple[Question, list[int]]]()
            for question in block:
                ids = self._codec.encode_prompt(_merged(question.messages))
                if len(ids) > room:
                    problem = f"the question has {len(ids)} tokens, the judge's context has room for {room}"
                    yield Answer(question=question, problem=problem)
                else:
                    fitting.append((question, ids))
            if fitting:
                yield from self._likelihoods(fitting) if self._likelihood else self._written([one for one, _ in fitting])

    @property
    def _likelihood(self) -> bool:
        return self._cfg.reading == "likelihood"

    def _longest_choice(self, questions: Sequence[Question]) -> int:
        asks = [question.ask for question in questions]
        return max(len(self._tail(ask.lead, choice)) for ask in asks for choice in ask.choices)

    def _tail(self, lead: str, choice: str) -> list[int]:
        """Lead and choice, tokenized together as a writer would, without an end."""
        return self._codec.encode_completion(f"{lead} {choice}")[:-1]

    @torch.no_grad()
    def _likelihoods(self, asked: Sequence[tuple[Question, list[int]]]) -> Iterator[Answer]:
        started = time.monotonic()
        rows = [
            (number, choice, TokenSequence((*ids, *self._tail(question.ask.lead, choice)), len(ids)))
            for number, (question, ids) in enumerate(asked)
            for choice in question.ask.choices
        ]
        found: dict[tuple[int, str], float] = {}
        with evaluating(self._model):
            for chosen in micro_batches([len(row) for _, _, row in rows], _SCORING_TOKENS):
                scored = completion_logprobs(self._model, collate([rows[place][2] for place in chosen], self._codec.pad_id))
                # the lead is the same in every choice, so it drops out when the probabilities are made to sum to one
                for place, total in zip(chosen, scored.logprobs.sum(1).tolist(), strict=True):
                    found[rows[place][0], rows[place][1]] = total
        seconds = (time.monotonic() - started) / len(asked)
        for number, (question, ids) in enumerate(asked):
            ask = question.ask
            shares = _normalized({choice: found[number, choice] for choice in ask.choices})
            best = max(ask.choices, key=lambda choice: shares[choice])
            yield Answer(
                question=question, text=f"{ask.lead} {best}", probabilities=shares, prompt_tokens=len(ids), seconds=seconds
            )  # fmt: skip

    def _written(self, asked: Sequence[Question]) -> Iterator[Answer]:
        started = time.monotonic()
        prompts = [Prompt(prompt=_merged(question.messages)) for question in asked]
        sampling = SamplingConfig(temperature=self._cfg.temperature, max_new_tokens=self._cfg.max_tokens)
        seed = derive(self._seed, "judge", asked[0].ask.key, asked[0].attempt)
        rollouts = TorchEngine(self._model, self._codec).generate(prompts, sampling=sampling, seed=seed)
        seconds = (time.monotonic() - started) / len(asked)
        lengths, whole = rollouts.batch.completion_lengths.tolist(), rollouts.batch.lengths.tolist()
        for place, question in enumerate(asked):
            yield Answer(
                question=question,
                text=rollouts.completions[place],
                prompt_tokens=int(whole[place] - lengths[place]),
                completion_tokens=int(lengths[place]),
                seconds=seconds,
            )


def _merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """System and user as one user turn: many small models' chat templates have no system turn."""
    return (Message("user", "\n\n".join(message.content for message in messages)),)


def _normalized(logprobs: dict[str, float]) -> dict[str, float]:
    top = max(logprobs.values())
    weights = {name: math.exp(value - top) for name, value in logprobs.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
