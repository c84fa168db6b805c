"""The run directory: everything a stage leaves behind, written so that killing it at any moment is harmless.

    config.json  environment.json  command.txt  code.diff  lineage.json   what was asked, with what, from what
    metrics.jsonl  timings.jsonl  events.jsonl  samples/  log.txt          what happened
    checkpoints/step-*/ + index.jsonl (a line = a commit)                  to resume from
    model/  result.json  eval/  artifacts.json                             what came out, with hashes
    status.json                                                            running | done | failed

Steps count completed optimizer steps. A trainer writes everything that belongs to step s *before* ``checkpoint(s)``;
resuming cuts the logs back to exactly what they held at the commit, so a resumed run writes the same lines again.
Times live in ``timings.jsonl`` alone: ``metrics.jsonl`` is equal bit for bit between a broken and an unbroken run.
"""

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from instructloop.core.errors import CheckpointError, ConfigError, TrainingDiverged
from instructloop.core.files import PARTIAL_SUFFIX, append_jsonl, read_json, write_atomic, write_directory, write_json, write_jsonl
from instructloop.core.hashing import hash_tree
from instructloop.core.protocols import SaveState
from instructloop.runs.checkpoints import CheckpointIndex, SavedState
from instructloop.runs.disk import writing
from instructloop.runs.environment import code_diff, command_line, environment
from instructloop.runs.lineage import ARTIFACTS_FILE, LINEAGE_FILE, NOT_HASHED, STATUS_FILE, Parent, is_run, parent_rows
from instructloop.runs.lock import take_lock

SCHEMA_VERSION = 1
LOGS = ("metrics.jsonl", "timings.jsonl", "events.jsonl")
logger = logging.getLogger(__name__)


