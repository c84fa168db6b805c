"""Task pages tell a labeler nothing about models and show nobody else's work."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from instructloop.feedback.answers import RankingAnswer
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.drafts import load_draft
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import Assignment, Checkpoint, CompletionRow, Model, PromptRow, Queue, Submission, Task
from instructloop.feedback.submissions import submit
from instructloop.testing.tasks import MODEL_NAMES, answers_in, seed_queue

JSON = {"Accept": "application/json"}
KINDS = ("demonstration", "edit", "critique", "rank", "rate", "rate_and_rank", "pairwise", "instruction", "toxicity")
RANKED = {"rank.A": "1", "rank.B": "2", "rank.C": "2"}


def fields_of(page: str) -> dict[str, str]:
    """The hidden fields of the task's form."""
    form = page[page.index("data-form") :]
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form))


@pytest.fixture
def db(app: Any) -> Database:
    database: Database = app.state.db
    return database


def secrets_of(db: Database) -> list[str]:
    """Everything that would tell which model wrote an output."""
    with db.read() as session:
        rows = [*session.scalars(select(Model.id)), *session.scalars(select(Model.name)), *session.scalars(select(Checkpoint.id))]
        return [
            *rows,
            *session.scalars(select(Checkpoint.sha256)),
            *session.scalars(select(CompletionRow.id)),
            *session.scalars(select(PromptRow.id)),
        ]


def test_no_answer_of_the_server_names_a_model_or_an_output(client: Callable[..., Any], db: Database) -> None:
    queues = {kind: seed_queue(db, kind, tasks=2, gold_rate=0.0) for kind in KINDS}
    labeler = client("labeler")
    seen = []
    for queue_id in queues.values():
        page = labeler.get(f"/work/{queue_id}", follow_redirects=True)
        fields = fields_of(page.text)
        address = page.url.path
        draft = labeler.post(f"{address}/draft", data={**fields, "text": "x", "base_rev": "0"}, headers=JSON)
        beat = labeler.post(f"{address}/heartbeat", data={**fields, "active_ms": "5"}, headers=JSON)
        refused = labeler.post(address, data={**fields, "confidence": "77"}, headers=JSON)
        skipped = labeler.post(f"{address}/skip", data={**fields, "reason": "broken"}, follow_redirects=True)
        seen += [page, draft, beat, refused, skipped]
        assert (page.status_code, draft.status_code, beat.status_code) == (200, 200, 200)
    seen += [labeler.get(path) for path in ("/work", "/work/keys", "/guidelines/default/1")]
    ranked = labeler.get(f"/work/{queues['rank']}", follow_redirects=True)
    sent = labeler.post(ranked.url.path, data={**fields_of(ranked.text), **{f"rank.{letter}": "1" for letter in "ABCDEF"}}, headers=JSON)
    assert sent.json()["receipt"]
    edit = labeler.get(f"/submission/{sent.json()['receipt']}/edit")
    assert edit.status_code == 200
    for response in (*seen, sent, edit):
        everything = response.text + str(response.headers) + str(response.url)
        for secret in (*secrets_of(db), *MODEL_NAMES):
            assert secret not in everything, response.url


def test_labels_and_places_say_nothing_about_the_slots_behind_them(client: Callable[..., Any], db: Database) -> None:
    queue_id = seed_queue(db, "rank", tasks=1, k=4)
    page = client("labeler").get(f"/work/{queue_id}", follow_redirects=True).text
    assert "slot" not in page
    assert "display_order" not in page


