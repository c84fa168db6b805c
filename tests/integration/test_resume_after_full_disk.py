"""A disk that fills up in the middle of training: a clear error, the last checkpoint intact, the same end after --resume."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from instructloop.cli.main import main
from instructloop.core.hashing import hash_tree
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_tiny("base", tiny_model(), tiny_tokenizer())
    rows = [{"prompt": f"say {n}", "completion": f"yes {n}"} for n in range(12)]
    Path("demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def train(out: str, *more: str) -> int:
    words = ["train", "sft", "--model", "base", "--data", "demonstrations.jsonl", "--out", out, "--epochs", "2", "--batch-size", "4"]
    return main([*words, "--checkpoint.every-steps", "2", *more])


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The system's own limit on the size of a file: a longer write fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_is_an_error_with_a_hint_and_resume_ends_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("unbroken") == 0
    capsys.readouterr()
    with no_file_larger_than(100_000):
        assert train("full") == 2
    shown = capsys.readouterr().err
    assert "error: could not write checkpoint full/checkpoints/step-000002" in shown
    assert "hint: free some space" in shown
    assert not list(Path("full/checkpoints").glob("step-*"))
    assert train("full", "--resume") == 0
    assert Path("full/metrics.jsonl").read_text() == Path("unbroken/metrics.jsonl").read_text()
    assert hash_tree(Path("full/model")) == hash_tree(Path("unbroken/model"))


def test_a_run_that_has_ended_resumes_to_itself(folder: Path) -> None:
    train("run")
    before = Path("run/metrics.jsonl").read_text(), hash_tree(Path("run/model"))
    assert train("run", "--resume") == 0
    assert (Path("run/metrics.jsonl").read_text(), hash_tree(Path("run/model"))) == before


def test_a_damaged_last_checkpoint_costs_two_steps_and_no_number(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    train("unbroken")
    train("run")
    last = max(Path("run/checkpoints").glob("step-*"))
    largest = max(last.iterdir(), key=lambda file: file.stat().st_size)
    with largest.open("r+b") as file:
        file.truncate(largest.stat().st_size // 2)
    status = json.loads(Path("run/status.json").read_text())
    Path("run/status.json").write_text(json.dumps(status | {"status": "running"}))
    assert train("run", "--resume") == 0
    assert "is damaged" in caplog.text
    assert Path("run/metrics.jsonl").read_text() == Path("unbroken/metrics.jsonl").read_text()
    assert hash_tree(Path("run/model")) == hash_tree(Path("unbroken/model"))
