"""Nothing entered is lost: reload, closed tab, killed server, ended login, a second tab."""

import time
from collections.abc import Callable

from playwright.sync_api import Page, expect

from instructloop.feedback import logins
from instructloop.feedback.answers import DemonstrationAnswer, RankingAnswer
from instructloop.feedback.drafts import load_draft
from instructloop.testing.server import Person, RunningServer, login_cookie, sign_in
from instructloop.testing.tasks import answers_in, order_shown, seed_queue

OpenPage = Callable[..., Page]


def task_page(open_page: OpenPage, person: Person, queue_id: str) -> tuple[Page, str]:
    page = open_page(person, f"/work/{queue_id}")
    page.wait_for_selector("[data-ready]")
    return page, str(page.locator("[data-task]").get_attribute("data-task"))


def test_a_draft_is_on_the_server_within_a_second_and_back_after_reload(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    person = sign_in(live_server.project)
    assert person.labeler_id is not None
    page, assignment = task_page(open_page, person, seed_queue(db, "rank", tasks=1, k=6))
    page.evaluate("document.addEventListener('change', () => { window.changed = performance.now() }, true)")
    for key in ("a", "1", "2", "2"):
        page.keyboard.press(key)
    expect(page.locator("[data-saved]")).to_contain_text("saved ", timeout=10_000)
    waited = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/draft')).at(-1).startTime - window.changed"
    )
    assert 0 < waited < 1000
    body, _ = load_draft(db, assignment, person.labeler_id)
    assert body == {"rank.A": "1", "rank.B": "2", "rank.C": "2"}
    page.evaluate("localStorage.clear()")  # so that only the server can bring it back
    page.reload()
    page.wait_for_selector("[data-ready]")
    expect(page.locator("[data-order]")).to_contain_text("A > B = C")
    db.close()


