"""Prompts that say the same: keys, shingles, near duplicates against brute force."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructloop.core.errors import ConfigError
from instructloop.core.records import Message
from instructloop.feedback.prompts.duplicates import NearIndex, evened, exact_key, shingles, similarity
from instructloop.feedback.records import prefix_key


def test_case_white_space_and_unicode_form_do_not_make_a_prompt_new() -> None:
    assert exact_key("Caf\u00e9  au\nlait ") == exact_key("CAFE\u0301 au lait")
    assert exact_key("a b") != exact_key("ab")


def test_a_long_common_beginning_gives_the_same_prefix_key_and_a_short_one_does_not() -> None:
    head = "You are a helpful bot for the Acme shop. " * 5  # 205 characters
    assert prefix_key(head + "Where is my parcel?") == prefix_key(head.upper() + "Cancel my order!")
    assert prefix_key(head[:150] + "Where is my parcel?") != prefix_key(head[:150] + "Cancel my order!")
    assert prefix_key("short one") != prefix_key("short one, longer")


def test_a_shared_system_text_does_not_make_two_requests_relatives() -> None:
    system = Message("system", "You are the assistant of a bank. " * 20)
    first, second = (system, Message("user", "What is a bond?")), (system, Message("user", "Close my account."))
    assert prefix_key(first) != prefix_key(second)
    assert exact_key(first) != exact_key(second)
    assert evened(first) == "user: what is a bond?"


def test_shingles_and_similarity_match_a_count_by_hand() -> None:
    # 3-grams: abc bcd cde  |  abc bcd cdf: 2 shared of 4
    first, second = shingles("a b c d e"), shingles("a b c d f")
    assert len(first) == 3
    assert similarity(first, second) == 0.5
    assert similarity(shingles("x"), shingles("x")) == 1.0
    assert similarity(shingles(""), shingles("")) == 1.0


def test_the_index_finds_what_comparing_all_pairs_finds() -> None:
    rng = random.Random(3)
    words = [f"w{i}" for i in range(300)]
    texts = [" ".join(rng.choices(words, k=40)) for _ in range(80)]
    for text in list(texts):  # relatives at all distances
        changed = text.split()
        for place in rng.sample(range(40), rng.randrange(1, 8)):
            changed[place] = rng.choice(words)
        texts.append(" ".join(changed))
    index, missed, found = NearIndex(0.6), 0, 0
    for place, text in enumerate(texts):
        near = index.find(text)
        best = max((similarity(shingles(text), shingles(other)) for other in texts[:place]), default=0.0)
        assert (near is not None) <= (best >= 0.6)  # never a false one
        missed += best >= 0.6 and near is None
        found += near is not None
        index.add(str(place), text)
    assert found > 30
    assert missed == 0


def test_the_most_similar_text_is_named_and_ignored_keys_do_not_count() -> None:
    index = NearIndex(0.5)
    index.add("far", "one two three four five six seven eight nine ten eleven twelve")
    index.add("near", "one two three four five six seven eight nine ten red blue")
    text = "one two three four five six seven eight nine ten red green"
    assert index.find(text) == "near"
    assert index.find(text, ignore=lambda key: key == "near") == "far"
    assert index.find("something else altogether, of other words") is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_similarity_is_symmetric_and_one_only_for_equal_shingles(first: str, second: str) -> None:
    a, b = shingles(first), shingles(second)
    assert similarity(a, b) == similarity(b, a)
    assert (similarity(a, b) == 1.0) == (a == b)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, 2.0])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match="must be in"):
        NearIndex(threshold)
