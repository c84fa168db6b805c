"""Who may open a route. Every route declares it; an application with a route that does not, refuses to start.

::

    @router.get("/work")
    def work(request: Request, viewer: Annotated[Viewer, Depends(require("labeler", "admin", labeling=True))]) -> HTMLResponse: ...

    @router.get("/login")
    def login(request: Request, visitor: Annotated[Visitor, Depends(public)]) -> HTMLResponse: ...

Unsafe methods also need the form's token: the field ``form_token`` of a form or the header ``X-Form-Token`` of a fetch.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from starlette.datastructures import FormData

from instructloop.feedback import logins
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import Labeler, Login, User
from instructloop.feedback.schema.people import ROLES
from instructloop.web import csrf

STAFF: Final = ("researcher", "admin")
WORKERS: Final = ("labeler", "adjudicator", "researcher", "admin")
EVERYBODY: Final = ROLES


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at the page. The rows are detached from the database: read them, never change them."""

    user: User
    labeler: Labeler | None
    login: Login
    form_token: str

    @property
    def role(self) -> str:
        """The account's role."""
        return self.user.role

    @property
    def labeler_id(self) -> str:
        """The labeler's identifier; only for routes declared with ``labeling=True``."""
        assert self.labeler is not None, "the route must be declared with require(..., labeling=True)"
        return self.labeler.id

    def is_any(self, *roles: str) -> bool:
        """Whether the account has one of the roles."""
        return self.user.role in roles


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody on a public page, logged in or not."""

    viewer: Viewer | None
    form_token: str
    fresh_secret: str | None
    """A visitor's secret that still has to be set as a cookie."""


def viewer_of(request: Request) -> Viewer | None:
    """The living login of the request's cookie (a synchronous dependency: it asks the database)."""
    secret = request.cookies.get(cookie_name(request), "")
    if not secret or len(secret) > 100:
        return None
    db: Database = request.app.state.db
    with db.read() as session:
        found = logins.find(session, secret)
    if found is None:
        return None
    now = now_ms()
    if now - found.login.last_seen_at > logins.TOUCH_MS:
        with db.write() as session:
            logins.touch(session, found.login.id_hash, now=now)
    return Viewer(found.user, found.labeler, found.login, csrf.token_for(found.login.form_secret))


async def _given_token(request: Request) -> str | None:
    """The token an unsafe request carries; None for safe methods."""
    if request.method in csrf.SAFE:
        return None
    if csrf.HEADER in request.headers:
        return request.headers[csrf.HEADER]
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        value = (await request.form()).get(csrf.FIELD)
        return value if isinstance(value, str) else ""
    return ""


async def posted_form(request: Request) -> FormData:
    """The fields of the posted form, for synchronous routes: ``form: Annotated[FormData, Depends(posted_form)]``."""
    return await request.form()


class Require:
    """A dependency that lets the named roles in and gives the route its :class:`Viewer`."""

    def __init__(self, roles: Sequence[str], *, labeling: bool) -> None:
        unknown = set(roles) - set(ROLES)
        assert roles, "a route needs at least one role; a page for everybody declares public"
        assert not unknown, f"unknown roles {unknown}"
        self.roles = frozenset(roles)
        self.labeling = labeling

    async def __call__(
        self, viewer: Annotated[Viewer | None, Depends(viewer_of)], given: Annotated[str | None, Depends(_given_token)]
    ) -> Viewer:
        """Refuse with 401, 403 or hand over the viewer."""
        if viewer is None:
            raise HTTPException(401, "Please log in.")
        if viewer.role not in self.roles:
            raise HTTPException(403, "Your account may not open this page.")
        if self.labeling and viewer.labeler is None:
            raise HTTPException(403, "Your account does not answer tasks.")
        if given is not None and not csrf.matches(viewer.form_token, given):
            raise HTTPException(403, "This form belongs to an earlier login. Reload the page and send it again.")
        return viewer


def require(*roles: str, labeling: bool = False) -> Require:
    """Declare who may open a route.

    Args:
        roles: of ``instructloop.feedback.schema.people.ROLES``.
        labeling: the account must also be a labeler (``viewer.labeler_id``).
    """
    return Require(roles, labeling=labeling)


async def public(
    request: Request, viewer: Annotated[Viewer | None, Depends(viewer_of)], given: Annotated[str | None, Depends(_given_token)]
) -> Visitor:
    """Declare a route open to everybody; its forms carry the login's token, or that of a visitor's cookie."""
    if viewer is not None:
        visitor = Visitor(viewer, viewer.form_token, None)
    else:
        secret = request.cookies.get(visitor_cookie_name(request), "")
        fresh = None if 20 <= len(secret) <= 100 else secrets.token_urlsafe(32)
        visitor = Visitor(None, csrf.token_for(request.app.state.project.key, f"visitor\0{fresh or secret}"), fresh)
    if given is not None and not csrf.matches(visitor.form_token, given):
        raise HTTPException(403, "This form is too old. Reload the page and send it again.")
    return visitor


def cookie_name(request: Request) -> str:
    """Name of the login cookie: of its own for each project, so that two servers on one machine do not log each other out."""
    return str(request.app.state.cookie)


def visitor_cookie_name(request: Request) -> str:
    """Name of the cookie that binds forms before logging in."""
    return f"{request.app.state.cookie}_visitor"


class Declared(dict[tuple[str, str], frozenset[str] | None]):
    """(method, path) -> roles, or None for public."""


def declared_roles(app: FastAPI) -> Declared:
    """What every route declares.

    Raises:
        AssertionError: a route declares nothing, or twice (deny by default).
    """
    found = Declared()
    for context in iter_route_contexts(app.routes):
        path = context.path or ""
        methods = sorted((context.methods or {"GET"}) - {"HEAD", "OPTIONS"})
        if getattr(context.original_route, "is_static", False):
            found[("GET", path)] = None
            continue
        dependant: Dependant | None = getattr(context, "dependant", None) or getattr(context.original_route, "dependant", None)
        calls = [call for call in _calls(dependant) if call is public or isinstance(call, Require)] if dependant else []
        assert calls, f"{methods} {path} does not declare who may open it: add Depends(require(...)) or Depends(public)"
        allowed: frozenset[str] | None = None
        for call in calls:
            if isinstance(call, Require):
                allowed = call.roles if allowed is None else allowed & call.roles
        for method in methods:
            assert (method, path) not in found, f"{method} {path} is declared twice; the second would never answer"
            found[(method, path)] = allowed
    return found


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for child in dependant.dependencies:
        if child.call is not None:
            yield child.call
        yield from _calls(child)
