"""Fifty labelers at once: no task is handed out too often, no answer is lost, no lock is waited for in vain."""

import threading
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import func, select

from instructloop.feedback.founding import found
from instructloop.feedback.project import Project
from instructloop.feedback.schema import Assignment, Submission, Task
from instructloop.testing.databases import fresh_postgres
from instructloop.testing.feedback import seed_ranking_queue
from instructloop.testing.labeler_client import LETTERS, LabelerClient, TaskPage, next_page
from instructloop.testing.server import Person, login_cookie, running_server, sign_in

CLIENTS, TASKS, OVERLAP, K = 50, 100, 3, 4


def _labeler(url: str, cookie: dict[str, str], queue_id: str, receipts: list[str], troubles: Counter[str], times: list[float]) -> None:
    with LabelerClient(url, cookie, timeout_s=60) as client:
        page: TaskPage | None = client.open(queue_id)
        while page is not None:
            start = time.perf_counter()
            reply = client.submit(page, page.ranking(dict.fromkeys(LETTERS[:K], 1)))
            times.append(time.perf_counter() - start)
            if reply.status_code == 429:
                time.sleep(float(reply.headers["Retry-After"]))
                continue
            if reply.status_code != 200:
                troubles[f"{reply.status_code} {reply.text[:200]}"] += 1
                return
            receipts.append(str(reply.json()["receipt"]))
            page = next_page(reply)


def _rush(project: Project, workers: int) -> None:
    db = project.database()
    sign_in(project, role="admin")
    seeded = seed_ranking_queue(db, prompts=TASKS, k=K, overlap=OVERLAP)
    people: list[Person] = [sign_in(project, name=f"Labeler {number}") for number in range(CLIENTS)]
    receipts, troubles, times = list[str](), Counter[str](), list[float]()
    with running_server(project, workers=workers) as server:
        threads = [
            threading.Thread(target=_labeler, args=(server.url, login_cookie(project, person), seeded.queue_id, receipts, troubles, times))
            for person in people
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(180)
        output = "".join(server.output)
    assert not troubles, troubles
    assert "locked" not in output
    with db.read() as session:
        stored = set(session.scalars(select(Submission.id)))
        counts = Counter(session.scalars(select(Assignment.task_id).where(Assignment.state.in_(("leased", "submitted")))))
        surplus = session.scalars(select(func.count()).select_from(Submission).where(Submission.surplus)).one()
        done = session.scalars(select(Task.done)).all()
    db.close()
    assert set(receipts) == stored
    assert len(receipts) == len(set(receipts)) == TASKS * OVERLAP
    assert surplus == 0
    assert set(counts.values()) == {OVERLAP}
    assert set(done) == {OVERLAP}


def test_fifty_clients_of_one_server_on_sqlite(tmp_path: Path) -> None:
    _rush(found(tmp_path / "project"), workers=1)


def test_fifty_clients_of_two_servers_on_postgresql(tmp_path: Path) -> None:
    with fresh_postgres(empty=True) as url:
        _rush(found(tmp_path / "project", url=url), workers=2)
