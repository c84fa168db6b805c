"""Every page that can be reached by links, for every role: accessible, no wider than the window, light, and all from one server."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from instructloop.feedback.assignment import next_lease
from instructloop.feedback.project import Project
from instructloop.feedback.submissions import submit
from instructloop.testing.browser import Watch, assert_accessible, logged_in, overflow_px, small_targets
from instructloop.testing.feedback import any_answer, ranking, seed_queue
from instructloop.testing.server import Person, RunningServer, fresh_project, running_server, sign_in

MOST_REQUESTS = 8
MOST_BYTES = 100_000
SHOTS = os.environ.get("INSTRUCTLOOP_SCREENSHOTS", "")
"""A folder for pictures of every page, to be looked at."""
SKIP = ("/logout", "/static/", "/admin/exports/", ".jsonl", "/manifest")


def _answers(project: Project) -> None:
    """A small project in the middle of its life: rankings with overlap, votes, ratings, demonstrations, skips."""
    db = project.database()
    chance = random.Random(7)
    queues = [
        seed_queue(db, kind=kind, prompts=4, overlap=2, name=f"{kind} queue")
        for kind in ("rank", "pairwise", "demonstration", "rate_and_rank")
    ]
    people = [sign_in(project, name=f"Labeler {number}") for number in range(3)]
    for person in people:
        assert person.labeler_id is not None
        for seeded in queues:
            for _ in range(3):
                lease = next_lease(db, person.labeler_id, seeded.queue_id)
                if lease is None:
                    break
                answer = (
                    ranking(*(chance.randint(1, lease.k) for _ in range(lease.k)))
                    if lease.kind == "rank"
                    else any_answer(lease.kind, lease.k)
                )
                submit(db, lease.assignment_id, person.labeler_id, lease.idem_key, answer, active_ms=40_000, wall_ms=60_000, ui_version="1")
    db.close()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    project = fresh_project(tmp_path_factory.mktemp("busy") / "project")
    sign_in(project, role="admin", name="First Admin")
    _answers(project)
    with running_server(project) as server:
        yield server


def _person(server: RunningServer, role: str) -> Person:
    state = "applicant" if role == "applicant" else "qualified"
    return sign_in(server.project, role="labeler" if role == "applicant" else role, state=state, name=role.title())


def _shape(path: str) -> str:
    """The kind of page behind an address: identifiers are one page, seen once."""
    parts = urlsplit(path).path.split("/")
    return "/".join("*" if len(part) >= 30 or part.isdigit() else part for part in parts)


def crawl(page: Page, visit: Callable[[str], None], start: str = "/") -> list[str]:
    """Follow links of our own, one page of every kind."""
    waiting, seen = [start], dict.fromkeys([_shape(start)])
    while waiting:
        path = waiting.pop(0)
        visit(path)
        for link in page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))"):
            bare = link.partition("#")[0]
            if bare.startswith("/") and not any(part in bare for part in SKIP) and _shape(bare) not in seen:
                seen[_shape(bare)] = None
                waiting.append(bare)
    return list(seen)


@pytest.mark.parametrize(
    "role",
    ["labeler", "applicant", "admin", *(pytest.param(role, marks=pytest.mark.slow) for role in ("adjudicator", "researcher", "viewer"))],
)
def test_every_page_a_role_can_reach_is_accessible_light_and_stays_on_the_server(role: str, browser: Browser, busy: RunningServer) -> None:
    context = logged_in(browser, busy, _person(busy, role), color_scheme="dark" if role in {"researcher", "applicant"} else "light")
    page = context.new_page()
    watch = Watch(page, busy)
    troubles: list[str] = []

    def visit(path: str) -> None:
        watch.requests.clear()
        answer = page.goto(path)
        assert answer is not None
        page.wait_for_load_state("networkidle")
        if answer.status != 200:
            troubles.append(f"{path}: {answer.status}")
        hops, hop = 0, answer.request.redirected_from
        while hop is not None:
            hops, hop = hops + 1, hop.redirected_from
        loaded = len([url for url in watch.requests if not url.startswith("data:")]) - hops
        if loaded > MOST_REQUESTS:
            troubles.append(f"{path}: {loaded} requests")
        texts = page.evaluate(
            "[...document.querySelectorAll('[data-text], .prompt-text, .model-text')].reduce((sum, one) => sum + one.innerHTML.length, 0)"
        )
        own = len(answer.body()) - texts
        if own > MOST_BYTES:
            troubles.append(f"{path}: {own} bytes besides its texts")
        try:
            assert_accessible(page)
        except AssertionError as error:
            troubles.append(str(error))
        for width in (1920, 390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            if SHOTS:
                page.screenshot(path=Path(SHOTS) / f"{role}{_shape(path).replace('/', '_')}_{width}.png", full_page=True)
            if overflow_px(page):
                troubles.append(f"{path}: {overflow_px(page)} px too wide at {width}")
        troubles.extend(f"{path}: small target {target}" for target in small_targets(page))

    seen = crawl(page, visit)
    context.close()
    assert not troubles, "\n".join(troubles)
    watch.assert_clean()
    assert len(seen) >= 3, seen
