"""The report in a real browser: quiet, offline, within a phone's width, and searchable."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from instructloop.core.files import read_json, write_json
from instructloop.report import write_report
from instructloop.testing.examinations import observatory_table, people_comparison, suites_table
from instructloop.testing.pipelines import write_pipeline

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hostile = "<img src=https://example.invalid/x.png onerror=alert(1)><script>alert(2)</script>"
    out = write_pipeline(tmp_path_factory.mktemp("e2e"), prompts=60, hostile=hostile)
    stages = out / "stages"
    write_json(stages / "ppo/eval/observatory.json", observatory_table(hostile=hostile))
    write_json(stages / "evaluation/eval/suites.json", suites_table())
    write_json(stages / "evaluation/eval/judge.json", {**people_comparison(biased=True), "voter": "judge", "n_prompts": 20})
    return write_report(out)


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
@pytest.mark.parametrize("width", [360, 390, 1280])
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
    page.get_by_label("Use case").select_option("chat")
    assert {visible.nth(place).get_attribute("data-case") for place in range(visible.count())} == {"chat"}
    page.get_by_label("Use case").select_option("")
    page.get_by_role("button", name="Show all").click()
    assert visible.count() == total


def test_an_outcome_between_two_models_keeps_only_prompts_that_had_it(browser: "Browser", report: Path) -> None:
    page = _Opened(browser, report, width=1280).page
    page.locator("#first").select_option("ppo")
    page.locator("#second").select_option("base")
    counts = {}
    for outcome in ("wins", "loses", "ties"):
        page.locator("#outcome").select_option(outcome)
        if page.locator("#all").is_visible():
            page.locator("#all").click()
        pairs = page.evaluate(
            "Array.from(document.querySelectorAll('article.sample:not([hidden])'), (one) => ['ppo', 'base'].map((name) =>"
            " Number(one.querySelector(`[data-model=${name}]`).dataset.score)))"
        )
        assert all({"wins": a > b, "loses": a < b, "ties": a == b}[outcome] for a, b in pairs)
        counts[outcome] = len(pairs)
    assert sum(counts.values()) == page.locator("article.sample").count()
    assert counts["wins"] > counts["loses"]


def test_models_can_be_put_away_and_taken_back(browser: "Browser", report: Path) -> None:
    page = _Opened(browser, report, width=1280).page
    reply = page.locator("article.sample:visible").first.locator("[data-model=base]")
    assert reply.is_visible()
    page.get_by_label("base", exact=True).uncheck()
    assert not reply.is_visible()
    page.get_by_label("base", exact=True).check()
    assert reply.is_visible()


def test_the_words_that_differ_are_marked_in_both_answers_and_unmarked_again(browser: "Browser", report: Path) -> None:
    page = _Opened(browser, report, width=1280).page
    page.locator("#first").select_option("ppo")
    page.locator("#second").select_option("sft")
    sample = page.locator("article.sample:visible").first
    before = {name: sample.locator(f"[data-model={name}] .text").inner_text() for name in ("sft", "ppo")}
    # the made-up replies: "... lies in the north." and "... lies in the north, near the sea."
    page.get_by_label("mark the words that differ").check()
    assert sample.locator("[data-model=sft] del").all_inner_texts() == ["north."]
    assert sample.locator("[data-model=ppo] ins").all_inner_texts() == ["north, near the sea."]
    assert {name: sample.locator(f"[data-model={name}] .text").inner_text() for name in ("sft", "ppo")} == before
    page.get_by_label("mark the words that differ").uncheck()
    assert sample.locator("ins, del").count() == 0


def test_the_list_can_be_walked_with_keys(browser: "Browser", report: Path) -> None:
    page = _Opened(browser, report, width=1280).page
    focused = "document.activeElement.matches('article.sample') ? Array.from(document.querySelectorAll('article.sample')).indexOf(document.activeElement) : -1"
    page.locator("article.sample").first.focus()
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate(focused) == 2
    page.keyboard.press("k")
    assert page.evaluate(focused) == 1
    page.keyboard.press("d")
    assert page.locator("#diff").is_checked()
    page.locator("article.sample").first.focus()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("jdk")
    assert page.get_by_role("searchbox").input_value() == "jdk"
    page.get_by_role("searchbox").blur()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("d")
    assert page.locator("#diff").is_checked(), "outside the list a key does nothing"


def test_an_alarm_near_the_top_leads_to_its_explanation_and_examples(browser: "Browser", report: Path) -> None:
    page = _Opened(browser, report, width=1280).page
    page.locator(".ringing a", has_text="Length drifts").click()
    alarm = page.locator(".alarm:target")
    assert alarm.locator(".state").inner_text().endswith("alarm")
    assert "1.84" in alarm.inner_text()
    examples = alarm.locator(".readings li")
    assert not examples.first.is_visible()
    alarm.locator("summary").click()
    assert examples.first.is_visible()
    assert examples.count() == 2


def test_on_paper_what_matters_is_unfolded_and_controls_are_gone(browser: "Browser", report: Path) -> None:
    page = _Opened(browser, report, width=800).page
    page.emulate_media(media="print")
    page.wait_for_selector("details.matters[open]", state="attached")
    assert page.locator("details.matters:not([open])").count() == 0
    assert page.locator("form.filter").bounding_box()["width"] <= 1  # type: ignore[index]
    assert page.evaluate("document.documentElement.scrollWidth") <= 800
    page.emulate_media(media="screen")
    page.wait_for_selector("details.matters:not([open])", state="attached")
    assert page.locator("details.matters[open]").count() == 0


def test_five_hundred_prompts_stay_usable(browser: "Browser", tmp_path: Path) -> None:
    out = write_pipeline(tmp_path / "p", prompts=60)
    file = out / "stages/evaluation/eval/gold.json"
    table = read_json(file)
    one = table["samples"][0]
    answer = "word after word of an answer that is not short at all " * 12
    table["samples"] = [
        {**one, "prompt": f"Prompt number {place}", "completions": {name: f"{place} {answer}{name}" for name in one["completions"]}}
        for place in range(500)
    ]
    write_json(file, table)
    page = _Opened(browser, write_report(out), width=1280).page
    page.get_by_label("mark the words that differ").check()
    spent = page.evaluate(
        "() => { const search = document.getElementById('search'); const start = performance.now();"
        " search.value = 'number 49'; search.dispatchEvent(new Event('input', {bubbles: true})); return performance.now() - start; }"
    )
    # 49, 149, 249, 349, 449, and 490 to 499; a dozen at a time
    assert page.locator("#count").inner_text().startswith("15 of ")
    assert page.locator("article.sample:visible").count() == 12
    assert spent < 1000


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
