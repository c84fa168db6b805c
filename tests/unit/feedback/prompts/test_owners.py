"""Owners: who they are, their split, the cap when prompts are drawn."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructloop.core.errors import ConfigError
from instructloop.feedback.prompts import SplitShares, at_most_per_owner, owner_of, split_of

owned = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**6)), max_size=60, unique_by=lambda item: item[1])


def test_an_organisation_owns_a_prompt_before_its_user_does() -> None:
    assert owner_of({"user": "bob", "organization": "acme"}) == "acme"
    assert owner_of({"user": "bob", "organization": " "}) == "bob"
    assert owner_of({"user_id": 7}) == "7"
    assert owner_of({"prompt": "x"}) is None


def test_splits_follow_the_shares_within_four_standard_errors() -> None:
    n = 20_000
    counts = Counter(split_of(f"sha256:{i}", SplitShares(train=0.7, valid=0.2, test=0.1)) for i in range(n))
    for name, share in (("train", 0.7), ("valid", 0.2), ("test", 0.1)):
        assert abs(counts[name] - n * share) < 4 * (n * share * (1 - share)) ** 0.5


def test_a_share_of_zero_gives_an_empty_split() -> None:
    assert {split_of(str(i), SplitShares(train=1.0, valid=0.0, test=0.0)) for i in range(500)} == {"train"}


def test_shares_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="sum to 1"):
        SplitShares(train=0.8, valid=0.1, test=0.2)
    with pytest.raises(ConfigError, match="at least 0"):
        SplitShares(train=1.2, valid=-0.1, test=-0.1)


@given(owned, st.integers(1, 20), st.integers(0, 5))
def test_the_cap_keeps_order_loses_nobody_below_it_and_never_exceeds_it(items: list[tuple[str, int]], cap: int, seed: int) -> None:
    kept = at_most_per_owner(items, lambda item: item[0], cap=cap, seed=seed, key=lambda item: str(item[1]))
    before, after = Counter(owner for owner, _ in items), Counter(owner for owner, _ in kept)
    assert after == Counter({owner: min(n, cap) for owner, n in before.items()})
    assert kept == [item for item in items if item in set(kept)]


@given(owned, st.integers(1, 20))
def test_what_the_cap_keeps_does_not_depend_on_the_order_of_the_rows(items: list[tuple[str, int]], cap: int) -> None:
    def kept(rows: list[tuple[str, int]]) -> set[tuple[str, int]]:
        return set(at_most_per_owner(rows, lambda item: item[0], cap=cap, key=lambda item: str(item[1])))

    assert kept(items) == kept(items[::-1])


def test_another_seed_draws_other_prompts_of_a_busy_owner() -> None:
    items = [("a", i) for i in range(1000)]
    first, second = (
        {number for _, number in at_most_per_owner(items, lambda item: item[0], seed=seed, key=lambda item: str(item[1]))}
        for seed in (0, 1)
    )
    assert len(first) == len(second) == 200
    assert len(first & second) < 100  # 40 expected by chance


def test_a_cap_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        at_most_per_owner([1], lambda _: "a", cap=0, key=str)
