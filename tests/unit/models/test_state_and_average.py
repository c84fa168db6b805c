"""Training state and weight averages."""

from pathlib import Path

import pytest
import torch
from torch import nn

from instructloop.config import LoraConfig
from instructloop.core.errors import CheckpointError, ConfigError
from instructloop.models import EMA, add_lora, load_state, save_state
from instructloop.testing import tiny_model


def step(model: nn.Module, optimizer: torch.optim.Optimizer, average: EMA, number: int) -> None:
    ids = torch.arange(4, 24).reshape(2, 10) + number
    optimizer.zero_grad()
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    average.update()


def parts(rank: int) -> tuple[nn.Module, torch.optim.Optimizer, EMA]:
    model = tiny_model("llama")
    add_lora(model, LoraConfig(rank=rank), seed=0)
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    return model, optimizer, EMA(model, 0.9)


@pytest.mark.parametrize("rank", [0, 2])
def test_going_on_from_a_saved_state_gives_the_same_bits(tmp_path: Path, rank: int) -> None:
    model, optimizer, average = parts(rank)
    for number in range(3):
        step(model, optimizer, average, number)
    save_state(tmp_path, modules={"policy": model, "ema": average}, optimizers={"policy": optimizer}, extra={"beta": 0.1, "names": ["a"]})
    for number in range(3, 6):
        step(model, optimizer, average, number)
    again, optimizer2, average2 = parts(rank)
    extra = load_state(tmp_path, modules={"policy": again, "ema": average2}, optimizers={"policy": optimizer2})
    assert extra == {"beta": 0.1, "names": ["a"]}
    for number in range(3, 6):
        step(again, optimizer2, average2, number)
    for (name, one), two in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    with average.swapped(), average2.swapped():
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert average2.updates == 6


def test_with_adapters_only_what_learns_is_stored(tmp_path: Path) -> None:
    model, optimizer, _ = parts(2)
    save_state(tmp_path, modules={"policy": model}, optimizers={"policy": optimizer})
    stored = torch.load(tmp_path / "state.pt", weights_only=True)["modules"]["policy"]
    assert stored
    assert all("lora_" in name or "inv_freq" in name for name in stored)


def test_broken_missing_and_foreign_states_are_named(tmp_path: Path) -> None:
    model, optimizer, average = parts(0)
    with pytest.raises(CheckpointError, match="no training state"):
        load_state(tmp_path, modules={"policy": model})
    save_state(tmp_path, modules={"policy": model}, optimizers={"policy": optimizer})
    with pytest.raises(CheckpointError, match=r"holds the modules \['policy'\], expected \['policy', 'value'\]"):
        load_state(tmp_path, modules={"policy": model, "value": average}, optimizers={"policy": optimizer})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_state(tmp_path, modules={"policy": tiny_model("llama", hidden=16)}, optimizers={"policy": optimizer})
    file = tmp_path / "state.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(tmp_path, modules={"policy": model}, optimizers={"policy": optimizer})


def test_the_average_follows_its_formula() -> None:
    """decay 0.9 from 1 with weights 2 then 3: .9*1 + .1*2 = 1.1, then .9*1.1 + .1*3 = 1.29."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    average = EMA(model, 0.9)
    for value in (2.0, 3.0):
        nn.init.constant_(model.weight, value)
        average.update()
    with average.swapped():
        assert float(model.weight.detach()) == pytest.approx(1.29)
    assert float(model.weight.detach()) == 3.0


def test_the_papers_decay_halves_the_old_weights_in_86_updates() -> None:
    """PPO-37."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    average = EMA(model, 0.992)
    nn.init.constant_(model.weight, 0.0)
    for _ in range(86):
        average.update()
    with average.swapped():
        assert float(model.weight.detach()) == pytest.approx(0.5, abs=0.005)


def test_swapping_gives_the_own_weights_back_even_after_an_error() -> None:
    model = nn.Linear(2, 2)
    average, own = EMA(model, 0.5), model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)

    def fail() -> None:
        with average.swapped():
            assert torch.equal(model.weight, own)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert torch.equal(model.weight, own + 1)


def test_an_average_ignores_frozen_parameters_and_refuses_others_states() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    average = EMA(model, 0.5)
    assert set(average.state_dict()["average"]) == {"1.weight", "1.bias"}
    with pytest.raises(CheckpointError, match="another model"):
        average.load_state_dict(EMA(nn.Linear(2, 2), 0.5).state_dict())
    with pytest.raises(ConfigError, match="decay"):
        EMA(model, 1.0)
