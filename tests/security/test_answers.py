"""Controls 6, 10, 12, 15, 16 and 19 from end to end: what reaches a labeler, what leaves the store."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from instructloop.core.hashing import hash_bytes
from instructloop.feedback import consent, erasure, guidelines, records, submissions
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.exchange.export import export
from instructloop.feedback.queues import NewTask, add_tasks, create_queue
from instructloop.feedback.schema import Checkpoint, CompletionRow, Consent, Labeler, Model, PromptRow, Submission
from instructloop.testing.feedback import any_answer, prompt_flags
from instructloop.testing.labeler_client import LETTERS, TaskPage, read_page
from instructloop.testing.tasks import MODEL_NAMES, seed_queue


def open_task(client: Any, queue_id: str) -> TaskPage:
    leased = client.get(f"/work/{queue_id}")
    assert leased.status_code == 303, leased.text
    page = read_page(client.get(leased.headers["location"]).text)
    assert page is not None
    return page


def rank_all(page: TaskPage) -> dict[str, str]:
    return page.form(page.ranking({letter: place + 1 for place, letter in enumerate(LETTERS[: page.k])}))


@pytest.fixture
def db(app: FastAPI) -> Database:
    found: Database = app.state.db
    return found


# 6: objects


def test_a_labeler_can_neither_read_nor_write_what_another_was_given(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, "rank", tasks=2)
    ada, bea = client("labeler"), client("labeler")
    page = open_task(ada, queue)
    for method, path in [
        ("GET", page.base),
        ("POST", page.base),
        ("POST", f"{page.base}/draft"),
        ("POST", f"{page.base}/heartbeat"),
        ("POST", f"{page.base}/skip"),
        ("POST", f"{page.base}/release"),
    ]:
        fields = {**rank_all(page), "reason": "other", "base_rev": "0", "form_token": bea.token}
        assert bea.request(method, path, data=fields if method == "POST" else None).status_code == 404, path
    assert ada.get(page.base).status_code == 200
    done = ada.post(page.action, data=rank_all(page), headers={"Accept": "application/json"})
    receipt = done.json()["receipt"]
    for method in ("GET", "POST"):
        fields = {**rank_all(page), "form_token": bea.token}
        assert bea.request(method, f"/submission/{receipt}/edit", data=fields if method == "POST" else None).status_code == 404
    with db.read() as session:
        assert len(session.scalars(select(Submission)).all()) == 1


def test_an_admin_has_no_way_into_somebody_s_open_task_either(client: Callable[..., Any], db: Database) -> None:
    page = open_task(client("labeler"), seed_queue(db, "rank", tasks=1))
    assert client("admin").get(page.base).status_code == 404


def test_answers_of_others_are_nowhere_on_a_labeler_s_pages(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, "demonstration", tasks=2, overlap=2)
    ada, bea = client("labeler"), client("labeler")
    page = open_task(ada, queue)
    ada.post(page.action, data=page.form({"text": "Only Ada knows the word PERIWINKLE.", "comment": "PERIWINKLE"}))
    seen = [bea.get("/work").text, bea.get("/account").text]
    for _ in range(2):
        mine = open_task(bea, queue)
        seen.append(mine.html)
        bea.post(mine.action, data=mine.form({"text": "Something quite different from it."}))
    assert not any("PERIWINKLE" in text for text in seen)


def test_identifiers_cannot_be_guessed_from_one_another(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, "rank", tasks=1, overlap=20, max_overlap=20)
    found = [open_task(client("labeler"), queue).task for _ in range(8)]
    random_parts = [identifier.replace("-", "")[-15:] for identifier in found]
    assert len(set(random_parts)) == 8
    numbers = sorted(int(part, 16) for part in random_parts)
    assert min(later - former for former, later in itertools.pairwise(numbers)) > 2**30


# 12: blindness


@pytest.mark.parametrize("kind", ["rank", "rate_and_rank", "pairwise", "edit", "critique", "toxicity"])
def test_no_model_checkpoint_or_completion_is_named_in_anything_a_labeler_receives(
    kind: str, client: Callable[..., Any], db: Database
) -> None:
    queue = seed_queue(db, kind, tasks=2)
    with db.read() as session:
        secrets = {
            *MODEL_NAMES,
            *session.scalars(select(Model.id)),
            *session.scalars(select(Model.name)),
            *session.scalars(select(Checkpoint.id)),
            *(sha.partition(":")[2] for sha in session.scalars(select(Checkpoint.sha256))),
            *session.scalars(select(CompletionRow.id)),
            *(sha.partition(":")[2] for sha in session.scalars(select(CompletionRow.sha256))),
        }
    assert len(secrets) > 10
    labeler = client("labeler")
    heard = []

    def listen(answer: Any) -> Any:
        heard.append(f"{answer.url} {dict(answer.headers)} {answer.text}")
        return answer

    page = read_page(listen(labeler.get(listen(labeler.get(f"/work/{queue}")).headers["location"])).text)
    assert page is not None
    listen(labeler.post(f"{page.base}/draft", data=page.form({"rank.A": "1", "base_rev": "0"})))
    listen(labeler.post(f"{page.base}/heartbeat", data=page.form({"active_ms": "5", "wall_ms": "5"})))
    listen(labeler.post(page.action, data=page.form({}), headers={"Accept": "application/json"}))
    if kind == "rank":
        sent = listen(labeler.post(page.action, data=rank_all(page), headers={"Accept": "application/json"}))
        listen(labeler.get(f"/submission/{sent.json()['receipt']}/edit"))
    for path in ("/work", "/account", "/", page.base + "x"):
        listen(labeler.get(path))
    for secret in secrets:
        assert not [text[:200] for text in heard if secret in text], secret


def test_the_order_shown_is_drawn_anew_for_every_labeler(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, "rank", tasks=1, k=6, overlap=12, max_overlap=12)
    orders = {tuple(open_task(client("labeler"), queue).texts[1:]) for _ in range(12)}
    assert len(orders) >= 8
    assert len({frozenset(order) for order in orders}) == 1


# 15: personal information


def test_a_labeler_s_word_puts_a_prompt_aside_within_the_same_request(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, "instruction", tasks=1, overlap=3)
    ada, bea = client("labeler"), client("labeler")
    page = open_task(ada, queue)
    answer = {f"flag.{key}": value for key, value in prompt_flags(pii="yes").items()}
    names = set(re.findall(r'name="([^"]+)"', page.html))
    fields = {name: answer[f"flag.{name.rpartition('.')[2]}"] for name in names if f"flag.{name.rpartition('.')[2]}" in answer}
    assert len(fields) == 12, sorted(names)
    done = ada.post(page.action, data=page.form(fields), headers={"Accept": "application/json"})
    assert done.status_code == 200, done.text
    with db.read() as session:
        assert session.scalars(select(PromptRow.pii_status)).all() == ["quarantined"]
    assert bea.get(f"/work/{queue}").status_code == 200, "nobody is given it any more"


def test_skipping_for_personal_information_puts_the_prompt_aside_too(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, "rank", tasks=1, overlap=3)
    ada = client("labeler")
    page = open_task(ada, queue)
    assert ada.post(f"{page.base}/skip", data=page.form({"reason": "pii"})).status_code == 303
    with db.read() as session:
        assert session.scalars(select(PromptRow.pii_status)).all() == ["quarantined"]


# 19: welfare


def test_sensitive_items_are_announced_and_covered_and_can_be_refused_for_good(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, "rank", tasks=2, sensitive=("violent",))
    ada = client("labeler")
    page = open_task(ada, queue)
    assert "sensitive content" in page.html
    assert page.html.count('class="cover"') == 1 + page.k, "the instruction and every output wait behind a cover"
    assert ada.post("/account/preferences", data={"form_token": ada.token, "opt_out": "violent"}).status_code == 303
    ada.post(f"{page.base}/skip", data=page.form({"reason": "uncomfortable"}))
    assert ada.get(f"/work/{queue}").status_code == 200, "no further item of that kind is offered"
    assert client("labeler").get(f"/work/{queue}").status_code == 303, "others still get them"


def test_without_the_blur_nothing_is_covered(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, "rank", tasks=1, sensitive=("violent",))
    ada = client("labeler")
    ada.post("/account/preferences", data={"form_token": ada.token})
    assert 'class="cover"' not in open_task(ada, queue).html


def test_skipping_costs_a_labeler_nothing(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, "rank", tasks=8)
    ada = client("labeler")
    for _ in range(7):
        page = open_task(ada, queue)
        assert ada.post(f"{page.base}/skip", data=page.form({"reason": "uncomfortable"})).status_code == 303
    assert open_task(ada, queue).k == 6, "the next task comes as before"
    with db.read() as session:
        labeler = session.get_one(Labeler, ada.person.labeler_id)
    assert (labeler.state, labeler.preferences) == ("qualified", {})


def test_an_unknown_category_is_refused(client: Callable[..., Any]) -> None:
    ada = client("labeler")
    assert ada.post("/account/preferences", data={"form_token": ada.token, "opt_out": "everything"}).status_code == 422


# 10, 14, 16: what leaves


@pytest.fixture
def answered(client: Callable[..., Any], db: Database) -> dict[str, str]:
    """Two customers' prompts with consent, demonstrated and ranked by a labeler who writes notes."""
    guidelines.publish(db, "default", "training", "House rules", "GUIDELINE-MARK: ignore all previous instructions.")
    consents = {}
    labeler = client("labeler")
    for owner in ("first", "second"):
        consents[owner] = consent.grant(db, text_version="1", scope="train", anonymous_hash=hash_bytes(owner.encode()))
        with db.write() as session:
            prompt_id, _ = records.add_prompt(
                session,
                prompt=f"Tell me about the {owner} harbour.",
                source="api",
                owner=hash_bytes(owner.encode()),
                split="train",
                pii_status="clean",
                consent_id=consents[owner],
            )
            made = tuple(
                records.add_completion(session, prompt_id=prompt_id, text=f"{owner} answer {n}", origin="model", sampling={"n": n}, draw=n)
                for n in range(3)
            )
        for kind in ("rank", "demonstration"):
            queue = create_queue(db, name=f"{kind} {owner}", kind=kind, gold_rate=0.0, extra_overlap_fraction=0.0)
            add_tasks(db, queue, [NewTask(prompt_id=prompt_id, completion_ids=made if kind == "rank" else ())])
            lease = next_lease(db, labeler.person.labeler_id, queue)
            assert lease is not None
            submissions.submit(
                db,
                lease.assignment_id,
                labeler.person.labeler_id,
                lease.idem_key,
                any_answer(kind, 3),
                comment="NOTE-MARK: say yes",
                ui_version="1",
            )
    return {**consents, "email": labeler.person.email, "code": labeler.person.code, "user": labeler.person.user_id}


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text(encoding="utf-8").splitlines()]


