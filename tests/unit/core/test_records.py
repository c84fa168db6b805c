from hypothesis import given
from hypothesis import strategies as st

from instructloop.core.records import Message, Pair, Ranking, dense_ranks, prompt_json, prompt_text


def ranking(*ranks: int | None) -> Ranking:
    return Ranking(prompt="p", completions=tuple(f"c{i}" for i in range(len(ranks))), ranks=ranks)


def test_a_ranking_of_three_without_ties_has_three_strict_pairs_with_the_better_one_first() -> None:
    assert list(ranking(1, 0, 2).strict_pairs()) == [(1, 0), (0, 2), (1, 2)]


def test_ties_and_unranked_completions_give_no_pair() -> None:
    tied = ranking(0, 0, 1, None)
    assert list(tied.strict_pairs()) == [(0, 2), (1, 2)]
    assert (tied.k, tied.tied_pairs) == (3, 1)


def test_an_all_tied_group_has_no_strict_pair() -> None:
    assert list(ranking(0, 0, 0).strict_pairs()) == []
    assert ranking(0, 0, 0).tied_pairs == 3


def test_nine_ranked_completions_give_thirty_six_pairs_and_a_batch_of_64_gives_2304() -> None:
    pairs = len(list(ranking(*range(9)).strict_pairs()))
    assert (pairs, 64 * pairs) == (36, 2304)  # spec D6, K5


def test_only_the_order_of_ranks_counts() -> None:
    assert dense_ranks((5, 2, 5, None)) == (1, 0, 1, None)
    assert dense_ranks((-3, 100)) == (0, 1)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=9))
def test_dense_ranks_keep_every_comparison(ranks: list[int]) -> None:
    dense = dense_ranks(tuple(ranks))
    for a, dense_a in zip(ranks, dense, strict=True):
        for b, dense_b in zip(ranks, dense, strict=True):
            assert (a < b) == (dense_a < dense_b)
    assert set(dense) == set(range(len(set(ranks))))


def test_a_pair_is_a_ranking_of_two_that_keeps_its_labeler() -> None:
    pair = Pair(prompt="p", chosen="good", rejected="bad", meta={"labeler": "L03", "confidence": 0.9})
    as_ranking = pair.as_ranking()
    assert as_ranking.completions == ("good", "bad")
    assert as_ranking.ranks == (0, 1)
    assert (as_ranking.labeler, as_ranking.confidence) == ("L03", 0.9)


def test_a_conversation_has_a_readable_text_and_json_form() -> None:
    conversation = (Message("system", "Be brief."), Message("user", "Hi"))
    assert prompt_text(conversation) == "system: Be brief.\nuser: Hi"
    assert prompt_json(conversation) == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert prompt_json("Hi") == "Hi"
