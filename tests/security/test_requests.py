"""Controls 4, 8, 13, 17 (bodies) and 18: what every request and every answer must carry."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from instructloop.feedback import audit
from instructloop.feedback.project import Project
from instructloop.labeling.app import create_app
from instructloop.testing.server import sign_in
from instructloop.web.middleware import HEADERS
from instructloop.web.settings import ServerSettings

UNSAFE = "018f0000-0000-7000-8000-000000000000"


def address(path: str) -> str:
    return re.sub(r"\{[^}]+\}", UNSAFE, path)


def unsafe_routes(app: FastAPI) -> list[tuple[str, str]]:
    return [(method, address(path)) for method, path in app.state.declared if method not in {"GET", "HEAD"}]


def test_unsafe_requests_without_origin_headers_get_403(client: Callable[..., Any], app: FastAPI) -> None:
    admin = client("admin")
    admin.headers.pop("sec-fetch-site")
    for method, path in unsafe_routes(app):
        assert admin.request(method, path, data={"form_token": admin.token}).status_code == 403, path


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8001"},
    ],
)
def test_unsafe_requests_from_other_origins_get_403(client: Callable[..., Any], app: FastAPI, headers: dict[str, str]) -> None:
    admin = client("admin")
    for method, path in unsafe_routes(app):
        assert admin.request(method, path, data={"form_token": admin.token}, headers=headers).status_code == 403, path


def test_unsafe_requests_without_the_form_s_token_get_403(client: Callable[..., Any], app: FastAPI) -> None:
    admin, other = client("admin"), client("admin")
    for method, path in unsafe_routes(app):
        for token in ({}, {"form_token": ""}, {"form_token": "x" * 64}, {"form_token": other.token}):
            assert admin.request(method, path, data=token).status_code == 403, (path, token)
        assert admin.request(method, path, json={"form_token": admin.token}).status_code == 403, path


def test_a_visitor_s_form_token_belongs_to_the_visitor_s_cookie(client: Callable[..., Any]) -> None:
    one, other = client(), client()
    token = re.search(r'name="form_token" value="(\w+)"', one.get("/login").text)
    assert token is not None
    other.get("/login")
    fields = {"form_token": token[1], "email": "x@example.org", "password": "x"}
    assert other.post("/login", data=fields).status_code == 403
    assert one.post("/login", data=fields).status_code == 401


def test_every_answer_carries_the_fences(client: Callable[..., Any], app: FastAPI) -> None:
    admin = client("admin")
    seen = set()
    for method, path in [*app.state.declared, ("GET", "/nothing/here"), ("PUT", "/login")]:
        answer = admin.request(method, address(path), headers={"X-Form-Token": admin.token})
        seen.add(answer.status_code)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (path, name)
        assert "cache-control" in answer.headers
        assert "server" not in answer.headers
    assert {200, 303, 404} <= seen


def test_the_policy_names_no_other_host_and_no_inline_code() -> None:
    policy = HEADERS["content-security-policy"]
    assert (
        policy == "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def test_pages_are_not_kept_and_files_are(client: Callable[..., Any]) -> None:
    admin = client("admin")
    page = admin.get("/account")
    assert page.headers["cache-control"] == "no-store"
    style = re.search(r'href="(/static/web/\w+/base\.css)"', page.text)
    assert style is not None
    assert admin.get(style[1]).headers["cache-control"] == "public, max-age=31536000, immutable"
    assert admin.get("/static/web/old/base.css").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["../../app.py", "..%2f..%2fapp.py", "%2e%2e/%2e%2e/app.py", "/etc/passwd", "base.css/../../pages.py", "", "."]
)
def test_static_files_do_not_lead_out_of_their_folder(client: Callable[..., Any], path: str) -> None:
    assert client().get(f"/static/web/x/{path}").status_code == 404


@pytest.mark.parametrize(
    ("host", "status"), [("localhost", 200), ("127.0.0.1:8000", 200), ("evil.example", 400), ("localhost.evil.example", 400)]
)
def test_a_server_answers_to_its_own_names_only(client: Callable[..., Any], host: str, status: int) -> None:
    assert client().get("/health", headers={"Host": host}).status_code == status


def test_a_further_name_can_be_allowed(project: Project) -> None:
    app = create_app(project, settings=ServerSettings(hosts=("label.example.org",)))
    visitor = TestClient(app, base_url="http://label.example.org")
    assert visitor.get("/health").status_code == 200
    app.state.db.close()


def test_over_tls_browsers_are_told_to_stay_there(project: Project) -> None:
    sign_in(project, role="admin")
    app = create_app(project, settings=ServerSettings(https=True))
    assert "max-age" in TestClient(app, base_url="https://localhost").get("/health").headers["strict-transport-security"]
    app.state.db.close()


def test_a_body_beyond_the_limit_gets_413_whether_or_not_it_states_its_length(client: Callable[..., Any], app: FastAPI) -> None:
    admin = client("admin")
    large = b"form_token=" + b"x" * (app.state.settings.max_body_bytes + 1)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert admin.post("/account/name", content=large, headers=kind).status_code == 413
    assert admin.post("/account/name", content=iter([large[: 1 << 20]] * 5), headers=kind).status_code in {400, 413}


def test_errors_tell_nothing_of_the_inside(client: Callable[..., Any], app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    labeler = client("labeler")
    monkeypatch.setattr("instructloop.feedback.logins.living", lambda *_: 1 / 0)
    page = labeler.get("/account")
    assert page.status_code == 500
    assert page.headers["content-security-policy"] == HEADERS["content-security-policy"]
    for inside in ("ZeroDivisionError", "Traceback", "division", ".py"):
        assert inside not in page.text
    answer = labeler.get("/account", headers={"Accept": "application/json"})
    assert set(answer.json()) == {"error", "hint", "status"}


def test_fetches_get_errors_as_json(client: Callable[..., Any]) -> None:
    answer = client().get("/account", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (401, 401)


def test_what_was_done_stands_in_the_book_and_a_changed_line_is_found(client: Callable[..., Any], app: FastAPI) -> None:
    admin = client("admin")
    admin.post("/account/logins", data={"form_token": admin.token})
    admin.post("/logout", data={"form_token": admin.token})
    db = app.state.db
    assert audit.verify(db) == []
    with db.read() as session:
        lines = session.execute(text("SELECT seq, action, ip_hash FROM audit ORDER BY seq")).all()
    assert [line.action for line in lines][-2:] == ["logout.others", "logout"]
    with db.write() as session:
        for trigger in (
            session.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'")).scalars().all()
        ):
            session.execute(text(f"DROP TRIGGER {trigger}"))
        session.execute(text("UPDATE audit SET actor = 'somebody else' WHERE seq = 2"))
    assert audit.verify(db)[0] == 2
