"""Killed servers, cut connections, closed tabs and expired logins at random moments: no acknowledged answer or draft is ever lost.

The browser's half of this (typing, local drafts, retries by the page's own script) is in tests/browser/test_no_lost_work_browser.py.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from instructloop.core.seeds import stream
from instructloop.feedback.project import Project
from instructloop.feedback.schema import Assignment, RankingItem, Submission, Task, TaskItem
from instructloop.testing.chaos import Phoenix, Proxy, end_login, fresh_login, phoenix
from instructloop.testing.feedback import seed_ranking_queue
from instructloop.testing.labeler_client import LETTERS, LabelerClient, TaskPage
from instructloop.testing.server import Person, fresh_project, login_cookie, sign_in

K = 4
ACCIDENTS = ("kill", "cut", "login", "tab")


@dataclass
class Ledger:
    """What the labelers were told: the store has to know all of it."""

    intended: dict[str, dict[str, str]] = field(default_factory=dict)
    receipts: dict[str, str] = field(default_factory=dict)
    drafts: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Worker(threading.Thread):
    """A labeler who answers, drafts, meets accidents, and goes on."""

    def __init__(self, number: int, project: Project, person: Person, url: str, queue_id: str, ledger: Ledger, seed: int) -> None:
        super().__init__(daemon=True)
        self.number, self.project, self.person, self.url, self.queue_id = number, project, person, url, queue_id
        self.ledger = ledger
        self.chance = stream(seed, "worker", number)
        self.ended = threading.Event()
        self.close_tab = threading.Event()
        self.client = self._connect()

    def _connect(self) -> LabelerClient:
        return LabelerClient(self.url, login_cookie(self.project, self.person), timeout_s=10)

    def run(self) -> None:
        while not self.ended.is_set() and self._persist(self._one_task):
            pass
        self.client.close()

    def _persist(self, step: Callable[[], bool]) -> bool:
        """Do a step again and again, as a person would, until it is through."""
        while not self.ended.is_set():
            try:
                return step()
            except httpx.HTTPStatusError as error:
                code = error.response.status_code
                self.ledger.broken[str(code)] += 1
                if code == 401:
                    self.person = replace(self.person, secret=fresh_login(self.project, self.person))
                elif code not in {404, 409, 429, 503}:
                    self.ledger.wrong.append(f"{code}: {error.request.method} {error.request.url.path}: {error.response.text[:200]}")
                    return False
            except httpx.TransportError as error:
                self.ledger.broken[type(error).__name__] += 1
            self.client.close()
            time.sleep(0.05)
            self.client = self._connect()
        return False

    def _one_task(self) -> bool:
        page = self.client.open(self.queue_id)
        if page is None:
            if self._at_login():
                raise httpx.HTTPStatusError("login", request=httpx.Request("GET", self.url), response=httpx.Response(401))
            return False
        self._check_draft(page)
        answer = self.ledger.intended.setdefault(page.task, page.ranking({letter: self.chance.randint(1, K) for letter in LETTERS[:K]}))
        rev = page.draft_rev
        for given in range(1, K):
            part = dict(list(answer.items())[:given])
            reply = self.client.draft(page, part, rev)
            if reply.status_code == 409:  # an earlier reply was lost on the way, or the answer is in already: open again
                return True
            reply.raise_for_status()
            rev = int(reply.json()["rev"])
            self.ledger.drafts[page.task] = (rev, part)
            if self.close_tab.is_set():
                self.close_tab.clear()
                self.client.close()
                self.client = self._connect()
                return True
        reply = self.client.submit(page, answer)
        if reply.status_code == 200:
            self._receipt(page, str(reply.json()["receipt"]))
            return True
        reply.raise_for_status()
        return True

    def _at_login(self) -> bool:
        answer = self.client.http.get("/work")
        return answer.url.path.startswith("/login") or answer.status_code == 401

    def _check_draft(self, page: TaskPage) -> None:
        known = self.ledger.drafts.get(page.task)
        if known is None:
            return
        rev, part = known
        if page.draft_rev < rev or (page.draft_rev == rev and any(page.filled.get(name) != value for name, value in part.items())):
            self.ledger.wrong.append(f"draft {rev} of {page.task} is lost: the page has {page.draft_rev} {page.filled}")

    def _receipt(self, page: TaskPage, receipt: str) -> None:
        earlier = self.ledger.receipts.setdefault(page.task, receipt)
        if earlier != receipt:
            self.ledger.wrong.append(f"{page.task} has two receipts")
        self.ledger.drafts.pop(page.task, None)


def _accident(kind: str, bird: Phoenix, proxy: Proxy, workers: list[Worker], chance: random.Random) -> None:
    if kind == "kill":
        bird.kill()
        bird.rise()
    elif kind == "cut":
        proxy.cut()
    elif kind == "login":
        end_login(bird.project, chance.choice(workers).person)
    else:
        chance.choice(workers).close_tab.set()


def _wait_for(receipts: int, ledger: Ledger) -> None:
    end = time.monotonic() + 60
    while len(ledger.receipts) < receipts and time.monotonic() < end and not ledger.wrong:
        time.sleep(0.01)
    assert len(ledger.receipts) >= receipts or ledger.wrong, "nobody could work for a minute"


def _settle_up(project: Project, ledger: Ledger) -> None:
    db = project.database()
    try:
        with db.read() as session:
            rows = {row.assignment_id: row for row in session.scalars(select(Submission))}
            assert not ledger.wrong, ledger.wrong[:5]
            for task, receipt in ledger.receipts.items():
                assert task in rows, f"receipt {receipt} was given, the answer is not there"
                assert rows[task].id == receipt
            for task, row in rows.items():
                order = session.get_one(Assignment, task).display_order
                slots = dict(session.execute(select(TaskItem.completion_id, TaskItem.slot).where(TaskItem.task_id == row.task_id)).all())
                tiers = session.execute(select(RankingItem.completion_id, RankingItem.tier).where(RankingItem.submission_id == row.id))
                stored = {f"rank.{LETTERS[order.index(slots[completion])]}": str(tier) for completion, tier in tiers}
                assert stored == ledger.intended[task], f"{task} holds another answer than was given"
            twice = select(Submission.assignment_id).group_by(Submission.assignment_id).having(func.count() > 1)
            assert session.scalars(twice).all() == []
            holding = Assignment.state.in_(("leased", "submitted"))
            over = (
                select(Task.id)
                .join(Assignment, Assignment.task_id == Task.id)
                .where(holding)
                .group_by(Task.id, Task.wanted)
                .having(func.count() > Task.wanted)
            )
            assert session.scalars(over).all() == []
    finally:
        db.close()


def _ordeal(folder: Path, accidents: int, seed: int) -> tuple[Ledger, int]:
    project = fresh_project(folder / "project")
    sign_in(project, role="admin")
    db = project.database()
    seeded = seed_ranking_queue(db, prompts=40 * accidents + 60, k=K)
    db.close()
    people = [sign_in(project, name=f"Labeler {number}") for number in range(4)]
    ledger, chance = Ledger(), stream(seed, "accidents")
    with phoenix(project) as bird:
        proxy = Proxy(bird.port)
        url = f"http://127.0.0.1:{proxy.port}"
        workers = [Worker(n, project, person, url, seeded.queue_id, ledger, seed) for n, person in enumerate(people)]
        for worker in workers:
            worker.start()
        for number in range(accidents):
            _wait_for(len(ledger.receipts) + 2, ledger)  # whatever the machine's speed, there is work between two accidents
            time.sleep(chance.uniform(0.0, 0.5))
            _accident(ACCIDENTS[number % len(ACCIDENTS)], bird, proxy, workers, chance)
            assert all(worker.is_alive() for worker in workers), ledger.wrong[:3]
        time.sleep(1)
        for worker in workers:
            worker.ended.set()
        for worker in workers:
            worker.join(20)
        proxy.close()
    assert "locked" not in "".join(bird.output)
    _settle_up(project, ledger)
    return ledger, bird.kills


def test_twelve_accidents_lose_no_answer(tmp_path: Path) -> None:
    ledger, kills = _ordeal(tmp_path, 12, seed=0)
    assert kills == 3
    assert len(ledger.receipts) >= 24


@pytest.mark.slow
def test_one_hundred_and_sixty_accidents_lose_no_answer(tmp_path: Path) -> None:
    ledger, kills = _ordeal(tmp_path, 160, seed=1)
    assert kills == 40
    assert len(ledger.receipts) >= 320
    print(f"{len(ledger.receipts)} receipts, {dict(ledger.broken)}")  # noqa: T201
