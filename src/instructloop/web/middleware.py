"""What stands before every route: headers that fence the page in, a size for bodies, the origin of unsafe requests."""

from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instructloop.web import csrf

POLICY: Final = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), browsing-topics=()",
}
Refusal = Callable[[Scope, int, str], ASGIApp]
"""Makes the page that says no: (scope, status, text)."""


class Fence:
    """Security headers on every answer, errors and static files included; pages are never kept by shared caches."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self.app = app
        self.headers = {**HEADERS, **({"strict-transport-security": "max-age=31536000"} if https else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and add the headers to the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def fenced(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, fenced)


class OwnPagesOnly:
    """Unsafe requests that did not begin on our own pages get 403 before anything else looks at them."""

    def __init__(self, app: ASGIApp, *, refuse: Refusal) -> None:
        self.app = app
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the origin of unsafe requests."""
        if scope["type"] == "http" and scope["method"] not in csrf.SAFE and not csrf.from_own_page(Headers(scope=scope)):
            page = self.refuse(scope, 403, "This request did not come from a page of this server, so nothing was changed.")
            await page(scope, receive, send)
            return
        await self.app(scope, receive, send)


class TooLargeError(Exception):
    """The body grew beyond the limit while it was read."""


class BodyLimit:
    """Bodies beyond a size get 413, whether or not they say how long they are."""

    def __init__(self, app: ASGIApp, *, most_bytes: int, refuse: Refusal) -> None:
        self.app = app
        self.most_bytes = most_bytes
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes of the body."""
        if scope["type"] != "http" or scope["method"] in csrf.SAFE:
            await self.app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("content-length", "0")
        if not stated.isdigit() or int(stated) > self.most_bytes:
            await self._refuse(scope, receive, send)
            return
        seen, started = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most_bytes:
                raise TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except TooLargeError:
            if started:
                raise
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = self.refuse(scope, 413, f"That is more than {self.most_bytes // 1024} kB in one request.")
        await page(scope, receive, send)
