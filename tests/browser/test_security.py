"""What only a browser can show: other origins, hostile text that must stay text, pages that everybody can use."""

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from instructloop.core.hashing import hash_bytes
from instructloop.feedback import accounts, links
from instructloop.feedback.guidelines import publish
from instructloop.feedback.queues import NewTask, add_tasks, create_queue
from instructloop.feedback.records import add_checkpoint, add_completion, add_prompt
from instructloop.testing.browser import assert_accessible, logged_in, overflow_px, small_targets
from instructloop.testing.server import RunningServer, fresh_project, running_server, sign_in

HOSTILE = [
    "<script>window.__xss=1</script>",
    '<img src=x onerror="window.__xss=1">',
    "<svg/onload=window.__xss=1>",
    "[click](javascript:window.__xss=1)",
    "![pixel](https://evil.example/pixel.gif)",
    '<iframe srcdoc="<script>parent.__xss=1</script>"></iframe>',
    "</textarea><script>window.__xss=1</script>",
    "</template></main><script>window.__xss=1</script>",
    '"><img src=x onerror=window.__xss=1>',
    "' autofocus onfocus=window.__xss=1 x='",
    "<style>@import 'https://evil.example/x.css';</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    '<base href="https://evil.example/">',
    '<form action="https://evil.example"><button>Submit</button></form>',
    "{{ 7 * 7 }} ${7*7} <%= 7*7 %>",
    "<a href='javascript:window.__xss=1' autofocus>x</a>",
    "pay \u202eevil\u202c \u200b\u2066now\u2069",
    "````\n```html\n<button onclick=window.__xss=1>Submit</button>\n```\n````",
    "<details open ontoggle=window.__xss=1>x</details>",
    "Submit\n\n[ Submit ]   Skip   Log out",
]


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A page of another origin that sends a form of its own to our server."""

    target = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        page = f"""<!doctype html><form id=f method=post action="{self.target}"><input name=name value=Mallory><input name=form_token value=x></form>
        <script>f.submit()</script>"""
        self.wfile.write(page.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Quiet."""


@pytest.fixture
def elsewhere(live_server: RunningServer) -> Iterator[str]:
    handler = type("Handler", (Elsewhere,), {"target": f"{live_server.url}/account/name"})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_a_form_on_another_port_changes_nothing(browser: Browser, live_server: RunningServer, elsewhere: str) -> None:
    person = sign_in(live_server.project, name="Ada")
    context = logged_in(browser, live_server, person)
    page = context.new_page()
    with page.expect_response(lambda answer: answer.url.endswith("/account/name")) as answer:
        page.goto(elsewhere)
    assert answer.value.status == 403
    db = live_server.project.database()
    with db.read() as session:
        names = {account.email: account.name for account in accounts.listed(session)}
    db.close()
    assert names[person.email] == "Ada"
    context.close()


def test_our_own_forms_pass_in_a_real_browser(open_page: Callable[..., Page], live_server: RunningServer) -> None:
    page = open_page(sign_in(live_server.project), "/account")
    page.fill("#f-name", "Ada")
    page.click("text=Keep the name")
    page.wait_for_url("**/account?done=name")
    assert "Ada" in page.inner_text(".who")


def hostile_queue(server: RunningServer, kind: str, k: int) -> str:
    db = server.project.database()
    publish(db, "default", "training", "Rules " + HOSTILE[0], "\n\n".join(["# Rules", *HOSTILE]))
    with db.write() as session:
        checkpoint = add_checkpoint(session, model="m", path_or_sha=hash_bytes(b"w"), stage="sft")
        prompt, _ = add_prompt(session, prompt="\n".join(HOSTILE), source="api", owner=hash_bytes(b"o"), split="train", pii_status="clean")
        texts = [*["\n".join(HOSTILE), *HOSTILE][: k - 1], "long " * 40_000]
        made = tuple(
            add_completion(session, prompt_id=prompt, text=text, checkpoint_id=checkpoint, sampling={"seed": 1}, draw=index)
            for index, text in enumerate(texts)
        )
    queue = create_queue(db, name=f"{kind} <script>window.__xss=1</script>", kind=kind, gold_rate=0.0, extra_overlap_fraction=0.0)
    add_tasks(db, queue, [NewTask(prompt_id=prompt, completion_ids=made[:k])])
    db.close()
    return queue


