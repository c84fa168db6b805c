"""Controls 1 and 3: passwords at the door, and logins that live on the server."""

import re
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import select, update
from starlette.testclient import TestClient

from instructloop.feedback import accounts, logins
from instructloop.feedback.ids import now_ms
from instructloop.feedback.project import Project
from instructloop.feedback.schema import Login, RateLimit, User
from instructloop.labeling.app import create_app
from instructloop.testing.server import sign_in
from instructloop.web.passwords import Passwords
from instructloop.web.settings import ServerSettings

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
GOOD = "seven tall cranes dance"
OTHER = "nine small herons sleep"


@pytest.fixture
def ada(app: FastAPI) -> str:
    """An account with a known password; returns its identifier."""
    with app.state.db.write() as session:
        return accounts.create_user(session, email="ada@example.org", name="Ada", role="labeler", password_hash=CHEAP.hash(GOOD)).id


def log_in(client: TestClient, email: str = "ada@example.org", password: str = GOOD, **fields: str) -> Any:
    page = client.get("/login")
    token = re.search(r'name="form_token" value="(\w+)"', page.text)
    assert token is not None
    return client.post("/login", data={"form_token": token[1], "email": email, "password": password, **fields})


def token_of(client: TestClient) -> str:
    token = re.search(r'name="form-token" content="(\w+)"', client.get("/account").text)
    assert token is not None
    return token[1]


def test_logging_in_leads_back_to_the_page_that_was_asked_for(client: Callable[..., Any], ada: str) -> None:
    visitor = client()
    refused = visitor.get("/account?done=name")
    assert refused.status_code == 401
    assert 'value="/account?done=name"' in refused.text
    done = log_in(visitor, next="/account?done=name")
    assert (done.status_code, done.headers["location"]) == (303, "/account?done=name")
    assert visitor.get("/account").status_code == 200


@pytest.mark.parametrize(
    "next_", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\tx", "evil", "/a\\b"]
)
def test_nobody_is_led_away_after_logging_in(client: Callable[..., Any], ada: str, next_: str) -> None:
    assert log_in(client(), next=next_).headers["location"] == "/"


def test_wrong_password_and_unknown_account_look_the_same(client: Callable[..., Any], ada: str) -> None:
    wrong = log_in(client(), password="wrong wrong wrong wrong")
    unknown = log_in(client(), email="bob@example.org")
    assert wrong.status_code == unknown.status_code == 401
    scrub = re.compile(r'value="[^"]*"|content="[^"]*"')
    assert scrub.sub("", wrong.text) == scrub.sub("", unknown.text)


def test_a_suspended_account_cannot_log_in_and_its_logins_end(client: Callable[..., Any], app: FastAPI, ada: str) -> None:
    inside = client()
    log_in(inside)
    with app.state.db.write() as session:
        accounts.set_status(session, ada, "suspended", actor="system")
    assert inside.get("/account").status_code == 401
    assert log_in(client()).status_code == 401


@pytest.mark.parametrize("https", [False, True])
def test_the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites(project: Project, https: bool) -> None:
    sign_in(project, role="admin")
    app = create_app(project, settings=ServerSettings(https=https), passwords=Passwords(CHEAP))
    with app.state.db.write() as session:
        accounts.create_user(session, email="ada@example.org", name="Ada", role="labeler", password_hash=CHEAP.hash(GOOD))
    scheme = "https" if https else "http"
    visitor = TestClient(app, base_url=f"{scheme}://localhost", headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=False)
    sent = log_in(visitor).headers["set-cookie"]
    ((name, cookie),) = SimpleCookie(sent).items()
    assert cookie["httponly"] is True
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == "/"
    assert cookie["domain"] == ""
    assert bool(cookie["secure"]) is https
    assert name.startswith("__Host-instructloop_" if https else "instructloop_")
    assert len(cookie.value) >= 43, "256 bits"
    app.state.db.close()


def test_only_a_hash_of_the_cookie_is_kept(client: Callable[..., Any], app: FastAPI, ada: str) -> None:
    visitor = client()
    secret = SimpleCookie(log_in(visitor).headers["set-cookie"])[app.state.cookie].value
    with app.state.db.read() as session:
        kept = session.scalars(select(Login).where(Login.user_id == ada)).all()
    assert [row.id_hash for row in kept] == [logins.hashed(secret)]
    assert secret not in "".join(str(vars(row)) for row in kept)


