"""What all tests share: one torch thread, no network, and where the real data lies."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

# Before torch is imported anywhere: threads that spin ruin each other when several test processes run.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real test data and models; tests that need it skip where it is not."""
    named = os.environ.get("INSTRUCTLOOP_SHARED", "")
    if not named:
        pytest.skip("INSTRUCTLOOP_SHARED is not set: it names the folder with the real test data and models")
    folder = Path(named)
    if not (folder / "data").is_dir():
        pytest.skip(f"INSTRUCTLOOP_SHARED={named} has no folder data")
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests reach this machine only: a connection to anywhere else fails at once, by name."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address[0]}:{address[1]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A fresh migrated feedback store, once on each engine."""
    from instructloop.testing.databases import fresh_database

    with fresh_database(request.param, tmp_path) as db:
        yield db


@pytest.fixture
def project(tmp_path: Path) -> Any:
    """A new project folder with its SQLite store, its fields and its guidelines."""
    from instructloop.feedback.founding import found

    return found(tmp_path / "project")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A system Chromium, one for all tests of a process (two at a time would share an event loop).

    Without one the tests skip with the remedy, or fail where CI promises one.
    """
    try:
        from instructloop.testing.browser import chromium, chromium_path
    except ImportError as error:
        _no_browser(f"{error.name} is not installed; the group dev brings it")
    if chromium_path() is None:
        _no_browser("no Chromium on this machine; install it (Debian: apt-get install chromium) or name it: CHROMIUM=/path/to/chromium")
    with chromium() as opened:
        yield opened


def _no_browser(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
