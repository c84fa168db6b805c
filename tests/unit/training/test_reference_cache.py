"""Reference log-probabilities computed once: same loss, same gradient, no second pass."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from instructloop.core.errors import DataError
from instructloop.data import TokenSequence, collate
from instructloop.models.logprobs import completion_logprobs
from instructloop.objectives.preference import PairLogprobs, dpo_loss
from instructloop.testing import tiny_model
from instructloop.training.reference_cache import reference_logprobs

CHOSEN = [TokenSequence((5, 6, 7, 2), 2), TokenSequence((8, 9, 10, 11, 12, 2), 1)]
REJECTED = [TokenSequence((5, 6, 13, 14, 2), 2), TokenSequence((8, 15, 2), 1)]


class Counted:
    """A reference that says how many rows went through it."""

    def __init__(self, seed: int = 1) -> None:
        self.model: PreTrainedModel = tiny_model(seed=seed)
        self.model(torch.tensor([[1, 2]]))
        completion_logprobs(self.model, collate(CHOSEN, 0))
        self.rows = 0
        self.model.get_output_embeddings().register_forward_pre_hook(self._count)

    def _count(self, _module: object, inputs: tuple[Tensor, ...]) -> None:
        self.rows += inputs[0].shape[0]


def sums(model: PreTrainedModel, rows: list[TokenSequence]) -> Tensor:
    return completion_logprobs(model, collate(rows, 0)).logprobs.sum(1)


def test_the_loss_and_its_gradient_are_those_without_a_file(tmp_path: Path) -> None:
    policy, reference = tiny_model(seed=0), Counted()
    with torch.no_grad():
        direct = sums(reference.model, CHOSEN), sums(reference.model, REJECTED)
    results = []
    for attempt in range(3):
        if attempt:
            stored = reference_logprobs(tmp_path, "one", reference.model if attempt == 1 else None, CHOSEN + REJECTED, 0, 4096)
            direct = torch.tensor(stored[:2]), torch.tensor(stored[2:])
        policy.zero_grad()
        loss = dpo_loss(PairLogprobs(sums(policy, CHOSEN), sums(policy, REJECTED), *direct), beta=0.5).loss
        loss.backward()
        results.append((loss.detach(), [value.grad.clone() for value in policy.parameters()]))
    for loss, gradients in results[1:]:
        torch.testing.assert_close(loss, results[0][0], rtol=1e-6, atol=1e-6)
        for one, two in zip(gradients, results[0][1], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    # what the file gives back is to the last bit what was put in
    assert torch.equal(results[1][0], results[2][0])


def test_nothing_is_computed_twice_and_only_what_is_missing_later(tmp_path: Path) -> None:
    reference = Counted()
    first = reference_logprobs(tmp_path, "one", reference.model, [CHOSEN[0], REJECTED[0], CHOSEN[0]], 0, 4096)
    assert first[0] == first[2] != first[1]
    # completion tokens of CHOSEN[0] and REJECTED[0]: 2 + 3 hidden states went through the head
    assert reference.rows == 5
    again = reference_logprobs(tmp_path, "one", reference.model, [*CHOSEN, *REJECTED], 0, 4096)
    assert reference.rows == 5 + 5 + 2
    assert [again[0], again[2]] == first[:2]


def test_another_reference_has_another_file_and_a_prompt_of_another_length_another_row(tmp_path: Path) -> None:
    one = reference_logprobs(tmp_path, "one", Counted(1).model, CHOSEN, 0, 4096)
    two = reference_logprobs(tmp_path, "two", Counted(2).model, CHOSEN, 0, 4096)
    assert one != two
    assert len(list(tmp_path.iterdir())) == 2
    longer = [TokenSequence(CHOSEN[0].ids, 3)]
    with pytest.raises(DataError, match="1 of 1"):
        reference_logprobs(tmp_path, "one", None, longer, 0, 4096)


def test_a_reference_without_numbers_is_refused_and_not_stored(tmp_path: Path) -> None:
    reference = Counted()
    with torch.no_grad():
        reference.model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(DataError, match="nan"):
        reference_logprobs(tmp_path, "one", reference.model, CHOSEN, 0, 4096)
    assert not list(tmp_path.iterdir())
