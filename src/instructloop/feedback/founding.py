"""Founding a project: its folder, its store at the newest revision, the fields asked and the default guidelines."""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.flags import COMPLETION_FLAGS, PROMPT_FLAGS
from instructloop.feedback.project import Project
from instructloop.feedback.schema import Base, FlagDefinition


def found(path: Path, *, name: str = "", url: str = "") -> Project:
    """Make a project folder and its store, ready to label.

    Args:
        path: a new or empty folder.
        name: shown to labelers; the folder's name by default.
        url: of a PostgreSQL database; empty keeps a SQLite file in the folder.

    Raises:
        ConfigError: there is a project already, or the database cannot be used.
    """
    project = Project.create(path, name=name, url=url)
    db = project.database()
    try:
        Base.metadata.create_all(db.engine)
        seed(db)
    finally:
        db.close()
    return project


def seed(db: Database) -> None:
    """Put the fields of spec B11 and B12 and the shipped guidelines into a store that lacks them; safe to repeat."""
    with db.write() as session:
        added = seed_flags(session)
        if added:
            audit.append(session, actor="system", action="project.found", object="project", detail={"flags": added})


def seed_flags(session: Session) -> int:
    """Add the definitions that are missing, as version 1; returns how many."""
    known = set(session.scalars(select(FlagDefinition.key)))
    missing = [
        FlagDefinition(
            key=flag.key,
            version=1,
            scope=flag.scope,
            position=position,
            label=flag.label,
            help=flag.help,
            shortcut=flag.shortcut or None,
            options=list(flag.options),
            applies_if=dict(flag.applies_if),
            good_value=flag.good_value or None,
        )
        for position, flag in enumerate((*PROMPT_FLAGS, *COMPLETION_FLAGS))
        if flag.key not in known
    ]
    session.add_all(missing)
    return len(missing)
