"""What the project's pages do: every act leaves a line in the audit log, errors change nothing, secrets are shown once."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instructloop.feedback import accounts, adjudication, audit, browse, labelers, progress, screening, snapshots
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.project import Project
from instructloop.feedback.schema import OneTimeLink, PromptRow, User
from instructloop.feedback.submissions import submit
from instructloop.testing.feedback import add_labeler, any_answer, ranking, seed_queue
from instructloop.testing.server import sign_in


@pytest.fixture
def db(project: Project) -> Iterator[Database]:
    opened = project.database()
    yield opened
    opened.close()


def send(caller: Any, path: str, **fields: Any) -> Any:
    return caller.post(path, data={"form_token": caller.token, **fields})


def newest(db: Database) -> tuple[str, dict[str, Any]]:
    line = browse.audit_lines(db, limit=1)[0]
    return line.action, line.detail


def test_a_queue_is_made_filled_paused_and_counted_over_again(client: Callable[..., Any], db: Database) -> None:
    seed_queue(db, prompts=3, k=3, name="source")
    staff = client("researcher")
    answer = send(
        staff,
        "/admin/queues",
        name="comparisons",
        kind="pairwise",
        guideline="evaluation",
        overlap="2",
        gold_percent="0",
        cohorts="heldout",
    )
    assert answer.status_code == 303
    assert newest(db) == ("queue.create", {"name": "comparisons", "kind": "pairwise"})
    queue_id = answer.headers["location"].split("/")[-1].partition("?")[0]
    assert send(staff, f"/admin/queues/{queue_id}/fill", splits="train", k="2", limit="10").headers["location"].endswith("done=3")
    assert newest(db)[0] == "queue.fill"
    row = next(row for row in progress.queue_progress(db) if row.id == queue_id)
    assert (row.tasks, row.pending) == (3, pytest.approx(6, abs=3))  # a tenth of the tasks wants one answer more
    assert send(staff, f"/admin/queues/{queue_id}/state", state="paused").status_code == 303
    assert newest(db) == ("queue.state", {"from": "open", "to": "paused"})
    assert "0 differences" in send(staff, f"/admin/queues/{queue_id}/reconcile", fix="yes").text
    again = send(staff, "/admin/queues", name="comparisons", kind="pairwise")
    assert (again.status_code, "There is a queue named" in again.text or "there is a queue named" in again.text) == (422, True)


def test_a_lease_is_taken_back_and_the_task_is_free_again(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, prompts=1, k=2)
    first, second = add_labeler(db, "T1"), add_labeler(db, "T2")
    lease = next_lease(db, first, queue.queue_id)
    assert lease is not None
    assert next_lease(db, second, queue.queue_id) is None
    assert send(client("researcher"), f"/admin/queues/{queue.queue_id}/release", assignment=lease.assignment_id).status_code == 303
    assert "release" in newest(db)[0]
    assert next_lease(db, second, queue.queue_id) is not None


def test_a_gold_item_is_made_and_taken_out_and_a_wrong_one_changes_nothing(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, prompts=1, k=3)
    staff = client("researcher")
    fields = {"queue": queue.queue_id, "prompt": queue.prompt_ids[0], "completions": "\n".join(queue.completions[0]), "tolerance": "25"}
    for expected, said in (("{", "is not JSON"), ('{"tiers": [1, 2]}', "has 2 places"), ('{"winner": "0"}', "cannot check winner")):
        answer = send(staff, "/admin/gold", expected=expected, **fields)
        assert (answer.status_code, said in answer.text) == (422, True), said
    assert browse.gold_items(db) == []
    assert send(staff, "/admin/gold", expected='{"tiers": [1, 2, 2]}', **fields).status_code == 303
    assert newest(db)[0] == "gold.create"
    item = browse.gold_items(db)[0]
    assert send(staff, f"/admin/gold/{item.id}", active="no").status_code == 303
    assert newest(db) == ("gold.active", {"active": False})


def test_guidelines_show_what_changes_before_they_are_published(client: Callable[..., Any], db: Database) -> None:
    staff = client("researcher")
    fields = {"name": "default", "title": "Shorter", "mode": "training", "body": "Be kind.\r\nBe true."}
    preview = send(staff, "/admin/guidelines", action="preview", **fields)
    assert "+ Be kind." in preview.text
    assert browse.audit_lines(db, action="guideline.publish") == []
    assert send(staff, "/admin/guidelines", action="publish", **fields).status_code == 303
    assert newest(db)[0] == "guideline.publish"
    assert "version 2" in staff.get("/admin/guidelines/default").text


def test_personal_information_is_reviewed_and_the_decision_is_kept(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, prompts=1, k=2)
    with db.write() as session:
        session.get_one(PromptRow, queue.prompt_ids[0]).pii_status = "quarantined"
    staff = client("researcher")
    assert "A labeler said so" in staff.get("/admin/prompts/quarantine").text
    assert send(staff, f"/admin/prompts/{queue.prompt_ids[0]}/review", decision="maybe").status_code == 422
    assert send(staff, f"/admin/prompts/{queue.prompt_ids[0]}/review", decision="clear").status_code == 303
    assert browse.prompts(db)[0].pii_status == "clean"
    assert "pii" in newest(db)[0] or "prompt" in newest(db)[0]


def test_an_invitation_is_shown_once_and_only_its_hash_is_kept(client: Callable[..., Any], db: Database) -> None:
    admin = client("admin")
    answer = send(admin, "/admin/users/invite", role="labeler", cohort="heldout", email="Ann@Example.org")
    token = re.search(r"/invite/([\w-]{20,})", answer.text)
    assert token is not None
    assert token[1] not in admin.get("/admin/users").text
    with db.read() as session:
        rows = session.query(OneTimeLink).filter_by(kind="invite").all()
    assert [(row.role, row.cohort, row.email) for row in rows] == [("labeler", "heldout", "ann@example.org")]
    assert token[1] not in repr([vars(row) for row in rows])
    assert send(admin, f"/admin/users/invitations/{rows[0].id}").status_code == 303
    assert client().get(f"/invite/{token[1]}").status_code == 410


def test_the_last_admin_cannot_be_taken_away_and_a_suspended_account_is_out_at_once(
    client: Callable[..., Any], db: Database, project: Project
) -> None:
    admin = client("admin")
    with db.read() as session:
        others = [one for one in accounts.listed(session) if one.role == "admin" and one.id != admin.person.user_id]
    for one in others:
        assert send(admin, f"/admin/users/{one.id}/role", role="viewer").status_code == 303
    refused = send(admin, f"/admin/users/{admin.person.user_id}/role", role="viewer")
    assert (refused.status_code, "only admin" in refused.text) == (422, True)
    person = sign_in(project, role="labeler")
    worker = client(person=person)
    assert worker.get("/home").status_code == 200
    assert send(admin, f"/admin/users/{person.user_id}/status", status="suspended").status_code == 303
    assert worker.get("/home").status_code == 401
    assert send(admin, f"/admin/users/{person.user_id}/status", status="erased").status_code == 422
    with db.read() as session:
        assert session.get_one(User, person.user_id).status == "suspended"


def test_snapshots_are_made_from_the_page_at_most_five_an_hour(client: Callable[..., Any], db: Database, project: Project) -> None:
    queue = seed_queue(db, prompts=2, k=2)
    with db.write() as session:
        for prompt in queue.prompt_ids:
            session.get_one(PromptRow, prompt).source = "labeler"
    labeler = add_labeler(db, "T1")
    while (lease := next_lease(db, labeler, queue.queue_id)) is not None:
        submit(db, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 2))
    staff = client("researcher")
    answer = send(staff, "/admin/exports", purpose="training")
    assert answer.status_code == 303, answer.text[-800:]
    made = snapshots.snapshots(project)
    assert len(made) == 1
    page = staff.get(f"/admin/exports/{made[0].name}")
    assert "Every byte is as it was written" in page.text
    assert "T1" in page.text
    assert "@example.org" not in page.text
    assert staff.get(f"/admin/exports/{made[0].name}/manifest").json()["sha256"] == made[0].manifest["sha256"]
    assert "export" in browse.audit_lines(db, limit=1)[0].action or "snapshot" in browse.audit_lines(db, limit=1)[0].action
    (made[0].path / "data-card.md").write_text("another card")
    assert "was changed" in staff.get(f"/admin/exports/{made[0].name}").text
    codes = [send(staff, "/admin/exports", purpose="training").status_code for _ in range(5)]
    assert codes == [303, 303, 303, 303, 429]


def test_applicants_are_qualified_against_the_cut_offs_with_a_reason_only(client: Callable[..., Any], db: Database) -> None:
    applicant = labelers.create_labeler(db)
    staff = client("researcher")
    assert send(staff, f"/admin/labelers/{applicant}/qualify", reason="").status_code == 422
    assert labelers.get_labeler(db, applicant).state == "applicant"
    assert send(staff, f"/admin/labelers/{applicant}/qualify", reason="Wrote the guidelines.").status_code == 303
    assert newest(db)[1]["reason"] == "Wrote the guidelines."
    assert send(staff, f"/admin/labelers/{applicant}/state", state="paused").status_code == 303
    assert newest(db) == ("labeler.state", {"from": "qualified", "to": "paused"})


def test_cut_offs_are_changed_and_questions_replaced_from_the_page(client: Callable[..., Any], db: Database) -> None:
    staff = client("researcher")
    fields = {
        "cutoff.sensitive": "80",
        "cutoff.ranking": "75",
        "cutoff.demonstration": "6",
        "required": "sensitive",
        "attempts": "3",
        "raters": "2",
    }
    assert send(staff, "/admin/screening", **fields).status_code == 303
    with db.read() as session:
        assert {part.kind: part.cutoff for part in screening.active_parts(session)}["sensitive"] == 0.8
        assert screening.rules(session) == screening.Rules(required=("sensitive",), attempts=3, raters=2)
    downloaded = staff.get("/admin/screening/sensitive.jsonl")
    assert len(downloaded.text.splitlines()) == 16
    for body, status in ((downloaded.text.encode(), 303), (b"\xff\xfe", 422), (b"{}", 422), (b"", 422)):
        answer = staff.post(
            "/admin/screening/questions",
            data={"form_token": staff.token, "kind": "sensitive"},
            files={"file": ("questions.jsonl", body, "application/x-ndjson")},
        )
        assert answer.status_code == status, answer.text[-500:]
    with db.read() as session:
        assert {part.kind: part.version for part in screening.active_parts(session)}["sensitive"] == 3


def test_an_adjudicator_decides_but_does_not_see_the_rest_of_the_project(client: Callable[..., Any], db: Database) -> None:
    queue = seed_queue(db, prompts=1, k=2, overlap=2)
    for code, tiers in (("T1", (1, 2)), ("T2", (2, 1))):
        labeler = add_labeler(db, code)
        lease = next_lease(db, labeler, queue.queue_id)
        assert lease is not None
        submit(db, lease.assignment_id, labeler, lease.idem_key, ranking(*tiers))
    judge = client("adjudicator")
    task = adjudication.disagreements(db)[0].task_id
    assert judge.get("/admin").status_code == 403
    page = judge.get(f"/admin/disagreements/{task}").text
    assert not any(word in page for word in ("T1", "T2", "secret-model-name"))
    assert send(judge, f"/admin/disagreements/{task}", decision="A").status_code == 422
    assert send(judge, f"/admin/disagreements/{task}", decision="A", taxonomy="slip", note="misread").status_code == 303
    assert newest(db)[0] == "adjudicate"
    assert adjudication.case(db, task).provenance == "adjudicated"


def test_one_labeler_never_sees_anothers_attempt_or_thread(client: Callable[..., Any], db: Database, project: Project) -> None:
    ann, bea = sign_in(project, state="applicant"), sign_in(project, state="applicant")
    assert bea.labeler_id is not None
    with db.read() as session:
        part = next(part for part in screening.active_parts(session) if part.kind == "sensitive")
    attempt = screening.start_attempt(db, bea.labeler_id, part.id)
    caller = client(person=ann)
    assert caller.get(f"/screening/{attempt.id}").status_code == 404
    assert send(caller, f"/screening/{attempt.id}", q0="yes").status_code == 404
    send(client(person=bea), "/messages", body="only for the team")
    assert "only for the team" not in caller.get("/messages").text
    shown = client(person=bea).get(f"/screening/{attempt.id}").text
    assert not any(item.explanation in shown for item in part.items)  # neither answers nor explanations before handing in


def test_the_log_shows_a_changed_line(client: Callable[..., Any], db: Database) -> None:
    staff = client("researcher")
    assert "fit together" in staff.get("/admin/audit/verify").text
    if db.dialect == "sqlite":
        with db.engine.begin() as connection:
            for name in (
                connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'").scalars().all()
            ):
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
            connection.exec_driver_sql("UPDATE audit SET action = 'nothing' WHERE seq = 2")
    assert audit.verify(db) == [2]
    assert "Lines that do not fit: 2" in staff.get("/admin/audit/verify").text
