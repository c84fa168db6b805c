"""``instructloop rehearse``: simulated labelers work through a copy of a project."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from instructloop.cli.arguments import parse
from instructloop.cli.tables import console
from instructloop.core.errors import ConfigError
from instructloop.recipes.progress import show_progress

if TYPE_CHECKING:
    from instructloop.feedback.simulate.rehearsal import Rehearsal


@dataclass(frozen=True)
class RehearseArguments:
    """Arguments of ``rehearse``."""

    project: Annotated[Path, tyro.conf.Positional]
    """A project folder with filled queues."""
    out: str = ""
    """Folder for the copy that is labeled; the project itself stays as it is."""
    in_place: bool = False
    """Label the project itself: for a project made for nothing else."""
    labelers: int = 12
    """Simulated labelers of the training cohort."""
    heldout: int = 0
    """Further ones of the held-out cohort."""
    researchers: int = 0
    """Further ones who count as researchers."""
    agreement: float = 0.726
    """How often two of them should agree on pairs that both rank strictly (the paper: 0.726, spec B4)."""
    tie_rate: float = 0.1
    """Share of ties they should give."""
    utility: str = "overlap"
    """What they care about: overlap, length, meta:FIELD, or file.py:function called as function(prompts, completions)."""
    length_bias: float = 0.0
    """Added for each doubling of the words, in units of the utility."""
    agreement_bias: float = 0.0
    """Added for repeating what the user said."""
    position_bias: float = 0.0
    """Added for being shown first, taken for being shown last."""
    skip_rate: float = 0.02
    """Share of tasks that are skipped."""
    leave_rate: float = 0.02
    """Share of tasks in the middle of which somebody leaves without a word."""
    seconds: float = 20.0
    """Median seconds for one output."""
    queues: list[str] = field(default_factory=list)
    """Names of the queues; by default all open ones."""
    seed: int = 0
    """Base of every random stream."""
    json: bool = False
    """Print JSON instead of a table."""


def rehearse(arguments: list[str], prog: str) -> None:
    """Label a copy of a project with simulated labelers and say how well they agreed and how long it took them."""
    given = parse(RehearseArguments, arguments, prog)
    if bool(given.out) == given.in_place:
        raise ConfigError("say where the rehearsal takes place", hint=f"--out {given.project}-rehearsal, or --in-place")
    show_progress()
    from instructloop.feedback.project import Project
    from instructloop.feedback.simulate import Habits, make_pool, utility_of
    from instructloop.feedback.simulate import rehearsal as stage

    pool = make_pool(
        given.labelers,
        utility_of(given.utility),
        seed=given.seed,
        length_bias=given.length_bias,
        agreement_bias=given.agreement_bias,
        position_bias=given.position_bias,
        habits=Habits(seconds_per_output=given.seconds, skip_rate=given.skip_rate, leave_rate=given.leave_rate),
        heldout=given.heldout,
        researchers=given.researchers,
    )
    project = Project.open(given.project)
    if given.in_place:
        db = project.database()
    else:
        project = stage.copy_project(project, Path(given.out))
        db = stage.unflushed(project)
    try:
        queues = stage.open_queues(db, given.queues)
        done = stage.rehearse(db, list(queues), pool, agreement=given.agreement, tie_rate=given.tie_rate, seed=given.seed)
    finally:
        db.close()
    if given.json:
        print(json.dumps(done.as_json(), indent=2))
        return
    _print(done, project.path)


def _print(done: "Rehearsal", path: Path) -> None:
    out = console()
    report = done.report
    kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(report.answers.items()))
    out.print(f"{report.total} answers ({kinds or 'none'}) by {len(report.by_labeler)} simulated labelers in {report.seconds:.1f} s")
    out.print(f"their work: {report.labeler_hours:.1f} labeler hours, {report.simulated_hours:.1f} hours by the clock")
    out.print(f"skipped {report.skipped}, left {report.left}, came back late {report.late}, surplus {report.surplus}")
    if done.measured is None:
        out.print("no task was ranked by two labelers: agreement cannot be told (raise the queue's overlap)")
    elif done.measured.strict is None:
        out.print(
            "no pair of outputs was ordered by two labelers, all were ties: the utility hardly tells the outputs apart (see --utility)"
        )
    else:
        strict = done.measured.strict
        out.print(
            f"strict agreement {strict.value:.1%} (95 % {strict.low:.1%} to {strict.high:.1%}, {strict.n} prompts); asked for {done.wanted:.1%}"
        )
        out.print(f"tie rate {done.measured.tie_rate:.1%}, ties as half {done.measured.tie_half.value:.1%}")
    out.print(f"next: instructloop snapshot {path}", markup=False)
