"""The process of one stage: its own console file, its own threads, and an answer to the pipeline at the end."""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from instructloop.config import from_mapping
from instructloop.core.errors import InstructLoopError
from instructloop.recipes.kinds import KINDS, TRAINING


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What the process has to do."""

    kind: str
    values: Mapping[str, Any]
    out: Path
    resume: bool
    threads: int
    processes: int
    """That share the work of a training stage."""
    directory: Path
    """Working directory of the caller, to which relative paths refer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How it went."""

    done: bool
    message: str = ""
    hint: str | None = None
    bug: bool = False
    """Not an error of the family: ``message`` is the traceback."""
    error_type: type[InstructLoopError] = InstructLoopError


def run_job(job: Job, answers: "multiprocessing.connection.Connection[Any, Any]") -> None:
    """Run the stage and send one Outcome."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pipeline hears Ctrl-C and stops its stages in order
    signal.signal(signal.SIGTERM, _stop)
    end_with_parent()
    os.chdir(job.directory)
    redirect(job.out / "console.txt")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    try:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(job.threads)
        _run(job)
        answers.send(Outcome(done=True))
    except InstructLoopError as error:
        traceback.print_exc()
        answers.send(Outcome(done=False, message=error.message, hint=error.hint, error_type=type(error)))
    except Exception:  # noqa: BLE001 - the border of the process: the traceback travels to the pipeline, which raises it
        traceback.print_exc()
        answers.send(Outcome(done=False, message=traceback.format_exc(), bug=True))
    finally:
        sys.stderr.flush()


def _run(job: Job) -> None:
    if job.processes == 1 or job.kind not in TRAINING:
        KINDS[job.kind].run(job.values, job.out, resume=job.resume)
        return
    from instructloop.recipes.launch import Launch, Work, launch

    config = from_mapping(KINDS[job.kind].config(), job.values)
    launch(Work(kind=job.kind, config=config, out=job.out, resume=job.resume), Launch(processes=job.processes))


def _stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    raise KeyboardInterrupt  # unwinds the run directory, which notes that it was stopped


def redirect(file: Path) -> None:
    """Everything printed by anyone, native libraries included, goes to the stage's console file."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def end_with_parent() -> None:
    """A stage must not outlive a killed pipeline: it would hold its directory against the next call."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, name="watch the pipeline", daemon=True).start()


@contextmanager
def thread_environment(count: int) -> Iterator[None]:
    """Environment of the stage processes; it has to stand before they import torch."""
    wanted = {"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count), "TOKENIZERS_PARALLELISM": "false"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
