"""``instructloop feedback ...`` and ``instructloop snapshot``: answers out of a project, into it, and off to training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from instructloop.cli.arguments import parse
from instructloop.cli.upkeep import opened
from instructloop.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instructloop.feedback.exchange import Selection

_MOST_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class SelectionArguments:
    """What may leave; the defaults are the rules of training data."""

    purpose: Literal["training", "evaluation", "all"] = "training"
    """training: screened labelers, consent, no personal data; evaluation: also held-out labelers and researchers; all: a full copy."""
    cohorts: tuple[str, ...] = ()
    """Cohorts of labelers (training, heldout, researcher, simulated); empty takes those of the purpose."""
    splits: tuple[str, ...] = ()
    """Splits of the prompts (train, valid, test); empty takes those of the purpose."""
    prompt_sources: tuple[str, ...] = ("api",)
    """Sources of the prompts for PPO; the paper took customers' only."""
    include_pii: bool = False
    """Also comments, notes, imported extra fields, and prompts not known to be clean."""
    include_gold: bool = False
    """Also answers to gold items."""


@dataclass(frozen=True, kw_only=True)
class SnapshotArguments(SelectionArguments):
    """Arguments of ``snapshot``."""

    project: Annotated[str, tyro.conf.Positional]
    """Project folder (instructloop init)."""


@dataclass(frozen=True, kw_only=True)
class ExportArguments(SelectionArguments):
    """Arguments of ``feedback export``."""

    project: Annotated[str, tyro.conf.Positional]
    """Project folder (instructloop init)."""
    out: str = ""
    """Folder to write; must not exist yet."""
    layout: Literal["ours", "trl", "trl-conversational"] = "ours"
    """Our own rows with everything, or what TRL's trainers read, as texts or as messages."""
    csv: bool = False
    """CSV files for spreadsheets, with texts that would run as formulas made harmless."""


@dataclass(frozen=True, kw_only=True)
class ImportArguments:
    """Arguments of ``feedback import``."""

    file: Annotated[str, tyro.conf.Positional]
    """A file, or a folder that export or snapshot wrote."""
    project: str = ""
    """Project folder (instructloop init)."""
    tool: Annotated[Literal["instructloop", "argilla", "label-studio", "hh", "alpaca-eval", "oasst"], tyro.conf.arg(name="from")] = (
        "instructloop"
    )
    """Whose layout it is."""
    map: tuple[str, ...] = ()
    """What can't be guessed, as NAME=FIELD: prompt=question, a label of a ranking=its field, left=, right=, buckets=good>bad, ratings=1-7 or keep."""
    labeler: str = ""
    """Code for answers that name nobody."""
    cohort: str = "training"
    """Cohort of labelers who are new: training, heldout, researcher or simulated."""
    source: str = "dataset"
    """Source of prompts that name none: api, labeler, dataset or synthetic."""
    queue: str = ""
    """Beginning of the names of the queues that are made."""
    skip_bad_rows: bool = False
    """Leave bad rows out and list them; nothing is dropped silently."""


def snapshot(arguments: list[str], prog: str) -> None:
    """Write what may train now into the project's snapshots; equal content gives the one that is there."""
    from instructloop.feedback.snapshots import make_snapshot

    given = parse(SnapshotArguments, arguments, prog)
    with opened(given.project) as (project, db):
        made = make_snapshot(project, db, selection=_selection(given))
    print(made.path)
    for name, entry in made.manifest["files"].items():
        if entry["rows"]:
            print(f"  {name}: {entry['rows']} rows")
    _left(made.manifest["left_out"])


def export(arguments: list[str], prog: str) -> None:
    """Write the chosen answers into a new folder with a manifest."""
    from instructloop.feedback.exchange import export as write

    given = parse(ExportArguments, arguments, prog)
    if not given.out:
        raise ConfigError("no folder is named", hint="add --out exports/NAME")
    with opened(given.project) as (_, db):
        made = write(db, Path(given.out), selection=_selection(given), layout=given.layout, csv=given.csv)
    print(made.path)
    for name, rows in made.rows.items():
        print(f"  {name}: {rows} rows")
    _left(made.left)


def import_(arguments: list[str], prog: str) -> None:
    """Read a file of answers into a project, all of it or nothing."""
    from instructloop.feedback.exchange import ImportOptions, import_feedback

    given = parse(ImportArguments, arguments, prog)
    if not given.project:
        raise ConfigError("no project is named", hint="add --project DIR; instructloop init DIR makes one")
    options = ImportOptions(
        tool=given.tool,
        labeler=given.labeler,
        cohort=given.cohort,
        source=given.source,
        queue=given.queue,
        names=dict(_pair(item) for item in given.map),
        skip_bad_rows=given.skip_bad_rows,
    )
    with opened(given.project) as (project, db):
        report = import_feedback(project, db, Path(given.file), options)
    print(f"{given.file}: {report.sentence()}")
    for skip in report.skipped[:_MOST_SHOWN]:
        print(f"  left out: {skip}")
    if len(report.skipped) > _MOST_SHOWN:
        print(f"  ... and {len(report.skipped) - _MOST_SHOWN} more")
    for name, count in report.notes.items():
        print(f"  {name}: {count}")


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name or not value:
        raise ConfigError(f"--map {text!r} is no NAME=FIELD", hint="e.g. --map prompt=question")
    return name, value


def _selection(given: SelectionArguments) -> "Selection":
    from instructloop.feedback.exchange import Selection

    return Selection(
        purpose=given.purpose,
        cohorts=given.cohorts,
        splits=given.splits,
        prompt_sources=given.prompt_sources,
        include_pii=given.include_pii,
        include_gold=given.include_gold,
    )


def _left(left: "Mapping[str, int]") -> None:
    for reason, count in sorted(left.items(), key=lambda item: -item[1]):
        print(f"  left out: {count} answers ({reason.replace('_', ' ')})")
