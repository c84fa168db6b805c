"""The whole labeling application in this process, and people of every role."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from argon2 import PasswordHasher
from fastapi import FastAPI
from starlette.testclient import TestClient

from instructloop.feedback.project import Project
from instructloop.labeling.app import create_app
from instructloop.testing.server import Person, fresh_project, login_cookie, sign_in
from instructloop.web.csrf import token_for
from instructloop.web.passwords import Passwords

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Client(TestClient):
    """A browser that sends what browsers send; ``person`` says who is logged in, ``token`` is that of the person's forms."""

    person: Person | None = None
    token: str = ""


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as it was founded; tests work on copies, because migrating takes longer than most of them."""
    return fresh_project(tmp_path_factory.mktemp("founded") / "project").path


@pytest.fixture
def project(founded: Path, tmp_path: Path) -> Project:
    return Project.open(shutil.copytree(founded, tmp_path / "project"))


@pytest.fixture
def app(project: Project) -> Iterator[FastAPI]:
    """The application of a project that has an admin."""
    sign_in(project, role="admin", name="First Admin")
    app = create_app(project, passwords=Passwords(CHEAP))
    yield app
    app.state.db.close()


@pytest.fixture(scope="module")
def lasting_client(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Client]]:
    """The same as ``client``, on one application for a whole file of tests that do not mind each other."""
    project = Project.open(shutil.copytree(founded, tmp_path_factory.mktemp("lasting") / "project"))
    sign_in(project, role="admin", name="First Admin")
    app = create_app(project, passwords=Passwords(CHEAP))
    yield _client_of(project, app)
    app.state.db.close()


@pytest.fixture
def client(project: Project, app: FastAPI) -> Callable[..., Client]:
    """``client()`` is a visitor, ``client("labeler")`` somebody logged in."""
    return _client_of(project, app)


def _client_of(project: Project, app: FastAPI) -> Callable[..., Client]:
    def make(role: str | None = None, person: Person | None = None, *, errors_as_pages: bool = True) -> Client:
        made = Client(
            app, base_url="http://localhost", headers=OWN_PAGE, follow_redirects=False, raise_server_exceptions=not errors_as_pages
        )
        if role is not None or person is not None:
            made.person = person or sign_in(project, role=role or "labeler")
            made.cookies.update(login_cookie(project, made.person))
            made.token = form_token(project, made.person)
        return made

    return make


def form_token(project: Project, person: Person) -> str:
    """The token in the forms of a person's login."""
    from instructloop.feedback import logins

    db = project.database()
    try:
        with db.read() as session:
            found = logins.find(session, person.secret)
        assert found is not None
        return token_for(found.login.form_secret)
    finally:
        db.close()
