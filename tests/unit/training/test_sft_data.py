"""How demonstrations and pretraining text divide into steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from instructloop.config import SFTConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Demonstration, Text
from instructloop.runs.rundir import RunDir
from instructloop.testing import tiny_codec
from instructloop.training.sft_data import SFTData, prepare_sft

ROWS = [Demonstration(prompt=f"{i}?", completion="yes") for i in range(10)]
TEXTS = [Text(text="la " * 100)] * 20


def prepared(tmp_path: Path, cfg: SFTConfig, *, texts: list[Text] | None = None) -> SFTData:
    with RunDir.open(tmp_path / "run", stage="sft", config={}) as run:
        return prepare_sft(cfg, run, 64, tiny_codec(), ROWS, [], texts or [])


def test_epochs_are_laid_end_to_end_and_end_at_the_step_that_saw_the_last_row(tmp_path: Path) -> None:
    data = prepared(tmp_path, SFTConfig(epochs=3, batch_size=4))
    assert data.steps == 8  # 30 rows in fours
    assert data.epoch_ends == {3, 5, 8}
    assert data.text_share == 0


def test_a_tenth_of_the_sequences_is_text_and_at_least_one(tmp_path: Path) -> None:
    data = prepared(tmp_path, SFTConfig(epochs=2, batch_size=32, pretrain_fraction=0.1, max_tokens=32), texts=TEXTS)
    assert (data.rows_per_step, data.blocks_per_step) == (29, 3)
    small = prepared(tmp_path / "small", SFTConfig(batch_size=4, pretrain_fraction=0.1), texts=TEXTS)
    assert (small.rows_per_step, small.blocks_per_step, small.text_share) == (3, 1, 0.25)


def test_some_text_is_kept_back_to_be_measured(tmp_path: Path) -> None:
    data = prepared(tmp_path, SFTConfig(pretrain_fraction=0.1, max_tokens=32), texts=TEXTS)
    assert data.blocks is not None
    assert data.held_out_blocks is not None
    assert data.blocks.shape[1] == 32
    assert len(data.held_out_blocks) == (len(data.blocks) + len(data.held_out_blocks)) // 20


def test_a_limit_on_steps_wins(tmp_path: Path) -> None:
    assert prepared(tmp_path, SFTConfig(max_steps=5)).steps == 5


def test_selection_and_mix_need_their_data(tmp_path: Path) -> None:
    cfg = SFTConfig(select_by="validation_loss")
    with pytest.raises(ConfigError, match="needs held-out demonstrations"):
        prepared(tmp_path / "a", cfg)
    with pytest.raises(ConfigError, match="needs pretraining text"):
        prepared(tmp_path / "b", replace(cfg, select_by="last", pretrain_fraction=0.1))
