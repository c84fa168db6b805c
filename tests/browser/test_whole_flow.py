"""From an empty folder to a reward model: set-up, invitation, screening, labeling by keyboard, export, training; a real server, a real browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from instructloop.cli.main import main
from instructloop.feedback import screening
from instructloop.feedback.project import Project
from instructloop.feedback.schema import ScreenAttempt
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer
from instructloop.testing.browser import DESKTOP, Watch, assert_accessible
from instructloop.testing.server import RunningServer, running_server

PASSWORD = "four unrelated harbour words"
RANKINGS = 5


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    """A project made by the command line, without an admin, with prompts and sampled completions of a tiny model."""
    monkeypatch.chdir(tmp_path)
    save_tiny("base", tiny_model(context=512), tiny_tokenizer())
    prompts = [{"prompt": f"Name {n} things that float, and why.", "id": f"p{n}", "owner": f"owner {n}"} for n in range(12)]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts), encoding="utf-8")
    assert main(["init", "project"]) == 0
    assert main(["prompts", "import", "prompts.jsonl", "--project", "project", "--source", "labeler", "--near", "0", "--prefix-chars", "2000",
                 "--splits", "1", "0", "0", "--keep-unknown"]) == 0  # fmt: skip
    assert main(["sample", "--models", "base", "--project", "project", "--min-completions", "6", "--max-completions", "6", "--limit", "8",
                 "--sampling.max-new-tokens", "12", "--out", "runs/to-rank"]) == 0  # fmt: skip
    with running_server(Project.open("project")) as running:
        yield running


class Desk:
    """Somebody's browser; every page on it is checked."""

    def __init__(self, browser: Browser, server: RunningServer) -> None:
        self.context: BrowserContext = browser.new_context(viewport=DESKTOP, base_url=server.url)
        self.context.set_default_timeout(15_000)
        self.page: Page = self.context.new_page()
        self.watch = Watch(self.page, server)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, name: str) -> None:
        """Press a button and wait for the page it leads to."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=name).first.click()

    def join(self, url: str, name: str, email: str, button: str) -> None:
        self.page.goto(url)
        self.page.get_by_label("What should we call you?").fill(name)
        if self.page.get_by_label("E-mail address").count():
            self.page.get_by_label("E-mail address").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_label("The same again").fill(PASSWORD)
        assert_accessible(self.page)
        self.button(button)
        self.page.wait_for_url(lambda url: "/setup/" not in url and "/invite/" not in url)


def _invite(admin: Desk, email: str) -> str:
    admin.page.goto("/admin/users")
    admin.page.get_by_label("E-mail address").fill(email)
    admin.button("Make an invitation")
    return str(admin.page.locator("code.secret").inner_text())


def _onboard(labeler: Desk) -> None:
    labeler.page.goto("/onboarding")
    labeler.button("I have read this and agree")
    labeler.button("I have read them")
    while "/onboarding/training" in labeler.page.url:
        if labeler.page.get_by_role("button", name="Show what the team thinks").count():
            for group in labeler.page.locator("main fieldset").all():
                group.locator("input[type=radio]").first.check()
            labeler.button("Show what the team thinks")
        with labeler.page.expect_navigation():
            labeler.page.locator("main a.button.primary").click()


def _screen(labeler: Desk, project: Project) -> None:
    """Take every part, with the answers that the researchers gave."""
    db = project.database()
    page = labeler.page
    page.goto("/screening")
    with db.read() as session:
        parts = len(screening.active_parts(session))
    for _ in range(parts):
        page.goto("/screening")
        page.locator("main form button").first.click()
        page.wait_for_url(re.compile(r"/screening/.+"))
        with db.read() as session:
            part = screening.part(session, session.get_one(ScreenAttempt, page.url.rpartition("/")[2]).test_id)
        for place, item in enumerate(part.items):
            if part.kind == "sensitive":
                page.locator(f'input[name="q{place}"][value="{item.expected["sensitive"]}"]').check()
            elif part.kind == "ranking":
                for slot, tier in enumerate(item.expected["tiers"]):
                    page.locator(f'input[name="q{place}.{slot}"][value="{tier}"]').check()
            elif part.kind == "demonstration":
                page.locator(f'textarea[name="q{place}"]').fill(
                    "I am sorry to hear that. Here is what I would do, step by step, and whom you could ask for help."
                )
            else:
                page.locator(f'[name="q{place}"]').first.check() if page.locator(f'[name="q{place}"]').count() else None
                page.locator(f'[name="q{place}.text"]').fill("Seafaring communities.")
        assert_accessible(page)
        labeler.button("Hand in")
        page.wait_for_selector("text=To the other parts")
    db.close()


def _rate_texts(admin: Desk) -> None:
    admin.page.goto("/admin/screening/rate")
    while admin.page.locator("input[name=score]").count():
        admin.page.locator('input[name=score][value="7"]').check()
        admin.button("Keep and go on")


def _open_queue(admin: Desk, name: str, kind: str, k: int | None) -> None:
    admin.page.goto("/admin/queues")
    admin.page.get_by_label("Name", exact=False).first.fill(name)
    admin.page.get_by_label("Kind of task").select_option(kind)
    admin.button("Open the queue")
    admin.page.get_by_label("Prompts at most").fill("1")
    if k is not None:
        admin.page.get_by_label("Completions a task").fill(str(k))
    assert_accessible(admin.page)
    admin.button("Add tasks")
    admin.page.wait_for_selector("text=1 tasks were added")


def _begin(labeler: Desk, heading: str) -> None:
    labeler.page.goto("/work")
    labeler.page.locator("main section, main article, main li, main .card").filter(has_text=heading).locator(
        "a.button, button"
    ).first.click()
    labeler.page.wait_for_selector("[data-ready]")
    assert_accessible(labeler.page)


def _sent(labeler: Desk) -> None:
    before = labeler.page.url
    labeler.press("Control+Enter")
    labeler.page.wait_for_url(lambda url: url != before)
    labeler.page.wait_for_selector("[data-receipt]")


def _label(labeler: Desk) -> None:
    """One demonstration, five rankings of six with ties, one rating page, one comparison: by keyboard alone."""
    page = labeler.page
    _begin(labeler, "by hand")
    page.keyboard.press("Tab")
    page.locator("textarea[name=text]").focus()
    page.keyboard.insert_text("Wood, ice and oil float, because a litre of them weighs less than a litre of water.")
    _sent(labeler)
    _begin(labeler, "rankings")
    for number in range(RANKINGS):
        labeler.press("a", *("112233", "123456", "112334", "654321", "121212")[number])
        _sent(labeler)
        if number + 1 < RANKINGS:
            page.wait_for_selector("[data-ready]")
    _begin(labeler, "look closely")
    labeler.press("t", "1") if page.locator("select[name='prompt.use_case']").count() == 0 else page.locator(
        "select[name='prompt.use_case']"
    ).select_option("open_qa")
    page.locator("h1").click()
    labeler.press("n", "j")
    for _ in range(2):
        labeler.press("5", "n", "j")
    _sent(labeler)
    _begin(labeler, "which one")
    labeler.press("a")
    _sent(labeler)


def test_from_an_empty_folder_to_a_reward_model(browser: Browser, server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert server.setup_url is not None
    admin, labeler = Desk(browser, server), Desk(browser, server)
    admin.join(server.setup_url, "Ada Admin", "ada@example.org", "Become admin")
    labeler.join(_invite(admin, "lena@example.org"), "Lena Labeler", "lena@example.org", "Join")
    _onboard(labeler)
    _screen(labeler, server.project)
    _rate_texts(admin)
    labeler.page.goto("/screening")
    assert labeler.page.get_by_text("You are qualified").count() == 1
    _open_queue(admin, "by hand", "demonstration", None)
    _open_queue(admin, "look closely", "rate", 2)
    _open_queue(admin, "which one", "pairwise", None)
    _label(labeler)
    admin.page.goto("/admin/exports")
    admin.button("Make a snapshot")
    admin.page.wait_for_selector("text=is there.")
    assert_accessible(admin.page)
    (snapshot,) = [path for path in server.project.snapshots.iterdir() if path.is_dir()]
    rankings = [json.loads(line) for line in (snapshot / "rankings.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(len(row["completions"]) for row in rankings) == [2] + [6] * RANKINGS  # the comparison is a ranking of two
    assert sum(len(set(row["ranks"])) < len(row["ranks"]) for row in rankings) == 3
    assert "Lena" not in "".join(path.read_text(encoding="utf-8") for path in snapshot.iterdir())
    capsys.readouterr()
    assert main(["train", "rm", "--model", "base", "--data", "project", "--out", "runs/rm", "--max-steps", "2"]) == 0
    capsys.readouterr()
    assert main(["lineage", "runs/rm"]) == 0
    chain = capsys.readouterr().out
    assert rankings[0]["labeler"] in chain
    assert "default" in chain
    assert main(["verify", "runs/rm"]) == 0
    body = bytearray((snapshot / "rankings.jsonl").read_bytes())
    body[10] ^= 1
    (snapshot / "rankings.jsonl").write_bytes(bytes(body))
    assert main(["verify", "runs/rm"]) == 3
    for desk in (admin, labeler):
        desk.watch.assert_clean()
        desk.context.close()
