"""Erasure and consent: texts go, also from the file; counts, hashes and a tombstone stay; exports that left are named."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from instructloop.core.errors import DataError
from instructloop.core.hashing import hash_bytes
from instructloop.feedback import audit, consent
from instructloop.feedback.answers import CritiqueAnswer, DemonstrationAnswer
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.drafts import load_draft, save_draft
from instructloop.feedback.erasure import erase_prompt, erase_user
from instructloop.feedback.queues import NewTask, add_tasks
from instructloop.feedback.records import add_prompt, prompt_of
from instructloop.feedback.schema import CompletionRow, Consent, Erasure, Export, PromptRow, RankingItem, Submission, User
from instructloop.feedback.submissions import submit
from instructloop.feedback.views import task_view
from instructloop.testing.feedback import add_labeler, add_user, ranking, seed_queue

SECRET = "zanzibar-quokka-secret"


def _export(db: Database, *prompts: str) -> str:
    with db.write() as session:
        row = Export(
            made_by="cli", purpose="export", filter={}, schema_version=1, rows=1, sha256=hash_bytes(b""), prompt_ids={"ids": list(prompts)}
        )
        session.add(row)
        session.flush()
        return row.id


def _answered_ranking(db: Database) -> tuple[str, str, str]:
    """A prompt with the secret in it, ranked once with the secret as a comment: prompt, assignment, labeler."""
    queue = seed_queue(db, kind="rank", prompts=1, k=2, name=SECRET, overlap=2)
    labeler = add_labeler(db)
    lease = next_lease(db, labeler, queue.queue_id)
    assert lease is not None
    save_draft(db, lease.assignment_id, labeler, {"comment": SECRET}, 0)
    submit(db, lease.assignment_id, labeler, lease.idem_key, ranking(1, 2), comment=SECRET, active_ms=9000)
    return queue.prompt_ids[0], lease.assignment_id, labeler


def test_erasing_a_prompt_removes_every_text_and_keeps_the_numbers(database: Database) -> None:
    prompt_id, assignment_id, labeler = _answered_ranking(database)
    left = _export(database, prompt_id)
    _export(database, "another prompt")
    with database.read() as session:
        sha = session.get_one(PromptRow, prompt_id).sha256

    erased = erase_prompt(database, prompt_id, reason="asked for by its owner", actor="admin-1")

    assert (erased.prompts, erased.completions, erased.submissions, erased.affected_exports) == (1, 2, 1, (left,))
    with database.read() as session:
        row = session.get_one(PromptRow, prompt_id)
        assert (row.text, row.messages, row.meta, row.sha256) == (None, None, {}, sha)
        assert session.scalars(select(CompletionRow.text)).all() == [None, None]
        assert session.scalars(select(RankingItem.rank).order_by(RankingItem.rank)).all() == [0, 1]
        answer = session.scalars(select(Submission)).one()
        assert answer.comment is None
        assert answer.erased_at is not None
        tombstone = session.scalars(select(Erasure)).one()
        assert (tombstone.subject, tombstone.sha256) == (f"prompt/{prompt_id}", sha)
        with pytest.raises(DataError, match="was erased"):
            prompt_of(row)
    with pytest.raises(DataError, match="was erased"):
        task_view(database, assignment_id, labeler)
    assert audit.verify(database) == []


def test_erasing_twice_is_erasing_once(database: Database) -> None:
    prompt_id, *_ = _answered_ranking(database)
    first = erase_prompt(database, prompt_id, reason="asked", actor="admin")
    second = erase_prompt(database, prompt_id, reason="asked", actor="admin")
    assert second.repeated
    assert (second.prompts, second.completions, second.affected_exports) == (first.prompts, first.completions, first.affected_exports)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Erasure)) == 1


def test_what_was_made_from_an_erased_prompt_is_erased_with_it(database: Database) -> None:
    with database.write() as session:
        common = {"source": "api", "owner": hash_bytes(b"o"), "split": "train"}
        parent, _ = add_prompt(session, prompt=f"my number is {SECRET}", **common)
        child, _ = add_prompt(session, prompt="my number is [phone]", parent_id=parent, **common)
        other, _ = add_prompt(session, prompt="something else", **common)
    assert erase_prompt(database, parent, reason="asked", actor="admin").prompts == 2
    with database.read() as session:
        assert session.get_one(PromptRow, child).text is None
        assert session.get_one(PromptRow, other).text == "something else"


def test_an_erased_text_cannot_be_read_from_the_sqlite_files(tmp_path: Path) -> None:
    from instructloop.testing.databases import fresh_database

    with fresh_database("sqlite", tmp_path) as db:
        prompt_id, *_ = _answered_ranking(db)
        needle = f"{SECRET} prompt 0".encode()

        def found() -> bool:
            return any(needle in file.read_bytes() for file in tmp_path.iterdir())

        assert found()
        erase_prompt(db, prompt_id, reason="asked", actor="admin")
        assert not found()


def test_erasing_a_person_takes_their_texts_and_keeps_their_rankings(database: Database) -> None:
    user = add_user(database, "somebody@example.org")
    labeler = add_labeler(database, user=user)
    queues = {
        kind: seed_queue(database, kind=kind, prompts=1, name=kind, **extra)
        for kind, extra in (("demonstration", {}), ("rank", {"k": 3}), ("critique", {"k": 1}))
    }
    answers = {"demonstration": DemonstrationAnswer(text=SECRET), "rank": ranking(1, 2, 2), "critique": CritiqueAnswer(texts=(SECRET,))}
    views = {}
    for kind, answer in answers.items():
        lease = next_lease(database, labeler, queues[kind].queue_id)
        assert lease is not None
        submit(database, lease.assignment_id, labeler, lease.idem_key, answer, active_ms=9000)
        views[kind] = lease.assignment_id

    erased = erase_user(database, user, reason="asked", actor="admin")

    assert (erased.prompts, erased.submissions) == (0, 3)
    shown = {kind: task_view(database, assignment, labeler).previous for kind, assignment in views.items()}
    assert shown == {"demonstration": DemonstrationAnswer(text=""), "rank": ranking(1, 2, 2), "critique": CritiqueAnswer(texts=("",))}
    with database.read() as session:
        account = session.get_one(User, user)
        assert (account.email, account.status, account.password_hash) == (f"erased-{user}@invalid", "erased", None)
    assert next_lease(database, labeler, queues["rank"].queue_id) is None


def test_erasing_a_person_takes_the_prompts_they_gave_and_names_the_exports(database: Database) -> None:
    user = add_user(database, "customer@example.org", role="viewer")
    agreed = consent.grant(database, user_id=user, text_version="2026-11", scope="train")
    with database.write() as session:
        prompt_id, _ = add_prompt(session, prompt=SECRET, source="api", owner=hash_bytes(b"u"), split="train", consent_id=agreed)
    left = _export(database, prompt_id)
    erased = erase_user(database, user, reason="asked", actor="admin")
    assert (erased.prompts, erased.affected_exports) == (1, (left,))
    with database.read() as session:
        assert session.get_one(Consent, agreed).revoked_at is not None
        assert session.get_one(PromptRow, prompt_id).text is None


def test_an_erased_prompt_takes_no_new_task(database: Database) -> None:
    queue = seed_queue(database, kind="demonstration", prompts=1)
    erase_prompt(database, queue.prompt_ids[0], reason="asked", actor="admin")
    assert next_lease(database, add_labeler(database), queue.queue_id) is None
    with pytest.raises(DataError, match="there is no prompt"):
        add_tasks(database, queue.queue_id, [NewTask(prompt_id=queue.prompt_ids[0])])


def test_a_draft_is_emptied_by_an_erasure(database: Database) -> None:
    queue = seed_queue(database, kind="demonstration", prompts=1)
    labeler = add_labeler(database)
    lease = next_lease(database, labeler, queue.queue_id)
    assert lease is not None
    save_draft(database, lease.assignment_id, labeler, {"text": SECRET}, 0)
    erase_prompt(database, queue.prompt_ids[0], reason="asked", actor="admin")
    assert load_draft(database, lease.assignment_id, labeler) == ({}, 2)


def test_a_revoked_consent_no_longer_holds_and_names_what_left(database: Database) -> None:
    user = add_user(database, "customer@example.org", role="viewer")
    agreed = consent.grant(database, user_id=user, text_version="2026-11", scope="train")
    with database.write() as session:
        prompt_id, _ = add_prompt(session, prompt="hello", source="api", owner=hash_bytes(b"u"), split="train", consent_id=agreed)
    left = _export(database, prompt_id)
    with database.read() as session:
        assert [consent.holds(session, agreed, scope) for scope in ("eval", "train", "publish")] == [True, True, False]

    assert consent.revoke(database, agreed, actor=user) == (left,)
    assert consent.revoke(database, agreed, actor=user) == (left,)

    with database.read() as session:
        assert not consent.holds(session, agreed, "train")
        assert session.get_one(Consent, agreed).revoked_at is not None
    assert audit.head(database)[0] == 2  # granted, revoked; the second revocation added nothing


def test_consent_names_exactly_one_person(database: Database) -> None:
    for given in ({}, {"user_id": "a", "anonymous_hash": "b"}):
        with pytest.raises(DataError, match="an account or an anonymous hash"):
            consent.grant(database, text_version="1", scope="train", **given)
    with pytest.raises(DataError, match="scope"):
        consent.grant(database, text_version="1", scope="everything", anonymous_hash="b")
