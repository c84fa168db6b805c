"""What holds for every text: bounds, identity, symmetry, and that more references never lower a mark."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from instructloop.scoring.answers import drop_f1, normalize, quac_f1, squad_exact, squad_f1
from instructloop.scoring.choices import contained, pick
from instructloop.scoring.score import score_rows

texts = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from(["the", "a", "cat", "Ann", "7", "7.0", "1,000", "it's", "U.S.", "-", "é"]), max_size=7).map(" ".join),
)


@given(texts, st.lists(texts, min_size=1, max_size=4))
def test_marks_lie_between_0_and_1_and_an_exact_match_has_full_f1(text: str, references: list[str]) -> None:
    for mark in (squad_f1, squad_exact, quac_f1, drop_f1):
        assert 0 <= mark(text, references) <= 1 + 1e-12
    if squad_exact(text, references):
        assert squad_f1(text, references) == 1
    assert squad_f1(references[0], references) == 1 or not normalize(references[0])
    assert drop_f1(text, [text]) == 1


@given(texts, texts, texts)
def test_f1_is_symmetric_and_a_further_reference_never_lowers_it(text: str, first: str, second: str) -> None:
    assert math.isclose(squad_f1(text, [first]), squad_f1(first, [text]))
    if normalize(first):
        assert squad_f1(text, [first, second]) >= squad_f1(text, [first])
    assert drop_f1(text, [first, second]) >= drop_f1(text, [first])


@given(st.lists(st.tuples(st.floats(-100, 0), st.integers(1, 50)), min_size=1, max_size=6))
def test_the_pick_does_not_depend_on_the_order_of_the_options(options: list[tuple[float, int]]) -> None:
    best = max(logprob / length for logprob, length in options)
    turned = options[::-1]
    for given_options in (options, turned):
        chosen = pick([logprob for logprob, _ in given_options], [length for _, length in given_options])
        assert given_options[chosen][0] / given_options[chosen][1] == best


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(" ".join), min_size=1, max_size=6, unique=True))
def test_every_option_is_found_in_its_own_text(options: list[str]) -> None:
    assert [contained(f"({option.upper()}).", options) for option in options] == list(range(len(options)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["c1", "c2", "c3"]), texts, texts), min_size=1, max_size=20))
def test_every_number_of_a_table_has_the_n_of_its_outputs_and_an_ordered_interval(rows: list[tuple[str, str, str, str]]) -> None:
    table = score_rows(
        "squadv2",
        [{"model": model, "context": context, "sample": text, "reference": wanted} for model, context, text, wanted in rows],
        samples=100,
    )
    for row in table["rows"]:
        for model, result in row["results"].items():
            assert result["n"] == sum(name == model for name, *_ in rows)
            assert 0 <= result["value"] <= 100 + 1e-9
            assert result["low"] is None or result["low"] - 1e-9 <= result["high"]
