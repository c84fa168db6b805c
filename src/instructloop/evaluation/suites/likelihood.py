"""Log-probability of a continuation after a context: what multiple choice, sentence pairs and perplexities are made of.

Text is divided as the wide-spread harnesses do: context and continuation are tokenized together and the context's tokens taken off,
so that a token never spans the border in one place and not in another; spaces at the end of the context belong to the continuation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from instructloop.core.errors import DataError
from instructloop.data import TokenSequence, collate, grouped_micro_batches
from instructloop.evaluation.sampling import Subject
from instructloop.models import context_tokens, evaluating, target_logprobs

BUDGET_TOKENS = 8192
"""Padded tokens in one pass."""


class Scored(NamedTuple):
    """One continuation."""

    sum: float
    """Total log-probability, nats."""
    tokens: int
    """Tokens of the continuation that were scored."""
    greedy: bool
    """Whether each of them is the likeliest one in its place: greedy decoding would write exactly this."""
    cut: bool
    """Whether the context lost its beginning because both do not fit into the model."""

    @property
    def mean(self) -> float:
        """Nats per token (spec G5, J-P4)."""
        return self.sum / self.tokens


class Divided(NamedTuple):
    """A context and a continuation as ids; ``context`` has at least one."""

    context: list[int]
    continuation: list[int]


def divide(subject: Subject, context: str, continuation: str) -> Divided:
    """Tokenize both together and take the context's tokens off.

    Under a chat template the context becomes a user turn, and the continuation begins the assistant's answer, without its leading space.
    A context without text is the beginning-of-sequence token, or the end-of-sequence token where a tokenizer has none.

    Raises:
        DataError: nothing is left to be scored.
    """
    codec = subject.codec
    if codec.uses_chat_template:
        context, continuation = codec.render_prompt(context), continuation.lstrip()
    else:
        kept = context.rstrip()
        context, continuation = kept, context[len(kept) :] + continuation
    whole, first = codec.encode_text(context + continuation)[:-1], codec.encode_text(context)[:-1]
    if not first:
        bos = codec.tokenizer.bos_token_id
        first = [codec.eos_id if bos is None else int(bos)]
        whole = first + whole
    if len(whole) <= len(first):
        raise DataError(f"no token of its own is left of the continuation {continuation!r} after {context[-40:]!r}")
    return Divided(whole[: len(first)], whole[len(first) :])


def sequence_logprobs(subject: Subject, pairs: Sequence[tuple[str, str]], *, budget_tokens: int = BUDGET_TOKENS) -> list[Scored]:
    """Score each (context, continuation) under the model, at temperature 1.

    Rows go through the model in batches of similar length; continuations of one context go together, which computes it once where the
    model allows that. Only the places that predict a continuation's token reach the head.

    Args:
        subject: the opened model.
        pairs: context and continuation.
        budget_tokens: largest padded area of a pass.

    Returns:
        One result a pair, in the given order.
    """
    return divided_logprobs(subject, [divide(subject, *pair) for pair in pairs], budget_tokens=budget_tokens)


@torch.no_grad()
def divided_logprobs(subject: Subject, divided: Sequence[Divided], *, budget_tokens: int = BUDGET_TOKENS) -> list[Scored]:
    """The same for what is divided into ids already."""
    limit = context_tokens(subject.model)
    rows, starts, cuts = [], [], []
    for context, continuation in divided:
        # the last token is only predicted, never read: one more than the context fits
        ids = [*context, *continuation][-(limit + 1) :]
        start = max(len(ids) - len(continuation), 1)
        rows.append(TokenSequence(tuple(ids[:-1]), start))
        starts.append((ids, start))
        cuts.append(len(context) + len(continuation) > limit + 1)
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, (context, _) in enumerate(divided):
        groups.setdefault(tuple(context), []).append(place)
    members = list(groups.values())
    found: dict[int, Scored] = {}
    with evaluating(subject.model):
        for batch in grouped_micro_batches([[len(rows[place]) for place in group] for group in members], budget_tokens):
            chosen = [place for number in batch for place in members[number]]
            places = [(row, column) for row, place in enumerate(chosen) for column in range(starts[place][1] - 1, len(rows[place]))]
            targets = [token for place in chosen for token in starts[place][0][starts[place][1] :]]
            at = torch.tensor(places)
            scored = target_logprobs(
                subject.model,
                collate([rows[place] for place in chosen], subject.codec.pad_id),
                at[:, 0],
                at[:, 1],
                torch.tensor(targets),
            )
            sizes = [len(starts[place][0]) - starts[place][1] for place in chosen]
            parts = zip(chosen, scored.logprobs.cpu().split(sizes), scored.greedy.cpu().split(sizes), strict=True)
            for place, logprobs, greedy in parts:
                found[place] = Scored(float(logprobs.double().sum()), len(logprobs), bool(greedy.all()), cuts[place])
    return [found[place] for place in range(len(divided))]