@pytest.mark.parametrize(("kind", "k"), [("rank", 9), ("rate_and_rank", 4), ("pairwise", 2), ("edit", 1), ("toxicity", 3)])
def test_hostile_prompts_outputs_and_guidelines_stay_text(
    kind: str, k: int, open_page: Callable[..., Page], live_server: RunningServer
) -> None:
    queue = hostile_queue(live_server, kind, k)
    page = open_page(sign_in(live_server.project), f"/work/{queue}")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.__xss") is None
    assert page.locator("main img, main iframe, main object, main base, main style, main link").count() == 0
    handlers = page.evaluate(
        "[...document.querySelectorAll('*')].flatMap(one => one.getAttributeNames()).filter(name => name.startsWith('on'))"
    )
    assert handlers == []
    assert page.locator("[data-text] a, .model-text a").count() == 0
    assert page.locator("[data-text] button, [data-text] form, .model-text button, .model-text form").count() == 0
    assert "\u202e" not in page.inner_text("main")
    assert "script" not in page.title().lower() or page.title().count("<") == page.title().count(">")
    assert "evil" not in page.title(), "no model text in the title"
    tall = page.evaluate(
        "Math.max(...[...document.querySelectorAll('[data-text], .model-text .text')].map(one => one.getBoundingClientRect().height))"
    )
    assert page.locator("[data-text]").count() >= k
    assert 0 < tall <= 700, "a 200 kB output does not push everything else away"
    assert_accessible(page)


def test_the_whole_way_in_with_a_browser(browser: Browser, tmp_path: Any) -> None:
    """Set-up address, invitation, logging out and in: each page accessible, none wider than a phone."""
    project = fresh_project(tmp_path / "project")
    with running_server(project) as server:
        context = logged_in(browser, server, viewport={"width": 390, "height": 844})
        page = context.new_page()
        page.goto("/work")
        assert page.url.endswith("/setup")
        assert_accessible(page)
        assert server.setup_url is not None
        page.goto(server.setup_url)
        assert_accessible(page)
        page.fill("#f-email", "ada@example.org")
        page.fill("#f-password", "seven tall cranes dance")
        page.fill("#f-repeat", "seven tall cranes dance")
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "/setup" not in url)
        assert page.goto(server.setup_url).status == 410  # type: ignore[union-attr]
        assert_accessible(page)
        page.goto("/account")
        assert_accessible(page)
        assert overflow_px(page) == 0
        assert small_targets(page) == []
        page.click("text=Log out")
        page.wait_for_url("**/login")
        assert_accessible(page)
        page.fill("#f-email", "ADA@example.org")
        page.fill("#f-password", "seven tall cranes dance")
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "/login" not in url)
        db = project.database()
        with db.write() as session:
            token = links.make(session, "invite", role="labeler", cohort="heldout")
        db.close()
        context.clear_cookies()
        page.goto(f"/invite/{token}")
        assert_accessible(page)
        page.fill("#f-email", "bea@example.org")
        page.fill("#f-password", "nine small herons sleep")
        page.fill("#f-repeat", "nine small herons sleep")
        page.keyboard.press("Enter")
        page.wait_for_url("**/home")
        assert_accessible(page)
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_account_pages_fit_every_window_in_both_colour_schemes(
    scheme: str, width: int, open_page: Callable[..., Page], live_server: RunningServer
) -> None:
    page = open_page(sign_in(live_server.project), "/account", viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert_accessible(page)
    assert overflow_px(page) == 0
    assert small_targets(page) == []
    requests = page.watch.requests  # type: ignore[attr-defined]
    assert len(requests) <= 8
    page.goto("/nowhere")
    assert_accessible(page)


def test_text_twice_as_large_still_fits(open_page: Callable[..., Page], live_server: RunningServer) -> None:
    page = open_page(sign_in(live_server.project), "/account", viewport={"width": 640, "height": 450}, device_scale_factor=2)
    assert overflow_px(page) == 0
    page.add_init_script("")
    page.evaluate("document.documentElement.style.setProperty('font-size', '200%')")
    assert overflow_px(page) == 0
