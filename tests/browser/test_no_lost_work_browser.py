"""Accidents while somebody types in a real browser: at most one second of typing is lost, and no answer that has a receipt."""

import time
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from sqlalchemy import select

from instructloop.core.seeds import stream
from instructloop.feedback.project import Project
from instructloop.feedback.schema import DemonstrationRow, Submission
from instructloop.labeling.app import cookie_of
from instructloop.testing.browser import logged_in
from instructloop.testing.chaos import Phoenix, end_login, fresh_login, phoenix
from instructloop.testing.feedback import seed_queue
from instructloop.testing.server import Person, fresh_project, sign_in

ACCIDENTS = ("server killed", "network gone", "tab closed", "computer changed", "login ended", "killed while sending", "browser killed")
GRACE_S = 1.0


class Typist:
    """Types into the page and remembers how much stood there when."""

    def __init__(self, page: Page) -> None:
        self.page, self.text = page, page.locator("textarea[name=text]").input_value()
        self.history: list[tuple[float, str]] = [(time.monotonic(), self.text)]

    def type_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        words = iter(f"word{number} " for number in range(10_000))
        while time.monotonic() < end:
            piece = next(words)
            self.page.keyboard.insert_text(piece)
            self.text += piece
            self.history.append((time.monotonic(), self.text))
            self.page.wait_for_timeout(40)

    def least(self, moment: float) -> str:
        """What stood there one second before a moment."""
        return [text for at, text in self.history if at <= moment - GRACE_S][-1] if self.history[0][0] <= moment - GRACE_S else ""


class Ordeal:
    """One labeler in Chromium, one server that dies and rises, one accident after the other."""

    def __init__(self, browser: Browser, bird: Phoenix, person: Person, queue_id: str, seed: int) -> None:
        self.browser, self.bird, self.person, self.queue_id = browser, bird, person, queue_id
        self.chance = stream(seed, "browser accidents")
        self.receipts: dict[str, str] = {}
        self.lost: list[str] = []
        self.context = self._context()
        self.page = self._open()

    def _context(self) -> BrowserContext:
        context = logged_in(self.browser, self.bird.server, self.person)
        context.set_default_timeout(30_000)
        return context

    def _open(self) -> Page:
        page = self.context.new_page()
        page.goto(f"/work/{self.queue_id}")
        page.wait_for_selector("[data-ready]")
        return page

    def _reopen(self) -> None:
        self.page.close()
        self.page = self._open()

    def go(self, accident: str) -> None:
        page = self.page
        page.locator("textarea[name=text]").focus()
        page.keyboard.press("Control+End")
        typist = Typist(page)
        typist.type_for(self.chance.uniform(1.2, 3.0))
        moment = time.monotonic()
        getattr(self, "_" + accident.replace(" ", "_"))(typist)
        self._check(accident, typist, moment)
        self._send(accident)

    def _check(self, accident: str, typist: Typist, moment: float) -> None:
        if accident == "killed while sending":
            return  # it may be through already; the receipt and the store tell
        now = self.page.locator("textarea[name=text]").input_value()
        if not (typist.text.startswith(now) and now.startswith(typist.least(moment))):
            self.lost.append(f"{accident}: {len(now)} characters of {len(typist.text)} are left, {len(typist.least(moment))} were due")

    def _send(self, accident: str) -> None:
        if accident != "killed while sending":
            self.sent = (
                str(self.page.locator("[data-task]").get_attribute("data-task")),
                self.page.locator("textarea[name=text]").input_value(),
            )
            self.page.keyboard.press("Control+Enter")
        task, text = self.sent
        self.page.wait_for_function(
            "task => document.querySelector('[data-receipt]') && document.querySelector('[data-task]')?.dataset.task !== task",
            arg=task,
            timeout=30_000,
        )
        self.receipts[str(self.page.locator("[data-receipt]").get_attribute("data-receipt"))] = text
        self.page.wait_for_selector("[data-ready]")

    def _server_killed(self, typist: Typist) -> None:
        self.bird.kill()
        typist.type_for(0.3)  # nobody notices at once
        self.bird.rise()
        if self.chance.random() < 0.5:
            self._reopen()

    def _network_gone(self, typist: Typist) -> None:
        self.context.set_offline(True)
        typist.type_for(self.chance.uniform(0.2, 1.5))
        self.context.set_offline(False)
        if self.chance.random() < 0.5:
            self._reopen()

    def _tab_closed(self, typist: Typist) -> None:
        self._reopen()

    def _computer_changed(self, typist: Typist) -> None:
        """The work goes on in another browser: only what the server has is there."""
        old = self.context
        self.context = self._context()
        self.page = self._open()
        old.close()

    def _browser_killed(self, typist: Typist) -> None:
        """No pagehide, no beacon: the process is gone."""
        session = self.context.new_cdp_session(self.page)
        session.send("Page.setWebLifecycleState", {"state": "frozen"})
        self._computer_changed(typist)

    def _login_ended(self, typist: Typist) -> None:
        end_login(self.bird.project, self.person)
        typist.type_for(0.6)
        self.page.wait_for_selector('[data-notice="login"]')
        self.person = Person(**{**_fields(self.person), "secret": fresh_login(self.bird.project, self.person)})
        name = cookie_of(self.bird.project, https=False)
        self.context.add_cookies([{"name": name, "value": self.person.secret, "url": self.bird.url, "httpOnly": True, "sameSite": "Lax"}])
        self.page.evaluate("window.dispatchEvent(new Event('focus'))")
        self.page.wait_for_selector('[data-notice="login"]', state="detached")

    def _killed_while_sending(self, typist: Typist) -> None:
        self.sent = (str(self.page.locator("[data-task]").get_attribute("data-task")), typist.text)
        self.page.evaluate("document.querySelector('[data-form]').requestSubmit()")
        self.page.wait_for_timeout(self.chance.uniform(0, 60))
        self.bird.kill()
        self.bird.rise()


def _fields(person: Person) -> dict[str, object]:
    return {name: getattr(person, name) for name in person.__slots__}


def _stored(project: Project) -> dict[str, str | None]:
    db = project.database()
    try:
        with db.read() as session:
            rows = session.execute(select(Submission.id, DemonstrationRow.text).join(DemonstrationRow)).all()
            assert max(Counter(session.scalars(select(Submission.assignment_id))).values()) == 1
            return {row[0]: row[1] for row in rows}
    finally:
        db.close()


def _run(browser: Browser, folder: Path, count: int, seed: int) -> None:
    project = fresh_project(folder / "project")
    sign_in(project, role="admin")
    db = project.database()
    queue_id = seed_queue(db, kind="demonstration", prompts=count + 2).queue_id
    db.close()
    with phoenix(project) as bird:
        ordeal = Ordeal(browser, bird, sign_in(project), queue_id, seed)
        for number in range(count):
            ordeal.go(ACCIDENTS[number % len(ACCIDENTS)])
        ordeal.context.close()
    assert not ordeal.lost, ordeal.lost
    stored = _stored(project)
    assert len(ordeal.receipts) == count
    for receipt, text in ordeal.receipts.items():
        assert (stored[receipt] or "").strip() == text.strip()


def test_seven_accidents_in_the_browser_lose_at_most_a_second_of_typing(browser: Browser, tmp_path: Path) -> None:
    _run(browser, tmp_path, len(ACCIDENTS), seed=0)


@pytest.mark.slow
def test_forty_nine_accidents_in_the_browser_lose_at_most_a_second_of_typing(browser: Browser, tmp_path: Path) -> None:
    _run(browser, tmp_path, 7 * len(ACCIDENTS), seed=1)
