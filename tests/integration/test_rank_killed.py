"""A process of a group dies, hangs or is stopped: the error names it, nothing is left running, and ``--resume`` changes no number."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from instructloop.config import PPOConfig, SFTConfig, from_mapping
from instructloop.core.errors import DataError, RankLost
from instructloop.recipes import launch_local
from instructloop.recipes.launch import Launch, Work, launch
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer

STEPS = 60
SETTINGS = {
    "model": "base",
    "data": "demonstrations.jsonl",
    "epochs": 100,
    "batch_size": 8,
    "max_steps": STEPS,
    "checkpoint": {"every_steps": 5},
    "compute": {"device": "cpu"},
}
WORDS = f"--model base --data demonstrations.jsonl --epochs 100 --batch-size 8 --max-steps {STEPS} --checkpoint.every-steps 5"
COMMAND = [sys.executable, "-m", "instructloop", "train", "sft", *WORDS.split(), "--compute.device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranks")
    save_tiny(str(place / "base"), tiny_model("llama"), tiny_tokenizer())
    rows = [{"prompt": f"cat {n}?", "completion": f"{n} cats " * (n % 5 + 1)} for n in range(40)]
    (place / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(folder)
    return folder


def committed(out: Path, states: int) -> Callable[[], bool]:
    index = out / "checkpoints/index.jsonl"
    return lambda: index.exists() and index.read_text().count("\n") >= states


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.005)


def gone(group: int) -> bool:
    """Whether no process of a process group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def losses(out: Path) -> list[float]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["sft/loss"] for row in rows if "sft/loss" in row]


def start(*words: str) -> "subprocess.Popen[str]":
    """A command as the leader of its own process group, as a shell starts it."""
    return subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True)


def rank_pids(process: "subprocess.Popen[str]") -> list[int]:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"2 processes \((\d+), (\d+)\)", line):
            return [int(pid) for pid in found.groups()]
    raise AssertionError("it never said which processes it started")


def test_a_killed_rank_ends_the_command_with_its_name_and_resume_changes_no_loss(inside: Path) -> None:
    launch(Work(kind="sft", config=from_mapping(SFTConfig, SETTINGS), out=Path("whole"), resume=False), Launch(processes=2))
    process = start("--out", "broken", "--processes", "2")
    pids = rank_pids(process)
    wait_for(committed(Path("broken"), 2))
    os.kill(pids[1], signal.SIGKILL)
    killed = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - killed < 20
    assert process.returncode == 2
    message = said[said.index("error:") :]
    assert "rank 1 was killed by SIGKILL" in message
    assert "broken/rank-1.log" in message
    hint = message[message.index("instructloop train sft") :].strip()
    assert hint.endswith("--resume")
    wait_for(lambda: gone(process.pid), 10)
    assert len(losses(Path("broken"))) < STEPS
    again = subprocess.run([sys.executable, "-m", *shlex.split(hint)], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert len(losses(Path("broken"))) == STEPS
    assert losses(Path("broken")) == losses(Path("whole"))


@pytest.mark.parametrize("how", ["Ctrl-C", "the parent is killed"])
def test_the_ranks_do_not_outlive_the_command(how: str, inside: Path) -> None:
    process = start("--out", how, "--processes", "2")
    rank_pids(process)
    wait_for(committed(Path(how), 1))
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    else:
        os.kill(process.pid, signal.SIGKILL)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if how == "Ctrl-C" else -signal.SIGKILL)
    assert "Traceback" not in said
    wait_for(lambda: gone(process.pid), 10)


def strike(out: Path, rank: int, sign: signal.Signals, started: list[int]) -> threading.Thread:
    """Send a signal to a rank as soon as a state is committed."""

    def wait() -> None:
        wait_for(lambda: len(started) == 2 and committed(out, 1)())
        os.kill(started[rank], sign)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("rank", "sign", "message"),
    [
        (0, signal.SIGKILL, r"rank 0 was killed by SIGKILL.*log\.txt"),
        (1, signal.SIGSTOP, r"rank 1 has given no sign of life for \d+ s \(it was stopped by a signal\).*rank-1\.log"),
    ],
)
def test_a_dead_main_rank_and_a_stopped_rank_are_named(
    rank: int, sign: signal.Signals, message: str, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_local, "SILENT_S", 4.0)
    started: list[int] = []
    begin = launch_local._start

    def note(*arguments: object) -> object:
        made = begin(*arguments)  # type: ignore[arg-type]
        started.append(made.process.pid)
        return made

    monkeypatch.setattr(launch_local, "_start", note)
    out = Path(f"struck-{rank}")
    thread = strike(out, rank, sign, started)
    work = Work(kind="sft", config=from_mapping(SFTConfig, {**SETTINGS, "max_steps": 3000, "epochs": 1000}), out=out, resume=False)
    with pytest.raises(RankLost, match=message) as caught:
        launch(work, Launch(processes=2))
    thread.join()
    assert "resume" in str(caught.value.hint)
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_rank_that_waits_for_something_else_is_named_with_its_line(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward server that never answers one of two ranks: the other waits in a collective, and nobody computes."""
    monkeypatch.setenv(launch_local.STUCK_VARIABLE, "3")
    Path("never.py").write_text(
        "import os, time\n\n"
        "def score(prompts, completions):\n"
        "    while os.environ['RANK'] == '1':\n"
        "        time.sleep(1)\n"
        "    return [0.0 for _ in completions]\n"
    )
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": f"cat {n}?"}) + "\n" for n in range(8)))
    settings = {
        "model": "base",
        "prompts": "prompts.jsonl",
        "reward": {"name": "python", "args": {"path": "never.py:score"}},
        "steps": 2,
        "batch_size": 8,
        "minibatches": 1,
        "sampling": {"max_new_tokens": 4},
        "compute": {"device": "cpu"},
    }
    work = Work(kind="ppo", config=from_mapping(PPOConfig, settings), out=Path("waits"), resume=False)
    with pytest.raises(
        RankLost, match=r"rank 1 is stuck.*INSTRUCTLOOP_STUCK_S.*rank 0 waits for the others at.*rank 1 was last seen at"
    ) as caught:
        launch(work, Launch(processes=2))
    assert "instructloop.rewards.python" in caught.value.message


def test_an_error_of_the_stage_is_told_as_by_one_process(inside: Path) -> None:
    Path("bad.jsonl").write_text('{"prompt": "a"}\n')
    config = from_mapping(SFTConfig, {**SETTINGS, "data": "bad.jsonl"})
    told = []
    for processes in (1, 2):
        with pytest.raises(DataError) as caught:
            launch(Work(kind="sft", config=config, out=Path(f"bad-{processes}"), resume=False), Launch(processes=processes))
        told.append((caught.value.message, caught.value.hint))
    assert told[0] == told[1]
