"""Short answers against reference answers: SQuAD's and DROP's F1 and exact match, and QuAC's F1 (spec G8, K2, K3)."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from instructloop.core.errors import DataError

Spans: TypeAlias = str | Sequence[str]
"""One answer of DROP: a text, or several spans that all belong to it."""

NOT_IN_BACKGROUND = "Not in background."
"""What the paper's SQuADv2 frame asks for where the passage does not answer (G8)."""
NO_ANSWER_QUAC = "I don't know."
"""The same in the paper's QuAC frame (G8); the data set itself writes CANNOTANSWER."""

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case without ASCII punctuation and English articles, white space collapsed (K3)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def token_f1(text: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the multisets of normalized words; two empty answers agree fully."""
    given, wanted = normalize(text).split(), normalize(reference).split()
    if not given or not wanted:
        return float(given == wanted)
    shared = (Counter(given) & Counter(wanted)).total()
    return 2 * shared / (len(given) + len(wanted))


def exact(text: str, reference: str) -> float:
    """1.0 where both are the same after ``normalize``, else 0.0."""
    return float(normalize(text) == normalize(reference))


def squad_f1(text: str, references: Sequence[str], *, no_answer: str = "") -> float:
    """Token F1 with the best of the reference alternatives, 0..1 (official SQuADv2 evaluation; K3).

    Args:
        text: the answer given.
        references: accepted answers; none at all means that the question has no answer.
        no_answer: a phrase that stands for "no answer" on both sides, so that it agrees fully with itself and shares no word with
            anything else. Empty (the paper's figures, K2) scores such a phrase as ordinary text.
    """
    return _best(token_f1, text, references, no_answer)


def squad_exact(text: str, references: Sequence[str], *, no_answer: str = "") -> float:
    """1.0 where the answer equals a reference after ``normalize``, else 0.0; arguments as in ``squad_f1``."""
    return _best(exact, text, references, no_answer)


def quac_f1(text: str, references: Sequence[str], *, leave_one_out: bool = False, no_answer: str = NO_ANSWER_QUAC) -> float:
    """Token F1 of an answer in a QuAC dialogue, 0..1.

    The annotators decide by majority whether there is an answer: at a tie or more "no answer" the only reference is ``no_answer``,
    otherwise such references are left out (official scorer).

    Args:
        text: the answer given.
        references: one answer per annotator.
        leave_one_out: average over leaving each annotator out, the number that is comparable with human performance; the default
            takes the best reference.
        no_answer: how the references write "no answer"; ``CANNOTANSWER`` counts too.
    """
    absent = {normalize(no_answer), "cannotanswer"}
    spans = [reference for reference in references if normalize(reference) not in absent]
    kept = [no_answer] if 2 * len(spans) <= len(references) else spans
    if not leave_one_out or len(kept) == 1:
        return _best(token_f1, text, kept, "")
    parts = [_best(token_f1, text, [*kept[:left_out], *kept[left_out + 1 :]], "") for left_out in range(len(kept))]
    return sum(parts) / len(parts)


def drop_f1(text: Spans, references: Sequence[Spans]) -> float:
    """DROP's F1, 0..1, with the best reference: words as sets, numbers must agree, spans matched one to one (K3).

    Not rounded; the official script rounds each answer to two decimals.

    Raises:
        DataError: no reference.
    """
    return max(_aligned_f1(_bags(text), _bags(reference)) for reference in _some(references))


def drop_exact(text: Spans, references: Sequence[Spans]) -> float:
    """1.0 where the spans of the answer are those of a reference after DROP's normalization, else 0.0."""
    given = [_normalize_drop(span) for span in _spans(text)]
    wanted = ([_normalize_drop(span) for span in _spans(reference)] for reference in _some(references))
    return max(float(set(given) == set(spans) and len(given) == len(spans)) for spans in wanted)


def _best(mark: Callable[[str, str], float], text: str, references: Sequence[str], no_answer: str) -> float:
    absent = normalize(no_answer)
    if absent:
        text = "" if normalize(text) == absent else text
        references = ["" if normalize(reference) == absent else reference for reference in references]
    alternatives = [reference for reference in references if normalize(reference)] or [""]
    return max(mark(text, reference) for reference in alternatives)


def _some(references: Sequence[Spans]) -> Sequence[Spans]:
    if isinstance(references, str) or not references:
        raise DataError(f"references must be a list of at least one answer, got {references!r}", hint='["7761"] or [["Ann", "Bob"]]')
    return references


def _spans(answer: Spans) -> Sequence[str]:
    return [answer] if isinstance(answer, str) else answer


def _bags(answer: Spans) -> list[set[str]]:
    return [set(_normalize_drop(span).split()) for span in _spans(answer)]


def _normalize_drop(span: str) -> str:
    """Words split at blanks and hyphens; a number becomes its float, so that 7 and 7.0 agree; other words lose punctuation and articles."""
    return " ".join(word for part in re.split(r"[ -]", span.lower()) if (word := _normalize_word(part)))


def _normalize_word(word: str) -> str:
    if not _is_number(word):
        word = word.translate(_WITHOUT_PUNCTUATION)
    if _is_number(word):
        word = str(float(word))
    return " ".join(_ARTICLES.sub(" ", word).split())


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _aligned_f1(given: Sequence[set[str]], wanted: Sequence[set[str]]) -> float:
    """Mean F1 over spans under the best one-to-one matching; spans left over on either side count as 0."""
    scores = [[_bag_f1(bag, wanted=other) for bag in given] for other in wanted]
    if len(given) == len(wanted) == 1:
        return scores[0][0]
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    table = np.array(scores)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum()) / max(len(given), len(wanted))


def _bag_f1(given: set[str], *, wanted: set[str]) -> float:
    numbers = {word for word in wanted if _is_number(word)}
    if numbers and not numbers & given:
        return 0.0
    shared = len(given & wanted)
    precision = shared / len(given) if given else 1.0
    recall = shared / len(wanted) if wanted else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
