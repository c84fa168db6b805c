"""Append-only tables, insisted on by the database itself: triggers that refuse UPDATE and DELETE on both engines.

The one exception is an erasure: texts may become NULL, for a submission together with ``erased_at``, for what belongs to one
once its submission is marked as erased. Everything else of the row must stay as it is.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, inspect, text

ERASABLE: Mapping[str, tuple[str, ...]] = {
    "submission": ("comment", "erased_at"),
    "demonstration": ("text",),
    "critique": ("text",),
    "rating": ("note",),
    "ranking": (),
    "ranking_item": (),
    "flag": (),
    "pairwise_vote": (),
    "toxicity": (),
    "guideline": (),
    "audit": (),
    "export": (),
    "erasure": (),
}
"""Append-only tables, and their columns that an erasure may empty."""
_SAME = {"sqlite": "NEW.{0} IS OLD.{0}", "postgresql": "NEW.{0}{1} IS NOT DISTINCT FROM OLD.{0}{1}"}


def install_triggers(connection: Connection) -> None:
    """Make the triggers anew, for the columns the tables have now; the last step of every migration."""
    inspector = inspect(connection)
    tables = set(inspector.get_table_names())
    for table, erasable in ERASABLE.items():
        if table in tables:
            columns = {column["name"]: str(column["type"]) for column in inspector.get_columns(table)}
            install = _sqlite if connection.dialect.name == "sqlite" else _postgresql
            install(connection, table, _allowed(connection.dialect.name, table, columns, erasable))


def _allowed(dialect: str, table: str, columns: Mapping[str, str], erasable: tuple[str, ...]) -> str:
    """The condition under which an UPDATE is an erasure; ``1 = 0`` where there is nothing to erase."""
    if not erasable:
        return "1 = 0"
    same = [_SAME[dialect].format(name, "::text" if kind == "JSON" else "") for name, kind in columns.items() if name not in erasable]
    texts = [name for name in erasable if name != "erased_at"]
    emptied = [f"(NEW.{name} IS NULL OR {_SAME[dialect].format(name, '')})" for name in texts]
    if table == "submission":
        marked = "OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL"
    else:
        marked = "EXISTS (SELECT 1 FROM submission s WHERE s.id = OLD.submission_id AND s.erased_at IS NOT NULL)"
    return " AND ".join([*same, *emptied, marked])


def _sqlite(connection: Connection, table: str, allowed: str) -> None:
    for name in (f"keep_{table}_update", f"keep_{table}_delete"):
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    connection.exec_driver_sql(f"CREATE TRIGGER keep_{table}_update BEFORE UPDATE ON {table} WHEN NOT ({allowed}) {refuse}")
    connection.exec_driver_sql(f"CREATE TRIGGER keep_{table}_delete BEFORE DELETE ON {table} {refuse}")


def _postgresql(connection: Connection, table: str, allowed: str) -> None:
    name = f"keep_{table}"
    connection.execute(
        text(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN "
            f"IF TG_OP = 'UPDATE' THEN IF {allowed} THEN RETURN NEW; END IF; END IF; "
            f"RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'restrict_violation'; END $body$".replace("::", r"\:\:")
        )
    )
    connection.execute(text(f"DROP TRIGGER IF EXISTS {name} ON {table}"))
    connection.execute(text(f"CREATE TRIGGER {name} BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"))
    connection.execute(text(f"DROP TRIGGER IF EXISTS {name}_truncate ON {table}"))
    connection.execute(text(f"CREATE TRIGGER {name}_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"))
