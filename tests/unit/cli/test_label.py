"""``init``, ``users`` and what ``label`` refuses."""

import re
import stat
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from instructloop.cli.main import main
from instructloop.feedback import accounts, audit, links
from instructloop.feedback.project import Project
from instructloop.testing.server import sign_in


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    made = tmp_path / "project"
    assert main(["init", str(made), "--name", "Harbour"]) == 0
    assert "instructloop label" in capsys.readouterr().out
    return made


def test_init_makes_a_store_a_key_of_ones_own_and_guidelines(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} >= {"project.toml", "feedback.sqlite3", "secret.key", "snapshots"}
    assert stat.S_IMODE((folder / "secret.key").stat().st_mode) == 0o600
    project = Project.open(folder)
    assert project.name == "Harbour"
    db = project.database()
    with db.read() as session:
        assert not accounts.has_admin(session)
        assert accounts.listed(session) == [], "no default account"
    assert audit.verify(db) == []
    db.close()


def test_init_never_touches_a_project_that_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "secret.key").read_bytes()
    assert main(["init", str(folder)]) == 2
    assert "already holds a project" in capsys.readouterr().err
    assert (folder / "secret.key").read_bytes() == before


def test_users_invite_prints_a_link_that_gives_that_role(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["users", "invite", str(folder), "--role", "labeler", "--cohort", "heldout", "--email", "Bea@Example.org"]) == 0
    token = re.search(r"^/invite/(\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert token is not None
    db = Project.open(folder).database()
    with db.read() as session:
        link = links.look(session, "invite", token[1])
    db.close()
    assert link is not None
    assert (link.role, link.cohort, link.email, link.spent) == ("labeler", "heldout", "bea@example.org", False)


def test_users_password_needs_an_account(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["users", "password", str(folder), "nobody@example.org"]) == 2
    assert "users list" in capsys.readouterr().err
    person = sign_in(Project.open(folder))
    assert main(["users", "password", str(folder), person.email]) == 0
    assert "/password/" in capsys.readouterr().out


def test_users_list_shows_roles_and_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    person = sign_in(Project.open(folder), cohort="heldout")
    assert main(["users", "list", str(folder)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split() == [person.email, "labeler", "active", "L001", "heldout"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "there is no admin yet"),
        (["--workers", "2"], "need PostgreSQL"),
        (["--port", "70000"], "port must be in 0..65535"),
        (["--hosts", "*"], "DNS rebinding"),
    ],
)
def test_label_refuses_what_is_unsafe_or_impossible(
    folder: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", str(folder), *options]) == 2
    assert said in capsys.readouterr().err


def test_label_needs_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", str(tmp_path)]) == 2
    assert "instructloop init" in capsys.readouterr().err


def test_a_key_that_others_can_read_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "secret.key").chmod(0o644)
    assert main(["users", "list", str(folder)]) == 2
    assert "chmod 600" in capsys.readouterr().err
