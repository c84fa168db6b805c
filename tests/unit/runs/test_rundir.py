"""A run directory survives being killed, and refuses to mix two runs."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from instructloop.core.errors import CheckpointError, ConfigError, TrainingDiverged
from instructloop.core.files import read_json, read_jsonl
from instructloop.runs import RunDir, parent, read_status, resolve_model

CONFIG = {"seed": 1, "optimizer": {"lr": 0.1, "betas": (0.9, 0.95)}}


def save_text(text: str):
    def save(path: Path) -> None:
        (path / "state.txt").write_text(text)

    return save


def train(run: RunDir, steps: range, *, every: int = 2) -> None:
    for step in steps:
        run.metrics(step, "sft", {"loss": 1 / step})
        run.samples(step, [{"prompt": "p", "completion": str(step)}])
        if step % every == 0:
            run.checkpoint(step, save_text(f"after {step}"), keep=2)


def test_a_finished_run_holds_config_status_and_metrics(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "run", stage="sft", config=CONFIG) as run:
        train(run, range(1, 3))
        run.result({"loss": 0.5})
    assert read_status(tmp_path / "run")["status"] == "done"
    assert read_json(tmp_path / "run/config.json")["config"]["optimizer"] == {"lr": 0.1, "betas": [0.9, 0.95]}
    assert list(read_jsonl(tmp_path / "run/metrics.jsonl")) == [{"step": 1, "sft/loss": 1.0}, {"step": 2, "sft/loss": 0.5}]


def test_a_second_run_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG):
        pass
    with pytest.raises(CheckpointError, match="already holds a run") as caught:
        RunDir.open(tmp_path, stage="sft", config=CONFIG)
    assert "--resume" in str(caught.value.hint)


def test_a_run_held_by_a_living_process_cannot_be_opened_again(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG), pytest.raises(CheckpointError, match="another process"):
        RunDir.open(tmp_path, stage="sft", config=CONFIG, resume=True)


def test_resuming_cuts_the_logs_back_to_the_last_commit(tmp_path: Path) -> None:
    with suppress(RuntimeError), RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        train(run, range(1, 6))
        raise RuntimeError("power cut")
    assert read_status(tmp_path)["status"] == "failed"
    with RunDir.open(tmp_path, stage="sft", config=CONFIG, resume=True) as run:
        start = run.latest()
        assert start is not None
        assert (start.step, (start.path / "state.txt").read_text()) == (4, "after 4")
        assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
        assert max(file.name for file in (tmp_path / "samples").iterdir()) == "step-000004.jsonl"
        train(run, range(5, 7))
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_run_without_any_commit_resumes_from_nothing(tmp_path: Path) -> None:
    with suppress(RuntimeError), RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        train(run, range(1, 2))
        raise RuntimeError
    with RunDir.open(tmp_path, stage="sft", config=CONFIG, resume=True) as run:
        assert run.latest() is None
        assert (tmp_path / "metrics.jsonl").read_text() == ""
        assert not list((tmp_path / "samples").iterdir())


def test_resuming_with_another_configuration_names_the_key(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG):
        pass
    changed = {**CONFIG, "optimizer": {"lr": 0.2, "betas": (0.9, 0.95)}}
    with pytest.raises(ConfigError, match=r"optimizer\.lr = 0\.1.*0\.2"):
        RunDir.open(tmp_path, stage="sft", config=changed, resume=True)


def test_resuming_with_changed_data_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("{}\n")
    with RunDir.open(tmp_path / "run", stage="sft", config=CONFIG, parents=[parent("data", data)]):
        pass
    data.write_text('{"prompt": "x"}\n')
    with pytest.raises(ConfigError, match="data .* has changed"):
        RunDir.open(tmp_path / "run", stage="sft", config=CONFIG, parents=[parent("data", data)], resume=True)


def test_resuming_with_another_stage_is_refused(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG):
        pass
    with pytest.raises(ConfigError, match="stage 'sft', not 'rm'"):
        RunDir.open(tmp_path, stage="rm", config=CONFIG, resume=True)


def test_a_folder_without_its_index_line_is_not_a_checkpoint(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        train(run, range(1, 3))
    for name in ("step-000004", "step-000006.partial"):
        (tmp_path / "checkpoints" / name).mkdir()
        (tmp_path / "checkpoints" / name / "state.txt").write_text("half")
    with RunDir.open(tmp_path, stage="sft", config=CONFIG, resume=True) as run:
        start = run.latest()
        assert start is not None
        assert start.step == 2
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["index.jsonl", "step-000002"]


def test_an_index_line_cut_in_half_is_no_commit(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        train(run, range(1, 5))
    index = tmp_path / "checkpoints/index.jsonl"
    index.write_text(index.read_text()[:-9])
    with RunDir.open(tmp_path, stage="sft", config=CONFIG, resume=True) as run:
        start = run.latest()
        assert start is not None
        assert start.step == 2


def test_a_half_written_checkpoint_falls_back_to_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with suppress(KeyboardInterrupt), RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        train(run, range(1, 6))
        raise KeyboardInterrupt
    os.truncate(tmp_path / "checkpoints/step-000004/state.txt", 3)
    with RunDir.open(tmp_path, stage="sft", config=CONFIG, resume=True) as run:
        start = run.latest()
        assert start is not None
        assert start.step == 2
        assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2]
    assert "is damaged" in caplog.text


def test_without_any_complete_checkpoint_the_error_says_so(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        train(run, range(1, 3))
        raise KeyboardInterrupt
    (tmp_path / "checkpoints/step-000002/state.txt").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint in .* is complete"):
        RunDir.open(tmp_path, stage="sft", config=CONFIG, resume=True)


def test_only_the_newest_and_the_best_states_are_kept(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        for step in range(1, 7):
            run.checkpoint(step, save_text(str(step)), keep=2, best=step == 2)
        best = run.best()
        assert best is not None
        assert best.step == 2
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*")) == ["step-000002", "step-000005", "step-000006"]


def test_calling_the_last_state_the_best_afterwards_keeps_it(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        run.checkpoint(1, save_text("1"), keep=1)
        run.checkpoint(1, save_text("1"), keep=1, best=True)
        run.checkpoint(2, save_text("2"), keep=1)
        best = run.best()
        assert best is not None
        assert (best.path / "state.txt").read_text() == "1"


def test_a_save_that_raises_leaves_no_trace(tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        (path / "state.txt").write_text("half")
        raise ZeroDivisionError

    with RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        run.checkpoint(1, save_text("1"), keep=2)
        with pytest.raises(ZeroDivisionError):
            run.checkpoint(2, broken, keep=2)
        start = run.latest()
        assert start is not None
        assert start.step == 1
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-000001"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_stops_the_run(tmp_path: Path, value: float) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG) as run, pytest.raises(TrainingDiverged, match=r"sft/loss is .* at step 3"):
        run.metrics(3, "sft", {"loss": value})


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """A real limit of the operating system: a longer write fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_a_clear_error_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        run.checkpoint(1, save_text("small"), keep=2)
        with (
            no_file_larger_than(10_000),
            pytest.raises(CheckpointError, match=r"could not write checkpoint .*step-000002.*MiB free") as caught,
        ):
            run.checkpoint(2, save_text("x" * 20_000), keep=2)
    assert "--resume" in str(caught.value.hint)
    with RunDir.open(tmp_path, stage="sft", config=CONFIG, resume=True) as run:
        start = run.latest()
        assert start is not None
        assert start.step == 1


