"""Both bad: a tie in the win rate, and counted apart."""

from instructloop.evaluation.comparison import compare_votes
from instructloop.evaluation.votes import read_votes


def test_both_bad_is_half_a_win_each_and_is_told_apart() -> None:
    rows = [
        {"prompt": f"p{n}", "model_a": "old", "model_b": "new", "winner": winner} for n, winner in enumerate(["b", "b", "both_bad", "tie"])
    ]
    table = compare_votes(read_votes(rows), samples=100)
    assert {name: table["both_bad"][name] for name in ("votes", "share", "n")} == {"votes": 1, "share": 0.25, "n": 4}
    new_over_old = next(win for win in table["wins"] if (win["a"], win["b"]) == ("new", "old"))
    # two wins and two halves of four votes
    assert new_over_old["win_rate"] == 0.75
