"""What went wrong, as a page or as JSON: what happened and what to do next, never an inside."""

import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from instructloop.core.errors import InstructLoopError
from instructloop.feedback.database import locked
from instructloop.web.middleware import HEADERS
from instructloop.web.pages import render, wants_json
from instructloop.web.roles import public

logger = logging.getLogger(__name__)

TITLES = {
    400: "That did not work",
    401: "Please log in",
    403: "Not for this account",
    404: "There is nothing here",
    405: "Not this way",
    409: "Somebody was faster",
    410: "This link is spent",
    413: "Too large",
    422: "Something is missing",
    429: "A little slower, please",
    500: "Our mistake",
    503: "Busy for a moment",
}
REMEDIES = {
    403: "If you think it should be open to you, ask the person who runs this project.",
    404: "The address may be wrong, or the task may belong to somebody else.",
    409: "Nothing was lost. Reload the page to see how things stand.",
    410: "Ask for a new one.",
    413: "Shorten the text and send it again.",
    500: "It has been noted in the server's log. What you typed is kept as a draft; try again in a moment.",
    503: "What you typed is kept as a draft; try again in a moment.",
}


class Refused(HTTPException):
    """An error of a page with a remedy of its own."""

    def __init__(self, status: int, text: str, *, remedy: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, text, headers)
        self.remedy = remedy


class TooManyError(Refused):
    """A rate limit was hit."""

    def __init__(self, wait_ms: int) -> None:
        seconds = max(1, -(-wait_ms // 1000))
        super().__init__(
            429, "Too many tries in a short time.", remedy=f"Wait {seconds} s, then try again.", headers={"Retry-After": str(seconds)}
        )


def install(app: FastAPI) -> None:
    """Answer every error of the application with a page or JSON of ours."""
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(InstructLoopError, _ours)
    app.add_exception_handler(OperationalError, _database)
    app.add_exception_handler(Exception, _unexpected)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    if error.status_code == 401 and not wants_json(request):
        return await _login_page(request)
    text = error.detail if isinstance(error.detail, str) else ""
    if error.status_code in {404, 405} and text in {"Not Found", "Method Not Allowed"}:
        text = ""
    return answer(request, error.status_code, text, getattr(error, "remedy", None), error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = ", ".join(sorted({".".join(str(part) for part in item["loc"][1:]) for item in error.errors()}))
    return answer(request, 422, f"These fields are missing or of the wrong kind: {fields}.", "Reload the page and send it again.")


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, InstructLoopError)
    status = getattr(error, "status", None) or (404 if type(error).__name__.startswith("Unknown") else 422)
    if type(error).__name__.startswith("Stale"):
        status = 409
    return answer(request, status, error.message, error.hint)


async def _database(request: Request, error: Exception) -> Response:
    assert isinstance(error, OperationalError)
    logger.error("database error on %s: %s", request.url.path, error.orig)
    return answer(request, 503 if locked(error) else 500, "", None, {"Retry-After": "1"})


async def _unexpected(request: Request, error: Exception) -> Response:
    del error  # Starlette logs it with its traceback
    # this handler stands outside all middleware, so the fence is put up here
    return answer(request, 500, "", None, {**HEADERS, "cache-control": "no-store"})


def answer(request: Request, status: int, text: str, remedy: str | None = None, headers: Any = None) -> Response:
    """An error as a page, or as ``{"error", "hint", "status"}`` for a fetch."""
    text = text or TITLES.get(status, "Error")
    remedy = remedy if remedy is not None else REMEDIES.get(status, "")
    if wants_json(request):
        return JSONResponse({"error": text, "hint": remedy, "status": status}, status, headers)
    title = TITLES.get(status, "Error")
    return render(request, "error.html", None, status=status, headers=headers, title=title, status_code=status, text=text, remedy=remedy)


def refusal(app_of: Callable[[], FastAPI]) -> Callable[[Scope, int, str], ASGIApp]:
    """For middleware: a page that says no without reaching a route."""

    def make(scope: Scope, status: int, text: str) -> ASGIApp:
        async def page(_scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("app", app_of())
            await answer(Request(scope), status, text)(scope, receive, send)

        return page

    return make


async def _login_page(request: Request) -> Response:
    """The login form with status 401 in place of the page; logging in leads back to it."""
    secret = request.cookies.get(request.app.state.cookie)
    visitor = await public(request, None, None)
    here = request.url.path + (f"?{request.url.query}" if request.url.query and request.method == "GET" else "")
    return render(
        request,
        "login.html",
        visitor,
        status=401,
        next=here if request.method == "GET" else back_of(request.url.path),
        problem="Your login has ended. What you typed is kept as a draft." if secret else "",
        email="",
    )


def back_of(path: str) -> str:
    """The page to open after logging in again when a form could not be sent: the task it belongs to, else the start."""
    parts = path.strip("/").split("/")
    return f"/task/{parts[1]}" if parts[0] == "task" and len(parts) > 1 else "/"
