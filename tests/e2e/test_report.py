"""The report in a real browser: quiet, offline, within a phone's width, and searchable."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from instructloop.report import write_report
from instructloop.testing.pipelines import write_pipeline

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hostile = "<img src=https://example.invalid/x.png onerror=alert(1)><script>alert(2)</script>"
    return write_report(write_pipeline(tmp_path_factory.mktemp("e2e"), prompts=60, hostile=hostile))


class _Opened:
    """A page and what it said and asked for while it was open."""

    def __init__(self, browser: "Browser", report: Path, *, width: int, scheme: str = "light", script: bool = True) -> None:
        context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme, java_script_enabled=script)  # type: ignore[arg-type]
        self.page: Page = context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(report.as_uri())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_quiet_asks_for_nothing_and_never_scrolls_sideways(browser: "Browser", report: Path, width: int, scheme: str) -> None:
    opened = _Opened(browser, report, width=width, scheme=scheme)
    opened.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.wait_for_timeout(200)
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
    assert [url for url in opened.asked if url.startswith("file:")] == [report.as_uri()]


def test_the_search_and_the_use_case_filter_samples(browser: "Browser", report: Path) -> None:
    page = _Opened(browser, report, width=1280).page
    samples = page.locator("article.sample")
    visible = page.locator("article.sample:visible")
    total = samples.count()
    assert visible.count() == 12 < total
    page.get_by_role("searchbox").fill("velda")
    found = visible.count()
    assert 0 < found < total
    assert all("Velda" in text for text in visible.all_inner_texts())
    assert page.locator("#count").inner_text() == f"{found} of {total} prompts"
    page.get_by_role("searchbox").fill("")
    page.get_by_role("combobox").select_option("chat")
    assert {visible.nth(place).get_attribute("data-case") for place in range(visible.count())} == {"chat"}
    page.get_by_role("combobox").select_option("")
    page.get_by_role("button", name="Show all").click()
    assert visible.count() == total


def test_a_curve_tells_its_value_under_the_pointer_and_forgets_it_after(browser: "Browser", report: Path) -> None:
    page = _Opened(browser, report, width=1280).page
    figure = page.locator("#pretrain figure").first
    before = figure.locator(".values").inner_text()
    figure.locator("svg").scroll_into_view_if_needed()
    figure.locator("svg").hover()
    told = figure.locator(".values").inner_text()
    # the pointer is in the middle of the drawing: near step 300 of 600, where 0.7 + 5 exp(-3) = 0.95
    step, loss = (float(text) for text in re.findall(r"[\d.]+", told))
    assert 250 < step < 350, told
    assert loss == pytest.approx(0.95, abs=0.15), told
    page.mouse.move(0, 0)
    assert figure.locator(".values").inner_text() == before


def test_without_a_script_every_sample_is_there_and_no_dead_control(browser: "Browser", report: Path) -> None:
    page = _Opened(browser, report, width=390, script=False).page
    assert page.locator("article.sample:visible").count() == page.locator("article.sample").count() > 12
    assert page.locator("form.filter:visible, #more:visible").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_anyone_out(browser: "Browser", report: Path, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed; it is in the group dev"
    )
    # the page's policy forbids foreign scripts, the checker's own too
    context = browser.new_context(viewport={"width": 1280, "height": 850}, color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(report.as_uri())
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_dark_and_light_differ_and_text_is_readable_in_both(browser: "Browser", report: Path) -> None:
    contrasts = {}
    for scheme in ("light", "dark"):
        page = _Opened(browser, report, width=1280, scheme=scheme).page
        found = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
            " getComputedStyle(document.querySelector('.note')).color, getComputedStyle(document.querySelector('.bar .ink')).color]"
        )
        paper, *inks = [_luminance(color) for color in found]
        contrasts[scheme] = [(max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) for ink in inks]
    # WCAG 2.2: 4.5 for text; the body text does better
    assert all(ratio >= 4.5 for ratios in contrasts.values() for ratio in ratios), contrasts
    assert contrasts["light"] != contrasts["dark"]


def _luminance(color: str) -> float:
    """Relative luminance of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in color[4:-1].split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
