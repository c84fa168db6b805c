"""The local toxicity classifier."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.scoring.toxicity import TextScorer, Toxicity, local_classifier, scored_texts

KIND = ["you are a good friend", "what a lovely day", "thank you for the help"]
RUDE = ["you are a stupid idiot", "what a dumb idiot you are", "shut up you stupid fool"]
ROWS = [
    {"text": f"{text} {index}", "toxicity": score} for texts, score in ((KIND, 0.1), (RUDE, 0.9)) for text in texts for index in range(12)
]


def test_a_rude_text_scores_above_a_kind_one() -> None:
    scorer: TextScorer = local_classifier(ROWS)
    rude, kind = scorer.score(["you stupid idiot", "a lovely friend"])
    assert 0 <= kind < 0.4 < 0.6 < rude <= 1
    assert scorer.score([]) == []
    assert scorer.signature.startswith("local-tfidf-ridge|rows:72|r:0.9")


def test_a_saved_classifier_scores_the_same(tmp_path: Path) -> None:
    scorer = local_classifier(ROWS)
    path = scorer.save(tmp_path / "toxicity.npz")
    again = local_classifier(path)
    assert again.score(RUDE) == scorer.score(RUDE)
    assert again.signature == scorer.signature
    assert isinstance(again, Toxicity)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "one", "prompt_toxicity": 0.2, "continuation": "two", "continuation_toxicity": 0.7},
        {"prompt": {"text": "one", "toxicity": 0.2}, "continuation": {"text": "two", "toxicity": 0.7}},
        {"prompt": '{"text": "one", "toxicity": 0.2}', "continuation": {"text": "two", "toxicity": 0.7}},
    ],
)
def test_all_layouts_of_realtoxicityprompts_are_read(row: dict[str, Any]) -> None:
    assert list(scored_texts([row])) == [("one", 0.2), ("two", 0.7)]


def test_null_scores_are_passed_over_and_labels_refused() -> None:
    assert list(scored_texts([{"text": "one", "toxicity": None}, {"text": " ", "toxicity": 0.5}, {"text": "two", "toxicity": 1}])) == [
        ("two", 1.0)
    ]
    with pytest.raises(DataError, match="row 1: a toxicity must be a number"):
        list(scored_texts([{"text": "one", "toxicity": True}]))
    with pytest.raises(DataError, match="at least 50 scored texts, got 1"):
        local_classifier([{"text": "one", "toxicity": 0.5}])


def test_it_ranks_comments_that_people_labelled(shared: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn computes the area under the curve")
    scorer = local_classifier(shared / "data" / "toxicity" / "realtoxicityprompts_5000.jsonl.gz")
    with gzip.open(shared / "data" / "toxicity" / "surge_labelled.jsonl.gz", "rt") as lines:
        labelled = [json.loads(line) for line in lines]
    scores = scorer.score([row["text"] for row in labelled])
    assert metrics.roc_auc_score([row["toxic"] for row in labelled], scores) >= 0.84