def test_every_log_in_gets_a_fresh_secret_and_ends_the_one_before(client: Callable[..., Any], app: FastAPI, ada: str) -> None:
    browser = client()
    log_in(browser)
    first = browser.cookies[app.state.cookie]
    with app.state.db.write() as session:
        session.execute(update(RateLimit).values(count=0))
    page = browser.get("/account")
    token = re.search(r'name="form_token" value="(\w+)"', page.text)
    assert token is not None
    browser.post("/login", data={"form_token": token[1], "email": "ada@example.org", "password": GOOD})
    assert browser.cookies[app.state.cookie] != first
    thief = client()
    thief.cookies.set(app.state.cookie, first)
    assert thief.get("/account").status_code == 401


def test_after_a_password_change_the_old_cookie_gets_401(client: Callable[..., Any], app: FastAPI, ada: str) -> None:
    here, elsewhere = client(), client()
    log_in(here)
    log_in(elsewhere)
    old = here.cookies[app.state.cookie]
    done = here.post("/account/password", data={"form_token": token_of(here), "current": GOOD, "password": OTHER, "repeat": OTHER})
    assert (done.status_code, done.headers["location"]) == (303, "/account?done=password")
    assert here.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 401
    thief = client()
    thief.cookies.set(app.state.cookie, old)
    assert thief.get("/account").status_code == 401
    assert log_in(client(), password=GOOD).status_code == 401
    assert log_in(client(), password=OTHER).status_code == 303


def test_a_changed_role_ends_all_logins(client: Callable[..., Any], app: FastAPI, ada: str) -> None:
    browser = client()
    log_in(browser)
    with app.state.db.write() as session:
        accounts.set_role(session, ada, "researcher", actor="system")
    assert browser.get("/account").status_code == 401


def test_logging_out_ends_the_login_on_the_server(client: Callable[..., Any], app: FastAPI, ada: str) -> None:
    browser = client()
    log_in(browser)
    secret = browser.cookies[app.state.cookie]
    assert browser.post("/logout", data={"form_token": token_of(browser)}).status_code == 303
    assert app.state.cookie not in browser.cookies
    thief = client()
    thief.cookies.set(app.state.cookie, secret)
    assert thief.get("/account").status_code == 401


def test_a_login_ends_after_twelve_idle_hours_and_after_fourteen_days(project: Project) -> None:
    person = sign_in(project)
    db = project.database()
    begin = now_ms()
    hour = 3600 * 1000

    def alive(now: int) -> bool:
        with db.read() as session:
            return logins.find(session, person.secret, now=now) is not None

    assert alive(begin + 11 * hour)
    assert not alive(begin + 12 * hour + 1000)
    for day in range(14):
        for half in (0, 11):
            with db.write() as session:
                logins.touch(session, logins.hashed(person.secret), now=begin + day * 24 * hour + half * hour)
    assert alive(begin + 13 * 24 * hour + 22 * hour)
    assert not alive(begin + 14 * 24 * hour + 1000)
    db.close()


def test_a_hash_of_older_parameters_is_replaced_at_log_in(client: Callable[..., Any], app: FastAPI, ada: str) -> None:
    older = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(GOOD)
    with app.state.db.write() as session:
        session.execute(update(User).where(User.id == ada).values(password_hash=older))
    assert log_in(client()).status_code == 303
    with app.state.db.read() as session:
        kept = session.get(User, ada).password_hash  # type: ignore[union-attr]
    assert kept.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert log_in(client()).status_code == 303


def test_the_last_admin_cannot_be_taken_away(app: FastAPI) -> None:
    with app.state.db.read() as session:
        admin = next(one.id for one in accounts.listed(session) if one.role == "admin")
    for change in (
        lambda s: accounts.set_role(s, admin, "labeler", actor="system"),
        lambda s: accounts.set_status(s, admin, "suspended", actor="system"),
    ):
        with pytest.raises(ValueError, match="only admin"), app.state.db.write() as session:
            change(session)


def test_a_password_link_sets_a_new_password_once(client: Callable[..., Any], app: FastAPI, ada: str) -> None:
    from instructloop.feedback import links

    inside = client()
    log_in(inside)
    with app.state.db.write() as session:
        token = links.make(session, "password", user_id=ada)
    visitor = client()
    page = visitor.get(f"/password/{token}")
    form = re.search(r'name="form_token" value="(\w+)"', page.text)
    assert form is not None
    fields = {"form_token": form[1], "password": OTHER, "repeat": OTHER}
    assert visitor.post(f"/password/{token}", data=fields).status_code == 303
    assert inside.get("/account").status_code == 401
    assert client().get(f"/password/{token}").status_code == 410
    assert log_in(client(), password=OTHER).status_code == 303
