"""``instructloop feedback upgrade|backup|check|revoke|erase``: looking after a project's store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from instructloop.cli.arguments import parse
from instructloop.core.errors import ConfigError

if TYPE_CHECKING:
    from instructloop.feedback.database import Database
    from instructloop.feedback.project import Project

_FOUND_SOMETHING = 3
Folder = Annotated[str, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class UpgradeArguments:
    """Arguments of ``feedback upgrade``."""

    project: Folder
    """Project folder."""


@dataclass(frozen=True)
class BackupArguments:
    """Arguments of ``feedback backup``."""

    project: Folder
    """Project folder."""
    file: Annotated[str, tyro.conf.Positional]
    """The copy; must not exist yet."""


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """Arguments of ``feedback check``."""

    project: Folder
    """Project folder."""
    fix: bool = False
    """Write the counted numbers where a counter is wrong."""


@dataclass(frozen=True, kw_only=True)
class RevokeArguments:
    """Arguments of ``feedback revoke``."""

    project: Folder
    """Project folder."""
    consent: str = ""
    """Identifier of the consent (``consent_id`` of a row)."""


@dataclass(frozen=True, kw_only=True)
class EraseArguments:
    """Arguments of ``feedback erase``."""

    project: Folder
    """Project folder."""
    prompt: str = ""
    """Identifier of a prompt: it goes, with everything that quotes it."""
    user: str = ""
    """Identifier of an account: its data goes, with its prompts and everything the person wrote."""
    reason: str = ""
    """Why; it stands in the tombstone."""


def upgrade(arguments: list[str], prog: str) -> None:
    """Bring the store to this program's schema."""
    from instructloop.feedback import migrations

    with opened(parse(UpgradeArguments, arguments, prog).project, current=False) as (project, db):
        before = migrations.current(db)
        migrations.upgrade(db)
        after = migrations.current(db)
    print(
        f"{project.path}: already at revision {after}"
        if before == after
        else f"{project.path}: from {before or 'nothing'} to revision {after}"
    )


def backup(arguments: list[str], prog: str) -> None:
    """Copy a SQLite store while people work in it."""
    from instructloop.feedback.backup import backup as copy

    given = parse(BackupArguments, arguments, prog)
    with opened(given.project, current=False) as (_, db):
        size = copy(db, Path(given.file))
    print(f"{given.file}: {size / 1e6:.1f} MB; the project's secret.key is not in it")


def check(arguments: list[str], prog: str) -> int:
    """Hash the audit log and the snapshots again, and count again; exit code 3 if something does not fit."""
    from instructloop.feedback import audit
    from instructloop.feedback.reconcile import reconcile
    from instructloop.feedback.snapshots import check_snapshot, snapshots

    given = parse(CheckArguments, arguments, prog)
    with opened(given.project) as (project, db):
        broken = audit.verify(db)
        lines, last = audit.head(db)
        differences = reconcile(db, fix=given.fix)
        made = snapshots(project)
        problems = [problem for snapshot in made for problem in check_snapshot(snapshot)]
    print(
        f"audit log: {lines} lines, the last {last[7:19]}"
        + (f"; does not fit at {', '.join(map(str, broken))}" if broken else "; unbroken")
    )
    fixed = ", now mended" if given.fix else ""
    print(f"counters: {f'{len(differences)} wrong{fixed}' if differences else 'right'}")
    for item in differences:
        print(f"  task {item.task_id}: {item.column} was {item.stored}, counted {item.counted}")
    print(f"snapshots: {len(made)}" + (", not as they were made:" if problems else ", as they were made" if made else ""))
    for problem in problems:
        print(f"  {problem}")
    return _FOUND_SOMETHING if broken or problems or (differences and not given.fix) else 0


def revoke(arguments: list[str], prog: str) -> None:
    """Close a consent: nothing under it leaves any more."""
    from instructloop.feedback.consent import revoke as close

    given = parse(RevokeArguments, arguments, prog)
    if not given.consent:
        raise ConfigError("no consent is named", hint="add --consent ID; the rows of an export hold it as consent_id")
    with opened(given.project) as (_, db):
        affected = close(db, given.consent, actor="cli")
    print(f"consent {given.consent} is revoked")
    _tell(affected)


def erase(arguments: list[str], prog: str) -> None:
    """Erase a prompt or a person; a tombstone with hashes and counts stays."""
    from instructloop.feedback.erasure import erase_prompt, erase_user

    given = parse(EraseArguments, arguments, prog)
    if bool(given.prompt) == bool(given.user) or not given.reason:
        raise ConfigError("an erasure needs either --prompt or --user, and a --reason", hint="it cannot be taken back")
    with opened(given.project) as (_, db):
        if given.prompt:
            done = erase_prompt(db, given.prompt, reason=given.reason, actor="cli")
        else:
            done = erase_user(db, given.user, reason=given.reason, actor="cli")
    again = " (was erased before)" if done.repeated else ""
    print(f"{done.subject}: {done.prompts} prompts, {done.completions} completions, texts of {done.submissions} answers erased{again}")
    _tell(done.affected_exports)


def _tell(exports: tuple[str, ...]) -> None:
    if exports:
        print(f"{len(exports)} exports or snapshots that left before hold some of it:")
        for name in exports:
            print(f"  {name}")


@contextmanager
def opened(folder: str, *, current: bool = True) -> "Iterator[tuple[Project, Database]]":
    """A project with its store; ``current`` insists on this program's schema.

    Raises:
        ConfigError: no project is named or there; or the store needs ``instructloop feedback upgrade``.
    """
    from instructloop.feedback import migrations
    from instructloop.feedback.project import Project

    if not folder:
        raise ConfigError("no project is named", hint="name its folder; instructloop init DIR makes one")
    project = Project.open(folder)
    db = project.database()
    try:
        if current:
            migrations.require_current(db)
        yield project, db
    finally:
        db.close()
