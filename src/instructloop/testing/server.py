"""A real labeling server in a process of its own, and people who are already logged in."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from instructloop.feedback import accounts, logins
from instructloop.feedback.ids import new_id
from instructloop.feedback.project import Project
from instructloop.labeling.app import cookie_of

PASSWORD_HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$eXg8Y0AxZmZmZmZmZmZmZg"  # noqa: S105 - opens nothing: nobody knows its password


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """A logged-in account of a test."""

    user_id: str
    labeler_id: str | None
    email: str
    role: str
    secret: str
    """The login cookie's value."""
    code: str | None = None


def sign_in(
    project: Project, *, role: str = "labeler", cohort: str = "training", state: str = "qualified", name: str = "Test Person"
) -> Person:
    """Make an account with a labeler and an open login, without the pages of logging in."""
    db = project.database()
    try:
        with db.write() as session:
            email = f"{role}-{new_id()[-8:]}@example.org"
            user = accounts.create_user(session, email=email, name=name, role=role, password_hash=PASSWORD_HASH)
            labeler = accounts.ensure_labeler(session, user, cohort=cohort)
            if labeler is not None:
                labeler.state = state
            secret, _ = logins.start(session, user.id)
            return Person(
                user_id=user.id,
                labeler_id=labeler.id if labeler else None,
                email=email,
                role=role,
                secret=secret,
                code=labeler.code if labeler else None,
            )
    finally:
        db.close()


def login_cookie(project: Project, person: Person) -> dict[str, str]:
    """The cookie of a person's login: name -> value."""
    return {cookie_of(project, https=False): person.secret}


class RunningServer:
    """A server process of ``instructloop label``."""

    def __init__(self, project: Project, *, workers: int = 1, port: int = 0) -> None:
        """Start it and wait until it answers (at most 60 s)."""
        self.project = project
        command = [
            sys.executable,
            "-m",
            "instructloop.cli.main",
            "label",
            str(project.path),
            "--port",
            str(port),
            "--workers",
            str(workers),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)  # noqa: S603 - our own program
        self.output: list[str] = []
        self._announced = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._announced.wait(60)
        address = next((found[1] for line in self.output if (found := re.match(r"labeling at (\S+)", line))), None)
        if address is None:
            self.kill()
            raise RuntimeError("the server did not start:\n" + "".join(self.output))
        self.url = address
        self._wait()

    @property
    def setup_url(self) -> str | None:
        """The one-time set-up address that the server printed."""
        return next((found[1] for line in self.output if (found := re.search(r"(http\S+/setup/\S+)", line))), None)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def stop(self, timeout_s: float = 20) -> int:
        """Ask it to end (SIGTERM), wait, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """End it at once (SIGKILL), with its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(5)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.output.append(line)
                if line.startswith("labeling at "):
                    self._announced.set()
        self._announced.set()

    def _wait(self) -> None:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310 - our own server
                if answer.status == 200:
                    return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError("the server does not answer:\n" + "".join(self.output))


@contextlib.contextmanager
def running_server(project: Project, *, workers: int = 1) -> Iterator[RunningServer]:
    """A server that ends with the block."""
    server = RunningServer(project, workers=workers)
    try:
        yield server
    finally:
        server.stop()


def fresh_project(folder: Path, name: str = "Harbour questions") -> Project:
    """A project with its store, flags and default guidelines, as ``instructloop init`` makes it."""
    from instructloop.feedback.founding import found

    return found(folder, name=name)
