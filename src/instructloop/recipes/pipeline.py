"""Running a recipe: skip what is done, resume what was killed, run again what changed, side by side where nothing forbids it.

OUT/pipeline.json           stages, keys, states, times: everything a report needs to tell the story
OUT/stages/<name>/          a run directory each, with stage.json (its key) and console.txt
OUT/stages/.old/            results of earlier settings; taken back if those settings return
"""

import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from instructloop.core.errors import CheckpointError
from instructloop.core.files import read_json, write_json
from instructloop.recipes.recipe import Recipe, Stage
from instructloop.recipes.worker import Job, Outcome, run_job, thread_environment
from instructloop.runs.lock import take_lock

logger = logging.getLogger(__name__)
_POLL_S = 0.25
_PRELOAD = "instructloop.recipes.preload"


class State(StrEnum):
    """Where a stage stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    """Done in an earlier call with the same key."""
    FAILED = "failed"
    STOPPED = "stopped"
    """Interrupted; the next call resumes it."""


@dataclass(slots=True)
class Progress:
    """One stage in this call of the pipeline."""

    stage: Stage
    key: str
    path: Path
    state: State = State.WAITING
    resumed: bool = False
    started: float | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether its results may be used."""
        return self.state in {State.DONE, State.SKIPPED}


@dataclass(slots=True)
class _Running:
    process: Any
    answers: "multiprocessing.connection.Connection[Any, Any]"
    progress: Progress
    began: float = field(default_factory=time.monotonic)


Watcher = Callable[[list[Progress]], None]
"""Called a few times a second with all stages; draws the display."""


class StageCrashed(RuntimeError):  # noqa: N818 - a bug of ours: it keeps its traceback
    """A stage raised something that is not for the user to mend; the message is the traceback of the stage's process."""


def run_pipeline(recipe: Recipe, out: Path, *, jobs: int | None = None, processes: int = 1, watch: Watcher | None = None) -> list[Progress]:
    """Run all stages that are not done yet and return where each stands.

    Args:
        recipe: what to run.
        out: the pipeline's directory; results of earlier calls are used.
        jobs: stages at a time; None takes the recipe's.
        processes: how many share the work of each training stage.
        watch: draws progress.

    Raises:
        InstructLoopError: a stage failed for a reason the user can mend; the message names stage and log.
        StageCrashed: a stage failed by a bug.
        KeyboardInterrupt: passed on after the running stages were stopped cleanly.
    """
    out = _near(out)
    (out / "stages").mkdir(parents=True, exist_ok=True)
    lock = take_lock(out, "pipeline")
    try:
        keys = recipe.keys()
        stages = [Progress(stage=stage, key=keys[stage.name], path=out / "stages" / stage.name) for stage in recipe.stages]
        for progress in stages:
            _settle(progress)
        pool = _Pool(recipe, out, stages, processes, watch or (lambda _: None))
        pool.run(jobs or recipe.jobs)
    finally:
        os.close(lock)
    return stages


def _settle(progress: Progress) -> None:
    """Decide by the key beside an earlier result: use it, resume it, or put it aside."""
    place, old = progress.path, progress.path.parent / ".old"
    if place.exists() and _key(place) == progress.key and _moved(progress):
        old.mkdir(exist_ok=True)
        place.rename(_free(old / f"{place.name}-unfinished"))
    kept = old / f"{place.name}-{_short(progress.key)}"
    if place.exists() and _key(place) != progress.key:
        old.mkdir(exist_ok=True)
        place.rename(_free(old / f"{place.name}-{_short(_key(place))}"))
    if not place.exists() and kept.exists() and _key(kept) == progress.key:
        kept.rename(place)
    if place.exists():
        row = read_json(place / "stage.json")
        progress.seconds = row.get("seconds", 0.0)
        progress.started = row.get("started")
        if row["state"] == State.DONE:
            progress.state = State.SKIPPED
        else:
            progress.resumed = True


