"""Chromium for tests: every page is watched for requests to elsewhere, refused content and script errors."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from instructloop.labeling.app import cookie_of
from instructloop.testing.server import Person, RunningServer

DESKTOP = {"width": 1280, "height": 900}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def chromium_path() -> str | None:
    """Path of ``$CHROMIUM`` or of a system Chromium, or None."""
    names = (os.environ.get("CHROMIUM") or "", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, without a network of its own and without housekeeping in the background."""
    arguments = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def logged_in(browser: Browser, server: RunningServer, person: Person | None = None, **options: Any) -> BrowserContext:
    """A fresh browser profile, logged in as ``person``; its pages are watched (see :func:`complaints`)."""
    context = browser.new_context(**{"viewport": DESKTOP, "base_url": server.url, **options})
    context.set_default_timeout(10_000)
    if person is not None:
        name = cookie_of(server.project, https=False)
        context.add_cookies([{"name": name, "value": person.secret, "url": server.url, "httpOnly": True, "sameSite": "Lax"}])
    return context


class Watch:
    """What a page did that it must not do."""

    def __init__(self, page: Page, server: RunningServer) -> None:
        """Begin to listen."""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._own = (server.url, "data:", "blob:", "about:")
        page.on("request", lambda request: self._request(request.url))
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(f"script error: {error}"))

    def _request(self, url: str) -> None:
        self.requests.append(url)
        if not url.startswith(self._own):
            self.complaints.append(f"request to elsewhere: {url}")

    def _console(self, kind: str, text: str) -> None:
        if "Content Security Policy" in text or "Content-Security-Policy" in text:
            self.complaints.append(f"refused content: {text}")
        elif kind == "error" and "the server responded with a status of" not in text and "net::ERR_" not in text:
            self.complaints.append(f"console: {text}")

    def assert_clean(self) -> None:
        """Nothing was asked of another host, nothing was refused, no script failed."""
        assert not self.complaints, "\n".join(self.complaints)


def assert_accessible(page: Page) -> None:
    """No violation of WCAG A and AA or of axe's best practices on the page as it stands."""
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}}).response["violations"]
    told = [f"{item['id']} ({item['impact']}): {item['help']}: {[node['html'][:160] for node in item['nodes'][:4]]}" for item in found]
    assert not told, f"{page.url}\n" + "\n".join(told)


def overflow_px(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def small_targets(page: Page, least_px: int = 24) -> list[str]:
    """Controls smaller than ``least_px`` (WCAG 2.2 SC 2.5.8); links within running text are exempt."""
    found: list[str] = page.evaluate(
        """least => [...document.querySelectorAll('button, input:not([type=hidden]), select, textarea, summary, nav a, .button')]
        .filter(one => one.checkVisibility({opacityProperty: true, visibilityProperty: true}))
        .filter(one => { const own = (one.closest('label') || one).getBoundingClientRect();
                         return own.width && (own.width < least || own.height < least) })
        .map(one => one.outerHTML.slice(0, 120))""",
        least_px,
    )
    return found