class RunDir:
    """One stage's directory, held open (and locked) by one process; use it as a context manager.

    Where several processes train one model, the others follow it (``RunDir.follow``): the same calls, but nothing is written.
    """

    def __init__(self, path: Path, stage: str, lock: int) -> None:
        """Not for callers: use ``RunDir.open``."""
        self.path = path
        self.stage = stage
        self.log = logging.getLogger(f"instructloop.{stage}")
        self.was_done = False
        """Whether the run had already ended when it was opened with ``resume``."""
        self.follows = False
        """Whether another process writes this directory."""
        self._lock = lock
        self._index = CheckpointIndex(path / "checkpoints")
        self._start: SavedState | None = None
        self._handler: logging.Handler | None = None
        self._started = time.time()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        stage: str,
        config: Mapping[str, Any],
        parents: Sequence[Parent] = (),
        resume: bool = False,
    ) -> "RunDir":
        """Start a run in a new directory, or take one up again.

        Args:
            path: the directory; a fresh run must not find another run there.
            stage: e.g. ``sft``; names the metrics (``sft/loss``).
            config: the whole configuration as JSON-ready values.
            parents: hashed inputs.
            resume: continue what is there. Without a run there, a fresh one starts (it was killed before it began).

        Raises:
            CheckpointError: a run is already there, is held by another process, or is damaged.
            ConfigError: the configuration or an input differs from the one the run began with.
        """
        place = Path(path)
        exists = is_run(place)
        if exists and not resume:
            raise CheckpointError(
                f"{place} already holds a run ({read_status(place)['status']})",
                hint="continue it with --resume, or choose another directory with --out",
            )
        with writing(place, "run directory"):
            place.mkdir(parents=True, exist_ok=True)
        run = cls(place, stage, take_lock(place, "run"))
        try:
            plain = json.loads(json.dumps(config, allow_nan=False))
            if exists:
                run._reopen(plain, tuple(parents))
            else:
                run._create(plain, tuple(parents))
        except BaseException:
            run._release()
            raise
        return run

    @classmethod
    def follow(cls, path: str | Path, *, stage: str, start: SavedState | None) -> "RunDir":
        """The directory of a run that another process has opened and writes.

        Metrics are checked and dropped, events, samples and results are dropped, the end leaves the status alone. ``checkpoint`` calls its
        save function all the same: of a state in several parts every process writes its own.

        Args:
            path: the run directory.
            stage: its stage.
            start: what the writer's ``latest()`` says.
        """
        run = cls(Path(path), stage, -1)
        run.follows, run._start = True, start
        return run

    def _create(self, config: dict[str, Any], parents: tuple[Parent, ...]) -> None:
        with writing(self.path, "run directory"):
            write_json(self.path / "config.json", {"schema_version": SCHEMA_VERSION, "stage": self.stage, "config": config})
            write_json(self.path / "environment.json", environment())
            write_atomic(self.path / "command.txt", command_line() + "\n")
            if diff := code_diff():
                write_atomic(self.path / "code.diff", diff)
            rows = parent_rows(self.path, parents)
            write_json(self.path / LINEAGE_FILE, {"schema_version": SCHEMA_VERSION, "stage": self.stage, "parents": rows})
            # Last of all: from here on this is a run.
            self._write_status("running")

    def _reopen(self, config: dict[str, Any], parents: tuple[Parent, ...]) -> None:
        before = read_json(self.path / "config.json")
        if before["stage"] != self.stage:
            raise ConfigError(f"{self.path} is a run of stage {before['stage']!r}, not {self.stage!r}", hint="choose another directory")
        _refuse_difference(self.path, before["config"], config)
        _refuse_changed_parents(self.path, parents)
        self.was_done = read_status(self.path)["status"] == "done"
        entry = self._index.latest()
        self._index.roll_back(entry)
        self._start = None if entry is None else SavedState(entry.step, self._index.folder / entry.name)
        # Also where the run had ended: what a stage does after its last commit, it does again.
        self._cut_back(None if entry is None else entry.step, {} if entry is None else entry.offsets)
        self.event(
            0 if entry is None else entry.step, "resumed", "taken up again" + (" after its end" if self.was_done else " after a stop")
        )
        self._write_status("running")

    def _cut_back(self, step: int | None, offsets: Mapping[str, int]) -> None:
        for name in LOGS:
            file = self.path / name
            if file.exists():
                os.truncate(file, offsets.get(name, 0))
        for file in (self.path / "samples").glob("step-*"):
            if file.suffix == PARTIAL_SUFFIX or step is None or int(file.stem.split("-")[1]) > step:
                file.unlink()

    # -- what happens ------------------------------------------------------------------------------------------------

    def metrics(self, step: int, stage: str, values: Mapping[str, float]) -> None:
        """Append ``{"step": step, "stage/name": value, ...}``; a non-finite value raises TrainingDiverged."""
        row: dict[str, Any] = {"step": step}
        for name, value in values.items():
            number = float(value)
            if not math.isfinite(number):
                raise TrainingDiverged(
                    f"{stage}/{name} is {number} at step {step}", hint="lower the learning rate, or look at the last samples"
                )
            row[f"{stage}/{name}"] = number
        self._append("metrics.jsonl", row)

    def timing(self, step: int, values: Mapping[str, float]) -> None:
        """Append wall-clock numbers (seconds, tokens per second), which differ from run to run."""
        self._append("timings.jsonl", {"step": step, "at": round(time.time(), 3), **{name: float(value) for name, value in values.items()}})

    def event(self, step: int, kind: str, message: str, **fields: Any) -> None:
        """Append something worth knowing: an alarm, a warning, a skip; it also goes to the log."""
        if self.follows:
            return
        self._append("events.jsonl", {"step": step, "kind": kind, "message": message, **fields})
        self.log.log(logging.WARNING if kind in {"alarm", "warning"} else logging.INFO, "%s (step %d): %s", kind, step, message)

    def samples(self, step: int, rows: Iterable[Mapping[str, Any]]) -> Path:
        """Write ``samples/step-000200.jsonl``."""
        file = self.path / "samples" / f"step-{step:06d}.jsonl"
        if self.follows:
            return file
        with writing(file, "samples"):
            write_jsonl(file, rows)
        return file

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        if self.follows:
            return
        with writing(self.path / name, "log"):
            append_jsonl(self.path / name, row)

    # -- training states ---------------------------------------------------------------------------------------------

    def checkpoint(self, step: int, save: SaveState, *, keep: int, best: bool = False) -> Path:
        """Commit the training state after ``step`` steps; older ones beyond ``keep`` are deleted, a best one stays."""
        if self.follows:
            path = self._index.join_commit(step, save)
            self._start = SavedState(step, path)
            return path
        offsets = {}
        for name in LOGS:
            file = self.path / name
            if file.exists():
                _flush(file)
                offsets[name] = file.stat().st_size
        path = self._index.commit(step, save, offsets=offsets, keep=keep, best=best)
        self._start = SavedState(step, path)
        return path

    def latest(self) -> SavedState | None:
        """The newest complete training state, or None for a fresh run."""
        return self._start

    def best(self) -> SavedState | None:
        """The training state last committed with ``best=True``."""
        return self._index.best()

    # -- what comes out ----------------------------------------------------------------------------------------------

    def publish(self, name: str, save: SaveState) -> Path:
        """Write an artefact directory (``model``: a Hugging Face directory) atomically and record its hash.

        A run killed after publishing and resumed publishes the same again, in place of the first.
        """
        return self._publish(name, lambda path: write_directory(path, save))

    def publish_file(self, name: str, write: Callable[[Path], object]) -> Path:
        """Write an artefact file (``rankings.jsonl``) atomically and record its hash."""

        def replace(path: Path) -> None:
            partial = path.with_name(path.name + PARTIAL_SUFFIX)
            write(partial)
            partial.replace(path)

        return self._publish(name, replace)

    def _publish(self, name: str, write: Callable[[Path], None]) -> Path:
        path = self.path / name
        if self.follows:
            return path
        before = path.with_name(f"{name}.before{PARTIAL_SUFFIX}")
        shutil.rmtree(before, ignore_errors=True)
        if path.is_dir():
            path.rename(before)
        with writing(path, name):
            write(path)
        shutil.rmtree(before, ignore_errors=True)
        self._record(name)
        return path

    def result(self, values: Mapping[str, Any]) -> Path:
        """Write ``result.json``: the stage's final numbers."""
        path = self.path / "result.json"
        if self.follows:
            return path
        with writing(path, "result"):
            write_json(path, {"schema_version": SCHEMA_VERSION, **values})
        self._record("result.json")
        return path

    def evaluation(self, name: str, value: Mapping[str, Any]) -> Path:
        """Write ``eval/<name>.json``."""
        path = self.path / "eval" / f"{name}.json"
        if self.follows:
            return path
        with writing(path, "evaluation"):
            write_json(path, value)
        self._record(f"eval/{name}.json")
        return path

    def _record(self, name: str) -> None:
        file = self.path / ARTIFACTS_FILE
        known = read_json(file)["artifacts"] if file.exists() else {}
        known[name] = hash_tree(self.path / name, ignore=NOT_HASHED)
        write_json(file, {"schema_version": SCHEMA_VERSION, "artifacts": known})

    # -- opening and closing -----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self.follows:
            return self
        self._handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        package = logging.getLogger("instructloop")
        package.addHandler(self._handler)
        if package.getEffectiveLevel() > logging.INFO:
            package.setLevel(logging.INFO)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._write_status("done")
            else:
                self.log.error("stopped by %s: %s", type(error).__name__, error)
                self._write_status("failed", error=f"{type(error).__name__}: {error}", hint=getattr(error, "hint", None))
        except OSError as failure:
            if error is None:
                raise
            logger.warning("could not write the status of %s: %s", self.path, failure)  # the first error is the one to show
        finally:
            self._release()

    def _release(self) -> None:
        if self._handler is not None:
            logging.getLogger("instructloop").removeHandler(self._handler)
            self._handler.close()
            self._handler = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write_status(self, status: str, **fields: Any) -> None:
        if self.follows:
            return
        file = self.path / STATUS_FILE
        before = read_json(file) if file.exists() else {}
        spent = before.get("seconds", 0.0) + (time.time() - self._started if status != "running" else 0.0)
        row = {
            "schema_version": SCHEMA_VERSION,
            "status": status,
            "pid": os.getpid(),
            "seconds": round(spent, 3),
            "at": round(time.time(), 3),
        }
        write_json(file, {**row, **fields})


def read_status(path: Path) -> dict[str, Any]:
    """``status.json`` of a run; ``status`` is running, done or failed (a killed run still says running)."""
    status: dict[str, Any] = read_json(path / STATUS_FILE)
    return status


def _refuse_difference(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = _flat(before), _flat(now)
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) != new.get(key):
            raise ConfigError(
                f"{path} was begun with {key} = {old.get(key)!r}, and is asked to resume with {new.get(key)!r}",
                hint="resume with the same configuration, or start a new run with --out",
            )


def _refuse_changed_parents(path: Path, parents: tuple[Parent, ...]) -> None:
    before = {row["role"]: row["sha256"] for row in read_json(path / LINEAGE_FILE)["parents"]}
    for item in parents:
        if item.role in before and before[item.role] != item.sha256:
            raise ConfigError(
                f"{path}: the {item.role} {item.path} has changed since the run began",
                hint="restore the input, or start a new run with --out",
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
