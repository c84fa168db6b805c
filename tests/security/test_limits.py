"""Control 11: how often one may try; kept in the store; clocks may jump."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from instructloop.feedback import rate_limits
from instructloop.feedback.database import Database
from instructloop.feedback.project import Project
from instructloop.feedback.schema import RateLimit
from instructloop.web.limits import neighbourhood
from instructloop.web.settings import LIMITS

MINUTE = 60_000
START = 1_700_000_000_000


@pytest.fixture
def db(project: Project) -> Any:
    opened = project.database()
    yield opened
    opened.close()


def tries(db: Database, count: int, now: int, limit: int = 5) -> list[int]:
    return [rate_limits.hit(db, "k", limit=limit, window_ms=MINUTE, now=now) for _ in range(count)]


def test_the_sixth_try_in_a_minute_waits_until_the_minute_is_over(db: Database) -> None:
    assert tries(db, 6, START) == [0, 0, 0, 0, 0, MINUTE]
    assert tries(db, 1, START + MINUTE - 1) == [1]
    assert tries(db, 5, START + MINUTE) == [0] * 5


def test_who_goes_on_knocking_waits_longer(db: Database) -> None:
    waits = tries(db, 30, START)
    assert waits[:5] == [0] * 5
    assert [waits[index] // MINUTE for index in (5, 9, 14, 19, 24, 29)] == [1, 2, 4, 8, 16, 16]
    assert tries(db, 1, START + 16 * MINUTE) == [0]


def test_a_clock_set_back_neither_opens_the_door_nor_locks_it_for_long(db: Database) -> None:
    tries(db, 6, START)
    hour = 60 * MINUTE
    assert tries(db, 1, START - hour)[0] > 0, "the count is kept"
    assert tries(db, 1, START - hour)[0] <= 2 * MINUTE, "the wait counts from the new time"
    assert tries(db, 1, START - hour + 2 * MINUTE) == [0]


def test_a_clock_set_forward_begins_a_new_window(db: Database) -> None:
    tries(db, 6, START)
    assert tries(db, 1, START + 365 * 24 * 60 * MINUTE) == [0]


def test_counters_do_not_mix(db: Database) -> None:
    tries(db, 6, START)
    assert rate_limits.hit(db, "other", limit=5, window_ms=MINUTE, now=START) == 0


def test_two_processes_share_the_count(project: Project, db: Database) -> None:
    other = project.database()
    allowed = sum(wait == 0 for pair in range(5) for wait in (*tries(db, 1, START + pair), *tries(other, 1, START + pair)))
    other.close()
    assert allowed == 5


def test_a_burst_of_log_ins_gets_429_with_the_time_to_wait(client: Callable[..., Any], app: FastAPI) -> None:
    visitor = client()
    token = re.search(r'name="form_token" value="(\w+)"', visitor.get("/login").text)
    assert token is not None
    answers = [visitor.post("/login", data={"form_token": token[1], "email": "Ada@example.org", "password": "x"}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert visitor.post("/login", data={"form_token": token[1], "email": "bob@example.org", "password": "x"}).status_code == 401
    with app.state.db.read() as session:
        keys = session.scalars(select(RateLimit.key)).all()
    assert keys
    assert not any("ada" in key.lower() or "testclient" in key for key in keys), "no address and no e-mail in clear"


def test_one_address_may_not_try_many_accounts(client: Callable[..., Any]) -> None:
    visitor = client()
    token = re.search(r'name="form_token" value="(\w+)"', visitor.get("/login").text)
    assert token is not None
    codes = [
        visitor.post("/login", data={"form_token": token[1], "email": f"p{index}@example.org", "password": "x"}).status_code
        for index in range(21)
    ]
    assert codes == [401] * 20 + [429]


def test_a_forwarded_address_is_not_believed(client: Callable[..., Any]) -> None:
    visitor = client()
    token = re.search(r'name="form_token" value="(\w+)"', visitor.get("/login").text)
    assert token is not None
    codes = [
        visitor.post(
            "/login",
            data={"form_token": token[1], "email": f"p{index}@example.org", "password": "x"},
            headers={"X-Forwarded-For": f"10.0.0.{index}", "Forwarded": f"for=10.0.0.{index}"},
        ).status_code
        for index in range(21)
    ]
    assert codes[-1] == 429


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb:cccc:dddd:eeee", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_whole_ipv6_network_counts_as_one_address(host: str, counted: str) -> None:
    assert neighbourhood(host) == counted


def test_every_limit_is_used_by_a_route() -> None:
    package = Path(rate_limits.__file__).parents[1]
    text = "".join(file.read_text(encoding="utf-8") for file in (package / "labeling").rglob("*.py"))
    used = set(re.findall(r'limited\("(\w+)"\)|(?:limits\.spend|spend),? ?\(?request, "(\w+)"', text))
    assert {name for pair in used for name in pair if name} == set(LIMITS)
