"""Summaries against references: ROUGE-L by rouge-score (spec G8; J-P5 on what the paper's row can be compared with)."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from instructloop.core.errors import DataError, MissingExtraError


def _version() -> str:
    try:
        return version("rouge-score")
    except PackageNotFoundError:
        return "not installed"


SIGNATURE = f"rougeL|fmeasure|stemmer:porter|sentences:joined|rouge-score:{_version()}"
"""Settings and version, to be printed beside every number: F-measure of the longest common subsequence of the whole texts, stemmed."""


def rouge_l(text: str, references: str | Sequence[str]) -> float:
    """ROUGE-L of a summary, 0..1: F-measure of the longest common subsequence of stemmed words, with the best reference.

    Args:
        text: the summary.
        references: one reference, or several.

    Raises:
        DataError: no reference.
        MissingExtraError: rouge-score is not installed.
    """
    options = [references] if isinstance(references, str) else list(references)
    if not options:
        raise DataError("a summary has no reference", hint="leave the item out, or give it one")
    scorer = _scorer()
    return max(float(scorer.score(option, text)["rougeL"].fmeasure) for option in options)


@cache
def _scorer() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError.for_extra("rouge-score", "evaluation") from error
    return RougeScorer(["rougeL"], use_stemmer=True)
