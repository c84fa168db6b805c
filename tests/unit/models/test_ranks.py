"""How rows are shared out, without any second process (those are in ``tests/integration/test_two_ranks.py``)."""

from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from instructloop.models.ranks import ALONE, Ranks


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 5))
def test_every_row_is_on_exactly_one_process(lengths: list[int], size: int) -> None:
    shares = [Ranks(index, size).share(lengths) for index in range(size)]
    assert sorted(row for share in shares for row in share) == list(range(len(lengths)))
    assert all(share == sorted(share) for share in shares)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(2, 5))
def test_no_process_has_more_than_its_part_and_one_row(lengths: list[int], size: int) -> None:
    loads = [sum(lengths[row] for row in Ranks(index, size).share(lengths)) for index in range(size)]
    assert max(loads) <= sum(lengths) / size + max(lengths)


def test_longest_rows_go_to_the_process_with_least() -> None:
    # 9 -> first, 7 -> second, 5 -> second (7 < 9), 4 -> first (9 < 12), 2 -> second (12 < 13), 1 -> first (13 < 14)
    assert Ranks(0, 2).share([5, 9, 1, 7, 4, 2]) == [1, 2, 4]
    assert Ranks(1, 2).share([5, 9, 1, 7, 4, 2]) == [0, 3, 5]


def test_one_process_computes_and_keeps_everything() -> None:
    weight = nn.Parameter(nn.Linear(1, 1).weight.detach())
    ALONE.sum_gradients([weight])
    assert weight.grad is None
    assert ALONE.share([3, 1]) == [0, 1]
    assert ALONE.sum(1.5, 2.0) == (1.5, 2.0)
    assert ALONE.gather("it") == ["it"]
    assert ALONE.by_main(lambda: 7) == 7
    assert list(ALONE.in_step("ab", idle=lambda: "c", sharded=True)) == [("a", 1.0), ("b", 1.0)]
