"""From the invitation to a qualified labeler in a real browser, and every page about people: accessible, narrow enough, quiet."""

from collections.abc import Callable

from playwright.sync_api import Browser, Page, expect

from instructloop.feedback import labelers
from instructloop.feedback.screening import active_parts
from instructloop.testing.browser import assert_accessible, logged_in, overflow_px, small_targets
from instructloop.testing.server import RunningServer, sign_in

PHONE = {"width": 390, "height": 844}


def answer_as_researchers_would(page: Page, server: RunningServer, kind: str) -> None:
    db = server.project.database()
    with db.read() as session:
        part = next(part for part in active_parts(session) if part.kind == kind)
    db.close()
    for position, item in enumerate(part.items):
        if kind == "sensitive":
            page.locator(f"input[name='q{position}'][value={item.expected['sensitive']}]").check()
        elif kind == "ranking":
            for slot, tier in enumerate(item.expected["tiers"]):
                page.locator(f"input[name='q{position}.{slot}'][value='{tier}']").check()
        elif kind == "demonstration":
            page.locator(f"textarea[name=q{position}]").fill("A kind, honest and helpful answer.")


def test_from_invitation_to_qualified(live_server: RunningServer, open_page: Callable[..., Page], browser: Browser) -> None:
    admin = sign_in(live_server.project, role="admin", name="Ada")
    desk = open_page(admin, "/admin/users")
    desk.get_by_role("button", name="Make an invitation").click()
    link = desk.locator("code.secret").inner_text()
    assert_accessible(desk)

    applicant = open_page(None, link)
    applicant.get_by_label("E-mail").fill("new@example.org")
    applicant.get_by_label("Your name").or_(applicant.get_by_label("What should we call you")).first.fill("Nia")
    for field in applicant.locator("input[type=password]").all():
        field.fill("a long and unusual phrase 42")
    applicant.locator("main button[type=submit], main button:not([type])").first.click()
    applicant.goto("/onboarding")
    expect(applicant.get_by_role("heading", level=1)).to_have_text("What happens with your work")
    assert_accessible(applicant)
    applicant.get_by_role("button", name="I have read this and agree").click()
    expect(applicant.get_by_role("heading", level=1)).to_have_text("Guidelines")
    assert_accessible(applicant)
    applicant.get_by_role("button", name="I have read them").click()
    ask = applicant.get_by_role("button", name="Show what the team thinks")
    arrived = ask.or_(applicant.get_by_role("heading", level=1, name="Screening"))
    expect(arrived).to_be_visible()
    while ask.count():
        for group in applicant.locator("fieldset").all():
            group.locator("input").first.check()
        ask.click()
        expect(applicant.locator("main .notice").first).to_be_visible()
        assert_accessible(applicant)
        applicant.locator("main a.button").click()
        expect(arrived).to_be_visible()
    expect(applicant.get_by_role("heading", level=1)).to_have_text("Screening")

    for title, kind in (("Recognising", "sensitive"), ("Ranking", "ranking"), ("Writing", "demonstration"), ("What you know", "self")):
        applicant.goto("/screening")
        applicant.get_by_role("button", name=f"Begin with {title}").click()
        if kind == "sensitive":  # an empty form comes back with its gaps marked
            applicant.get_by_role("button", name="Hand in").click()
            assert applicant.locator(".has-problem").count() == 16
            assert_accessible(applicant)
        answer_as_researchers_would(applicant, live_server, kind)
        assert_accessible(applicant)
        applicant.get_by_role("button", name="Hand in").click()
        expect(applicant.locator(".tag").first).to_have_text("waits to be read" if kind == "demonstration" else "passed")

    desk.goto("/admin/screening")
    desk.get_by_role("link", name="Rate 3 texts").click()
    for _ in range(3):
        assert "Nia" not in desk.locator("main").inner_text()
        assert_accessible(desk)
        desk.get_by_label("7 almost perfect").check()
        desk.get_by_role("button", name="Keep and go on").click()
    applicant.goto("/screening")
    expect(applicant.locator(".notice.good")).to_contain_text("You are qualified")
    assert_accessible(applicant)
    db = live_server.project.database()
    assert labelers.labeler_by_code(db, next(one.code for one in labelers.all_labelers(db, cohort="training"))).state == "qualified"
    db.close()


def test_pages_of_a_labeler_are_accessible_in_both_schemes_and_fit_a_phone(
    live_server: RunningServer, open_page: Callable[..., Page]
) -> None:
    person = sign_in(live_server.project, state="applicant")
    for scheme in ("light", "dark"):
        page = open_page(person, color_scheme=scheme, viewport=PHONE)
        for path in ("/home", "/onboarding/training/4", "/screening", "/surveys/satisfaction", "/surveys/demographics", "/messages"):
            page.goto(path)
            assert_accessible(page)
            assert overflow_px(page) <= 0, path
            assert small_targets(page) == [], path


def test_a_survey_and_a_message_without_javascript(live_server: RunningServer, browser: Browser) -> None:
    person = sign_in(live_server.project)
    context = logged_in(browser, live_server, person, java_script_enabled=False)
    page = context.new_page()
    page.goto("/surveys/satisfaction")
    page.get_by_label("Strongly agree").first.check()
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".notice")).to_contain_text("You will not be asked again")
    page.goto("/messages")
    page.get_by_label("Write to the team").fill("<b>Hello</b> \u202e there")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".thread li").first).to_contain_text("<b>Hello</b>")
    assert page.locator(".thread b").count() == 0
    context.close()
