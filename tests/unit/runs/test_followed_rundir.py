"""A run directory that another process writes: every call of a trainer is allowed, and not a byte changes."""

from pathlib import Path

import pytest

from instructloop.core.errors import TrainingDiverged
from instructloop.core.hashing import hash_tree
from instructloop.runs.checkpoints import SavedState
from instructloop.runs.rundir import RunDir, read_status


def test_whoever_follows_changes_nothing(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "run", stage="sft", config={}) as main:
        main.metrics(1, "sft", {"loss": 1.0})
        before = hash_tree(tmp_path / "run")
        with RunDir.follow(tmp_path / "run", stage="sft", start=None) as run:
            assert run.latest() is None
            run.metrics(2, "sft", {"loss": 1.0})
            run.timing(2, {"seconds": 1.0})
            run.event(2, "alarm", "smoke")
            run.samples(2, [{"prompt": "x"}])
            run.publish("model", lambda path: path.joinpath("weights").write_text("w"))
            run.result({"loss": 1.0})
            run.evaluation("helpful", {"score": 1})
        assert hash_tree(tmp_path / "run") == before
        assert read_status(tmp_path / "run")["status"] == "running"


def test_whoever_follows_refuses_the_same_numbers(tmp_path: Path) -> None:
    run = RunDir.follow(tmp_path, stage="sft", start=None)
    with pytest.raises(TrainingDiverged, match="sft/loss is nan at step 3"):
        run.metrics(3, "sft", {"loss": float("nan")})


def test_whoever_follows_adds_its_part_to_a_state_that_is_being_committed(tmp_path: Path) -> None:
    follower = RunDir.follow(tmp_path / "run", stage="sft", start=SavedState(4, tmp_path / "run/checkpoints/step-000004"))
    assert follower.latest() == SavedState(4, tmp_path / "run/checkpoints/step-000004")

    def save_main(path: Path) -> None:
        (path / "first").write_text("1")
        follower.checkpoint(5, lambda path: path.joinpath("second").write_text("2"), keep=1)

    with RunDir.open(tmp_path / "run", stage="sft", config={}) as main:
        state = main.checkpoint(5, save_main, keep=1)
        assert sorted(file.name for file in state.iterdir()) == ["first", "second"]
        assert follower.latest() == main.latest() == SavedState(5, state)
        follower.checkpoint(5, lambda _: pytest.fail("this state is complete"), keep=1)
