"""The store's engine: SQLite by default, PostgreSQL by URL, the same code on both.

SQLite: WAL, ``BEGIN IMMEDIATE`` for every write (a deferred transaction that upgrades from reading to writing ignores
busy_timeout and fails with "database is locked"), short transactions, no network file system. PostgreSQL: READ COMMITTED
with row locks where it matters (see ``assignment``). Every change goes through :meth:`Database.write`.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from instructloop.core.errors import ConfigError, MissingExtraError

BUSY_MS = 20_000
DEADLOCK_RETRIES = 5
T = TypeVar("T")


class Database:
    """An open store.

    Attributes:
        engine: the SQLAlchemy engine.
        dialect: ``sqlite`` or ``postgresql``.
    """

    def __init__(self, url: str) -> None:
        """Open a store by URL; no file is made and no table is touched before the first use.

        Args:
            url: ``sqlite:////path/feedback.sqlite3`` or ``postgresql://user@host/name``.

        Raises:
            ConfigError: another kind of URL.
            MissingExtraError: PostgreSQL without its driver.
        """
        parsed = make_url(url)
        self.dialect = parsed.get_backend_name()
        if self.dialect == "sqlite":
            self.engine = _sqlite(url)
        elif self.dialect == "postgresql":
            self.engine = _postgresql(url)
        else:
            raise ConfigError(f"the store does not know the database {self.dialect!r}", hint="use sqlite:///FILE or postgresql://...")
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @classmethod
    def at(cls, path: Path) -> "Database":
        """The SQLite store in a file."""
        return cls(f"sqlite:///{path.resolve()}")

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that may change things; commits at the end, rolls back on any exception. Keep it short."""
        with self._sessions() as session, session.begin():
            yield session

    def transact(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` in a writing transaction; PostgreSQL may pick it as the victim of a deadlock, then it runs again."""
        for attempt in range(DEADLOCK_RETRIES):
            try:
                with self.write() as session:
                    return work(session)
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) not in {"40P01", "40001"} or attempt == DEADLOCK_RETRIES - 1:
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; whatever it changes is thrown away."""
        with self._sessions() as session:
            if self.dialect == "sqlite":
                session.connection(execution_options={"instructloop_read": True})
            try:
                yield session
            finally:
                session.expunge_all()  # a rollback would empty the rows that the caller took along
                session.rollback()

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy emits BEGIN itself, below
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        _to_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")  # a receipt means: on disk, also after a power cut
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        reading = connection.get_execution_options().get("instructloop_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _to_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; the switch itself does not wait for busy_timeout, so several processes starting at once take turns here."""
    for attempt in range(200):
        try:
            if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] in {"wal", "memory"}:
                return
        except sqlite3.OperationalError:
            if attempt == 199:
                raise
        time.sleep(0.05)


def _postgresql(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(parsed, pool_size=10, max_overflow=20, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise MissingExtraError.for_extra("psycopg", "postgres") from error
    return engine


def insert_if_new(session: Session, table: type[DeclarativeBase], values: Mapping[str, Any], *, on: Sequence[str]) -> bool:
    """The one portable upsert: insert a row unless one with the same ``on`` columns is there; says whether it was inserted."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    session.flush()
    statement = dialect.insert(table.__table__).values(**values).on_conflict_do_nothing(index_elements=list(on))
    inserted = session.connection().execute(statement, execution_options={"preserve_rowcount": True}).rowcount
    return inserted == 1


def locked(error: OperationalError) -> bool:
    """Whether a database error says that another writer held the lock too long."""
    return "locked" in str(error).lower()
