"""Backups of a SQLite store while people work in it. PostgreSQL has its own tools (``pg_dump``)."""

import os
import sqlite3
from pathlib import Path

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback.database import Database


def backup(db: Database, target: Path) -> int:
    """Write a compact, consistent copy of the store to ``target``; nobody has to stop working. Returns its size in bytes.

    To restore, stop the server, put the copy in the store's place, and delete the files ``-wal`` and ``-shm`` beside it. The
    project's ``secret.key`` is not in it: keep a copy of that elsewhere.

    Raises:
        ConfigError: the store is not SQLite, or the file exists.
        DataError: the copy fails SQLite's own check.
    """
    if db.dialect != "sqlite":
        raise ConfigError("backups of a PostgreSQL store are made by its own tools", hint="pg_dump --format=custom --file FILE URL")
    if target.exists():
        raise ConfigError(f"{target} exists", hint="name a new file; a backup never overwrites one")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    connection = db.engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(partial),))
    finally:
        connection.close()
    copy = sqlite3.connect(partial)
    try:
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        copy.close()
    if verdict != "ok":
        partial.unlink()
        raise DataError(f"the copy of the store is damaged: {verdict}", hint="check the disk, then try again")
    partial.chmod(0o600)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    return target.stat().st_size
