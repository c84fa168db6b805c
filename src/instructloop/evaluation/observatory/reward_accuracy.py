"""Does the reward model agree with people it has not seen? By labeler, confidence, margin and K; is its confidence earned? (spec D10, I14)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instructloop.core.records import Ranking, prompt_text
from instructloop.evaluation.observatory.alarms import raised
from instructloop.evaluation.observatory.document import Cell, Chart, Findings, Section, Series, Table, estimate
from instructloop.stats import Calibration, calibration, outcome, win_rate

NAME = "reward_accuracy"
TITLE = "The reward model on held-out rankings"
PAPER = "The paper's 6B reward model: 72.4 % on its own labelers' rankings, 69.6 % on held-out labelers'."
_RESAMPLES = 1000
_FEW_VALUES = 9
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ScoredRanking:
    """A held-out ranking and the reward model's score of each of its completions."""

    ranking: Ranking
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A strict pair of it, the winner first."""

    row: ScoredRanking
    winner: int
    loser: int

    @property
    def won(self) -> float:
        """1 where the reward model agrees, one half where it is indifferent."""
        return outcome(self.row.scores[self.winner], self.row.scores[self.loser])

    @property
    def difference(self) -> float:
        """Score of the winner less that of the loser."""
        return self.row.scores[self.winner] - self.row.scores[self.loser]

    @property
    def margin(self) -> int:
        """Ranks between the two."""
        ranks = self.row.ranking.ranks
        return (ranks[self.loser] or 0) - (ranks[self.winner] or 0)

    @property
    def prompt(self) -> str:
        """What intervals cluster by."""
        return prompt_text(self.row.ranking.prompt)

    @property
    def longer(self) -> float:
        """1 where the winner is the longer one, in characters."""
        texts = self.row.ranking.completions
        return outcome(len(texts[self.winner]), len(texts[self.loser]))


def pairs_of(rows: Sequence[ScoredRanking]) -> list[ScoredPair]:
    """All strict pairs; rankings in which no completion was acceptable carry none."""
    return [ScoredPair(row, *pair) for row in rows if not row.ranking.none_acceptable for pair in row.ranking.strict_pairs()]


def reward_accuracy(
    rows: Sequence[ScoredRanking], *, lexical: Sequence[float] | None = None, trained_on: str = "", seed: int = 0
) -> Findings:
    """Accuracy in all its cuts, the calibration plot, beside what length alone would reach.

    Args:
        rows: held-out rankings with scores.
        lexical: per strict pair (in the order of ``pairs_of``) what a linear bag-of-words model says: 1 agree, 0 not.
        trained_on: what that model was fitted on.
        seed: base seed of the resampling.
    """
    pairs = pairs_of(rows)
    if not pairs:
        return unmeasured()
    whole = accuracy(pairs, seed)
    rows_of: list[list[Cell]] = [["reward model", len(pairs), estimate(whole)]]
    longer = win_rate([pair.longer for pair in pairs], [pair.prompt for pair in pairs], samples=_RESAMPLES, seed=seed)
    rows_of.append(["the longer one wins", len(pairs), estimate(longer)])
    if lexical is not None:
        found = win_rate(lexical, [pair.prompt for pair in pairs], samples=_RESAMPLES, seed=seed)
        rows_of.append([f"linear TF-IDF, fitted on {trained_on}", len(pairs), estimate(found)])
    probabilities = [_sigmoid(pair.difference) for pair in pairs]
    # Both directions of a pair: the model says p of one and 1 - p of the other, and the plot is symmetric
    plot = calibration(
        [*probabilities, *(1 - one for one in probabilities)],
        [*(1.0 for _ in pairs), *(0.0 for _ in pairs)],
        [pair.prompt for pair in pairs] * 2,
        samples=_RESAMPLES,
        seed=seed,
    )
    tables = [Table(title="Strict pairs in the labelers' order", columns=["judge", "pairs", "accuracy"], rows=rows_of, note=PAPER)]
    tables += [table for title, name in _cuts(pairs) if len((table := _cut(title, pairs, name, seed)).rows) > 1]
    section = Section(
        name=NAME,
        title=TITLE,
        text=f"On {len(rows)} rankings that did not train it ({len(pairs)} strict pairs) the reward model puts {whole.value:.1%} in the labelers' order "
        f"({whole.low:.1%} to {whole.high:.1%}); the rule that the longer one wins, {longer.value:.1%}. Its probabilities are off by {plot.error.value:.1%} on average (ECE).",
        charts=[_plot(plot)],
        tables=tables,
        samples=wrong(pairs),
    )
    return Findings(
        sections=(section,),
        alarms=(
            raised("rm_accuracy", whole.value, warn=0.6, examples=wrong(pairs)),
            raised("rm_calibration", plot.error.value, warn=0.1),
        ),
    )


def unmeasured() -> Findings:
    """No rankings: the alarms say what to give."""
    how = "Needs rankings that did not train the reward model, and the model itself: --rankings FILE."
    return Findings(alarms=(raised("rm_accuracy", None, explanation=how), raised("rm_calibration", None, explanation=how)))


def from_result(result: Mapping[str, Any]) -> Section | None:
    """What the reward model's own run measured after training, where the model cannot be asked again."""
    held_out = result.get("held_out") or {}
    if "accuracy" not in held_out:
        return None
    rows: list[list[Cell]] = [["all", held_out["pairs"], _kept(held_out)]]
    for cut, title in (("by_cohort", "cohort"), ("by_labeler", "labeler"), ("by_confidence", "confidence"), ("by_k", "K")):
        rows += [[f"{title} {name}", one["pairs"], _kept(one)] for name, one in (held_out.get(cut) or {}).items() if "accuracy" in one]
    return Section(
        name=NAME,
        title=TITLE,
        text=f"As measured after training. The rule that the longer one wins would reach {held_out['longer_wins']:.1%}.",
        tables=[Table(title="Strict pairs in the labelers' order", columns=["group", "pairs", "accuracy"], rows=rows, note=PAPER)],
    )