def test_somebody_elses_task_and_answer_look_as_if_there_were_none(client: Callable[..., Any], db: Database) -> None:
    queue_id = seed_queue(db, "rank", tasks=3, k=3)
    owner, other = client("labeler"), client("labeler")
    page = owner.get(f"/work/{queue_id}", follow_redirects=True)
    address, fields = page.url.path, fields_of(page.text)
    mine = {**fields, "form_token": other.token}
    for path, data in (
        (address, RANKED),
        (f"{address}/draft", RANKED),
        (f"{address}/heartbeat", {}),
        (f"{address}/skip", {"reason": "other"}),
        (f"{address}/release", {}),
    ):
        response = other.post(path, data={**mine, **data}, headers=JSON)
        assert response.status_code == 404, path
    assert other.get(address).status_code == 404
    sent = owner.post(address, data={**fields, **RANKED}, headers=JSON).json()
    assert other.get(f"/submission/{sent['receipt']}/edit").status_code == 404
    assert other.post(f"/submission/{sent['receipt']}/edit", data={**mine, **RANKED}, headers=JSON).status_code == 404
    assert other.get("/task/0196f0c0-0000-7000-8000-000000000000").text == other.get(address).text.replace(
        address.rsplit("/", 1)[1], "0196f0c0-0000-7000-8000-000000000000"
    )
    with db.read() as session:
        assert len(session.scalars(select(Submission)).all()) == 1


def test_a_queue_of_another_cohort_or_an_unqualified_labeler_gets_nothing(client: Callable[..., Any], db: Database, project: Any) -> None:
    from instructloop.testing.server import sign_in

    held_out = seed_queue(db, "rank", tasks=1, k=3, cohorts=("heldout",))
    assert client("labeler").get(f"/work/{held_out}").status_code == 404
    applicant = client(person=sign_in(project, state="applicant"))
    anyone = seed_queue(db, "rank", tasks=1, k=3, name="anyone")
    assert applicant.get(f"/work/{anyone}").status_code == 404


def test_only_who_decides_disagreements_is_given_them(client: Callable[..., Any], db: Database) -> None:
    disputed = seed_queue(db, "rank", tasks=1, k=3)
    deciding = seed_queue(db, "adjudicate", tasks=1, k=3)
    with db.write() as session:
        task = session.scalars(select(Task).where(Task.queue_id == deciding)).one()
        task.adjudicates = session.scalars(select(Task.id).where(Task.queue_id == disputed)).one()
    assert client("labeler").get(f"/work/{deciding}").status_code == 404
    assert client("adjudicator").get(f"/work/{deciding}").status_code == 303


def test_an_adjudication_shows_nameless_answers_and_stores_the_one_chosen(client: Callable[..., Any], db: Database) -> None:
    disputed = seed_queue(db, "rank", tasks=1, k=3, overlap=2)
    receipts = {}
    workers = [client("labeler") for _ in range(2)]
    for worker, tiers in zip(workers, ((1, 2, 3), (3, 2, 1)), strict=True):
        lease = next_lease(db, worker.person.labeler_id, disputed)
        assert lease is not None
        receipt = submit(db, lease.assignment_id, worker.person.labeler_id, lease.idem_key, RankingAnswer(tiers=tiers))
        receipts[receipt.submission_id] = tiers
    deciding = seed_queue(db, "adjudicate", tasks=1, k=0)
    with db.write() as session:
        session.scalars(select(Task).where(Task.queue_id == deciding)).one().adjudicates = session.scalars(
            select(Task.id).where(Task.queue_id == disputed)
        ).one()
    judge = client("adjudicator")
    page = judge.get(f"/work/{deciding}", follow_redirects=True)
    for secret in (*receipts, *(worker.person.labeler_id for worker in workers), *(worker.person.code for worker in workers)):
        assert secret not in page.text
    orders = re.findall(r'<p class="order">([^<]+)</p>', page.text)
    assert sorted(order.replace("&gt;", ">") for order in orders) == ["A > B > C", "C > B > A"]
    place = 1 + [order.replace("&gt;", ">") for order in orders].index("C > B > A")
    sent = judge.post(page.url.path, data={**fields_of(page.text), "decision": str(place), "taxonomy": "subjective"}, headers=JSON)
    assert sent.status_code == 200
    (answer,) = answers_in(db, deciding)
    assert receipts[answer.decision] == (3, 2, 1)  # type: ignore[union-attr]


