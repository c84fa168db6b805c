"""The project's pages with 20,000 tasks: indexed counts, pages by key."""

import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from instructloop.feedback.queues import NewTask, add_tasks
from instructloop.labeling.app import create_app
from instructloop.testing.feedback import seed_queue
from instructloop.testing.server import fresh_project, login_cookie, sign_in

TASKS = 20_000


def test_the_overview_of_twenty_thousand_tasks_takes_less_than_a_fifth_of_a_second(tmp_path: Path) -> None:
    project = fresh_project(tmp_path / "project")
    admin = sign_in(project, role="admin")
    db = project.database()
    queue = seed_queue(db, kind="demonstration", prompts=100)
    for _ in range(TASKS // 2000):
        add_tasks(db, queue.queue_id, [NewTask(prompt_id=prompt) for prompt in queue.prompt_ids] * 20)
    db.close()
    app = create_app(project)
    caller = TestClient(app, base_url="http://localhost", headers={"Sec-Fetch-Site": "same-origin"})
    caller.cookies.update(login_cookie(project, admin))
    for path in ("/admin", "/admin/queues", f"/admin/queues/{queue.queue_id}", "/admin/prompts", "/admin/disagreements"):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            answer = caller.get(path)
            times.append(time.perf_counter() - start)
            assert answer.status_code == 200
        assert min(times) < 0.2, f"{path}: {min(times) * 1000:.0f} ms"
        if path == "/admin":
            assert f"{TASKS + 100:,}" in answer.text
    app.state.db.close()
