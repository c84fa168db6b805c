"""Real rankings, real text: ``train rm`` from a small real language model, beside two baselines that need no language model.

Floors of a held-out fifth, split by prompt: accuracy 0.66 on truthfulqa's K = 4..9 rankings, 0.83 on the small preference pairs. Beside
them stand the longer-wins rate and a linear Bradley-Terry model on TF-IDF differences, on exactly the same split.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from instructloop.config import CheckpointConfig, ComputeConfig, OptimizerConfig, RewardModelConfig
from instructloop.core.files import read_json
from instructloop.core.records import Ranking
from instructloop.formats import read_rankings, split_by_prompt
from instructloop.training.reward_model import run_reward_model

pytestmark = pytest.mark.slow


def linear_accuracy(train: Sequence[Ranking], held_out: Sequence[Ranking]) -> float:
    """Logistic regression without intercept on differences of TF-IDF vectors (words and word pairs) of the completions."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    vectorizer.fit([text for row in train for text in row.completions])

    def differences(rows: Sequence[Ranking]) -> object:
        winners = [row.completions[winner] for row in rows for winner, _ in row.strict_pairs()]
        losers = [row.completions[loser] for row in rows for _, loser in row.strict_pairs()]
        return vectorizer.transform(winners) - vectorizer.transform(losers)

    forward = differences(train)
    signs = np.where(np.arange(forward.shape[0]) % 2 == 0, 1, -1)
    model = LogisticRegression(fit_intercept=False, C=10.0, max_iter=500).fit(forward.multiply(signs[:, None]).tocsr(), signs)
    return float((model.decision_function(differences(held_out)) > 0).mean())


def train(shared: Path, data: Path, out: Path, *, epochs: int, batch_prompts: int) -> dict[str, float]:
    """The stage as the command line runs it; prints the comparison and returns the held-out table."""
    cfg = RewardModelConfig(
        model=str(shared / "models" / "model-stories260K"),
        data=(str(data),),
        validation_fraction=0.2,
        epochs=epochs,
        batch_prompts=batch_prompts,
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=10),
        compute=ComputeConfig(device="cpu", micro_batch_tokens=8192),
        checkpoint=CheckpointConfig(every_steps=1000),
        skip_bad_rows=True,
    )
    report: dict[str, float] = read_json(run_reward_model(cfg, out) / "result.json")["held_out"]
    rows = read_rankings(data, skip_bad_rows=True).records
    report["linear"] = linear_accuracy(*split_by_prompt(rows, cfg.validation_fraction, cfg.seed))
    shown = {name: value for name, value in report.items() if not isinstance(value, dict)}
    print(f"\n{data.name}: {shown}\nby K: { {k: round(part['accuracy'], 3) for k, part in report['by_k'].items()} }")  # noqa: T201
    return report


def test_rankings_of_true_and_false_answers_are_learned(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "truthfulqa" / "rankings_train.jsonl.gz"
    report = train(shared, data, tmp_path / "run", epochs=1, batch_prompts=32)
    assert report["accuracy"] >= 0.66
    assert report["accuracy"] > report["longer_wins"] + 0.1
    assert report["low"] > 0.6


def test_a_thousand_preference_pairs_are_learned(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "small-demos" / "rasbt_preference_1100_train.jsonl.gz"
    report = train(shared, data, tmp_path / "run", epochs=3, batch_prompts=16)
    assert report["accuracy"] >= 0.83
    assert report["accuracy"] > report["longer_wins"] + 0.2
