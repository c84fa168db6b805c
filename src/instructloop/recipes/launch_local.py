"""Several processes on this machine, and an eye on them: the first that dies or hangs ends all, by name.

A dead process is seen at once. A process that gives no sign of life (stopped, swapped out, a system call that never returns with
all threads) is given up after ``SILENT_S``. Where every process still lives but none has computed, read or written anything, they
wait for each other: ``DEADLOCK_S`` if all of them wait inside a collective, ``INSTRUCTLOOP_STUCK_S`` (300 s) if one waits for
something else, which may be a slow reward server.
"""

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructloop.core.errors import ConfigError, RankLost
from instructloop.recipes.launch import RankCrashed, Work
from instructloop.recipes.launch_rank import Beat, run_local_rank
from instructloop.recipes.worker import Outcome, thread_environment

logger = logging.getLogger(__name__)
SILENT_S = 40.0
"""A process that has sent no beat for so long is stuck; together with ending the others this stays under a minute."""
DEADLOCK_S = 45.0
"""All processes idle inside collectives for so long."""
STUCK_VARIABLE = "INSTRUCTLOOP_STUCK_S"
_STUCK_S = 300.0
_GRACE_S = 3.0
"""After the first failure: time for the others to tell theirs, which may be the cause."""
_END_S = 5.0
"""Between SIGTERM and SIGKILL: time to write the run's status."""
_LEAVE_S = 30.0
"""For a process to end after it has reported that it is done."""
_POLL_S = 0.2
_IDLE_CPU, _IDLE_BYTES = 0.02, 1 << 14
"""CPU seconds and bytes of a beat's second below which a process did nothing (a beat itself costs well under 1 ms and 1 kB)."""
_PRELOAD = "instructloop.recipes.preload"


@dataclass(slots=True)
class _Rank:
    """What the watching process knows of one process."""

    index: int
    process: Any
    answers: "multiprocessing.connection.Connection[Any, Any]"
    log: Path
    heard: float
    active: float
    beat: Beat = field(default_factory=lambda: Beat(cpu_s=0.0, moved_bytes=0.0, where="", waiting=False))
    outcome: Outcome | None = None
    open: bool = True

    @property
    def ended(self) -> bool:
        return self.process.exitcode is not None and not self.open

    @property
    def failed(self) -> bool:
        if self.outcome is not None:
            return not self.outcome.done
        return self.ended

    def listen(self) -> None:
        """Take in what the process has sent."""
        while self.open and self.answers.poll():
            try:
                said = self.answers.recv()
            except (EOFError, ConnectionResetError):
                self.open = False
                return
            self.heard = time.monotonic()
            if isinstance(said, Outcome):
                self.outcome = said
                continue
            if said.cpu_s - self.beat.cpu_s > _IDLE_CPU or said.moved_bytes - self.beat.moved_bytes > _IDLE_BYTES:
                self.active = self.heard
            self.beat = said


def run_processes(work: Work, size: int) -> None:
    """Run a training stage in ``size`` processes of this machine.

    Raises:
        InstructLoopError: what the stage raised.
        RankLost: a process died or hangs; no process is left.
        RankCrashed: a bug, with the traceback of the process.
    """
    limit = _stuck_limit()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOAD])
    threads = int(os.environ.get("OMP_NUM_THREADS", "0") or 0) or max(1, (os.cpu_count() or 1) // size)
    work.out.mkdir(parents=True, exist_ok=True)
    ranks: list[_Rank] = []
    with thread_environment(threads):
        try:
            port = _free_port()
            for index in range(size):
                ranks.append(_start(context, work, index, size, port, threads))  # noqa: PERF401 - one that fails leaves those before to be ended
            pids = ", ".join(str(rank.process.pid) for rank in ranks)
            logger.info("%d processes (%s), %d threads each; rank 0 writes %s", size, pids, threads, work.out)
            _watch(ranks, work, limit)
        finally:
            _end(ranks)


def _start(context: Any, work: Work, index: int, size: int, port: int, threads: int) -> _Rank:
    log = work.out / ("log.txt" if index == 0 else f"rank-{index}.log")
    answers, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=run_local_rank, args=(work, index, size, port, threads, log, theirs), name=f"instructloop rank {index}", daemon=False
    )
    process.start()
    theirs.close()
    now = time.monotonic()
    return _Rank(index=index, process=process, answers=answers, log=log, heard=now, active=now)


