"""Control 2: no default password, a set-up address that works once, accounts by invitation only."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from starlette.testclient import TestClient

from instructloop.core.errors import ConfigError
from instructloop.feedback import accounts, audit, links
from instructloop.feedback.ids import now_ms
from instructloop.feedback.project import Project
from instructloop.labeling.app import create_app, setup_path
from instructloop.labeling.serve import serve
from instructloop.web.passwords import Passwords
from instructloop.web.settings import ServerSettings

GOOD = "seven tall cranes dance"


@pytest.fixture
def empty(project: Project) -> Iterator[TestClient]:
    """The application of a project without any account."""
    app = create_app(project, passwords=Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)))
    yield TestClient(app, base_url="http://localhost", headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=False)
    app.state.db.close()


def token_in(page: str) -> str:
    found = re.search(r'name="form_token" value="(\w+)"', page)
    assert found is not None, page
    return found[1]


def fill(client: TestClient, path: str, **fields: str) -> Any:
    page = client.get(path)
    assert page.status_code == 200, page.text
    return client.post(path, data={"form_token": token_in(page.text), "password": GOOD, "repeat": GOOD, **fields})


def test_before_set_up_every_page_leads_to_the_set_up_page(empty: TestClient) -> None:
    for method, path in empty.app.state.declared:  # type: ignore[attr-defined]
        if path.startswith(("/setup", "/static/", "/health")):
            continue
        answer = empty.request(method, re.sub(r"\{[^}]+\}", "x", path))
        assert (answer.status_code, answer.headers.get("location")) == (303, "/setup"), (method, path)
    hint = empty.get("/setup")
    assert hint.status_code == 200
    assert "<form" not in hint.text


def test_the_set_up_address_makes_one_admin_and_then_is_gone(empty: TestClient, project: Project) -> None:
    path = setup_path(project)
    assert path is not None
    done = fill(empty, path, email="Ada@Example.org", name="Ada")
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert empty.get(path).status_code == 410
    assert empty.post(path, data={"form_token": token_in(empty.get("/account").text), "email": "eve@example.org"}).status_code == 410
    assert setup_path(project) is None
    with project.database().read() as session:
        made = accounts.listed(session)
    assert [(one.email, one.role, one.status) for one in made] == [("ada@example.org", "admin", "active")]
    assert empty.get("/account").status_code == 200


def test_an_older_set_up_address_dies_with_a_newer_one(empty: TestClient, project: Project) -> None:
    older, newer = setup_path(project), setup_path(project)
    assert empty.get(str(older)).status_code == 410
    assert empty.get(str(newer)).status_code == 200


def test_a_set_up_address_ends_after_a_day(empty: TestClient, project: Project) -> None:
    db = project.database()
    with db.write() as session:
        token = links.make(session, "setup", now=now_ms() - 25 * 3600 * 1000)
    assert empty.get(f"/setup/{token}").status_code == 410


@pytest.mark.parametrize(
    "fields", [{"password": "short", "repeat": "short"}, {"repeat": "something else entirely"}, {"email": "no address"}]
)
def test_a_form_with_a_mistake_leaves_the_address_open(empty: TestClient, project: Project, fields: dict[str, str]) -> None:
    path = str(setup_path(project))
    answer = fill(empty, path, **{"email": "ada@example.org", **fields})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert empty.get(path).status_code == 200
    assert fill(empty, path, email="ada@example.org").status_code == 303


def test_an_address_that_was_never_given_out_is_nothing(empty: TestClient, project: Project) -> None:
    assert empty.get("/setup/" + "x" * 43).status_code == 404


def test_nobody_can_sign_up_without_an_invitation(client: Callable[..., Any]) -> None:
    visitor = client()
    for path in ("/signup", "/register", "/account/new", "/invite", "/invite/x"):
        assert visitor.get(path).status_code in {401, 404}


def test_an_invitation_gives_the_role_and_cohort_it_was_made_for(client: Callable[..., Any], project: Project, app: FastAPI) -> None:
    with app.state.db.write() as session:
        token = links.make(session, "invite", role="labeler", cohort="heldout", email="Bea@Example.org")
    visitor = client()
    done = fill(visitor, f"/invite/{token}", name="Bea", email="mallory@example.org", role="admin", cohort="researcher")
    assert done.status_code == 303
    assert visitor.get(f"/invite/{token}").status_code == 410
    with app.state.db.read() as session:
        bea = next(one for one in accounts.listed(session) if one.email == "bea@example.org")
    assert (bea.role, bea.cohort, bea.state) == ("labeler", "heldout", "qualified")
    assert audit.verify(app.state.db) == []


def test_a_withdrawn_invitation_is_spent(client: Callable[..., Any], app: FastAPI) -> None:
    with app.state.db.write() as session:
        token = links.make(session, "invite", role="labeler")
        links.withdraw(session, links.look(session, "invite", token).id, by="system")  # type: ignore[union-attr]
    assert client().get(f"/invite/{token}").status_code == 410


def test_a_server_without_an_admin_refuses_to_be_reachable_from_elsewhere(project: Project) -> None:
    with pytest.raises(ConfigError, match="there is no admin yet"):
        serve(project, ServerSettings(host="0.0.0.0", port=0), announce=lambda *_: pytest.fail("it began to listen"))


def test_several_processes_on_a_sqlite_file_are_refused(project: Project) -> None:
    with pytest.raises(ConfigError, match="need PostgreSQL"):
        serve(project, ServerSettings(port=0), workers=2, announce=lambda *_: pytest.fail("it began to listen"))
