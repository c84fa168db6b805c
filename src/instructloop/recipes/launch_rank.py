"""One process of several: it joins the group, trains, and tells the process that watches how it goes."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from instructloop.core.errors import ConfigError, InstructLoopError, RankLost
from instructloop.recipes.launch import Work, run_stage, settled
from instructloop.recipes.progress import show_progress
from instructloop.recipes.worker import Outcome, end_with_parent, redirect

BEAT_S = 1.0
_WAITING_FRAMES = 3
"""How many frames from the top a collective of torch lies when a process waits in it."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life."""

    cpu_s: float
    """CPU seconds spent so far, all threads."""
    moved_bytes: float
    """Bytes read and written so far."""
    where: str
    """The line of this package that is running."""
    waiting: bool
    """Whether it waits there for other processes."""


def run_local_rank(
    work: Work, index: int, size: int, port: int, threads: int, log: Path, answers: "multiprocessing.connection.Connection[Any, Any]"
) -> None:
    """Entry point of a process that ``local`` starts; sends Beats and at last one Outcome."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the watching process hears Ctrl-C and ends its ranks in order
    signal.signal(signal.SIGTERM, _stop)
    end_with_parent()
    os.environ.update(
        RANK=str(index),
        WORLD_SIZE=str(size),
        LOCAL_RANK=str(index),
        LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all ranks are on this machine, whatever its name resolves to
    os.chdir(work.directory)
    if index == 0:
        show_progress()
    else:
        redirect(log)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    lock = threading.Lock()
    threading.Thread(target=_beat, args=(answers, lock, threading.main_thread().ident), name="beat", daemon=True).start()
    outcome = _attempt(work, threads)
    with lock:
        answers.send(outcome)
    sys.stdout.flush()
    sys.stderr.flush()


def run_under_torchrun(work: Work) -> None:
    """Join the group that torchrun has laid out, and train; RankLost if another process died (torchrun's own summary says which)."""
    signal.signal(signal.SIGTERM, _stop)  # torchrun ends the others with it when one fails
    keep_log(work, int(os.environ["RANK"]))
    try:
        run_rank(work, settle=True)
    except RuntimeError as error:
        if not lost_contact(error):
            raise
        raise _lost(work, error) from error
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to unwind


def keep_log(work: Work, index: int) -> None:
    """Lines of a process other than the main one go to ``rank-N.log`` in the run directory, and not to the terminal."""
    if index == 0:
        return
    work.out.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(work.out / f"rank-{index}.log", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    package = logging.getLogger("instructloop")
    package.handlers[:] = [file]
    package.propagate = False
    package.setLevel(logging.INFO)


def run_rank(work: Work, *, settle: bool = False) -> None:
    """Join the group that the environment describes, train, leave.

    Args:
        work: the same in every process.
        settle: whether project folders are still to be replaced; the main process does it for all.
    """
    import torch

    from instructloop.models.ranks import join, joined, leave

    ours = not torch.distributed.is_initialized()  # Ray makes the group itself
    ranks = join(_backend(work)) if ours else joined()
    if settle:
        mine = settled(work).config if ranks.main else None
        work = replace(work, config=ranks.gather(mine)[0])
    logger.info("rank %d of %d, %d threads", ranks.index, ranks.size, torch.get_num_threads())
    run_stage(work)
    if ours:
        leave()


def _backend(work: Work) -> str:
    """NCCL where the stage computes on CUDA, else gloo.

    Raises:
        ConfigError: more processes on this machine than it has GPUs.
    """
    import torch

    if work.config.compute.device not in {"auto", "cuda"} or not torch.cuda.is_available():
        return "gloo"
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if here > gpus:
        raise ConfigError(
            f"{here} processes are to share {gpus} GPU{'s' * (gpus != 1)}: each needs its own",
            hint=f"--processes {gpus}, or --compute.device cpu",
        )
    return "nccl"


def lost_contact(error: BaseException) -> bool:
    """Whether an error says that another process of the group has gone (rather than what went wrong here)."""
    import torch.distributed as dist

    if isinstance(error, RankLost | dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in ("gloo", "Connection closed by peer", "Broken pipe"))


def _lost(work: Work, error: BaseException) -> RankLost:
    said = str(error).partition(". This is typically")[0].strip()  # gloo goes on with advice
    first = said.splitlines()[0] if said else type(error).__name__
    message = first if isinstance(error, RankLost) else f"rank {os.environ.get('RANK', '?')} lost contact with another process: {first}"
    return RankLost(message, hint=work.again)


def _attempt(work: Work, threads: int) -> Outcome:
    try:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        run_rank(work)
    except InstructLoopError as error:
        if os.environ["RANK"] != "0":  # into its log; of the main process the terminal shows the message alone
            traceback.print_exc()
        return Outcome(done=False, message=error.message, hint=error.hint, error_type=type(error))
    except KeyboardInterrupt:
        return Outcome(done=False, message="stopped", error_type=InstructLoopError)
    except Exception as error:  # noqa: BLE001 - the border of the process: the traceback travels to the one that watches, which raises it
        traceback.print_exc()
        if lost_contact(error):
            lost = _lost(work, error)
            return Outcome(done=False, message=lost.message, hint=lost.hint, error_type=RankLost)
        return Outcome(done=False, message=traceback.format_exc(), bug=True)
    return Outcome(done=True)


def _stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    raise KeyboardInterrupt  # unwinds the run directory, which notes that it was stopped


def _beat(answers: "multiprocessing.connection.Connection[Any, Any]", lock: threading.Lock, main: int) -> None:
    while True:
        where, waiting = _position(main)
        beat = Beat(cpu_s=time.process_time(), moved_bytes=_bytes_moved(), where=where, waiting=waiting)
        try:
            with lock:
                answers.send(beat)
        except OSError:  # nobody listens any more
            return
        time.sleep(BEAT_S)


def _position(thread: int) -> tuple[str, bool]:
    """The innermost line of the package in a thread, and whether a collective is running there."""
    frame, waiting, depth = sys._current_frames().get(thread), False, 0
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        waiting = waiting or (depth < _WAITING_FRAMES and module.startswith("torch.distributed."))
        if module.startswith("instructloop.") and module != "instructloop.models.ranks":
            return f"{module}:{frame.f_lineno} ({frame.f_code.co_name})", waiting
        frame, depth = frame.f_back, depth + 1
    return "", waiting


def _bytes_moved() -> float:
    """Bytes that this process has read and written, beats included; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith(("rchar", "wchar")))
