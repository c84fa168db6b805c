"""A training stage in one process or in many: started here, by torchrun, or by Ray. The training function is the same.

``local`` starts the processes itself and watches over them; ``torchrun`` joins the processes that torchrun has started; ``ray``
hands the function to Ray Train. In each, every process knows the same configuration and calls ``run_rank``.
"""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from instructloop.config.shared import require
from instructloop.core.errors import ConfigError
from instructloop.recipes.kinds import KINDS

_MAY_TAKE_PROJECTS = frozenset({"sft", "rm", "ppo"})


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Who starts the processes of a training stage, and how many."""

    launcher: Literal["local", "torchrun", "ray"] = "local"
    """``local``: this program starts them; ``torchrun``: it was started by torchrun; ``ray``: Ray Train starts them."""
    processes: int = 1
    """Processes that share the work (one a GPU); with torchrun, its own option counts."""
    resources_per_process: Mapping[str, float] = field(default_factory=dict)
    """Only Ray: what a process reserves, e.g. ``{"CPU": 0.5}``; empty: one GPU where there are any, else one CPU."""

    def __post_init__(self) -> None:
        require(self.processes >= 1, f"--processes must be >= 1, got {self.processes}")
        require(
            not self.resources_per_process or self.launcher == "ray",
            f"--resources-per-process means nothing to the launcher {self.launcher!r}",
            hint="leave it out, or add --launcher ray",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What every process does: one training stage."""

    kind: str
    """Name of the stage kind (``sft``)."""
    config: Any
    """Its configuration; project folders are still to be replaced by snapshots."""
    out: Path
    resume: bool
    command: str = ""
    """How the user would call it again, for messages."""
    directory: Path = field(default_factory=Path.cwd)
    """Relative paths refer to it."""

    @property
    def again(self) -> str:
        """The hint after an accident."""
        return (
            f"take it up at its last checkpoint: {resuming(self.command)}"
            if self.command
            else "the same call, resumed, goes on at its last checkpoint"
        )


def launch(work: Work, how: Launch = Launch()) -> None:
    """Run a training stage; returns when its run directory is finished.

    Raises:
        InstructLoopError: of the stage itself; or a process died, and the message names it.
        ConfigError: the launcher cannot be used so.
    """
    if how.launcher == "torchrun":
        _inside_torchrun(work, how)
    elif how.launcher == "ray":
        from instructloop.recipes.launch_ray import run_with_ray

        run_with_ray(settled(work), how)
    elif how.processes > 1:
        from instructloop.recipes.launch_local import run_processes

        run_processes(settled(work), how.processes)
    else:
        run_stage(settled(work))


def run_stage(work: Work) -> None:
    """The training function, in this process: alone, or as one of the ranks that have joined."""
    KINDS[work.kind].function()(work.config, work.out, resume=work.resume)


def settled(work: Work) -> Work:
    """Project folders become snapshots, once, before there are several processes."""
    if work.kind not in _MAY_TAKE_PROJECTS:
        return work
    from instructloop.recipes.from_project import with_snapshots

    return replace(work, config=with_snapshots(work.config, work.out, resume=work.resume))


def _inside_torchrun(work: Work, how: Launch) -> None:
    size = os.environ.get("WORLD_SIZE", "")
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        given = work.command.removeprefix("instructloop ") or f"train {work.kind} ... --launcher torchrun"
        raise ConfigError(
            "--launcher torchrun: this process was not started by torchrun (RANK and WORLD_SIZE are not set)",
            hint=f"torchrun --standalone --nproc-per-node {max(how.processes, 2)} -m instructloop {given}",
        )
    if how.processes not in {1, int(size)}:
        raise ConfigError(f"torchrun started {size} processes, --processes says {how.processes}", hint="leave --processes out")
    from instructloop.recipes.launch_rank import run_under_torchrun

    run_under_torchrun(replace(work, command=f"torchrun ... -m {work.command}" if work.command else ""))


def resuming(command: str) -> str:
    """The command line with ``--resume``."""
    words = shlex.split(command)
    return command if "--resume" in words else f"{command} --resume"


class RankCrashed(RuntimeError):  # noqa: N818 - a bug of ours: it keeps its traceback
    """A process raised something that is not for the user to mend; the message is its traceback."""