class _Pool:
    """The scheduler: a few processes, one stage each, started as soon as what they need is done."""

    def __init__(self, recipe: Recipe, out: Path, stages: list[Progress], processes: int, watch: Watcher) -> None:
        self.recipe, self.out, self.stages, self.processes, self.watch = recipe, out, stages, processes, watch
        self.by_name = {progress.stage.name: progress for progress in stages}
        self.running: list[_Running] = []

    def run(self, jobs: int) -> None:
        self._write()
        self.watch(self.stages)
        if all(progress.finished for progress in self.stages):
            return
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_PRELOAD])
        with thread_environment(self.recipe.threads):
            try:
                while not all(progress.finished for progress in self.stages):
                    for progress in self._ready()[: jobs - len(self.running)]:
                        self._start(context, progress)
                    multiprocessing.connection.wait([item.process.sentinel for item in self.running], timeout=_POLL_S)
                    for item in [item for item in self.running if item.process.exitcode is not None or item.answers.poll()]:
                        self._collect(item)
                    self.watch(self.stages)
            except BaseException:
                self._stop()
                raise
            finally:
                self._write()
                self.watch(self.stages)

    def _ready(self) -> list[Progress]:
        return [
            progress
            for progress in self.stages
            if progress.state is State.WAITING and all(self.by_name[need].finished for need in progress.stage.needs)
        ]

    def _start(self, context: Any, progress: Progress) -> None:
        progress.path.mkdir(parents=True, exist_ok=True)
        progress.started = time.time()
        progress.state = State.RUNNING
        _write_stage(progress)
        answers, ours = context.Pipe(duplex=False)
        job = Job(
            kind=progress.stage.kind.name,
            values=progress.stage.resolved(self.out / "stages"),
            out=progress.path,
            resume=progress.resumed,
            threads=self.recipe.threads,
            processes=self.processes,
            directory=Path.cwd(),
        )
        process = context.Process(target=run_job, args=(job, ours), name=f"instructloop {progress.stage.name}")
        process.start()
        ours.close()
        self.running.append(_Running(process=process, answers=answers, progress=progress))
        logger.info("stage %s %s", progress.stage.name, "resumed" if progress.resumed else "started")
        self._write()

    def _collect(self, item: _Running) -> None:
        progress = item.progress
        try:
            outcome: Outcome | None = item.answers.recv() if item.answers.poll() else None
        except EOFError:
            outcome = None
        item.process.join()
        self.running.remove(item)
        progress.seconds += time.monotonic() - item.began
        progress.state = State.DONE if outcome is not None and outcome.done else State.FAILED
        progress.error = "" if outcome is None else outcome.message
        _write_stage(progress)
        self._write()
        if progress.state is State.FAILED:
            raise self._failure(progress, outcome, item.process.exitcode)

    def _failure(self, progress: Progress, outcome: Outcome | None, exitcode: int) -> Exception:
        name, log = progress.stage.name, _log(progress.path)
        if outcome is None:
            how = f"was killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"ended with exit code {exitcode}"
            progress.error = how
            return CheckpointError(
                f"stage {name!r} {how} (log: {log})",
                hint="a lack of memory is the usual reason; the same command takes the stage up at its last checkpoint",
            )
        if outcome.bug:
            return StageCrashed(f"stage {name!r} (log: {log})\n{outcome.message}")
        return outcome.error_type(f"stage {name!r}: {outcome.message} (log: {log})", hint=outcome.hint)

    def _stop(self) -> None:
        for item in self.running:
            item.process.terminate()
        for item in self.running:
            item.process.join(timeout=10)
            if item.process.exitcode is None:
                item.process.kill()
                item.process.join()
            item.progress.state = State.STOPPED
            item.progress.seconds += time.monotonic() - item.began
            _write_stage(item.progress)
        self.running.clear()

    def _write(self) -> None:
        write_json(
            self.out / "pipeline.json",
            {
                "schema_version": 1,
                "recipe": self.recipe.name,
                "description": self.recipe.description,
                "vars": dict(self.recipe.variables),
                "threads": self.recipe.threads,
                "at": round(time.time(), 3),
                "stages": [_row(progress) for progress in self.stages],
            },
        )


def _row(progress: Progress) -> dict[str, Any]:
    stage = progress.stage
    return {
        "name": stage.name,
        "kind": stage.kind.name,
        "state": State.DONE.value if progress.finished else progress.state.value,
        "path": f"stages/{stage.name}",
        "needs": list(stage.needs),
        "key": progress.key,
        "started": progress.started,
        "seconds": round(progress.seconds, 3),
        "error": progress.error,
        "config": dict(stage.values),
    }


def _write_stage(progress: Progress) -> None:
    row: Mapping[str, Any] = {"schema_version": 1, **_row(progress), "resolved": _resolved(progress)}
    write_json(progress.path / "stage.json", row)


def _moved(progress: Progress) -> bool:
    """Whether an unfinished stage was begun under other paths: its run would refuse to resume with these."""
    row = read_json(progress.path / "stage.json")
    return bool(row["state"] != State.DONE and row["resolved"] != _resolved(progress))


def _resolved(progress: Progress) -> Any:
    return json.loads(json.dumps(progress.stage.resolved(progress.path.parent)))


def _key(path: Path) -> str:
    file = path / "stage.json"
    if not file.exists():
        raise CheckpointError(f"{path} is in the way: it was not made by this pipeline", hint="move it, or choose another --out")
    return str(read_json(file)["key"])


def _near(path: Path) -> Path:
    """Relative to the working directory where it lies below it, so that configurations and model cards name no home folder."""
    full, here = path.resolve(), Path.cwd()
    return full.relative_to(here) if full.is_relative_to(here) and full != here else full


def _short(key: str) -> str:
    return key.removeprefix("sha256:")[:12]


def _free(path: Path) -> Path:
    """The path itself, or with a number behind it if an earlier unfinished attempt stands there."""
    if not path.exists():
        return path
    return next(other for number in range(2, 10_000) if not (other := path.with_name(f"{path.name}-{number}")).exists())


def _log(path: Path) -> Path:
    return path / "log.txt" if (path / "log.txt").exists() else path / "console.txt"
