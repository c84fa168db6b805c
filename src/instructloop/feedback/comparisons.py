"""Blind comparisons as the admin pages and reports show them: win rates, leaderboard, use cases with Holm, positions, single labelers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from instructloop.feedback.analysis import SAMPLES, VoteAnswer, sides, vote_answers
from instructloop.feedback.database import Database
from instructloop.stats import (
    GroupRow,
    HeadToHead,
    Interval,
    Leaderboard,
    PositionBalance,
    SideTest,
    by_group,
    half_width,
    head_to_head,
    leaderboard,
    position_balance,
    without_labeler,
)

OUTCOMES = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Duel:
    """A model against a baseline."""

    model: str
    baseline: str
    result: HeadToHead
    use_cases: tuple[GroupRow, ...]
    positions: PositionBalance
    without: tuple[tuple[str, Interval], ...]
    """Win rate when one labeler's votes are left out: the two that move it most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Everything of a comparison's page. Held-out, training and researcher votes are counted together; ``cohorts`` says how many of each."""

    votes: int
    prompts: int
    labelers: int
    cohorts: tuple[tuple[str, int], ...]
    both_bad: int
    ties: int
    same_model: int
    """Votes between two outputs of one model: left out of all figures."""
    models: tuple[str, ...]
    baseline: str
    duels: tuple[Duel, ...]
    board: Leaderboard | None
    sides: SideTest | None
    half_width: float
    """What an interval would be at these prompts if they were voted on once: half of it, at 50 %."""


def comparison(
    db: Database, *, queue_id: str | None = None, evaluation_id: str | None = None, baseline: str | None = None, samples: int = SAMPLES
) -> Comparison | None:
    """The figures of one queue or evaluation, or of all votes; None while there are none.

    Args:
        db: the open store.
        queue_id: votes of one queue only.
        evaluation_id: votes of one evaluation only.
        baseline: the model that others are compared with; the one with most votes by default.
        samples: bootstrap resamples of prompts.
    """
    given = vote_answers(db, queue_id=queue_id, evaluation_id=evaluation_id)
    votes = [vote for vote in given if vote.model_a != vote.model_b]
    if not votes:
        return None
    seen = Counter(name for vote in votes for name in (vote.model_a, vote.model_b))
    models = tuple(sorted(seen))
    base = baseline if baseline is not None and baseline in seen else min(seen, key=lambda name: (-seen[name], name))
    duels = [found for model in models if model != base and (found := _duel(votes, model, base, samples)) is not None]
    prompts = len({vote.prompt_id for vote in votes})
    return Comparison(
        votes=len(votes),
        prompts=prompts,
        labelers=len({vote.code for vote in votes}),
        cohorts=tuple(sorted(Counter(vote.cohort for vote in votes).items())),
        both_bad=sum(vote.outcome == "both_bad" for vote in votes),
        ties=sum(vote.outcome == "tie" for vote in votes),
        same_model=len(given) - len(votes),
        models=models,
        baseline=base,
        duels=tuple(sorted(duels, key=lambda duel: -duel.result.rate.value)),
        board=_board(votes, samples) if len(models) > 2 else None,
        sides=sides(votes),
        half_width=half_width(prompts),
    )


def _duel(votes: Sequence[VoteAnswer], model: str, baseline: str, samples: int) -> Duel | None:
    mine = [vote for vote in votes if {vote.model_a, vote.model_b} == {model, baseline}]
    if not mine:
        return None
    words = [_word(vote, model) for vote in mine]
    prompts = [vote.prompt_id for vote in mine]
    groups = [vote.use_case or "unknown" for vote in mine]
    result = head_to_head(words, prompts, samples=samples)
    left_out = without_labeler(words, prompts, [vote.code for vote in mine], samples=samples)
    moving = sorted(left_out.items(), key=lambda item: -abs(item[1].value - result.rate.value))
    return Duel(
        model=model,
        baseline=baseline,
        result=result,
        use_cases=tuple(by_group(words, prompts, groups, samples=samples)),
        positions=position_balance(words, prompts, [(vote.model_a == model) == vote.left_is_a for vote in mine], samples=samples),
        without=tuple(moving[:2]),
    )


def _word(vote: VoteAnswer, model: str) -> str:
    """The vote as the model sees it."""
    if vote.outcome in {"tie", "both_bad"}:
        return vote.outcome
    return "win" if (vote.outcome == "a") == (vote.model_a == model) else "loss"


def _board(votes: Sequence[VoteAnswer], samples: int) -> Leaderboard:
    return leaderboard(
        [vote.model_a for vote in votes],
        [vote.model_b for vote in votes],
        [OUTCOMES[vote.outcome] for vote in votes],
        [vote.prompt_id for vote in votes],
        samples=samples,
    )
