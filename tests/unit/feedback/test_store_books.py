"""What the database itself insists on: append-only tables, one split an owner; the audit chain; backups."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Table, delete, insert, select, text, update
from sqlalchemy.exc import DatabaseError, IntegrityError

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.hashing import hash_bytes
from instructloop.feedback import audit
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.backup import backup
from instructloop.feedback.database import Database
from instructloop.feedback.migrations.triggers import ERASABLE
from instructloop.feedback.records import add_prompt
from instructloop.feedback.schema import Audit, Base, Erasure, Export, PromptOwner, PromptRow, Submission
from instructloop.feedback.submissions import submit
from instructloop.testing.databases import fresh_database
from instructloop.testing.feedback import add_labeler, any_answer, seed_queue

TABLES = {table.name: table for table in Base.metadata.sorted_tables}


def _one_row_everywhere(db: Database) -> None:
    labeler = add_labeler(db)
    for kind in ("demonstration", "critique", "rate_and_rank", "pairwise", "toxicity"):
        queue = seed_queue(db, kind=kind, prompts=1, k=None if kind in {"demonstration", "pairwise"} else 2, name=kind)
        lease = next_lease(db, labeler, queue.queue_id)
        assert lease is not None
        submit(db, lease.assignment_id, labeler, lease.idem_key, any_answer(kind, lease.k), active_ms=9000)
    with db.write() as session:
        session.add(Export(made_by="cli", purpose="x", filter={}, schema_version=1, rows=0, sha256=hash_bytes(b""), prompt_ids={}))
        session.add(Erasure(subject="prompt/x", sha256=hash_bytes(b""), reason="x", actor="x", affected_exports={}))
        audit.append(session, actor="cli", action="test", object="x")


def _without_triggers(db: Database, table: str) -> None:
    """What somebody with the database's own password can do."""
    with db.write() as session:
        if db.dialect == "sqlite":
            session.execute(text(f"DROP TRIGGER keep_{table}_update"))
            session.execute(text(f"DROP TRIGGER keep_{table}_delete"))
        else:
            session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))


def _some_column(table: Table) -> str:
    return next(
        column.name for column in table.columns if column.name in {"submission_id", "object", "made_by", "subject", "title", "kind"}
    )


def test_append_only_tables_refuse_changes_and_deletions(database: Database) -> None:
    _one_row_everywhere(database)
    for name in ERASABLE:
        table = TABLES[name]
        with database.read() as session:
            assert session.execute(select(table).limit(1)).one_or_none() is not None, name
        column = _some_column(table)
        for statement in (update(table).values({column: "other"}), delete(table)):
            with pytest.raises(DatabaseError, match=f"{name} is append-only"), database.write() as session:
                session.execute(statement)


def test_texts_of_an_answer_stay_until_the_answer_is_marked_as_erased(database: Database) -> None:
    _one_row_everywhere(database)
    with pytest.raises(DatabaseError, match="append-only"), database.write() as session:
        session.execute(text("UPDATE demonstration SET text = NULL"))
    with pytest.raises(DatabaseError, match="append-only"), database.write() as session:
        session.execute(text("UPDATE submission SET comment = 'new', erased_at = 5"))
    with database.write() as session:
        session.execute(text("UPDATE submission SET comment = NULL, erased_at = 5"))
        session.execute(text("UPDATE demonstration SET text = NULL"))
    with pytest.raises(DatabaseError, match="append-only"), database.write() as session:
        session.execute(text("UPDATE demonstration SET text = 'back again'"))
    with pytest.raises(DatabaseError, match="append-only"), database.write() as session:
        session.execute(text("UPDATE submission SET erased_at = NULL"))


def test_truncating_an_answer_table_is_refused_on_postgresql(tmp_path: Path) -> None:
    with fresh_database("postgresql", tmp_path) as db, pytest.raises(DatabaseError, match="append-only"), db.write() as session:
        session.execute(text("TRUNCATE audit"))


def test_the_audit_chain_shows_a_changed_line_and_a_missing_one(database: Database) -> None:
    for number in range(5):
        with database.write() as session:
            audit.append(session, actor="u1", action="login", object=f"login/{number}", detail={"n": number})
    assert audit.verify(database) == []
    assert audit.head(database)[0] == 5
    _without_triggers(database, "audit")
    with database.write() as session:
        session.execute(text("UPDATE audit SET actor = 'u2' WHERE seq = 3"))
    assert audit.verify(database) == [3]
    with database.write() as session:
        session.execute(text("DELETE FROM audit WHERE seq = 3"))
    assert audit.verify(database) == [4]


def test_a_forged_line_with_a_right_hash_of_its_own_breaks_the_next_one(database: Database) -> None:
    for number in range(3):
        with database.write() as session:
            audit.append(session, actor="u1", action="login", object=f"login/{number}")
    _without_triggers(database, "audit")
    with database.write() as session:
        line = session.scalars(select(Audit).where(Audit.seq == 2)).one()
        line.actor = "somebody else"
        line.hash = audit._hash(line)  # what a careful forger would do
    assert audit.verify(database) == [3]


def test_a_log_written_from_many_threads_is_one_chain(database: Database) -> None:
    def write(number: int) -> None:
        with database.write() as session:
            audit.append(session, actor=f"u{number}", action="login", object="x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert audit.verify(database) == []
    assert audit.head(database)[0] == 40


def test_the_database_refuses_two_splits_for_one_owner(database: Database) -> None:
    owner = hash_bytes(b"owner")
    with database.write() as session:
        add_prompt(session, prompt="one", source="api", owner=owner, split="train")
    with pytest.raises(DataError, match="split: an owner's prompts lie in 'train'"), database.write() as session:
        add_prompt(session, prompt="two", source="api", owner=owner, split="test")
    with database.read() as session:
        values = {name: getattr(session.scalars(select(PromptRow)).one(), name) for name in TABLES["prompt"].columns.keys()}  # noqa: SIM118
    values |= {"id": "other", "sha256": hash_bytes(b"2"), "split": "test"}
    with pytest.raises(IntegrityError), database.write() as session:  # also behind add_prompt's back
        session.execute(insert(PromptRow).values(**values))
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(update(PromptOwner).values(split="test"))


def test_the_same_prompt_is_kept_once_whatever_its_unicode_form(database: Database) -> None:
    common = {"source": "dataset", "owner": hash_bytes(b"o"), "split": "train"}
    with database.write() as session:
        first, new = add_prompt(session, prompt="caf\u00e9", **common)
        again, new_again = add_prompt(session, prompt="cafe\u0301", **common)
    assert first == again
    assert (new, new_again) == (True, False)


def test_a_backup_is_a_whole_store_and_never_overwrites(tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path) as db:
        _one_row_everywhere(db)
        target = tmp_path / "backups" / "copy.sqlite3"
        assert backup(db, target) == target.stat().st_size
        with pytest.raises(ConfigError, match="exists"):
            backup(db, target)
        copy = Database.at(target)
        with copy.read() as there, db.read() as here:
            assert there.scalars(select(Submission.id)).all() == here.scalars(select(Submission.id)).all()
        copy.close()
    assert target.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(target)) as copied:
        assert copied.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone()[0] == 2 * len(ERASABLE)


def test_a_backup_of_postgresql_names_the_tool_that_makes_it(tmp_path: Path) -> None:
    with fresh_database("postgresql", tmp_path) as db, pytest.raises(ConfigError) as caught:
        backup(db, tmp_path / "copy")
    assert "pg_dump" in str(caught.value.hint)