def test_a_closed_tab_sends_the_last_words_on_its_way_out(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    person = sign_in(live_server.project)
    assert person.labeler_id is not None
    page, assignment = task_page(open_page, person, seed_queue(db, "demonstration", tasks=1))
    page.locator("#text").press_sequentially("the last words")
    page.close(run_before_unload=False)
    for _ in range(50):
        body, _ = load_draft(db, assignment, person.labeler_id)
        if body.get("text") == "the last words":
            break
        time.sleep(0.1)
    assert body["text"] == "the last words"
    db.close()


def test_a_killed_server_costs_nothing_and_the_answer_goes_out_when_it_is_back(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "rank", tasks=1, k=4)
    page, assignment = task_page(open_page, sign_in(live_server.project), queue_id)
    shown = order_shown(db, assignment)
    for key in ("a", "1", "1"):
        page.keyboard.press(key)
    expect(page.locator("[data-saved]")).to_contain_text("saved ")
    live_server.kill()
    for key in ("3", "4"):
        page.keyboard.press(key)
    expect(page.locator("[data-saved]")).to_contain_text("kept in this browser")
    page.keyboard.press("Control+Enter")
    expect(page.locator('[data-notice="errors"]')).to_contain_text("cannot be reached")
    again = RunningServer(live_server.project, port=live_server.port)
    try:
        page.wait_for_selector("[data-receipt]", timeout=20_000)
    finally:
        again.stop()
    by_slot: list[int | None] = [None] * 4
    for place, tier in enumerate((1, 1, 3, 4)):
        by_slot[shown[place]] = tier
    assert answers_in(db, queue_id) == [RankingAnswer(tiers=tuple(by_slot))]
    db.close()


def test_a_browser_closed_while_the_server_was_down_still_has_it_all(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    person = sign_in(live_server.project)
    assert person.labeler_id is not None
    page, assignment = task_page(open_page, person, seed_queue(db, "demonstration", tasks=1))
    live_server.kill()
    page.locator("#text").press_sequentially("written while nobody listened")
    context = page.context
    page.close()
    again = RunningServer(live_server.project, port=live_server.port)
    try:
        page = context.new_page()
        page.goto(f"/task/{assignment}")
        page.wait_for_selector("[data-ready]")
        expect(page.locator("#text")).to_have_value("written while nobody listened")
        expect(page.locator("[data-saved]")).to_contain_text("saved ", timeout=10_000)
    finally:
        again.stop()
    assert load_draft(db, assignment, person.labeler_id)[0] == {"text": "written while nobody listened"}
    db.close()


def test_the_second_tab_is_told_and_overwrites_nothing(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    person = sign_in(live_server.project)
    assert person.labeler_id is not None
    queue_id = seed_queue(db, "demonstration", tasks=2)
    page, assignment = task_page(open_page, person, queue_id)
    other = page.context.new_page()
    other.goto(f"/work/{queue_id}")
    other.wait_for_selector("[data-ready]")
    assert other.locator("[data-task]").get_attribute("data-task") == assignment  # one open lease: the same task
    page.locator("#text").fill("from the first tab")
    expect(page.locator("[data-saved]")).to_contain_text("saved ")
    other.evaluate("localStorage.clear()")
    other.locator("#text").fill("from the second tab")
    expect(other.locator('[data-notice="stale"]')).to_contain_text("another tab")
    assert load_draft(db, assignment, person.labeler_id)[0] == {"text": "from the first tab"}
    other.get_by_role("button", name="Keep what stands here").click()
    expect(other.locator("[data-saved]")).to_contain_text("saved ")
    assert load_draft(db, assignment, person.labeler_id)[0] == {"text": "from the second tab"}
    db.close()


def test_an_ended_login_keeps_the_draft_and_goes_on_after_logging_in_elsewhere(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    person = sign_in(live_server.project)
    queue_id = seed_queue(db, "demonstration", tasks=1)
    page, _ = task_page(open_page, person, queue_id)
    with db.write() as session:
        found = logins.find(session, person.secret)
        assert found is not None
        logins.revoke(session, found.login.id_hash)
    page.locator("#text").fill("kept while logged out")
    expect(page.locator('[data-notice="login"]')).to_contain_text("Log in in a new tab")
    page.keyboard.press("Control+Enter")
    with db.write() as session:  # what logging in in another tab does: a fresh login in the same cookie
        secret, _ = logins.start(session, person.user_id)
    ((name, _old),) = login_cookie(live_server.project, person).items()
    page.context.add_cookies([{"name": name, "value": secret, "url": live_server.url, "httpOnly": True, "sameSite": "Lax"}])
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    page.wait_for_selector("[data-receipt]")
    assert answers_in(db, queue_id) == [DemonstrationAnswer(text="kept while logged out")]
    db.close()


def test_looking_away_saves_and_does_not_turn_the_tab_against_itself(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    page, _ = task_page(open_page, sign_in(live_server.project), seed_queue(db, "demonstration", tasks=1))
    for word in ("one", " two", " three"):
        page.locator("#text").press_sequentially(word)
        page.evaluate(
            """Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true});
            document.dispatchEvent(new Event('visibilitychange')); delete document.visibilityState"""
        )
    page.wait_for_timeout(1200)
    expect(page.locator("[data-saved]")).to_contain_text("saved ")
    expect(page.locator('[data-notice="stale"]')).to_have_count(0)
    db.close()


def test_an_edit_is_drafted_too_and_survives_a_reload(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "demonstration", tasks=1)
    page, _ = task_page(open_page, sign_in(live_server.project), queue_id)
    page.locator("#text").fill("first")
    page.keyboard.press("Control+Enter")
    page.get_by_role("link", name="Edit last answer").click()
    page.wait_for_selector("[data-ready]")
    page.locator("#text").fill("first, but better")
    expect(page.locator("[data-saved]")).to_contain_text("saved ")
    page.reload()
    page.wait_for_selector("[data-ready]")
    expect(page.locator("#text")).to_have_value("first, but better")
    assert answers_in(db, queue_id) == [DemonstrationAnswer(text="first")]
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-receipt]")
    assert answers_in(db, queue_id) == [DemonstrationAnswer(text="first, but better")]
    db.close()


def test_clicking_three_times_sends_one_answer(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "pairwise", tasks=3)
    page, _ = task_page(open_page, sign_in(live_server.project), queue_id)
    page.keyboard.press("a")
    page.locator("[data-submit]").click(click_count=3, delay=0)
    page.wait_for_selector("[data-receipt]")
    expect(page.locator("[data-ready]")).to_be_visible()
    page.wait_for_timeout(500)
    assert len(answers_in(db, queue_id)) == 1
    db.close()


def test_the_same_form_sent_twice_past_the_page_gives_one_receipt(live_server: RunningServer, open_page: OpenPage) -> None:
    """The button is a courtesy; the key is the guard: the same request again, from the page's own origin."""
    db = live_server.project.database()
    queue_id = seed_queue(db, "demonstration", tasks=2)
    page, _ = task_page(open_page, sign_in(live_server.project), queue_id)
    page.locator("#text").fill("once")
    receipts = page.evaluate(
        """async () => {
            const form = document.querySelector('[data-form]');
            const send = () => fetch(form.action, {method: 'POST', body: new URLSearchParams(new FormData(form)), headers: {Accept: 'application/json'}});
            return (await Promise.all([send(), send(), send()])).map(r => r.json()).reduce(async (all, one) => [...await all, (await one).receipt], []);
        }"""
    )
    assert len(set(receipts)) == 1
    assert answers_in(db, queue_id) == [DemonstrationAnswer(text="once")]
    db.close()
