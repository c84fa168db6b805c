"""Few-shot templates into training examples (spec A8)."""

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback.prompts import FewshotPair, FewshotTemplate, expand, sample_sets

TEMPLATE = FewshotTemplate(
    "Name the capital.", tuple(FewshotPair(q, r) for q, r in (("France", "Paris"), ("Peru", "Lima"), ("Mali", "Bamako")))
)


def test_k_pairs_make_k_examples_each_with_the_other_pairs_as_context() -> None:
    examples = expand(TEMPLATE)
    assert [item.completion for item in examples] == ["Paris", "Lima", "Bamako"]
    assert examples[1].prompt == (
        "Name the capital.\n\nInput: France\nOutput: Paris\n\nInput: Mali\nOutput: Bamako\n\nInput: Peru\nOutput:"
    )
    assert examples[1].meta == {"fewshot": {"template": TEMPLATE.sha256, "pair": 1, "shown": [0, 2]}}


def test_the_answer_asked_for_never_stands_in_its_own_context() -> None:
    for item in [*expand(TEMPLATE), *sample_sets(TEMPLATE, 9, shots=1, seed=4)]:
        assert item.completion not in str(item.prompt)


def test_further_sets_are_all_that_exist_when_more_are_asked_for_and_all_different() -> None:
    # 3 pairs to ask for x C(2, 1) pairs to show = 6 different ones
    sets = sample_sets(TEMPLATE, 100, shots=1, seed=0)
    assert len(sets) == 6
    assert len({(item.prompt, item.completion) for item in sets}) == 6
    assert sample_sets(TEMPLATE, 4, shots=1, seed=0) == sample_sets(TEMPLATE, 4, shots=1, seed=0)
    assert sample_sets(TEMPLATE, 4, shots=1, seed=0) != sample_sets(TEMPLATE, 4, shots=1, seed=1)


def test_a_large_template_gives_as_many_different_sets_as_asked_for() -> None:
    large = FewshotTemplate("Add one.", tuple(FewshotPair(str(i), str(i + 1)) for i in range(30)))
    sets = sample_sets(large, 50, shots=5, seed=0)
    assert len({item.prompt for item in sets}) == 50
    assert all(len(item.meta["fewshot"]["shown"]) == 5 for item in sets)


@pytest.mark.parametrize("shots", [0, 3])
def test_a_context_larger_than_the_template_is_refused(shots: int) -> None:
    with pytest.raises(ConfigError, match="can show 1 to 2"):
        sample_sets(TEMPLATE, 1, shots=shots, seed=0)


def test_one_pair_or_a_repeated_query_is_no_template() -> None:
    with pytest.raises(DataError, match="at least 2"):
        FewshotTemplate("x", (FewshotPair("a", "b"),))
    with pytest.raises(DataError, match="same query twice"):
        FewshotTemplate("x", (FewshotPair("a", "b"), FewshotPair("a", "c")))


def test_showing_the_pair_that_is_asked_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be shown"):
        TEMPLATE.prompt(0, [0, 1])
