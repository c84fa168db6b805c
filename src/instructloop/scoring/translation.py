"""Translations against references: corpus BLEU by sacrebleu, with its signature and an interval over whole documents (spec G8)."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from instructloop.core.errors import DataError, MissingExtraError
from instructloop.core.seeds import derive
from instructloop.stats.bootstrap import Interval, cluster_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ORDERS = 4
"""BLEU's longest n-gram."""


class Marked(NamedTuple):
    """A number for a whole corpus, and how exactly it was computed."""

    value: float
    signature: str
    """The scorer's own description of its settings and version, to be printed beside the number."""
    per_item: tuple[float, ...] = ()
    """The same metric of each text alone (their mean is not ``value``)."""


def bleu(texts: Sequence[str], references: Sequence[str | Sequence[str]]) -> Marked:
    """Corpus BLEU, 0..100, with sacrebleu's default settings (13a tokens, mixed case, exponential smoothing).

    Args:
        texts: one translation per item.
        references: one reference, or several, per item.

    Raises:
        DataError: no text, or not one (non-empty list of) reference per text.
        MissingExtraError: sacrebleu is not installed.
    """
    alternatives, metric, single = _alternatives(texts, references), _metric(), _metric(effective_order=True)
    most = max(len(options) for options in alternatives)
    # sacrebleu wants one stream per reference; None fills up where an item has fewer
    streams: list[list[str | None]] = [
        [options[place] if place < len(options) else None for options in alternatives] for place in range(most)
    ]
    score = metric.corpus_score(list(texts), streams).score
    per_item = tuple(single.sentence_score(text, options).score for text, options in zip(texts, alternatives, strict=True))
    return Marked(float(score), str(metric.get_signature()), per_item)


def bleu_interval(
    texts: Sequence[str],
    references: Sequence[str | Sequence[str]],
    clusters: Sequence[Hashable] | None = None,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Corpus BLEU with a 95 % percentile interval from resampled clusters (Koehn 2004): each resample adds up n-gram counts anew.

    Args:
        texts: one translation per item.
        references: one reference, or several, per item.
        clusters: what each item belongs to (document, prompt); None resamples items.
        samples: resamples.
        seed: base seed of the resampling stream.

    Raises:
        DataError: as in ``bleu``, or as many clusters as not texts.
        MissingExtraError: sacrebleu is not installed.
    """
    counts = _counts(texts, _alternatives(texts, references))
    codes, n_clusters = cluster_codes(clusters, len(texts))
    by_cluster = np.zeros((n_clusters, counts.shape[1]), dtype=np.int64)
    np.add.at(by_cluster, codes, counts)
    random = np.random.default_rng(derive(seed, "bootstrap"))
    drawn = [_from_counts(by_cluster[random.integers(n_clusters, size=n_clusters)].sum(axis=0)) for _ in range(samples)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = _from_counts(counts.sum(axis=0))
    return Interval(value=value, low=float(low), high=float(high), n=len(texts), clusters=n_clusters)


def bleu_difference(
    first: Sequence[str],
    second: Sequence[str],
    references: Sequence[str | Sequence[str]],
    clusters: Sequence[Hashable] | None = None,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """BLEU of the second system minus that of the first on the same items; both are resampled together (Koehn 2004).

    Args:
        first: one translation per item.
        second: the other system's.
        references: one reference, or several, per item.
        clusters: what each item belongs to; None resamples items.
        samples: resamples.
        seed: base seed of the resampling stream.
    """
    alternatives = _alternatives(first, references)
    counts = np.concatenate([_counts(first, alternatives), _counts(second, _alternatives(second, references))], axis=1)
    width = counts.shape[1] // 2
    codes, n_clusters = cluster_codes(clusters, len(first))
    by_cluster = np.zeros((n_clusters, counts.shape[1]), dtype=np.int64)
    np.add.at(by_cluster, codes, counts)

    def difference(total: "NDArray[np.int64]") -> float:
        return _from_counts(total[width:]) - _from_counts(total[:width])

    random = np.random.default_rng(derive(seed, "bootstrap"))
    drawn = [difference(by_cluster[random.integers(n_clusters, size=n_clusters)].sum(axis=0)) for _ in range(samples)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=difference(counts.sum(axis=0)), low=float(low), high=float(high), n=len(first), clusters=n_clusters)


def _alternatives(texts: Sequence[str], references: Sequence[str | Sequence[str]]) -> list[list[str]]:
    if not texts or len(texts) != len(references):
        raise DataError(f"{len(references)} references for {len(texts)} texts", hint="one reference, or a list of them, for each text")
    found = [[options] if isinstance(options, str) else list(options) for options in references]
    empty = next((place for place, options in enumerate(found) if not options), None)
    if empty is not None:
        raise DataError(f"text {empty} has no reference", hint="leave the item out, or give it one")
    return found


def _metric(*, effective_order: bool = False) -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise MissingExtraError.for_extra("sacrebleu", "evaluation") from error
    return BLEU(effective_order=effective_order)


def _counts(texts: Sequence[str], alternatives: Sequence[Sequence[str]]) -> "NDArray[np.int64]":
    """What BLEU adds up over a corpus, a row per text: 4 n-gram matches, 4 n-gram totals, length, length of the closest reference."""
    metric = _metric(effective_order=True)
    rows = []
    for text, options in zip(texts, alternatives, strict=True):
        score = metric.sentence_score(text, list(options))
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return np.array(rows, dtype=np.int64)


def _from_counts(counts: "NDArray[np.int64]") -> float:
    metric = _metric()
    matches, totals = counts[:_ORDERS].tolist(), counts[_ORDERS : 2 * _ORDERS].tolist()
    length, wanted = int(counts[-2]), int(counts[-1])
    return float(metric.compute_bleu(matches, totals, length, wanted, smooth_method="exp", effective_order=False).score)
