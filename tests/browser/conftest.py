"""A real server process and a real Chromium. Tests ask for ``live_server`` (a fresh project each), ``browser`` and ``open_page``."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, BrowserContext, Page

from instructloop.testing.browser import Watch, logged_in
from instructloop.testing.server import Person, RunningServer, fresh_project, running_server, sign_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here drives a browser."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture
def live_server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of a fresh project that has an admin; seed it through ``live_server.project.database()``."""
    project = fresh_project(tmp_path / "project")
    sign_in(project, role="admin", name="First Admin")
    with running_server(project) as server:
        yield server


@pytest.fixture
def open_page(browser: Browser, live_server: RunningServer) -> Iterator[Callable[..., Page]]:
    """``open_page(person, "/work", viewport=...)``: a watched page in a browser profile of its own; clean at the end or the test fails."""
    contexts: list[BrowserContext] = []
    watches: list[Watch] = []

    def opener(person: Person | None, path: str | None = None, **options: Any) -> Page:
        context = logged_in(browser, live_server, person, **options)
        contexts.append(context)
        page = context.new_page()
        watch = Watch(page, live_server)
        watches.append(watch)
        page.watch = watch  # type: ignore[attr-defined]
        if path is not None:
            page.goto(path)
        return page

    yield opener
    for context in contexts:
        context.close()
    for watch in watches:
        watch.assert_clean()
