"""Every page of the project in a real browser: accessible in light and dark, no wider than a phone, light, and quiet."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from instructloop.feedback import adjudication
from instructloop.testing.browser import assert_accessible, overflow_px, small_targets
from instructloop.testing.server import RunningServer, sign_in
from instructloop.testing.worked import work

ROOMS = (
    "/admin",
    "/admin/throughput",
    "/admin/agreement",
    "/admin/comparisons",
    "/admin/surveys",
    "/admin/labelers",
    "/admin/screening",
    "/admin/screening/rate",
    "/admin/messages",
    "/admin/disagreements",
    "/admin/queues",
    "/admin/gold",
    "/admin/guidelines",
    "/admin/guidelines/default",
    "/admin/prompts",
    "/admin/prompts/quarantine",
    "/admin/users",
    "/admin/exports",
    "/admin/audit",
    "/admin/audit/verify",
)


def test_every_room_is_accessible_fits_a_phone_and_weighs_little(live_server: RunningServer, open_page: Callable[..., Page]) -> None:
    db = live_server.project.database()
    done = work(db, prompts=4)
    task = adjudication.disagreements(db)[0].task_id
    db.close()
    admin = sign_in(live_server.project, role="admin")
    rooms = (
        *ROOMS,
        f"/admin/labelers/{done.labelers[0]}",
        f"/admin/queues/{done.votes}",
        f"/admin/disagreements/{task}",
        f"/admin/prompts/{done.ranking.prompt_ids[0]}",
    )
    for scheme, width, visited in (("light", 390, rooms), ("dark", 1280, rooms[::4])):
        page = open_page(admin, color_scheme=scheme, viewport={"width": width, "height": 900})
        for path in visited:
            before = len(page.watch.requests)  # type: ignore[attr-defined]
            answer = page.goto(path)
            assert answer is not None
            assert answer.status == 200, path
            assert_accessible(page)
            assert overflow_px(page) <= 0, path
            assert small_targets(page) == [], path
            assert len(answer.body()) < 100_000, path
            assert len(page.watch.requests) - before <= 8, path  # type: ignore[attr-defined]


def test_a_disagreement_is_decided_and_leaves_the_list(live_server: RunningServer, open_page: Callable[..., Page]) -> None:
    db = live_server.project.database()
    work(db, prompts=3)
    before = len(adjudication.disagreements(db))
    person = sign_in(live_server.project, role="adjudicator")
    page = open_page(person, "/admin/disagreements")
    page.locator("tbody a").first.click()
    text = page.locator("main").inner_text()
    assert not any(name in text for name in ("T001", "H001", "R001", "secret-model-name", "good model"))
    page.get_by_role("radio", name="Answer A").check()
    page.get_by_label("The guidelines do not say").check()
    page.get_by_role("button", name="Keep the decision").click()
    expect(page.locator(".notice.good")).to_contain_text("kept")
    assert len(adjudication.disagreements(db)) == before - 1
    db.close()


def test_a_viewer_sees_numbers_and_no_forms_that_change_anything(live_server: RunningServer, open_page: Callable[..., Page]) -> None:
    db = live_server.project.database()
    done = work(db, prompts=2)
    db.close()
    page = open_page(sign_in(live_server.project, role="viewer"), "/admin")
    for path in (
        "/admin",
        "/admin/throughput",
        "/admin/agreement",
        "/admin/comparisons",
        "/admin/labelers",
        f"/admin/labelers/{done.labelers[0]}",
    ):
        page.goto(path)
        assert page.locator("main form[method=post]").count() == 0, path
    rooms = page.locator("nav.rooms a").all_inner_texts()
    assert rooms == ["Progress", "Throughput", "Agreement", "Comparisons", "Labelers", "Surveys"]
