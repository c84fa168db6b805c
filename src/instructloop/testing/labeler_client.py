"""A labeler without a browser: opens task pages over HTTP, reads the form, answers it, keeps the receipts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self

import httpx

LETTERS = "ABCDEFGHI"


@dataclass(slots=True)
class TaskPage:
    """What a labeler sees of one task."""

    task: str
    """Identifier of the assignment."""
    kind: str
    k: int
    base: str
    action: str
    draft_rev: int
    hidden: dict[str, str]
    filled: dict[str, str]
    """Fields that hold something already: the restored draft."""
    texts: list[str]
    """The texts shown, the instruction first."""
    html: str = field(repr=False, default="")

    def form(self, answer: Mapping[str, str]) -> dict[str, str]:
        """The whole form with an answer in it."""
        return {**self.hidden, **answer}

    def ranking(self, tiers: Mapping[str, int]) -> dict[str, str]:
        """Fields of a ranking, by letter."""
        return {f"rank.{letter}": str(tier) for letter, tier in tiers.items()}


class _Reader(HTMLParser):
    """Collects the task's attributes, the form's fields and the framed texts."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: dict[str, str] = {}
        self.action = ""
        self.hidden: dict[str, str] = {}
        self.filled: dict[str, str] = {}
        self.texts: list[str] = []
        self._in_form = False
        self._text_depth = 0
        self._area: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opening tags: where most of what is wanted stands."""
        given = {name: value or "" for name, value in attrs}
        if "data-task" in given:
            self.attributes = given
        if tag == "form" and "data-form" in given:
            self._in_form, self.action = True, given["action"]
        if self._in_form and tag == "input" and "name" in given:
            if given.get("type") == "hidden":
                self.hidden[given["name"]] = given.get("value", "")
            elif "checked" in given:
                self.filled[given["name"]] = given.get("value", "on")
        if self._in_form and tag == "textarea":
            self._area = given["name"]
            self.filled[given["name"]] = ""
        if self._text_depth:
            self._text_depth += tag == "div"
        elif "data-text" in given:
            self._text_depth = 1
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Closing tags."""
        if tag == "form":
            self._in_form = False
        elif tag == "textarea":
            self._area = None
        elif tag == "div" and self._text_depth:
            self._text_depth -= 1

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        if self._area is not None:
            self.filled[self._area] += data
        elif self._text_depth:
            self.texts[-1] += data


def read_page(html: str) -> TaskPage | None:
    """The task on a page, or None where there is none (nothing left to do)."""
    reader = _Reader()
    reader.feed(html)
    if not reader.attributes:
        return None
    own = reader.attributes
    return TaskPage(
        task=own["data-task"],
        kind=own["data-kind"],
        k=int(own["data-k"]),
        base=own["data-base"],
        action=reader.action,
        draft_rev=int(own["data-rev"]),
        hidden=reader.hidden,
        filled=reader.filled,
        texts=reader.texts,
        html=html,
    )


class LabelerClient:
    """One logged-in labeler on one connection."""

    def __init__(self, url: str, cookie: Mapping[str, str], *, timeout_s: float = 20) -> None:
        """Args: where the server is, and the login cookie as ``testing.server.login_cookie`` gives it."""
        self.http = httpx.Client(
            base_url=url,
            cookies=dict(cookie),
            timeout=timeout_s,
            follow_redirects=True,
            headers={"Sec-Fetch-Site": "same-origin", "Origin": url},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        self.http.close()

    def open(self, queue_id: str) -> TaskPage | None:
        """The next task of a queue, or the one in hand; None = nothing to do."""
        answer = self.http.get(f"/work/{queue_id}")
        answer.raise_for_status()
        return read_page(answer.text)

    def post(self, path: str, fields: Mapping[str, str]) -> httpx.Response:
        """A background POST as the page's own script sends it."""
        return self.http.post(path, data=dict(fields), headers={"Accept": "application/json"}, follow_redirects=False)

    def submit(self, page: TaskPage, answer: Mapping[str, str]) -> httpx.Response:
        """Send an answer; 200 with ``receipt`` = stored."""
        return self.post(page.action, page.form(answer))

    def draft(self, page: TaskPage, answer: Mapping[str, str], base_rev: int) -> httpx.Response:
        """Save a draft; 200 with ``rev`` = on the server."""
        return self.post(f"{page.base}/draft", {**page.form(answer), "base_rev": str(base_rev)})


def next_page(answer: httpx.Response) -> TaskPage | None:
    """The task that came along with a receipt."""
    body: dict[str, Any] = answer.json()
    return read_page(body.get("main") or "")
