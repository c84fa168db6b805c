"""Batches as pure functions of the step, and micro-batches within a token budget."""

import pytest

from instructloop.core.errors import ConfigError
from instructloop.data.batching import batch_at, epoch_order, grouped_micro_batches, micro_batches, steps_in


def test_micro_batches_pack_by_length() -> None:
    """Lengths 5 4 3 2 1, budget 8: 5 alone (2 x 5 > 8), 4 with 3 (2 x 4 = 8), 2 with 1."""
    assert micro_batches([1, 5, 3, 2, 4], 8) == [[1], [4, 2], [3, 0]]


def test_a_row_beyond_the_budget_stands_alone() -> None:
    assert micro_batches([100, 2, 2], 8) == [[0], [1, 2]]


def test_multiple_rounds_lengths_up() -> None:
    assert micro_batches([3, 3], 7) == [[0, 1]]
    assert micro_batches([3, 3], 7, multiple=4) == [[0], [1]]


def test_groups_stay_together() -> None:
    """Areas: group 0 is 2 x 4 = 8, group 1 is 3 x 2 = 6; together 5 x 4 = 20."""
    groups = [[4, 1], [2, 2, 2], [1]]
    assert grouped_micro_batches(groups, 20) == [[0, 1], [2]]
    assert grouped_micro_batches(groups, 19) == [[0], [1, 2]]


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="positive budget"):
        micro_batches([1], 0)


def test_each_epoch_visits_every_row_once_and_in_its_own_order() -> None:
    seen = [row for step in range(10) for row in batch_at(step, 10, 2, seed=3)]
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert seen[:10] == epoch_order(10, 3, 0)


def test_batches_run_over_the_border_of_epochs_and_stay_full() -> None:
    assert batch_at(1, 5, 4, seed=0) == [*epoch_order(5, 0, 0)[4:], *epoch_order(5, 0, 1)[:3]]
    assert len(batch_at(0, 3, 8, seed=0)) == 8


def test_the_last_batch_of_a_fixed_number_of_epochs_is_short() -> None:
    sizes = [len(batch_at(step, 5, 4, seed=0, epochs=2)) for step in range(steps_in(5, 4, 2))]
    assert sizes == [4, 4, 2]
    assert batch_at(3, 5, 4, seed=0, epochs=2) == []


def test_a_batch_depends_on_its_step_and_seed_alone() -> None:
    assert batch_at(7, 100, 16, seed=1) == batch_at(7, 100, 16, seed=1)
    assert batch_at(7, 100, 16, seed=1) != batch_at(7, 100, 16, seed=2)


def test_no_rows_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="from 0 rows"):
        batch_at(0, 0, 4, seed=0)
