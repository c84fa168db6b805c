"""How far a judge agrees with people who voted on the same pairs."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from instructloop.core.records import prompt_text
from instructloop.evaluation.judges.bias import estimate
from instructloop.evaluation.judges.pairs import PairJudge
from instructloop.evaluation.votes import Vote
from instructloop.formats.fields import prompt as read_prompt
from instructloop.stats import rate_interval

Row = Mapping[str, Any]


def agreement_with_people(
    judge: PairJudge, votes: Sequence[Vote], rows: Sequence[Row] = (), *, samples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Agreement of the judge's verdicts with human votes on the same prompt and the same two texts.

    One side tied and the other decided counts one half, as ties do everywhere here. Beside it stands how far people agree with each other
    on these pairs: no judge can be asked for much more.

    Args:
        judge: has voted already; nothing is asked.
        votes: of people; the texts stand in the vote, or are those of ``rows`` for its prompt and models.
        rows: completions as the judge saw them.
        samples: resamples of prompts behind each interval.
        seed: base seed of the resampling stream.

    Returns:
        ``{"agreement", "decided", "people"}`` (estimates or None), ``n`` votes used, ``unmatched`` votes on pairs that the judge has no verdict on.
    """
    texts = {
        (prompt_text(read_prompt(row["prompt"])), str(row["model"])): str(row["completion"]) for row in rows if not row.get("draw")
    }  # fmt: skip
    agreed, decided, prompts, decided_prompts = list[float](), list[float](), list[str](), list[str]()
    by_pair: dict[tuple[str, frozenset[str]], list[float]] = {}
    for vote in votes:
        first = vote.completion_a if vote.completion_a is not None else texts.get((vote.key, vote.model_a))
        second = vote.completion_b if vote.completion_b is not None else texts.get((vote.key, vote.model_b))
        verdict = None if first is None or second is None else judge.known(vote.prompt, first, second)
        if verdict is None or first is None or second is None:
            continue
        theirs, ours = _side(vote.win_a), _side(verdict.win_first)
        agreed.append(1 - abs(theirs - ours))
        prompts.append(vote.key)
        if 0.5 not in (theirs, ours):
            decided.append(float(theirs == ours))
            decided_prompts.append(vote.key)
        by_pair.setdefault((vote.key, frozenset((first, second))), []).append(theirs if first <= second else 1 - theirs)
    people = [(1 - abs(a - b), prompt) for (prompt, _), own in by_pair.items() for a, b in combinations(own, 2)]
    return {
        "agreement": _share(agreed, prompts, samples, seed),
        "decided": _share(decided, decided_prompts, samples, seed),
        "people": _share([value for value, _ in people], [prompt for _, prompt in people], samples, seed),
        "n": len(agreed),
        "unmatched": len(votes) - len(agreed),
    }


def _side(win: float) -> float:
    """A weight as a verdict: 1, 0.5 or 0."""
    return 0.5 + 0.5 * ((win > 0.5) - (win < 0.5))


def _share(values: Sequence[float], prompts: Sequence[str], samples: int, seed: int) -> dict[str, Any] | None:
    return estimate(rate_interval(values, prompts, samples=samples, seed=seed)) if values else None
