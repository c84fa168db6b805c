"""Time on task pages: what counts as work, when the reservation ends, how long an answer took."""

from collections.abc import Callable

from playwright.sync_api import Page, expect
from sqlalchemy import select

from instructloop.feedback.schema import Assignment, Submission
from instructloop.testing.server import RunningServer, sign_in
from instructloop.testing.tasks import answers_in, seed_queue


def test_idle_time_is_not_work_and_the_end_of_the_reservation_is_told(live_server: RunningServer, open_page: Callable[..., Page]) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "demonstration", tasks=1, lease_seconds=600)
    page = open_page(sign_in(live_server.project))
    page.clock.install()
    page.goto(f"/work/{queue_id}")
    page.wait_for_selector("[data-ready]")
    page.locator("#text").press_sequentially("a word")
    page.clock.run_for(20_000)
    expect(page.locator("[data-clock]")).to_have_text("0:20")
    page.clock.run_for(580_000)  # ten more minutes without a touch: 30 seconds of them count
    expect(page.locator("[data-clock]")).to_have_text("0:30")
    expect(page.locator('[data-notice="lease"]')).to_contain_text("You can still submit")
    page.keyboard.press("Control+Enter")
    page.clock.run_for(2_000)
    page.wait_for_selector("[data-receipt]")
    assert len(answers_in(db, queue_id)) == 1
    with db.read() as session:
        (row,) = session.scalars(select(Submission)).all()
        assert 28_000 <= row.active_ms <= 34_000
        assert row.wall_ms >= 600_000
    db.close()


def test_work_keeps_the_reservation_alive(live_server: RunningServer, open_page: Callable[..., Page]) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "demonstration", tasks=1)
    page = open_page(sign_in(live_server.project))
    page.clock.install()
    page.goto(f"/work/{queue_id}")
    page.wait_for_selector("[data-ready]")
    with db.read() as session:
        before = session.scalars(select(Assignment.heartbeat_at)).one()
    page.locator("#text").press_sequentially("still here")
    with page.expect_response("**/heartbeat") as beaten:
        page.clock.run_for(61_000)
    assert beaten.value.ok
    with db.read() as session:
        row = session.scalars(select(Assignment)).one()
        assert row.heartbeat_at > before
        assert row.active_ms > 0
    db.close()
