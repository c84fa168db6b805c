"""The labeling application: tasks, people, admin pages and accounts behind one set of fences."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from instructloop.feedback import accounts, links
from instructloop.feedback.project import Project
from instructloop.labeling.account import router as account_router
from instructloop.labeling.admin import router as admin_router
from instructloop.labeling.people import router as people_router
from instructloop.labeling.tasks import router as tasks_router
from instructloop.web import errors, pages
from instructloop.web.middleware import BodyLimit, Fence, OwnPagesOnly
from instructloop.web.passwords import Passwords
from instructloop.web.roles import EVERYBODY, STAFF, WORKERS, declared_roles
from instructloop.web.settings import ServerSettings

HERE = Path(__file__).parent
NAVIGATION: Final = (
    pages.NavItem("/home", "Home", frozenset({"labeler", "adjudicator"})),
    pages.NavItem("/work", "Work", frozenset(WORKERS)),
    pages.NavItem("/admin/disagreements", "Disagreements", frozenset({"adjudicator"})),
    pages.NavItem("/messages", "Messages", frozenset(WORKERS)),
    pages.NavItem("/admin", "Project", frozenset({*STAFF, "viewer"})),
)


def create_app(project: Project, *, settings: ServerSettings | None = None, passwords: Passwords | None = None) -> FastAPI:
    """The application of a project.

    Args:
        project: an opened project folder whose store is migrated.
        settings: where it listens and what it trusts; loopback by default.
        passwords: another hasher, for tests; argon2id by default.

    Raises:
        AssertionError: a route does not declare who may open it.
    """
    settings = settings or ServerSettings()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.db.close()

    app = FastAPI(title="InstructLoop", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    app.state.project = project
    app.state.db = project.database()
    app.state.settings = settings
    app.state.passwords = passwords or Passwords()
    app.state.cookie = cookie_of(project, https=settings.https)
    app.state.has_admin = False
    for router in (account_router, tasks_router, people_router, admin_router):
        app.include_router(router)
    pages.install(app, pages.Pages([HERE / "templates"], {"labeling": HERE / "static"}), NAVIGATION)
    errors.install(app)
    app.state.declared = declared_roles(app)
    paths = {path for _, path in app.state.declared}
    app.state.nav = [item for item in app.state.nav if item.href in paths]
    refuse = errors.refusal(lambda: app)
    # the last one added stands outermost
    app.add_middleware(SetUpFirst)
    app.add_middleware(OwnPagesOnly, refuse=refuse)
    app.add_middleware(BodyLimit, most_bytes=settings.max_body_bytes, refuse=refuse)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.trusted_hosts, www_redirect=False)
    app.add_middleware(Fence, https=settings.https)
    return app


class SetUpFirst:
    """Before there is an admin, every page leads to the set-up page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect until set-up is done; asks the store only until it is."""
        if scope["type"] == "http":
            state = Request(scope).app.state
            if not state.has_admin:
                state.has_admin = await run_in_threadpool(_has_admin, state)
            if not state.has_admin and not scope["path"].startswith(("/setup", "/static/", "/health")):
                await RedirectResponse("/setup", 303)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _has_admin(state: object) -> bool:
    with state.db.read() as session:  # type: ignore[attr-defined]
        return accounts.has_admin(session)


def cookie_of(project: Project, *, https: bool) -> str:
    """Name of a project's login cookie: ``__Host-`` over TLS pins it to this host and to Secure."""
    own = project.pseudonym("cookie", "login")[7:15]
    return f"{'__Host-' if https else ''}instructloop_{own}"


def setup_path(project: Project) -> str | None:
    """A fresh one-time address for making the first admin, or None if there is one."""
    db = project.database()
    try:
        with db.write() as session:
            return None if accounts.has_admin(session) else f"/setup/{links.make(session, 'setup')}"
    finally:
        db.close()


__all__ = ["EVERYBODY", "cookie_of", "create_app", "setup_path"]