def test_personal_information_is_set_aside_within_the_same_request(client: Callable[..., Any], db: Database) -> None:
    queue_id = seed_queue(db, "rank", tasks=2, k=3)
    labeler = client("labeler")
    page = labeler.get(f"/work/{queue_id}", follow_redirects=True)
    labeler.post(f"{page.url.path}/skip", data={**fields_of(page.text), "reason": "pii"})
    with db.read() as session:
        task = session.get_one(Task, session.get_one(Assignment, page.url.path.rsplit("/", 1)[1]).task_id)
        assert session.get_one(PromptRow, task.prompt_id).pii_status == "quarantined"


def test_a_stale_draft_gets_409_and_changes_nothing(client: Callable[..., Any], db: Database) -> None:
    queue_id = seed_queue(db, "demonstration", tasks=1)
    labeler = client("labeler")
    page = labeler.get(f"/work/{queue_id}", follow_redirects=True)
    address, fields = page.url.path, fields_of(page.text)
    first = labeler.post(f"{address}/draft", data={**fields, "text": "new", "base_rev": "0"}, headers=JSON).json()
    stale = labeler.post(f"{address}/draft", data={**fields, "text": "old", "base_rev": "7"}, headers=JSON)
    assert stale.status_code == 409
    assert stale.json()["current_rev"] == first["rev"]
    assert load_draft(db, address.rsplit("/", 1)[1], labeler.person.labeler_id)[0] == {"text": "new"}


def test_the_time_for_editing_ends(client: Callable[..., Any], db: Database) -> None:
    queue_id = seed_queue(db, "demonstration", tasks=2, edit_minutes=30)
    labeler = client("labeler")
    page = labeler.get(f"/work/{queue_id}", follow_redirects=True)
    receipt = labeler.post(page.url.path, data={**fields_of(page.text), "text": "one"}, headers=JSON).json()["receipt"]
    edit = labeler.get(f"/submission/{receipt}/edit")
    assert edit.status_code == 200
    with db.write() as session:
        session.scalars(select(Queue).where(Queue.id == queue_id)).one().edit_minutes = 0
    assert now_ms() > 0
    assert labeler.get(f"/submission/{receipt}/edit").status_code == 409
    late = labeler.post(f"/submission/{receipt}/edit", data={**fields_of(edit.text), "text": "two"}, headers=JSON)
    assert late.status_code == 409
    assert len(answers_in(db, queue_id)) == 1


def test_a_task_answered_already_leads_to_its_edit_page(client: Callable[..., Any], db: Database) -> None:
    queue_id = seed_queue(db, "demonstration", tasks=1)
    labeler = client("labeler")
    page = labeler.get(f"/work/{queue_id}", follow_redirects=True)
    receipt = labeler.post(page.url.path, data={**fields_of(page.text), "text": "one"}, headers=JSON).json()["receipt"]
    again = labeler.get(page.url.path)
    assert (again.status_code, again.headers["location"]) == (303, f"/submission/{receipt}/edit")


def test_guidelines_say_what_changed_since_they_were_read(client: Callable[..., Any], db: Database) -> None:
    from instructloop.feedback import guidelines

    queue_id = seed_queue(db, "rank", tasks=1, k=2)
    labeler = client("labeler")
    assert labeler.get("/guidelines/default/1").status_code == 200
    body = guidelines.versions(db, "default")[0].body
    fresh = guidelines.publish(db, "default", "training", "Rules", body + "\n\nRank an answer that runs on lower still.\n")
    guidelines.use(db, queue_id, fresh)
    page = labeler.get(f"/work/{queue_id}", follow_redirects=True).text
    assert '<span class="badge">changed</span>' in page
    told = labeler.get("/guidelines/default/2", headers=JSON).json()["main"]
    assert "<ins>Rank an answer that runs on lower still.</ins>" in told
    assert "Changed since version 1, which you read last" in told
    assert '<span class="badge">changed</span>' not in labeler.get(f"/work/{queue_id}", follow_redirects=True).text
    assert labeler.get("/guidelines/default/9").status_code == 404
