"""Tables of a comparison, with numbers worked out by hand."""

import pytest

from instructloop.core.errors import DataError
from instructloop.core.records import Prompt
from instructloop.evaluation import Judged, Vote, compare, compare_votes, distinct_n, judge_rows, tabulate

PROMPTS = [Prompt(prompt=f"question {index}", meta={"use_case": "chat" if index % 2 else "open_qa", "truth": index}) for index in range(4)]


def rows(model: str, texts: list[str], *, draws: int = 1) -> list[dict[str, object]]:
    return [
        {
            "prompt_id": place // draws,
            "prompt": PROMPTS[place // draws].prompt,
            "use_case": PROMPTS[place // draws].meta["use_case"],
            "model": model,
            "draw": place % draws,
            "completion": text,
            "ended": len(text) < 4,
        }
        for place, text in enumerate(texts)
    ]


def by_length(prompts: list[Prompt], completions: list[str]) -> list[float]:
    return [float(len(text)) for text in completions]


def wins(table: dict[str, object], a: str, b: str) -> dict[str, float]:
    return next(row for row in table["wins"] if (row["a"], row["b"]) == (a, b))  # type: ignore[attr-defined]


def test_two_wins_a_tie_and_a_loss_are_five_eighths() -> None:
    table = compare([*rows("old", ["a", "a", "aa", "aaa"]), *rows("new", ["bb", "bb", "bb", "b"])], by_length)
    found = wins(table, "new", "old")
    assert found["win_rate"] == 2.5 / 4
    assert (found["n"], found["ties"], table["n_prompts"]) == (4, 1, 4)
    assert found["low"] < found["win_rate"] < found["high"]


def test_both_directions_of_a_comparison_add_up_to_one() -> None:
    table = compare([*rows("old", ["a", "a", "aa", "aaa"]), *rows("new", ["bb", "bb", "bb", "b"])], by_length)
    one, other = wins(table, "new", "old"), wins(table, "old", "new")
    assert one["win_rate"] + other["win_rate"] == 1
    assert one["low"] == pytest.approx(1 - other["high"])


def test_intervals_resample_prompts_so_copying_every_answer_changes_nothing() -> None:
    once = compare([*rows("old", ["a", "a", "aa", "aaa"]), *rows("new", ["bb", "bb", "bb", "b"])], by_length)
    doubled = ["bb", "bb", "bb", "bb", "bb", "bb", "b", "b"]
    twice = compare([*rows("old", ["a", "a", "a", "a", "aa", "aa", "aaa", "aaa"], draws=2), *rows("new", doubled, draws=2)], by_length)
    one, two = wins(once, "new", "old"), wins(twice, "new", "old")
    assert (two["n"], two["clusters"]) == (8, 4)
    assert (one["low"], one["high"]) == (two["low"], two["high"])


def test_the_voter_sees_the_meta_of_the_prompt_and_never_the_model() -> None:
    seen = []

    class Truth:
        def judge(self, prompts: list[Prompt], completions: list[str]) -> list[Judged]:
            seen.extend((prompt.meta["truth"], text) for prompt, text in zip(prompts, completions, strict=True))
            return [
                Judged(score=float(len(text)), parts={"long": 1.0}, flags={"hedged": text == "a" if prompt.meta["truth"] > 1 else None})
                for prompt, text in zip(prompts, completions, strict=True)
            ]

    table = compare(rows("one", ["a", "bb", "a", "bb"]), Truth(), PROMPTS)
    assert seen == [(0, "a"), (1, "bb"), (2, "a"), (3, "bb")]
    assert table["scores"]["one"]["mean"] == 1.5
    flag = table["scores"]["one"]["flags"]["hedged"]
    assert (flag["rate"], flag["n"]) == (0.5, 2), "only the prompts where the question arises count"


def test_groups_are_tables_of_their_own() -> None:
    table = compare([*rows("old", ["a", "aa", "a", "aa"]), *rows("new", ["bb", "b", "bb", "b"])], by_length)
    assert wins(table["groups"]["open_qa"], "new", "old")["win_rate"] == 1
    assert wins(table["groups"]["chat"], "new", "old")["win_rate"] == 0
    assert table["groups"]["chat"]["n_prompts"] == 2


def test_samples_cover_every_use_case_and_show_all_models() -> None:
    table = compare([*rows("old", list("abcd")), *rows("new", list("efgh"))], by_length, shown=2)
    assert {row["use_case"] for row in table["samples"]} == {"chat", "open_qa"}
    assert all(set(row["completions"]) == {"old", "new"} for row in table["samples"])


def test_equal_inputs_give_equal_tables() -> None:
    judged = judge_rows([*rows("old", list("abcd")), *rows("new", ["aa", "b", "cc", "d"])], by_length)
    assert tabulate(judged, voter_name="length", seed=3) == tabulate(judged, voter_name="length", seed=3)


def test_a_model_that_missed_a_prompt_is_refused() -> None:
    with pytest.raises(DataError, match="new has 3 completions, old has 4"):
        compare([*rows("old", list("abcd")), *rows("new", list("efg"))], by_length)


@pytest.mark.parametrize(("scores", "message"), [([1.0], "1 judgements for 4"), ([1.0, 2.0, float("nan"), 0.0], "completion 2 is nan")])
def test_a_voter_that_answers_wrongly_is_named(scores: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare(rows("one", list("abcd")), lambda prompts, completions: scores)


def test_distinct_2_counts_different_pairs_of_words() -> None:
    # "a b a b" has the pairs ab, ba, ab and "a b" has ab: 2 different ones of 4
    assert distinct_n(["a b a b", "a b"]) == 0.5
    assert distinct_n(["word", ""]) == 0


def test_votes_of_people_count_whichever_side_a_model_stood_on() -> None:
    votes = [
        Vote(prompt="p", model_a="sft", model_b="base", win_a=1.0, labeler="L1"),
        Vote(prompt="q", model_a="base", model_b="sft", win_a=0.0, labeler="L2"),
        Vote(prompt="r", model_a="base", model_b="sft", win_a=0.5, labeler="L2"),
        Vote(prompt="r", model_a="base", model_b="sft", win_a=1.0, labeler="L1"),
    ]
    table = compare_votes(votes)
    found = wins(table, "base", "sft")
    assert (found["win_rate"], found["n"], found["clusters"], found["ties"]) == (1.5 / 4, 4, 3, 1)
    assert table["labelers"] == ["L1", "L2"]