def _kept(one: Mapping[str, Any]) -> Cell:
    return {"value": one["accuracy"], "low": one["low"], "high": one["high"], "n": one["pairs"], "clusters": one["prompts"]}


def accuracy(pairs: Sequence[ScoredPair], seed: int = 0) -> Any:
    """Share of pairs in the labelers' order with an interval over prompts."""
    return win_rate([pair.won for pair in pairs], [pair.prompt for pair in pairs], samples=_RESAMPLES, seed=seed)


def wrong(pairs: Sequence[ScoredPair]) -> list[dict[str, Any]]:
    """The pairs that the reward model gets wrong most confidently."""
    worst = sorted(pairs, key=lambda pair: pair.difference)[:_SHOWN]
    return [
        {
            "prompt": pair.prompt,
            "completion": pair.row.ranking.completions[pair.loser],
            "note": f"scored {-pair.difference:+.2f} above what the labeler ranked {pair.margin} higher: {pair.row.ranking.completions[pair.winner]}",
            "score": pair.row.scores[pair.loser],
        }
        for pair in worst
        if pair.difference < 0
    ]


# -- cuts ------------------------------------------------------------------------------------------------------------

_Namer = Callable[[ScoredPair], tuple[float, str] | None]
"""Order and name of the group that a pair belongs to."""


def _cuts(pairs: Sequence[ScoredPair]) -> list[tuple[str, _Namer]]:
    return [
        ("by labeler cohort", lambda pair: _named(pair.row.ranking.meta.get("cohort"))),
        ("by labeler", lambda pair: _named(pair.row.ranking.labeler)),
        ("by confidence", _confidence(pairs)),
        ("by margin (ranks between the two)", lambda pair: (pair.margin, str(pair.margin))),
        ("by K", lambda pair: (pair.row.ranking.k, str(pair.row.ranking.k))),
    ]


def _named(value: object) -> tuple[float, str] | None:
    return None if value is None else (0.0, str(value))


def _confidence(pairs: Sequence[ScoredPair]) -> _Namer:
    """By value where there are few of them, else by quarter of the observed ones."""
    values = sorted(pair.row.ranking.confidence for pair in pairs if pair.row.ranking.confidence is not None)
    if len(set(values)) <= _FEW_VALUES:
        return lambda pair: None if (own := pair.row.ranking.confidence) is None else (own, f"{own:g}")
    edges = [values[(len(values) - 1) * quarter // 4] for quarter in range(5)]

    def name(pair: ScoredPair) -> tuple[float, str] | None:
        own = pair.row.ranking.confidence
        if own is None:
            return None
        place = min(3, sum(own > edge for edge in edges[1:4]))
        return float(place), f"{edges[place]:g} to {edges[place + 1]:g}"

    return name


def _cut(title: str, pairs: Sequence[ScoredPair], name: _Namer, seed: int) -> Table:
    groups: dict[tuple[float, str], list[ScoredPair]] = {}
    for pair in pairs:
        key = name(pair)
        if key is not None:
            groups.setdefault(key, []).append(pair)
    rows: list[list[Cell]] = [[key[1], len(own), estimate(accuracy(own, seed))] for key, own in sorted(groups.items())]
    return Table(title=f"Accuracy {title}", columns=["group", "pairs", "accuracy"], rows=rows)


def _plot(found: Calibration) -> Chart:
    points = [[one.predicted, one.observed, one.low, one.high] for one in found.bins]
    return Chart(
        title="Calibration: how often it happens against how likely the model says it is",
        x_label="predicted probability that a completion is preferred, sigma(score difference)",
        y_label="share preferred",
        series=[
            Series(name="pairs in bins of a tenth", points=points, kind="points"),
            Series(name="perfect calibration", points=[[0.0, 0.0], [1.0, 1.0]]),
        ],
    )


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


# -- a baseline that knows words and nothing else --------------------------------------------------------------------


def lexical_baseline(train: Sequence[Ranking], rows: Sequence[ScoredRanking], *, most_pairs: int = 20_000) -> list[float] | None:
    """Per strict pair of the rows, whether a linear model of TF-IDF words and word pairs agrees; None without scikit-learn.

    Logistic regression on the difference of the two completions' vectors, each pair given in both directions. What it reaches needs no
    understanding of the prompt, which it does not see.

    Args:
        train: rankings to fit on.
        rows: rankings to judge.
        most_pairs: fitted on at most so many.
    """
    try:
        from scipy.sparse import vstack
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None
    chosen = [(one.completions[a], one.completions[b]) for one in train if not one.none_acceptable for a, b in one.strict_pairs()][
        :most_pairs
    ]
    if not chosen:
        return None
    vectors = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", sublinear_tf=True)  # noqa: S106 - no password
    vectors.fit([text for pair in chosen for text in pair])
    difference = vectors.transform([a for a, _ in chosen]) - vectors.transform([b for _, b in chosen])
    model = LogisticRegression(fit_intercept=False, max_iter=1000)
    model.fit(vstack([difference, -difference]), [1] * len(chosen) + [0] * len(chosen))
    pairs = pairs_of(rows)
    texts = [(pair.row.ranking.completions[pair.winner], pair.row.ranking.completions[pair.loser]) for pair in pairs]
    scores = model.decision_function(vectors.transform([a for a, _ in texts]) - vectors.transform([b for _, b in texts]))
    return [outcome(float(score), 0.0) for score in scores]
