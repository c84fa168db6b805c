"""Control 1, its second half: passwords being checked leave the pages quick."""

import concurrent.futures
import http.client
import re
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from instructloop.feedback import accounts
from instructloop.testing.feedback import seed_queue
from instructloop.testing.server import Person, RunningServer, fresh_project, login_cookie, running_server, sign_in
from instructloop.web.passwords import Passwords

GOOD = "seven tall cranes dance"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    project = fresh_project(tmp_path / "project")
    sign_in(project, role="admin")
    with running_server(project) as started:
        yield started


def ask(
    server: RunningServer, method: str, path: str, cookies: dict[str, str], fields: dict[str, str] | None = None
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), "Sec-Fetch-Site": "same-origin"}
    body = None
    if fields is not None:
        body = urllib.parse.urlencode(fields)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def log_in(server: RunningServer, email: str) -> float:
    _, page, headers = ask(server, "GET", "/login", {})
    token = re.search(r'name="form_token" value="(\w+)"', page)
    assert token is not None
    name, _, value = headers["set-cookie"].partition(";")[0].partition("=")
    begin = time.perf_counter()
    status, text, _ = ask(server, "POST", "/login", {name: value}, {"form_token": token[1], "email": email, "password": GOOD})
    assert status == 303, text
    return time.perf_counter() - begin


@pytest.mark.slow
def test_twenty_parallel_log_ins_keep_the_task_page_quick(server: RunningServer) -> None:
    project = server.project
    db = project.database()
    seeded = seed_queue(db, kind="rank", prompts=2, k=6)
    hashed = Passwords().hash_now(GOOD)
    with db.write() as session:
        for index in range(20):
            accounts.create_user(session, email=f"p{index}@example.org", name="", role="labeler", password_hash=hashed)
    db.close()
    worker: Person = sign_in(project)
    cookies = login_cookie(project, worker)
    status, _, headers = ask(server, "GET", f"/work/{seeded.queue_id}", cookies)
    assert status == 303
    seconds: list[float] = []
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(log_in, server, f"p{index}@example.org") for index in range(20)]
        while not all(one.done() for one in waiting) or len(seconds) < 20:
            begin = time.perf_counter()
            assert ask(server, "GET", headers["location"], cookies)[0] == 200
            seconds.append(time.perf_counter() - begin)
        took = [one.result() for one in waiting]
    p95 = sorted(seconds)[int(0.95 * len(seconds))]
    assert p95 < 0.5, f"p95 {p95:.3f} s over {len(seconds)} pages while log-ins took up to {max(took):.1f} s"
