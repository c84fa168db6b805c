"""What holds of every comparison, whatever the scores; and that no text ever becomes markup."""

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from instructloop.evaluation import tabulate
from instructloop.report.chart import Series, line_chart

SCORES = st.lists(st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5, 2.0])] * 3), min_size=1, max_size=12)


def judged(scores: list[tuple[float, ...]]) -> list[dict[str, object]]:
    return [
        {"prompt_id": place, "prompt": f"p{place}", "use_case": None, "model": f"m{model}", "draw": 0, "completion": "x", "score": score, "parts": {}, "flags": {}}
        for place, row in enumerate(scores)
        for model, score in enumerate(row)
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(scores=SCORES)
def test_the_two_directions_mirror_each_other_and_intervals_hold_the_value(scores: list[tuple[float, ...]]) -> None:
    wins = {(row["a"], row["b"]): row for row in tabulate(judged(scores), voter_name="v", samples=100)["wins"]}
    for (a, b), row in wins.items():
        other = wins[b, a]
        assert abs(row["win_rate"] + other["win_rate"] - 1) < 1e-12
        assert abs(row["low"] + other["high"] - 1) < 1e-12
        assert -1e-12 <= row["low"] <= row["win_rate"] + 1e-12
        assert row["win_rate"] - 1e-12 <= row["high"] <= 1 + 1e-12
        assert row["ties"] == other["ties"]


@settings(max_examples=30, deadline=None)
@given(scores=SCORES, random=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(scores: list[tuple[float, ...]], random: object) -> None:
    rows = judged(scores)
    shuffled = sorted(rows, key=lambda row: (str(row["model"]), random.random()))  # type: ignore[attr-defined]
    assert tabulate(shuffled, voter_name="v", samples=100) == tabulate(rows, voter_name="v", samples=100)


@settings(max_examples=30, deadline=None)
@given(scores=SCORES, shift=st.sampled_from([-3.0, 7.0]), scale=st.sampled_from([0.5, 10.0]))
def test_only_the_order_of_scores_decides_who_wins(scores: list[tuple[float, ...]], shift: float, scale: float) -> None:
    moved = [tuple(scale * score + shift for score in row) for row in scores]
    assert tabulate(judged(moved), voter_name="v", samples=100)["wins"] == tabulate(judged(scores), voter_name="v", samples=100)["wins"]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


@settings(max_examples=100, deadline=None)
@given(name=st.text(alphabet="<>\"'&/= script onload img svg\n{}%", max_size=40), title=st.text(alphabet="<>\"'&/=ab", max_size=20))
def test_no_name_opens_a_tag_or_an_attribute(name: str, title: str) -> None:
    plain, hostile = _Tags(), _Tags()
    plain.feed(line_chart([Series("loss", [(0, 0), (1, 1)])], title="Loss"))
    hostile.feed(line_chart([Series("x" + name, [(0, 0), (1, 1)])], title=title))
    assert hostile.seen == plain.seen
    assert hostile.attributes == plain.attributes
