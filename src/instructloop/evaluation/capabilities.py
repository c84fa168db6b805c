"""What a model can still do besides following instructions: the two sides of the alignment tax (spec E12, H).

Each number is a mean over documents or probe items with an interval that resamples them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from instructloop.config import SamplingConfig
from instructloop.core.records import Text
from instructloop.data import TokenSequence, collate, micro_batches
from instructloop.evaluation.sampling import Subject
from instructloop.generation import Rollouts, TorchEngine
from instructloop.models import completion_logprobs, context_tokens, evaluating
from instructloop.stats import Interval, mean_interval, rate

_SCORING_TOKENS = 16_384
LOWER_IS_BETTER = frozenset({"lm_loss", "loss", "perplexity"})

ProbeResult = Mapping[str, Interval | Sequence[float] | Mapping[str, Any]]
Probe = Callable[[TorchEngine], ProbeResult]
"""Asks an engine and returns named results: one value per item (0/1 for right and wrong), or an interval made by the probe itself."""


@torch.no_grad()
def lm_loss(subject: Subject, texts: Sequence[Text], *, samples: int = 2000, seed: int = 0) -> Interval:
    """Mean negative log-likelihood (nats) of a token of held-out documents, with an interval over documents.

    Documents longer than the context are read in pieces of that length.
    """
    limit = context_tokens(subject.model)
    rows, owners = [], []
    for owner, text in enumerate(texts):
        ids = subject.codec.encode_text(text.text)
        # one token of overlap, so that every token but the first of a document is predicted exactly once
        for start in range(0, max(len(ids) - 1, 1), limit - 1):
            piece = ids[start : start + limit]
            if len(piece) > 1:
                rows.append(TokenSequence(tuple(piece), 1))
                owners.append(owner)
    losses, clusters = list[float](), list[int]()
    with evaluating(subject.model):
        for chosen in micro_batches([len(row) for row in rows], _SCORING_TOKENS):
            scored = completion_logprobs(subject.model, collate([rows[index] for index in chosen], subject.codec.pad_id))
            mask = scored.mask.cpu()
            losses += (-scored.logprobs.cpu()[mask]).tolist()
            clusters += [owners[chosen[row]] for row in mask.nonzero()[:, 0].tolist()]
    return mean_interval(losses, clusters, samples=samples, seed=seed)


@torch.no_grad()
def sequence_kl(reference: Subject, rollouts: Rollouts, *, sampling: SamplingConfig) -> list[float]:
    """Ln pi(y|x) - ln pi_ref(y|x) of each rollout (nats): its mean estimates the sequence KL (k1).

    Greedy completions are scored at temperature 1, where the number is no KL but still tells how far the model moved.
    """
    temperature = sampling.temperature or 1.0
    distances: dict[int, float] = {}
    with evaluating(reference.model):
        for chosen in micro_batches(rollouts.batch.lengths.tolist(), _SCORING_TOKENS):
            part = rollouts.select(chosen)
            theirs = completion_logprobs(reference.model, part.batch, temperature=temperature)
            kl = ((part.logprobs.cpu() - theirs.logprobs.cpu()) * theirs.mask.cpu()).sum(1)
            distances.update(zip(chosen, kl.tolist(), strict=True))
    return [distances[row] for row in range(len(rollouts))]


def same_tokens(first: Subject, second: Subject) -> bool:
    """Whether rollouts of one model are ids of the other."""
    return not first.candidate.template and first.codec.tokenizer.get_vocab() == second.codec.tokenizer.get_vocab()


def capabilities(
    subject: Subject, *, texts: Sequence[Text] = (), probes: Sequence[Probe] = (), samples: int = 2000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """LM loss and every probe of one model: name to ``{"value", "low", "high", "n", "better"}``."""
    found: dict[str, dict[str, Any]] = {}
    if texts:
        found["lm_loss"] = _row("lm_loss", lm_loss(subject, texts, samples=samples, seed=seed))
    engine = TorchEngine(subject.model, subject.codec)
    for probe in probes:
        for name, result in probe(engine).items():
            found[name] = _row(name, as_interval(result, samples=samples, seed=seed))
    return found


def as_interval(
    result: Interval | Sequence[float] | Mapping[str, Any], *, samples: int = 2000, seed: int = 0
) -> Interval | Mapping[str, Any]:
    """A probe's result with an interval: shares of 0 and 1 and other means are told apart by their values."""
    if isinstance(result, Interval | Mapping):
        return result
    values = [float(value) for value in result]
    if all(value in (0.0, 1.0) for value in values):
        return rate([bool(value) for value in values], samples=samples, seed=seed)
    return mean_interval(values, samples=samples, seed=seed)


def _row(name: str, interval: Interval | Mapping[str, Any]) -> dict[str, Any]:
    better = "lower" if name in LOWER_IS_BETTER or name.endswith("_loss") else "higher"
    return {"better": better, **(interval.as_json() if isinstance(interval, Interval) else interval)}
