"""Files of human votes."""

import json
from pathlib import Path

import pytest

from instructloop.core.errors import DataError
from instructloop.evaluation import read_votes

ROW = {"prompt": "Name a city.", "model_a": "sft", "model_b": "base", "winner": "a"}


@pytest.mark.parametrize(("winner", "expected"), [("a", 1.0), ("B", 0.0), ("tie", 0.5), ("base", 0.0), ("sft", 1.0)])
def test_a_winner_is_a_side_a_tie_or_a_models_name(winner: str, expected: float) -> None:
    assert read_votes([{**ROW, "winner": winner}])[0].win_a == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"winner": "c"}, "2: winner: 'c' is none of a, b, tie"),
        ({"model_b": "sft"}, "2: model_b: 'sft' is compared with itself"),
        ({"prompt": ""}, "2: prompt: missing"),
        ({"winner": None}, "2: winner: missing"),
        ({"prompt": 7}, "2: prompt: "),
    ],
)
def test_a_bad_vote_is_named_by_file_line_and_field(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = tmp_path / "votes.jsonl"
    file.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, **change}) + "\n")
    with pytest.raises(DataError, match=f"votes.jsonl:{message}"):
        read_votes(file)


def test_a_file_without_votes_says_what_a_vote_looks_like() -> None:
    with pytest.raises(DataError) as caught:
        read_votes([])
    assert "winner" in (caught.value.hint or "")
