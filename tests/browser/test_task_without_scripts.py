"""Every task can be done with scripts switched off: plain forms, mistakes beside their fields, nothing typed is lost."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from instructloop.feedback.answers import DemonstrationAnswer, RankingAnswer, RatingAnswer
from instructloop.testing.server import RunningServer, sign_in
from instructloop.testing.tasks import answers_in, order_shown, seed_queue

KINDS = {
    "demonstration": 0,
    "edit": 1,
    "critique": 3,
    "rank": 4,
    "rate": 2,
    "rate_and_rank": 3,
    "pairwise": 2,
    "instruction": 0,
    "toxicity": 2,
}


def fill_in(page: Page) -> None:
    """Choose the last option of every question, write into every text."""
    groups = page.locator("[data-form] fieldset:has(input[type=radio])")
    for place in range(groups.count()):
        last = groups.nth(place).locator("input").last
        last.focus()
        last.press("Space")
    selects = page.locator("[data-form] fieldset select")
    for place in range(selects.count()):
        selects.nth(place).select_option(index=1)
    for area in page.locator("[data-form] textarea:visible").all():
        area.fill("Written without a script.\nTwo lines.")


def test_every_kind_is_done_with_plain_forms(live_server: RunningServer, open_page: Callable[..., Page]) -> None:
    db = live_server.project.database()
    queues = {kind: seed_queue(db, kind, tasks=1, k=k) for kind, k in KINDS.items()}
    page = open_page(sign_in(live_server.project), java_script_enabled=False)
    for kind, queue_id in queues.items():
        page.goto(f"/work/{queue_id}")
        page.locator("[data-submit]").click()
        if kind == "edit":  # begins with the model's text, which may be good as it is
            expect(page.locator("h1")).to_have_text("Done for now")
        else:
            assert page.locator("[data-error-for]:visible").count() >= 1, kind
            assert answers_in(db, queue_id) == [], kind
            fill_in(page)
            page.locator("[data-submit]").click()
            expect(page.locator("h1")).to_have_text("Done for now")
        expect(page.locator("[data-receipt]")).to_be_visible()
        assert len(answers_in(db, queue_id)) == 1, kind
    db.close()


def test_a_refused_form_keeps_what_was_entered_and_names_the_rest(live_server: RunningServer, open_page: Callable[..., Page]) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "rate_and_rank", tasks=1, k=2, settings={"ask_prompt_flags": False})
    page = open_page(sign_in(live_server.project), f"/work/{queue_id}", java_script_enabled=False)
    shown = order_shown(db, str(page.locator("[data-task]").get_attribute("data-task")))
    page.locator('[name="A.overall"][value="6"]').press("Space")
    page.locator('[name="A.note"]').fill("a <b>note</b>")
    page.locator('[name="rank.A"][value="1"]').press("Space")
    page.locator("[data-submit]").click()
    expect(page.locator("[data-summary]")).to_contain_text("Nothing you entered is lost")
    expect(page.locator('[name="A.overall"][value="6"]')).to_be_checked()
    expect(page.locator('[name="A.note"]')).to_have_value("a <b>note</b>")
    expect(page.locator('[data-error-for="B.overall"]')).to_contain_text("Rate output B")
    expect(page.locator('[data-error-for="A.overall"]')).to_be_hidden()
    fill_in(page)
    page.locator("[data-submit]").click()
    expect(page.locator("[data-receipt]")).to_be_visible()
    (answer,) = answers_in(db, queue_id)
    assert isinstance(answer, RatingAnswer)
    assert answer.ranking == RankingAnswer(tiers=(2, 2))
    assert {output.overall for output in answer.outputs} == {7}
    assert set(shown) == {0, 1}
    db.close()


def test_an_answer_is_edited_skipped_and_handed_back_without_scripts(live_server: RunningServer, open_page: Callable[..., Page]) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "demonstration", tasks=3)
    page = open_page(sign_in(live_server.project), f"/work/{queue_id}", java_script_enabled=False)
    page.locator("#text").fill("first version")
    page.locator("[data-submit]").click()
    page.get_by_role("link", name="Edit last answer").click()
    expect(page.locator("#text")).to_have_value("first version")
    page.locator("#text").fill("second version")
    page.get_by_role("button", name="Save the change").click()
    page.locator("[data-skip] summary").click()
    page.get_by_label("I can't judge this well").check()
    page.get_by_role("button", name="Skip this task").click()
    page.locator("[data-skip] summary").click()
    page.get_by_role("button", name="Hand it back").click()
    expect(page.locator("h1")).to_have_text("Your work")
    assert answers_in(db, queue_id) == [DemonstrationAnswer(text="second version")]
    db.close()