def test_the_device_that_is_always_full_gives_the_same_error(tmp_path: Path) -> None:
    def to_full(path: Path) -> None:
        with Path("/dev/full").open("w") as file:
            file.write("x")

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with RunDir.open(tmp_path, stage="sft", config=CONFIG) as run, pytest.raises(CheckpointError, match="No space left"):
        run.checkpoint(1, to_full, keep=1)


def test_a_run_stands_for_the_model_it_published(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "run", stage="sft", config=CONFIG) as run:
        with pytest.raises(CheckpointError, match="has no model"):
            resolve_model(run.path)
        run.publish("model", save_text("weights"))
    assert resolve_model(tmp_path / "run") == tmp_path / "run/model"
    assert resolve_model("org/name") == Path("org/name")


def test_publishing_again_after_a_resume_replaces_the_artefact(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG) as run:
        run.publish("model", save_text("one"))
    with RunDir.open(tmp_path, stage="sft", config=CONFIG, resume=True) as run:
        assert run.was_done
        run.publish("model", save_text("two"))
    assert (tmp_path / "model/state.txt").read_text() == "two"
    assert [path.name for path in tmp_path.glob("model*")] == ["model"]


def test_the_runs_room_needs_no_torch() -> None:
    code = "import sys, instructloop.runs; print(any(name.split('.')[0] in ('torch', 'transformers') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_environment_names_versions_without_importing_them(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config=CONFIG):
        pass
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
