"""Migrations of the store: every revision since the first release leads to the newest, on both engines, with the data in it.

A revision that was released is never edited; whatever changes later is a revision of its own. On SQLite all revisions of one
upgrade run in a single transaction, with foreign keys checked at its end; on PostgreSQL likewise, under an advisory lock: when
several processes start at once, the first one migrates and the others find the work done.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback.database import Database
from instructloop.feedback.migrations.triggers import install_triggers

_HERE = Path(__file__).parent
_LOCK_NUMBER = 0x1C_5C4E


def upgrade(db: Database, revision: str = "head") -> None:
    """Bring the store to ``revision``; does nothing where it is there already, and is safe when several processes start at once.

    Raises:
        ConfigError: the store was made by a newer version of the program.
        DataError: the database holds tables, but not ours; or the data breaks a foreign key afterwards.
    """
    with _alone(db) as connection:
        _refuse_strangers(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        install_triggers(connection)


def downgrade(db: Database, revision: str) -> None:
    """Bring the store back to an earlier revision, where the revisions between say how; ``base`` would drop everything.

    Raises:
        ConfigError: asked for ``base``.
    """
    if revision == "base":
        raise ConfigError("downgrading to 'base' would drop every answer", hint="delete the database yourself if you mean it")
    with _alone(db) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        install_triggers(connection)


def current(db: Database) -> str | None:
    """The store's revision; None for an empty database."""
    with db.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def expected() -> str:
    """The newest revision this version of the program knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # the package ships its revisions
    return head


def revisions() -> list[str]:
    """All revisions, the oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def require_current(db: Database) -> None:
    """Raise ConfigError unless the store is at the newest revision; the hint is the command that brings it there."""
    found = current(db)
    if found == expected():
        return
    if found is not None and found not in revisions():
        raise ConfigError(f"the store's revision {found} is newer than this program", hint="install the version that made it")
    what = "is empty" if found is None else f"is at revision {found}, this program needs {expected()}"
    raise ConfigError(f"the store {what}", hint="instructloop feedback upgrade PROJECT (make a backup first)")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _alone(db: Database) -> Iterator[Connection]:
    """A writing transaction that no other migration shares."""
    with db.engine.connect() as connection:
        if db.dialect == "sqlite":
            # tables are rebuilt; the pragma does nothing within a transaction, so it comes before BEGIN
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    yield connection
                    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                    if broken:
                        raise DataError(
                            f"{len(broken)} rows break a foreign key after migrating, the first in {broken[0][0]}",
                            hint="nothing was changed; restore a backup and report this",
                        )
            finally:
                driver.execute("PRAGMA foreign_keys=ON")
        else:
            with connection.begin():
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})"))
                yield connection


def _refuse_strangers(connection: Connection) -> None:
    tables = set(inspect(connection).get_table_names())
    if tables and "alembic_version" not in tables:
        raise DataError("the database holds tables that no migration made", hint="name an empty database, or the project's own")
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in revisions():
        raise ConfigError(f"the store's revision {found} is newer than this program", hint="install the version that made it")
