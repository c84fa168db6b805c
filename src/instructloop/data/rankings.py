"""Rankings into groups of sequences for the reward model: the K completions of one prompt stay together (spec D3)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from instructloop.core.errors import DataError
from instructloop.core.hashing import hash_json
from instructloop.core.records import PromptContent, Ranking, dense_ranks, prompt_json
from instructloop.data.codec import TextCodec
from instructloop.data.sequences import TokenSequence


@dataclass(frozen=True, slots=True)
class RankedGroup:
    """The ranked completions of one prompt as sequences; ranks are dense from 0 and complete (no None)."""

    sequences: tuple[TokenSequence, ...]
    ranks: tuple[int, ...]
    labeler: str | None
    confidence: float | None
    prompt_key: str
    none_acceptable: bool = False
    cohort: str | None = None
    """Of the labeler, where the row names one."""
    weight: float = 1.0
    """Of this ranking in the loss, relative to the others (spec L1)."""

    @property
    def k(self) -> int:
        """Completions in the group."""
        return len(self.sequences)

    def strict_pairs(self) -> Iterator[tuple[int, int]]:
        """(winner, loser) indices with different ranks; none where the labeler found no completion acceptable."""
        if self.none_acceptable:
            return
        for i, a in enumerate(self.ranks):
            for j, b in enumerate(self.ranks):
                if a < b:
                    yield i, j


@dataclass(frozen=True, slots=True)
class TokenizedRankings(Sequence[RankedGroup]):
    """Groups in the order of their rankings, the index of the ranking each came from, and what was left out.

    ``notes`` counts: ``over_long`` completions, ``empty`` completions, ``unranked`` completions (rank null), ``merged`` identical
    completions, ``conflicting`` identical completions with different ranks (left out with their twins), ``too_small`` groups of
    fewer than two left, ``ties`` (pairs of equal rank), ``pairs`` (strict pairs), ``no_pair`` groups kept without a strict pair.
    """

    groups: tuple[RankedGroup, ...]
    sources: tuple[int, ...]
    notes: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # the two overloads of Sequence say nothing more
        return self.groups[index]

    def __len__(self) -> int:
        return len(self.groups)


def prompt_key(prompt: PromptContent) -> str:
    """A hash that two rows share if they have the same prompt."""
    return hash_json(prompt_json(prompt))


def tokenize_rankings(rankings: Sequence[Ranking], codec: TextCodec, max_tokens: int) -> TokenizedRankings:
    """One group per ranking: K sequences of prompt + completion + EOS with dense ranks.

    Completions without a rank, empty ones (T10) and ones longer than ``max_tokens`` are left out and counted; identical
    completions with one rank count once, with different ranks not at all (they would be a pair against itself).
    Groups with fewer than two completions left are dropped and counted.

    Raises:
        DataError: not a single group is left.
    """
    groups: list[RankedGroup] = []
    sources: list[int] = []
    notes: Counter[str] = Counter()
    for index, ranking in enumerate(rankings):
        group = _tokenize_group(ranking, codec, max_tokens, notes)
        if group is None:
            notes["too_small"] += 1
            continue
        pairs = sum(1 for _ in group.strict_pairs())
        notes["pairs"] += pairs
        notes["no_pair"] += pairs == 0
        notes["ties"] += sum(a == b for i, a in enumerate(group.ranks) for b in group.ranks[:i])
        groups.append(group)
        sources.append(index)
    if rankings and not groups:
        raise DataError(
            f"none of the {len(rankings)} rankings has two completions that fit into {max_tokens} tokens",
            hint="raise max_tokens, take a model with a longer context, or shorten the rows",
        )
    return TokenizedRankings(tuple(groups), tuple(sources), {name: count for name, count in notes.items() if count})


def _tokenize_group(ranking: Ranking, codec: TextCodec, max_tokens: int, notes: Counter[str]) -> RankedGroup | None:
    prompt = tuple(codec.encode_prompt(ranking.prompt))
    ranked = _distinct(ranking, notes)
    sequences: list[TokenSequence] = []
    ranks: list[int | None] = []
    for completion, rank in ranked:
        if not completion.strip():
            notes["empty"] += 1
            continue
        ids = (*prompt, *codec.encode_completion(completion))
        if len(ids) > max_tokens:
            notes["over_long"] += 1
            continue
        sequences.append(TokenSequence(ids, len(prompt)))
        ranks.append(rank)
    if len(sequences) < 2:
        return None
    return RankedGroup(
        sequences=tuple(sequences),
        ranks=tuple(rank for rank in dense_ranks(tuple(ranks)) if rank is not None),
        labeler=ranking.labeler,
        confidence=ranking.confidence,
        prompt_key=prompt_key(ranking.prompt),
        none_acceptable=ranking.none_acceptable,
        cohort=None if ranking.meta.get("cohort") is None else str(ranking.meta["cohort"]),
    )


def _distinct(ranking: Ranking, notes: Counter[str]) -> list[tuple[str, int]]:
    """Ranked completions, identical ones merged or, where their ranks contradict each other, left out."""
    places: dict[str, list[int]] = {}
    for completion, rank in zip(ranking.completions, ranking.ranks, strict=True):
        if rank is None:
            notes["unranked"] += 1
        else:
            places.setdefault(completion, []).append(rank)
    kept: list[tuple[str, int]] = []
    for completion, ranks in places.items():
        if len(set(ranks)) > 1:
            notes["conflicting"] += len(ranks)
            continue
        notes["merged"] += len(ranks) - 1
        kept.append((completion, ranks[0]))
    return kept
