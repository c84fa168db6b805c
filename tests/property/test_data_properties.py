"""Token batches and batching under random input: padding never leaks, every row appears exactly once."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instructloop.core.records import Message, Ranking
from instructloop.data import TextCodec, TokenSequence, batch_at, collate, grouped_micro_batches, micro_batches, steps_in, tokenize_rankings
from instructloop.testing import CHAT_TEMPLATE, CHAT_TEMPLATE_WITH_BOS, tiny_tokenizer

QUICK = settings(max_examples=60, deadline=None)
CODECS = [
    TextCodec(tiny_tokenizer(chat_template=template, bos=bos, pad_is_eos=same, eos_is_zero=zero))
    for template in (None, CHAT_TEMPLATE, CHAT_TEMPLATE_WITH_BOS)
    for bos in (True, False)
    for same in (True, False)
    for zero in (True, False)
]
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@st.composite
def sequences(draw: st.DrawFn) -> TokenSequence:
    ids = draw(st.lists(st.integers(0, 9), min_size=1, max_size=8))
    return TokenSequence(tuple(ids), draw(st.integers(0, len(ids))))


@QUICK
@given(st.lists(sequences(), min_size=1, max_size=6), st.integers(0, 9), st.data())
def test_a_batch_gives_back_its_rows_whatever_the_filler(rows: list[TokenSequence], pad: int, data: st.DataObject) -> None:
    batch = collate(rows, pad)
    assert batch.sequences() == rows
    aligned = [tokens[mask].tolist() for tokens, mask in zip(batch.completion_tokens, batch.completion_mask, strict=True)]
    assert aligned == [list(row.completion) for row in rows]
    assert int(batch.completion_positions.min()) >= 0
    assert bool((batch.completion_positions < batch.lengths[:, None]).all())
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    some, alone = batch.select(picked), collate([rows[index] for index in picked], pad)
    assert torch.equal(some.tokens, alone.tokens)
    assert torch.equal(some.completion_mask, alone.completion_mask)


@QUICK
@given(st.lists(st.lists(st.integers(1, 40), max_size=5), max_size=12), st.integers(1, 120), st.sampled_from([1, 8]))
def test_micro_batches_hold_every_group_once_within_the_budget(groups: list[list[int]], budget: int, multiple: int) -> None:
    batches = grouped_micro_batches(groups, budget, multiple=multiple)
    assert sorted(index for batch in batches for index in batch) == list(range(len(groups)))
    for batch in batches:
        rows = [-(-length // multiple) * multiple for index in batch for length in groups[index]]
        assert len(batch) == 1 or len(rows) * max(rows, default=0) <= budget


@QUICK
@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 120))
def test_rows_are_groups_of_one(lengths: list[int], budget: int) -> None:
    assert micro_batches(lengths, budget) == grouped_micro_batches([[length] for length in lengths], budget)


@QUICK
@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 3), st.integers(0, 3))
def test_epochs_visit_every_row_equally_often(n: int, batch_size: int, epochs: int, seed: int) -> None:
    batches = [batch_at(step, n, batch_size, seed, epochs=epochs) for step in range(steps_in(n, batch_size, epochs))]
    assert sorted(row for batch in batches for row in batch) == sorted(list(range(n)) * epochs)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert batches[-1]


@QUICK
@given(st.sampled_from(CODECS), texts.filter(lambda text: "<" not in text))
def test_completions_round_trip_and_prompts_have_at_most_one_bos(codec: TextCodec, text: str) -> None:
    """T12 and T1 over every mix of template, BOS, PAD and EOS."""
    bos = codec.tokenizer.bos_token_id
    ids = codec.encode_completion(text)
    assert codec.decode(ids) == text
    assert ids.count(codec.eos_id) == 1
    assert ids[-1] == codec.eos_id
    for prompt in (text, (Message("user", text),)):
        assert codec.encode_prompt(prompt).count(bos) == codec.encode_prompt("x").count(bos) <= 1


@QUICK
@given(st.lists(st.text("ab ", max_size=6), min_size=2, max_size=7), st.data())
def test_tokenized_groups_account_for_every_completion(completions: list[str], data: st.DataObject) -> None:
    ranks = data.draw(st.lists(st.none() | st.integers(0, 3), min_size=len(completions), max_size=len(completions)))
    good = Ranking(prompt="q", completions=("x", "y"), ranks=(0, 1))
    done = tokenize_rankings([Ranking(prompt="q", completions=tuple(completions), ranks=tuple(ranks)), good], CODECS[0], max_tokens=7)
    left_out = sum(done.notes.get(name, 0) for name in ("unranked", "empty", "over_long", "merged", "conflicting"))
    if 0 in done.sources:
        assert done[0].k + left_out == len(completions)
        assert set(done[0].ranks) == set(range(max(done[0].ranks) + 1))
        assert len({sequence.ids for sequence in done[0].sequences}) == done[0].k
    else:
        assert len(completions) - left_out < 2
        assert done.notes["too_small"] == 1
