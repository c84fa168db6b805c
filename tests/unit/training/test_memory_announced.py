"""What is said before a stage begins, and what happens where the machine is too small."""

import logging
from pathlib import Path

import pytest

from instructloop.config import ComputeConfig, PretrainConfig, SFTConfig
from instructloop.core import machine_memory
from instructloop.core.errors import ConfigError
from instructloop.core.records import Demonstration
from instructloop.models.memory import estimate_memory, shape_of
from instructloop.testing import save_tiny, tiny_codec, tiny_config, tiny_model, tiny_tokenizer
from instructloop.training import memory
from instructloop.training.memory import announce_memory, check_room

DEMONSTRATIONS = [Demonstration(prompt="say it", completion="it " * (1 + row % 5)) for row in range(20)]


def config(path: Path, **compute: object) -> SFTConfig:
    model = save_tiny(str(path / "model"), tiny_model(), tiny_tokenizer())
    return SFTConfig(model=model, compute=ComputeConfig(device="cpu", **compute))  # type: ignore[arg-type]


def test_two_lines_name_peak_terms_and_remedy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="instructloop"):
        announce_memory(config(tmp_path), tiny_codec(), demonstrations=DEMONSTRATIONS)
    first, second = caplog.messages
    assert first.startswith("memory: about ")
    assert "at most, in the update (" in first
    assert "activations" in first
    assert "weights" in first
    assert second.startswith("largest term: ")
    assert "to shrink it: " in second


def test_it_can_be_switched_off_and_says_nothing_about_a_model_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="instructloop"):
        assert announce_memory(config(tmp_path, memory_check="off"), tiny_codec(), demonstrations=DEMONSTRATIONS) is None
        assert announce_memory(SFTConfig(model=str(tmp_path / "nothing")), tiny_codec(), demonstrations=DEMONSTRATIONS) is None
    assert caplog.messages == []


@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_several_processes_one_speaks(rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    told = announce_memory(config(tmp_path), tiny_codec(), demonstrations=DEMONSTRATIONS)
    assert (told is None) == (rank == "1")


def test_less_free_memory_than_needed_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    cfg = PretrainConfig(compute=ComputeConfig(device="cpu"))
    estimate = estimate_memory(cfg, shape_of(tiny_config("llama", 260)))
    monkeypatch.setattr(memory, "available_bytes", lambda: estimate.peak - 1)
    monkeypatch.setattr(memory, "physical_bytes", lambda: estimate.peak)
    check_room(cfg, estimate)
    (told,) = caplog.messages
    assert "this stage needs about" in told
    assert estimate.advice in told


def test_one_and_a_half_times_all_memory_is_refused_unless_only_a_warning_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = estimate_memory(PretrainConfig(compute=ComputeConfig(device="cpu")), shape_of(tiny_config("llama", 260)))
    monkeypatch.setattr(memory, "available_bytes", lambda: estimate.peak // 3)
    monkeypatch.setattr(memory, "physical_bytes", lambda: estimate.peak // 2)
    with pytest.raises(ConfigError, match="this stage needs about") as refused:
        check_room(PretrainConfig(compute=ComputeConfig(device="cpu")), estimate)
    assert estimate.advice in str(refused.value.hint)
    check_room(PretrainConfig(compute=ComputeConfig(device="cpu", memory_check="warn")), estimate)


def test_processes_on_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    cfg = PretrainConfig(compute=ComputeConfig(device="cpu"))
    estimate = estimate_memory(cfg, shape_of(tiny_config("llama", 260)))
    monkeypatch.setattr(memory, "available_bytes", lambda: estimate.peak * 3 // 2)
    check_room(cfg, estimate)
    assert caplog.messages == []
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    check_room(cfg, estimate)
    assert len(caplog.messages) == 1


def test_free_memory_is_at_most_all_of_it() -> None:
    assert 0 < machine_memory.available_bytes() <= machine_memory.physical_bytes()
