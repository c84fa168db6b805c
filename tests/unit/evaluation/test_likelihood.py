"""Continuations scored in batches equal a plain pass over one text at a time."""

import math
from pathlib import Path

import pytest
import torch

from instructloop.config import ComputeConfig
from instructloop.core.errors import DataError
from instructloop.data import TextCodec
from instructloop.evaluation.sampling import Candidate, Subject, opened
from instructloop.evaluation.suites.likelihood import divide, sequence_logprobs
from instructloop.testing.models import ARCHITECTURES, Architecture, save_tiny, tiny_model
from instructloop.testing.tokenizers import CHAT_TEMPLATE, tiny_tokenizer

PAIRS = [
    ("The cat sat on the", " mat"),
    ("The cat sat on the", " roof of a house"),
    ("", "No context at all."),
    ("Two words ", "more"),
    ("The cat sat on the", " dog"),
    ("é ü 漢", " 字"),
]


def subject(arch: Architecture = "llama", *, context: int = 256, template: str | None = None, bos: bool = True) -> Subject:
    model = tiny_model(arch, context=context)
    codec = TextCodec(tiny_tokenizer(chat_template=template, bos=bos), chat_template=template is not None)
    return Subject("tiny", Candidate(path="tiny"), model, codec)


@torch.no_grad()
def one_by_one(of: Subject, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """A second implementation: all logits of one row, a loop over its tokens."""
    ids = context + continuation
    logits = of.model(torch.tensor([ids])).logits[0].double()
    total, greedy = 0.0, True
    for place in range(len(context), len(ids)):
        row = logits[place - 1]
        total += float(row[ids[place]] - torch.logsumexp(row, 0))
        greedy &= int(row.argmax()) == ids[place]
    return total, greedy


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_batches_equal_a_pass_over_one_text_at_a_time(arch: Architecture) -> None:
    of = subject(arch)
    for budget in (16, 64, 8192):
        for pair, found in zip(PAIRS, sequence_logprobs(of, PAIRS, budget_tokens=budget), strict=True):
            context, continuation = divide(of, *pair)
            total, greedy = one_by_one(of, context, continuation)
            assert found.sum == pytest.approx(total, abs=2e-5)
            assert found.tokens == len(continuation)
            assert found.greedy == greedy
            assert not found.cut


def test_bytes_are_divided_where_the_context_ends_and_its_last_space_moves_over() -> None:
    of = subject()
    context, continuation = divide(of, "Two words ", "more")
    assert of.codec.tokenizer.decode(context, skip_special_tokens=True) == "Two words"
    assert of.codec.tokenizer.decode(continuation) == " more"
    assert context[0] == 1  # BOS
    assert len(continuation) == 5


def test_an_empty_context_is_the_beginning_of_sequence_token_even_where_texts_get_none() -> None:
    of = subject(bos=False)
    context, continuation = divide(of, "", "abc")
    assert context == [1]
    assert len(continuation) == 3


def test_what_greedy_decoding_writes_is_called_greedy() -> None:
    of = subject()
    ids, (letter,) = of.codec.encode_text("Once")[:-1], of.codec.tokenizer.encode("z", add_special_tokens=False)
    with torch.no_grad():
        # a head that gives z the squared norm of what it reads, and every other token zero
        hidden = of.model.base_model(torch.tensor([ids])).last_hidden_state[0, -1]
        of.model.lm_head.weight.zero_()
        of.model.lm_head.weight[letter] = hidden
    best, other = sequence_logprobs(of, [("Once", "z"), ("Once", "y")])
    assert best.greedy
    assert not other.greedy
    assert best.sum - other.sum == pytest.approx(float(hidden.square().sum()), abs=1e-4)


def test_a_context_too_long_for_the_model_loses_its_beginning_and_says_so() -> None:
    of = subject(context=16)
    (found,) = sequence_logprobs(of, [("x" * 40 + "abc", "de")])
    whole = of.codec.encode_text("x" * 40 + "abcde")[:-1][-17:]
    total, _ = one_by_one(of, whole[:15], whole[15:])
    assert found.cut
    assert found.tokens == 2
    assert found.sum == pytest.approx(total, abs=2e-5)


def test_under_a_chat_template_the_continuation_begins_the_answer() -> None:
    of = subject(template=CHAT_TEMPLATE)
    context, continuation = divide(of, "Is it so?", " Yes")
    assert of.codec.tokenizer.decode(context).endswith("<|turn|>assistant\n")
    assert of.codec.tokenizer.decode(continuation) == "Yes"


def test_mean_is_the_sum_over_the_tokens() -> None:
    (found,) = sequence_logprobs(subject(), [("a", "bcd")])
    assert found.mean == pytest.approx(found.sum / 3)
    assert math.isfinite(found.mean)


def test_an_empty_continuation_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="no token"):
        sequence_logprobs(subject(), [("context", "")])


def test_an_opened_model_directory_scores_as_the_model_in_memory(tmp_path: Path) -> None:
    path = save_tiny(str(tmp_path / "m"), tiny_model(), tiny_tokenizer())
    expected = sequence_logprobs(subject(), PAIRS)
    with opened("m", path, ComputeConfig(), chat_template=False) as of:
        found = sequence_logprobs(of, PAIRS)
    assert [one.sum for one in found] == pytest.approx([one.sum for one in expected], abs=2e-5)
