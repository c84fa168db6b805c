"""A server process: announces itself, stops gracefully, serves from several processes on PostgreSQL."""

import http.client
import socket
import threading
import time
from pathlib import Path

import pytest

from instructloop.cli.main import main
from instructloop.feedback.founding import found
from instructloop.testing.databases import fresh_postgres
from instructloop.testing.server import fresh_project, login_cookie, running_server, sign_in


def test_a_request_that_runs_is_finished_before_the_server_ends(tmp_path: Path) -> None:
    project = fresh_project(tmp_path / "project")
    person = sign_in(project, role="admin")
    cookie = "; ".join(f"{name}={value}" for name, value in login_cookie(project, person).items())
    with running_server(project) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.putrequest("POST", "/account/name")
        body = b"form_token=x&name=y"
        for name, value in (
            ("Cookie", cookie),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", str(len(body))),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body[:5])
        time.sleep(0.3)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        time.sleep(0.5)
        connection.send(body[5:])
        with connection.getresponse() as answer:
            assert answer.status == 403, "answered while shutting down (the token was wrong on purpose)"
        connection.close()
        stopping.join()
        assert "Traceback" not in "".join(server.output)


def test_a_taken_port_is_an_error_with_a_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh_project(tmp_path / "project")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["label", str(tmp_path / "project"), "--port", str(taken.getsockname()[1])]) == 2
    assert "--port" in capsys.readouterr().err


def test_a_store_of_an_older_revision_is_named_with_the_command_that_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sqlalchemy import text

    project = fresh_project(tmp_path / "project")
    db = project.database()
    with db.write() as session:
        session.execute(text("DELETE FROM alembic_version"))
    db.close()
    assert main(["label", str(project.path), "--port", "0"]) == 2
    assert "instructloop feedback upgrade" in capsys.readouterr().err


def test_two_processes_share_logins_on_postgresql(tmp_path: Path) -> None:
    with fresh_postgres(empty=True) as url:
        project = found(tmp_path / "project", url=url)
        person = sign_in(project, role="admin")
        cookie = "; ".join(f"{name}={value}" for name, value in login_cookie(project, person).items())
        with running_server(project, workers=2) as server:
            for _ in range(20):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
                connection.request("GET", "/account", headers={"Cookie": cookie})
                with connection.getresponse() as answer:
                    assert answer.status == 200
                connection.close()
