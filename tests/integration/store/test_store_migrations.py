"""A store made by every earlier revision, with data in every table, comes to the newest one and works there; on both engines."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, func, inspect, select, text
from sqlalchemy.exc import DatabaseError

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback import audit, migrations
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.reconcile import reconcile
from instructloop.feedback.schema import Base, Labeler, Queue
from instructloop.feedback.submissions import submit
from instructloop.testing.databases import fresh_database, fresh_postgres
from instructloop.testing.feedback import any_answer

ENGINES = ("sqlite", "postgresql")
EARLIER = migrations.revisions()[:-1]
HERE = Path(__file__).parent


def _rows(revision: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of a store as that revision of the program left it, by table."""
    loaded: dict[str, list[dict[str, Any]]] = json.loads((HERE / f"rows_at_{revision}.json").read_text(encoding="utf-8"))
    return loaded


def _filled(db: Database, revision: str) -> dict[str, list[dict[str, Any]]]:
    """Make a store of a revision with rows in every table; a revision that added no column shares the rows of the one before."""
    known = [other for other in migrations.revisions() if other <= revision and (HERE / f"rows_at_{other}.json").exists()]
    rows = _rows(known[-1])
    migrations.upgrade(db, known[-1])
    _fill(db, rows)
    migrations.upgrade(db, revision)
    return rows


def _reflected(db: Database) -> MetaData:
    found = MetaData()
    with db.read() as session:
        found.reflect(session.connection())
    return found


def _fill(db: Database, rows: dict[str, list[dict[str, Any]]]) -> None:
    tables = _reflected(db).sorted_tables
    with db.write() as session:
        for table in tables:
            if rows.get(table.name):
                session.execute(table.insert(), rows[table.name])