def _watch(ranks: Sequence[_Rank], work: Work, limit_s: float) -> None:
    looked, finished = time.monotonic(), 0.0
    while not all(rank.ended for rank in ranks):
        _listen(ranks)
        now = time.monotonic()
        if now - looked > 5.0:  # this process itself was stopped (Ctrl-Z), and the others with it
            for rank in ranks:
                rank.heard = rank.active = now
        looked = now
        if any(rank.failed for rank in ranks):
            raise _failure(ranks, work)
        if all(rank.outcome is not None for rank in ranks):
            finished = finished or now
            if now - finished > _LEAVE_S:
                return  # the run is complete; whatever still hangs in its exit is ended by the caller
        elif stuck := _stuck(ranks, now, limit_s):
            raise RankLost(stuck, hint=work.again)
    if any(rank.failed for rank in ranks):
        raise _failure(ranks, work)


def _listen(ranks: Sequence[_Rank]) -> None:
    waits = [rank.answers if rank.open else rank.process.sentinel for rank in ranks if not rank.ended]
    multiprocessing.connection.wait(waits, timeout=_POLL_S)
    for rank in ranks:
        rank.listen()


def _stuck(ranks: Sequence[_Rank], now: float, limit_s: float) -> str:
    """Why the group will not get on any more; empty while it may."""
    waiting = [rank for rank in ranks if rank.outcome is None]
    for rank in waiting:
        if now - rank.heard > SILENT_S:
            state = _state(rank.process.pid)
            return f"rank {rank.index} has given no sign of life for {now - rank.heard:.0f} s{state}; {_place(rank)}"
    idle = now - max(rank.active for rank in waiting)
    collective = all(rank.beat.waiting for rank in waiting)
    if idle <= (min(DEADLOCK_S, limit_s) if collective else limit_s):
        return ""
    suspects = [rank for rank in waiting if not rank.beat.waiting] or waiting
    names = ", ".join(str(rank.index) for rank in suspects)
    places = "; ".join(f"rank {rank.index} {_place(rank)}" for rank in waiting)
    how = "" if collective else f" (a wait that is meant to be so long: set {STUCK_VARIABLE} higher)"
    return f"rank {names} is stuck: no process has computed or read anything for {idle:.0f} s{how}; {places}"


def _place(rank: _Rank) -> str:
    at = rank.beat.where or "outside the package"
    return f"{'waits for the others' if rank.beat.waiting else 'was last seen'} at {at} (log: {rank.log})"


def _state(pid: int) -> str:
    """What Linux says a silent process is doing."""
    with contextlib.suppress(OSError, IndexError):
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return {"T": " (it was stopped by a signal)", "t": " (a debugger holds it)", "D": " (it waits for a disk)"}.get(letter, "")
    return ""


def _failure(ranks: Sequence[_Rank], work: Work) -> Exception:
    """The cause among everything that failed: a death first, then what a stage said, last who merely lost the others."""
    until = time.monotonic() + _GRACE_S
    while time.monotonic() < until and not all(rank.ended for rank in ranks):
        _listen(ranks)
    failed = [rank for rank in ranks if rank.failed]
    dead = [rank for rank in failed if rank.outcome is None]
    if dead:
        return RankLost(_death(dead[0]), hint=work.again)
    told = [(rank, rank.outcome) for rank in failed if rank.outcome is not None]
    rank, outcome = min(told, key=lambda pair: (pair[1].error_type is RankLost, pair[1].bug, pair[0].index))
    if outcome.bug:
        return RankCrashed(f"rank {rank.index} (log: {rank.log})\n{outcome.message}")
    if outcome.error_type is RankLost:
        return RankLost(outcome.message, hint=work.again)
    where = f" (rank {rank.index}, log: {rank.log})" if rank.index else ""
    return outcome.error_type(f"{outcome.message}{where}", hint=outcome.hint)


def _death(rank: _Rank) -> str:
    code = rank.process.exitcode
    if code is None or code >= 0:
        return f"rank {rank.index} ended without a word, exit code {code} (log: {rank.log})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = ", from outside or for lack of memory" if -code == signal.SIGKILL else ""
    return f"rank {rank.index} was killed by {name}{memory} (log: {rank.log})"


def _end(ranks: Sequence[_Rank]) -> None:
    """No process is left behind, whatever state it is in."""
    for rank in ranks:
        rank.process.terminate()
    until = time.monotonic() + _END_S
    for rank in ranks:
        rank.process.join(timeout=max(0.0, until - time.monotonic()))
        if rank.process.exitcode is None:
            rank.process.kill()
            rank.process.join()
        rank.answers.close()


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def _stuck_limit() -> float:
    given = os.environ.get(STUCK_VARIABLE, "")
    try:
        return float(given) if given else _STUCK_S
    except ValueError as error:
        raise ConfigError(f"{STUCK_VARIABLE} = {given!r} is not a number of seconds", hint=f"e.g. {STUCK_VARIABLE}=600") from error