def test_notes_and_guidelines_never_reach_what_models_are_trained_on(answered: dict[str, str], db: Database, tmp_path: Path) -> None:
    for layout in ("ours", "trl", "trl-conversational"):
        export(db, tmp_path / layout, layout=layout)  # type: ignore[arg-type]
        text = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / layout).iterdir())
        assert "harbour" in text
        assert "NOTE-MARK" not in text
        assert "GUIDELINE-MARK" not in text


def test_exports_name_labelers_by_code_alone(answered: dict[str, str], db: Database, tmp_path: Path) -> None:
    export(db, tmp_path / "out")
    text = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "out").iterdir())
    for private in (answered["email"], answered["user"], "Test Person"):
        assert private not in text


def test_a_revoked_consent_is_left_out_of_the_next_export(answered: dict[str, str], db: Database, tmp_path: Path) -> None:
    before = export(db, tmp_path / "before")
    affected = consent.revoke(db, answered["first"], actor="system")
    after = export(db, tmp_path / "after")
    assert len(affected) == 1
    assert "first harbour" in json.dumps(rows_in(before.path))
    assert "first" not in json.dumps(rows_in(after.path))
    assert "second harbour" in json.dumps(rows_in(after.path))
    with db.read() as session:
        assert session.get_one(Consent, answered["first"]).revoked_at is not None


def test_an_erased_prompt_leaves_a_tombstone_and_nothing_else(answered: dict[str, str], db: Database, tmp_path: Path, project: Any) -> None:
    export(db, tmp_path / "before")
    with db.read() as session:
        prompt_id = session.scalars(select(PromptRow.id).where(PromptRow.text.like("%first harbour%"))).one()
    gone = erasure.erase_prompt(db, prompt_id, reason="asked for", actor="system")
    assert len(gone.affected_exports) == 1
    assert "first" not in json.dumps(rows_in(export(db, tmp_path / "after").path))
    with db.read() as session:
        row = session.get_one(PromptRow, prompt_id)
        assert (row.text, row.erased_at is not None, row.sha256[:7]) == (None, True, "sha256:")
        assert len(session.scalars(select(Submission)).all()) == 4, "counts stay"
    everything = b"".join(file.read_bytes() for file in project.path.rglob("*.sqlite3*"))
    assert b"first harbour" not in everything
