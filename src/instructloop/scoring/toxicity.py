"""How toxic a text is, from 0 to 1: a local classifier by default, or anything else that is a ``TextScorer``.

The paper used the Perspective API (spec G8, J-P7). The local classifier learns Perspective's scores from the rows of
RealToxicityPrompts, which carry them, so that no text leaves the machine; ``scoring.perspective`` asks such a service instead.
Numbers of the two are not to be compared with each other: the signature beside a number says which it was.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from instructloop.core.errors import DataError
from instructloop.core.seeds import permutation
from instructloop.formats.rows import read_rows
from instructloop.scoring.linear_text import NgramSettings, Tfidf, restore, ridge, store

KIND = "toxicity"
_ALPHA = 1.0
_HELD_OUT_SHARE = 0.1
_FEWEST = 50
Row = Mapping[str, Any]


class TextScorer(Protocol):
    """Marks texts with a number in [0, 1] each."""

    @property
    def signature(self) -> str:
        """Which scorer this is, printed beside its numbers."""
        ...

    def score(self, texts: Sequence[str]) -> list[float]:
        """One number a text."""
        ...


class Toxicity:
    """TF-IDF and ridge on Perspective's scores; a text without a known n-gram gets the mean."""

    def __init__(self, features: Tfidf, weights: Any, intercept: float, description: Mapping[str, Any]) -> None:
        self._features, self._weights, self._intercept = features, weights, intercept
        self.description = dict(description)
        """Rows it was trained on and how well it does on rows held out: ``rows``, ``held_out_rows``, ``held_out_r`` (correlation)."""

    @property
    def signature(self) -> str:
        """Kind, rows and correlation with the scores of rows held out."""
        held = self.description.get("held_out_r")
        return f"local-tfidf-ridge|rows:{self.description.get('rows')}|r:{'none' if held is None else format(held, '.3f')}"

    def score(self, texts: Sequence[str]) -> list[float]:
        """Toxicity of each text, clipped to [0, 1]."""
        if not texts:
            return []
        return np.clip(self._features.matrix(texts) @ self._weights + self._intercept, 0.0, 1.0).tolist()  # type: ignore[no-any-return]

    def save(self, path: str | Path) -> Path:
        """Write one ``.npz`` of plain arrays."""
        arrays = {"weights": np.asarray(self._weights, dtype=np.float64), "intercept": np.array([self._intercept])}
        return store(path, self._features, arrays, {**self.description, "kind": KIND})

    @classmethod
    def load(cls, path: str | Path) -> "Toxicity":
        """Read what ``save`` wrote.

        Raises:
            DataError: the file is not there or no such classifier.
        """
        features, arrays, description = restore(path, KIND)
        return cls(features, arrays["weights"], float(arrays["intercept"][0]), description)


def local_classifier(source: str | Path | Iterable[Row], *, seed: int = 0, settings: NgramSettings | None = None) -> Toxicity:
    """The local classifier: loaded from a trained file, or trained (seconds) from scored texts.

    Args:
        source: an ``.npz`` that ``save`` wrote; or a file with rows ``{"text", "toxicity"}``, or RealToxicityPrompts in the layout of
            its release (prompt and continuation as objects) or with ``prompt_toxicity`` and ``continuation_toxicity``; or such rows.
        seed: which tenth of the rows is held out to report a correlation; the classifier kept is trained on all of them.
        settings: which n-grams are counted.

    Raises:
        DataError: fewer than 50 scored texts, or a score outside [0, 1].
    """
    if isinstance(source, str | Path):
        if Path(source).suffix == ".npz":
            return Toxicity.load(source)
        source = [row for _, row in read_rows(source)]
    scored = list(scored_texts(source))
    if len(scored) < _FEWEST:
        raise DataError(
            f"a toxicity classifier needs at least {_FEWEST} scored texts, got {len(scored)}", hint="RealToxicityPrompts has 99,442"
        )
    texts, targets = [text for text, _ in scored], np.array([score for _, score in scored])
    order = permutation(len(texts), seed, "toxicity")
    held, kept = order[: int(len(order) * _HELD_OUT_SHARE)], order[int(len(order) * _HELD_OUT_SHARE) :]
    features = Tfidf.fit([texts[place] for place in kept], settings)
    rows = features.matrix(texts)
    weights, intercept = ridge(rows[kept], targets[kept], _ALPHA)
    guessed = rows[held] @ weights + intercept
    flat = guessed.std() == 0 or targets[held].std() == 0
    report = {
        "rows": len(texts),
        "held_out_rows": len(held),
        "held_out_r": None if flat else float(np.corrcoef(guessed, targets[held])[0, 1]),
    }
    weights, intercept = ridge(rows, targets, _ALPHA)
    return Toxicity(features, weights, intercept, report)


def scored_texts(rows: Iterable[Row]) -> Iterator[tuple[str, float]]:
    """Texts with their toxicity from any of the known layouts; parts whose score is null are passed over.

    Raises:
        DataError: a score is no number in [0, 1].
    """
    for number, row in enumerate(rows, start=1):
        for text, score in _parts(row):
            if score is None or not isinstance(text, str) or not text.strip():
                continue
            if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
                raise DataError(f"row {number}: a toxicity must be a number in [0, 1], got {score!r}", hint="labels are no scores")
            yield text, float(score)


def _parts(row: Row) -> Iterator[tuple[Any, Any]]:
    if "text" in row:
        yield row["text"], row.get("toxicity")
    for part in ("prompt", "continuation"):
        held = row.get(part)
        if isinstance(held, str) and part == "prompt" and held.startswith("{"):  # a CSV of the release holds JSON
            held = json.loads(held)
        if isinstance(held, Mapping):
            yield held.get("text"), held.get("toxicity")
        elif held is not None:
            yield held, row.get(f"{part}_toxicity")