def _dump(db: Database, rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The same tables and columns as ``rows``, as they are now, in the order of their keys."""
    tables = _reflected(db).tables
    found = {}
    with db.read() as session:
        for name, old in rows.items():
            columns = [tables[name].c[column] for column in old[0]]
            found[name] = sorted((dict(row) for row in session.execute(select(*columns)).mappings()), key=_key)
    return found


def _key(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


@pytest.mark.parametrize("revision", EARLIER)
def test_every_earlier_revision_has_rows_in_every_table(revision: str, tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path, empty=True) as db:
        rows = _filled(db, revision)
        assert set(rows) == set(_reflected(db).tables) - {"alembic_version"}
        assert all(rows.values()), "a table without a row proves nothing"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("revision", EARLIER)
def test_a_store_of_an_earlier_revision_is_upgraded_with_its_data_and_works(engine: str, revision: str, tmp_path: Path) -> None:
    with fresh_database(engine, tmp_path, empty=True) as db:
        rows = _filled(db, revision)
        with pytest.raises(ConfigError, match=f"is at revision {revision}"):
            migrations.require_current(db)

        migrations.upgrade(db)

        migrations.require_current(db)
        assert _dump(db, rows) == {name: sorted(old, key=_key) for name, old in rows.items()}
        assert audit.verify(db) == []
        assert reconcile(db) == []
        with pytest.raises(DatabaseError, match="submission is append-only"), db.write() as session:
            session.execute(text("DELETE FROM submission"))
        with db.read() as session:
            labeler = session.scalars(select(Labeler.id).where(Labeler.code == "L002")).one()
            queue = session.scalars(select(Queue.id).where(Queue.name == "rate_and_rank")).one()
        lease = next_lease(db, labeler, queue)
        assert lease is not None
        assert not submit(db, lease.assignment_id, labeler, lease.idem_key, any_answer("rate_and_rank", lease.k)).surplus


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("revision", EARLIER)
def test_the_next_revision_goes_back_to_this_one_with_the_data(engine: str, revision: str, tmp_path: Path) -> None:
    following = migrations.revisions()[migrations.revisions().index(revision) + 1]
    with fresh_database(engine, tmp_path, empty=True) as db:
        rows = _filled(db, revision)
        before = _objects(db)
        migrations.upgrade(db, following)
        assert _objects(db) != before
        migrations.downgrade(db, revision)
        assert _objects(db) == before
        assert _dump(db, rows) == {name: sorted(old, key=_key) for name, old in rows.items()}
        with pytest.raises(ConfigError, match="every answer"):
            migrations.downgrade(db, "base")


def _objects(db: Database) -> dict[str, Any]:
    """Checks, indexes, foreign keys and triggers as the database knows them."""
    with db.read() as session:
        connection = session.connection()
        found: dict[str, Any] = {}
        inspector = inspect(connection)
        for table in inspector.get_table_names():
            if table != "alembic_version":
                found[table] = {
                    "checks": sorted((str(check["name"]), check["sqltext"]) for check in inspector.get_check_constraints(table)),
                    "uniques": sorted((str(unique["name"]), unique["column_names"]) for unique in inspector.get_unique_constraints(table)),
                    "foreign": sorted(str(key["name"]) for key in inspector.get_foreign_keys(table)),
                    "columns": sorted((column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)),
                }
        if db.dialect == "sqlite":
            query = "SELECT type, name, CASE type WHEN 'index' THEN sql END FROM sqlite_master WHERE type IN ('index', 'trigger')"
        else:
            query = (
                "SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
                "UNION SELECT 'trigger', tgname, '' FROM pg_trigger WHERE NOT tgisinternal"
            )
        listed = connection.exec_driver_sql(query)
        found["objects"] = sorted(
            (kind, name, sql or "") for kind, name, sql in listed if "autoindex" not in name and "alembic" not in name
        )
        return found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_migrated_schema_is_the_models_schema(engine: str, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    with fresh_database(engine, tmp_path, empty=True) as migrated, fresh_database(engine, folder, empty=True) as made:
        migrations.upgrade(migrated)
        Base.metadata.create_all(made.engine)
        with migrated.read() as session:
            context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
            differences = compare_metadata(context, Base.metadata)
        if engine == "sqlite":  # Alembic cannot read an index that sorts downwards there; its SQL is compared below
            differences = [item for item in differences if item[1].name != "ix_task_next"]
        assert differences == []
        ours, theirs = _objects(migrated), _objects(made)
        ours["objects"] = [item for item in ours["objects"] if item[0] == "index"]
        theirs["objects"] = [item for item in theirs["objects"] if item[0] == "index"]
        assert ours == theirs


START = """
import sys
from instructloop.feedback import migrations
from instructloop.feedback.database import Database
db = Database(sys.argv[1])
sys.stdin.readline()
migrations.upgrade(db)
print(migrations.current(db))
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_processes_that_start_at_once_migrate_once(engine: str, tmp_path: Path) -> None:
    with fresh_postgres(empty=True) as named:
        url = f"sqlite:///{tmp_path / 'new.sqlite3'}" if engine == "sqlite" else named
        started = [
            subprocess.Popen([sys.executable, "-c", START, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
        ]
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.communicate(timeout=60)[0].strip() for process in started] == [migrations.expected()] * 4


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    before = _objects(database)
    migrations.upgrade(database)
    assert _objects(database) == before


def test_a_store_of_a_newer_program_and_a_strangers_database_are_refused(tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path) as db:
        with db.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        for check in (migrations.require_current, migrations.upgrade):
            with pytest.raises(ConfigError, match="newer than this program"):
                check(db)
    stranger = tmp_path / "other.sqlite3"
    connection = sqlite3.connect(stranger)
    connection.execute("CREATE TABLE customers (id)")
    connection.close()
    db = Database.at(stranger)
    with pytest.raises(DataError, match="tables that no migration made"):
        migrations.upgrade(db)
    db.close()


def test_an_empty_database_names_the_command(tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path, empty=True) as db, pytest.raises(ConfigError, match="is empty") as caught:
        migrations.require_current(db)
    assert "instructloop feedback upgrade" in str(caught.value.hint)


def test_a_failing_migration_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows("0001")
    with fresh_database("sqlite", tmp_path, empty=True) as db:
        migrations.upgrade(db, "0001")
        _fill(db, rows)
        before = _objects(db)

        def broken(connection: Any) -> None:
            raise OSError("the disk is full")

        monkeypatch.setattr(migrations, "install_triggers", broken)
        with pytest.raises(OSError, match="disk is full"):
            migrations.upgrade(db)
        assert migrations.current(db) == "0001"
        assert _objects(db) == before
        assert _dump(db, rows)["submission"] == sorted(rows["submission"], key=_key)
        with db.read() as session:
            assert session.scalar(text("PRAGMA foreign_keys")) == 1


def test_rows_that_break_a_foreign_key_stop_the_migration(tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path, empty=True) as db:
        migrations.upgrade(db, "0001")
        loose = create_engine(f"sqlite:///{tmp_path / 'feedback.sqlite3'}")
        with loose.begin() as connection:
            connection.execute(text("INSERT INTO screen_item VALUES ('i', 'no such test', 0, '{}', '{}')"))
        loose.dispose()
        with pytest.raises(DataError, match="break a foreign key"):
            migrations.upgrade(db)
        assert migrations.current(db) == "0001"


def test_the_seeded_rows_are_kept_by_count(tmp_path: Path) -> None:
    rows = _rows("0001")
    with fresh_database("sqlite", tmp_path, empty=True) as db:
        migrations.upgrade(db, "0001")
        _fill(db, rows)
        migrations.upgrade(db)
        tables = _reflected(db).tables
        with db.read() as session:
            for name, old in rows.items():
                assert session.scalar(select(func.count()).select_from(tables[name])) == len(old), name
