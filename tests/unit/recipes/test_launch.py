"""Launchers: who is at fault when a group of processes fails, and how the user is told to go on."""

import signal
import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest

from instructloop.config import SFTConfig, from_mapping
from instructloop.core.errors import ConfigError, DataError, InstructLoopError, RankLost
from instructloop.recipes import launch_local
from instructloop.recipes.launch import Launch, RankCrashed, Work, launch, resuming
from instructloop.recipes.launch_local import _Rank
from instructloop.recipes.launch_rank import Beat, _backend, _position, lost_contact
from instructloop.recipes.worker import Outcome

WORK = Work(kind="sft", config=None, out=Path("runs/x"), resume=False, command="instructloop train sft --out runs/x")
LOST = Outcome(done=False, message="process 0 of 2 lost the others", error_type=RankLost)


def rank(
    index: int, *, exitcode: int | None = None, outcome: Outcome | None = None, heard: float = 0, active: float = 0, waiting: bool = False
) -> _Rank:
    """A process as the watching one knows it: silent for ``heard`` seconds, idle for ``active`` seconds."""
    now = time.monotonic()
    answers, theirs = Pipe(duplex=False)
    theirs.close()
    beat = Beat(cpu_s=1.0, moved_bytes=1.0, where="instructloop.training.sft:100 (train_sft)", waiting=waiting)
    process = SimpleNamespace(pid=1, exitcode=exitcode, sentinel=answers)
    return _Rank(
        index=index, process=process, answers=answers, log=Path(f"runs/x/rank-{index}.log"), heard=now - heard, active=now - active,
        beat=beat, outcome=outcome, open=exitcode is None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ranks", "kind", "message"),
    [
        # A death explains why the other lost contact, whatever came first.
        (lambda: [rank(0, exitcode=0, outcome=LOST), rank(1, exitcode=-signal.SIGKILL)], RankLost, "rank 1 was killed by SIGKILL"),
        (lambda: [rank(0, exitcode=-signal.SIGSEGV), rank(1, exitcode=0, outcome=LOST)], RankLost, "rank 0 was killed by SIGSEGV"),
        (lambda: [rank(0, exitcode=3), rank(1, exitcode=0, outcome=LOST)], RankLost, "rank 0 ended without a word, exit code 3"),
        # What a stage said explains it too, and a user's mistake before a bug that may follow from it.
        (
            lambda: [rank(0, exitcode=0, outcome=LOST), rank(1, exitcode=0, outcome=Outcome(done=False, message="bad row", error_type=DataError))],
            DataError,
            r"bad row \(rank 1, log: runs/x/rank-1.log\)",
        ),
        (
            lambda: [
                rank(0, exitcode=0, outcome=Outcome(done=False, message="Traceback: KeyError", bug=True)),
                rank(1, exitcode=0, outcome=Outcome(done=False, message="bad row", error_type=DataError)),
            ],
            DataError,
            "bad row",
        ),
        (
            lambda: [rank(0, exitcode=0, outcome=LOST), rank(1, exitcode=0, outcome=Outcome(done=False, message="Traceback: KeyError", bug=True))],
            RankCrashed,
            "rank 1 .*rank-1.log.*\nTraceback: KeyError",
        ),
        (lambda: [rank(0, exitcode=0, outcome=LOST), rank(1, exitcode=0, outcome=LOST)], RankLost, "lost the others"),
    ],
)  # fmt: skip
def test_the_cause_is_told_and_not_its_consequence(ranks: Callable[[], list[_Rank]], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        raise launch_local._failure(ranks(), WORK)
    if isinstance(caught.value, RankLost):
        assert caught.value.hint == "take it up at its last checkpoint: instructloop train sft --out runs/x --resume"


@pytest.mark.parametrize(
    ("ranks", "found"),
    [
        (lambda: [rank(0), rank(1)], ""),
        (lambda: [rank(0, waiting=True), rank(1, active=250)], ""),  # one works for long, the other waits for it
        (lambda: [rank(0, active=60, waiting=True), rank(1, active=60)], ""),  # idle, but one waits for something else: a reward server?
        (lambda: [rank(0, active=400, waiting=True), rank(1, active=400)], "rank 1 is stuck"),
        (lambda: [rank(0, active=60, waiting=True), rank(1, active=60, waiting=True)], "rank 0, 1 is stuck"),  # in different collectives
        (lambda: [rank(0, active=0), rank(1, heard=60)], "rank 1 has given no sign of life for 60 s"),
        (lambda: [rank(0, outcome=Outcome(done=True), heard=500, active=500), rank(1)], ""),  # it has ended its work
    ],
)
def test_slow_is_not_stuck(ranks: Callable[[], list[_Rank]], found: str) -> None:
    said = launch_local._stuck(ranks(), time.monotonic(), 300)
    assert said.startswith(found)
    assert bool(said) == bool(found)


def test_the_place_of_a_process_is_the_packages_own_line() -> None:
    import threading

    where, waiting = _position(threading.main_thread().ident or 0)
    assert where.startswith("instructloop.recipes.launch_rank:")
    assert not waiting


@pytest.mark.parametrize(
    ("device", "gpus", "backend"), [("cpu", 2, "gloo"), ("auto", 0, "gloo"), ("auto", 2, "nccl"), ("cuda", 4, "nccl"), ("auto", 1, None)]
)
def test_two_processes_use_nccl_if_each_has_a_gpu_of_its_own(
    device: str, gpus: int, backend: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    work = Work(kind="sft", config=from_mapping(SFTConfig, {"compute": {"device": device}}), out=Path("x"), resume=False)
    if backend is None:
        with pytest.raises(ConfigError, match="2 processes are to share 1 GPU: each needs its own"):
            _backend(work)
    else:
        assert _backend(work) == backend


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RankLost("process 0 of 2 lost the others"), True),
        (RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection reset by peer"), True),
        (RuntimeError("shape mismatch"), False),
        (KeyError("gloo"), False),
    ],
)
def test_a_lost_contact_is_told_from_a_bug(error: Exception, lost: bool) -> None:
    assert lost_contact(error) == lost


def test_the_command_to_go_on_is_the_same_with_resume_once() -> None:
    assert resuming("instructloop train sft --out 'my run'") == "instructloop train sft --out 'my run' --resume"
    assert resuming("instructloop train sft --resume --out x") == "instructloop train sft --resume --out x"


def test_torchrun_without_torchrun_is_told_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="not started by torchrun") as caught:
        launch(WORK, Launch(launcher="torchrun", processes=4))
    assert caught.value.hint == "torchrun --standalone --nproc-per-node 4 -m instructloop train sft --out runs/x"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"processes": 0}, "--processes must be >= 1"),
        ({"processes": 2, "resources_per_process": {"CPU": 1.0}}, "means nothing to the launcher"),
    ],
)
def test_a_launch_that_makes_no_sense_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InstructLoopError, match=message):
        Launch(**values)  # type: ignore[arg-type]


def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(launch_local.STUCK_VARIABLE, "soon")
    with pytest.raises(ConfigError, match="'soon' is not a number of seconds"):
        launch_local._stuck_limit()
