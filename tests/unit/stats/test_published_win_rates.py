"""Win rates, standard errors and counts of five models as a public leaderboard prints them; and what its length control and ours share."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instructloop.stats import length_controlled, preference_rate, weighted_record

BASELINE_CHARACTERS = 2049
"""The baseline's mean length on the leaderboard; its single answers are not in the file."""


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


@pytest.fixture(scope="module")
def judged(shared: Path) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in _rows(shared / "data/alpaca-eval-judgements/judgements.jsonl.gz"):
        found[row["model"]].append(row)
    return found


@pytest.fixture(scope="module")
def board(shared: Path) -> dict[str, dict[str, str]]:
    return {row["model"]: row for row in _rows(shared / "data/alpaca-eval-judgements/leaderboard.jsonl.gz")}


def test_all_five_published_rows_are_reproduced_to_a_ten_thousandth(judged: Any, board: Any) -> None:
    assert set(judged) == set(board)
    assert len(board) == 5
    for model, row in board.items():
        ours = weighted_record([one["preference"] - 1 for one in judged[model]])
        assert ours.win_rate == pytest.approx(float(row["win_rate"]), abs=1e-4)
        assert ours.standard_error == pytest.approx(float(row["standard_error"]), abs=1e-4)
        assert ours.discrete_win_rate == pytest.approx(float(row["discrete_win_rate"]), abs=1e-4)
        counts = (row["n_wins"], row["n_wins_base"], row["n_draws"], row["n_total"])
        assert (ours.wins, ours.losses, ours.ties, ours.n) == tuple(map(int, counts))


def test_the_bootstrap_agrees_with_the_published_standard_errors_where_each_prompt_has_one_verdict(judged: Any, board: Any) -> None:
    for model, row in board.items():
        interval = preference_rate([one["preference"] - 1 for one in judged[model]], [one["prompt_id"] for one in judged[model]])
        half = 1.96 * float(row["standard_error"])
        assert 100 * (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.08)


def test_length_control_moves_short_models_as_the_published_one_does(judged: Any, board: Any) -> None:
    # The published figure shares a difficulty for each prompt between models; here the prompt enters through the length that it calls for:
    # the baseline's answer is taken to be as much longer or shorter than its mean as the other models' answers to the prompt are than theirs.
    logs: dict[int, dict[str, float]] = defaultdict(dict)
    for model, rows in judged.items():
        for row in rows:
            logs[row["prompt_id"]][model] = float(np.log(max(1, row["output_chars"])))
    mean = {model: np.mean([own[model] for own in logs.values() if model in own]) for model in judged}
    near = 0
    for model, rows in judged.items():
        called_for = np.array(
            [np.mean([value - mean[name] for name, value in logs[row["prompt_id"]].items() if name != model]) for row in rows]
        )
        baseline = BASELINE_CHARACTERS * np.exp(called_for - called_for.mean())
        found = length_controlled([row["preference"] - 1 for row in rows], [row["output_chars"] for row in rows], baseline.tolist())
        published = float(board[model]["length_controlled_winrate"])
        near += 100 * found.rate.low <= published <= 100 * found.rate.high
        assert abs(100 * found.rate.value - published) < 6
    assert near >= 4
