"""Founding a project: its folder, its store at the newest revision, the fields asked and the default guidelines."""

from pathlib import Path

from sqlalchemy import select

from instructloop.feedback import audit, guidelines, migrations, screening
from instructloop.feedback.database import Database
from instructloop.feedback.project import Project
from instructloop.feedback.schema import Audit


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
        migrations.upgrade(db)
        seed(db)
    finally:
        db.close()
    return project


def seed(db: Database) -> None:
    """Put the fields of spec B11 and B12, the shipped guidelines and screening into a store that lacks them; safe to repeat."""
    guidelines.seed(db)
    screening.ensure_tests(db)
    with db.write() as session:
        if session.scalar(select(Audit.seq).where(Audit.action == "project.found").limit(1)) is None:
            audit.append(session, actor="system", action="project.found", object="project", detail={"revision": migrations.expected()})
