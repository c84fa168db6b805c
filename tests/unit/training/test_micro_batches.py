"""One micro-batch of eight rows and eight of one row have the same gradient: SFT, pretraining blocks, reward model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from instructloop.core.seeds import stream
from instructloop.data import RankedGroup, TokenSequence
from instructloop.models import packing
from instructloop.models.scalar import ScalarModel
from instructloop.testing import tiny_config, tiny_model
from instructloop.training.pretrain import accumulate_text_gradient
from instructloop.training.rm_loss import accumulate_ranking_gradient
from instructloop.training.sft_loss import accumulate_sft_gradient


def rows(number: int, count: int, prompt: tuple[int, ...]) -> list[TokenSequence]:
    draw = stream(0, "micro-batches", number)
    return [TokenSequence((*prompt, *(draw.randrange(4, 60) for _ in range(draw.randrange(1, 20)))), len(prompt)) for _ in range(count)]


def sft(budget: int) -> Any:
    model = tiny_model("llama", 60)
    accumulate_sft_gradient(model, rows(0, 4, (7, 8, 9)) + rows(1, 4, (5,)), 0, budget, step=1)
    return model


def texts(budget: int) -> Any:
    model = tiny_model("llama", 60)
    blocks = torch.randint(4, 60, (8, 16), generator=torch.Generator().manual_seed(0))
    accumulate_text_gradient(model, blocks, budget, name="ptx", step=1)
    return model


def rm(budget: int) -> Any:
    config = tiny_config("llama", 60)
    config.num_labels = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ScalarModel(AutoModelForSequenceClassification.from_config(config))
    model.reset_head(0)
    groups = [RankedGroup(tuple(rows(number, 3, (7, number))), (0, 1, 2), None, None, "x") for number in range(8)]
    accumulate_ranking_gradient(model, groups, 0, budget, step=1)
    return model


def flat(model: Any) -> Tensor:
    return torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("run", [sft, texts, rm])
def test_one_times_eight_is_eight_times_one(run: Callable[[int], Any], packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LEAST_SAVING", 0.0 if packed else 1.0)
    whole, split = flat(run(100_000)), flat(run(16))
    assert float(whole.norm()) > 1e-3
    torch.testing.assert_close(split, whole, rtol=0, atol=1e-6 * float(whole.abs().max()) + 1e-7)
