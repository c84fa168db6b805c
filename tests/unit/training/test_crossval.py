"""Labelers in groups of about equal data."""

import pytest

from instructloop.core.errors import ConfigError
from instructloop.core.records import Ranking
from instructloop.training.crossval import labeler_groups


def rows(counts: dict[str, int]) -> list[Ranking]:
    return [
        Ranking(prompt=f"{name} {i}", completions=("x", "y"), ranks=(0, 1), labeler=name)
        for name, count in counts.items()
        for i in range(count)
    ]


def test_groups_have_about_equal_data_and_every_labeler_once() -> None:
    counts = {"a": 10, "b": 6, "c": 4, "d": 5, "e": 5, "f": 7, "g": 3}
    groups = labeler_groups(rows(counts), 4, seed=0)
    assert sorted(name for group in groups for name in group) == sorted(counts)
    loads = [sum(counts[name] for name in group) for group in groups]
    assert loads == [10, 10, 10, 10]


def test_another_seed_deals_equal_labelers_differently() -> None:
    counts = dict.fromkeys("abcdefgh", 2)
    found = {str(sorted(labeler_groups(rows(counts), 4, seed))) for seed in range(5)}
    assert len(found) > 1


def test_fewer_labelers_than_groups_are_refused_with_the_remedy() -> None:
    anonymous = Ranking(prompt="p", completions=("x", "y"), ranks=(0, 1))
    with pytest.raises(ConfigError, match="name 2") as error:
        labeler_groups([*rows({"a": 1, "b": 1}), anonymous], 5, seed=0)
    assert "labeler" in (error.value.hint or "")
