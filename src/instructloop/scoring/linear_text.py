"""A text regressor that fits in seconds: TF-IDF of character n-grams within words, and a ridge on them.

The judges that must run anywhere (toxicity, truth) are made of it. It is kept as one ``.npz`` of plain arrays and a JSON description:
no pickle, so a file from elsewhere can at worst be wrong.
"""

import json
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from instructloop.core.errors import DataError

Matrix = Any
"""A scipy sparse matrix, rows by features (scipy has no type for it)."""
Floats = NDArray[np.float64]
_TOLERANCE = 1e-6
_FORMAT = 1
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramSettings:
    """Which n-grams are counted."""

    shortest: int = 2
    """Fewest characters; every word counts as ``" word "``."""
    longest: int = 5
    """Most characters."""
    features: int = 20_000
    """N-grams kept: the most frequent ones."""
    min_documents: int = 2
    """Texts an n-gram must occur in."""


def ngrams(text: str, settings: NgramSettings) -> Iterator[str]:
    """Character n-grams of each word with a space on both sides, lower case; a word shorter than n gives itself once."""
    for word in _SPACE.split(text.lower().strip()):
        if not word:
            continue
        padded = f" {word} "
        for n in range(settings.shortest, settings.longest + 1):
            if n >= len(padded):
                yield padded
                break
            for start in range(len(padded) - n + 1):
                yield padded[start : start + n]


class Tfidf:
    """Vocabulary and inverse document frequencies.

    A text's row is (1 + ln tf) (1 + ln((1 + N) / (1 + df))), scaled to length 1; a text without a known n-gram is a row of zeros.
    """

    def __init__(self, vocabulary: Sequence[str], idf: Floats, settings: NgramSettings) -> None:
        self.vocabulary, self.idf, self.settings = list(vocabulary), idf, settings
        self._places = {gram: place for place, gram in enumerate(self.vocabulary)}

    @classmethod
    def fit(cls, texts: Sequence[str], settings: NgramSettings | None = None) -> "Tfidf":
        """Count n-grams in these texts.

        Raises:
            DataError: no n-gram occurs in enough texts.
        """
        settings = settings or NgramSettings()
        totals, documents = Counter[str](), Counter[str]()
        for text in texts:
            counts = Counter(ngrams(text, settings))
            totals.update(counts)
            documents.update(counts.keys())
        kept = [gram for gram, count in documents.items() if count >= settings.min_documents]
        kept = sorted(sorted(kept, key=lambda gram: (-totals[gram], gram))[: settings.features])
        if not kept:
            raise DataError(f"{len(texts)} texts have no n-gram in common", hint="give more texts")
        idf = np.array([1 + math.log((1 + len(texts)) / (1 + documents[gram])) for gram in kept])
        return cls(kept, idf, settings)

    def matrix(self, texts: Sequence[str]) -> Matrix:
        """One row a text, sparse."""
        indices, values, borders = array("l"), array("d"), array("l", [0])
        for text in texts:
            counts = Counter(place for gram in ngrams(text, self.settings) if (place := self._places.get(gram)) is not None)
            weights = [(1 + math.log(count)) * self.idf[place] for place, count in counts.items()]
            norm = math.sqrt(math.fsum(weight * weight for weight in weights)) or 1.0
            indices.extend(counts.keys())
            values.extend(weight / norm for weight in weights)
            borders.append(len(indices))
        shape = (len(texts), len(self.vocabulary))
        return sparse.csr_matrix((np.asarray(values), np.asarray(indices), np.asarray(borders)), shape=shape)


def ridge(rows: Matrix, targets: Floats, alpha: float) -> tuple[Floats, float]:
    """Weights and intercept that minimize sum (y - Xw - b)^2 + alpha |w|^2, by conjugate gradients on centred columns."""
    mean_row, mean_target = np.asarray(rows.mean(axis=0)).ravel(), float(targets.mean())

    def product(weights: Floats) -> Floats:
        weights = weights.ravel()
        hidden = rows @ weights - mean_row @ weights
        return np.asarray(rows.T @ hidden - mean_row * hidden.sum() + alpha * weights)

    width = rows.shape[1]
    centred = targets - mean_target
    goal = rows.T @ centred - mean_row * centred.sum()
    weights, _ = cg(LinearOperator((width, width), matvec=product, dtype=np.float64), goal, rtol=_TOLERANCE, maxiter=1000)
    return weights, mean_target - float(mean_row @ weights)


def store(path: str | Path, features: Tfidf, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Path:
    """Write features, further arrays and a description as one ``.npz``; whole or not at all.

    Returns:
        The path, with the ending ``.npz``.
    """
    final = Path(path).with_suffix(".npz")
    final.parent.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(features.settings, name) for name in NgramSettings.__slots__}
    text = json.dumps({"format": _FORMAT, **description, "ngrams": settings}, sort_keys=True)
    letters = "".join(features.vocabulary).encode()
    borders = np.cumsum([0, *(len(gram.encode()) for gram in features.vocabulary)])
    partial = final.with_name(final.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            description=np.frombuffer(text.encode(), dtype=np.uint8),
            letters=np.frombuffer(letters, dtype=np.uint8),
            borders=borders,
            idf=features.idf,
            **arrays,  # type: ignore[arg-type]  # numpy's stub takes every keyword for allow_pickle
        )
    partial.replace(final)
    return final


def restore(path: str | Path, kind: str) -> tuple[Tfidf, dict[str, NDArray[Any]], dict[str, Any]]:
    """What ``store`` wrote.

    Raises:
        DataError: the file is not there, is none of this kind, or is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        description = json.loads(arrays.pop("description").tobytes())
        letters = arrays.pop("letters").tobytes()
        vocabulary = [letters[start:end].decode() for start, end in pairwise(arrays.pop("borders").tolist())]
        features = Tfidf(vocabulary, arrays.pop("idf"), NgramSettings(**description["ngrams"]))
        found = description["kind"]
    except FileNotFoundError as error:
        raise DataError(f"there is no judge at {path}", hint="train one; see the how-to page on public suites") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a trained judge: {error}", hint="train it again") from error
    if found != kind or description.get("format") != _FORMAT:
        raise DataError(
            f"{path} is a judge of {found!r} in format {description.get('format')!r}, not of {kind!r}", hint="name another file"
        )
    return features, arrays, description
