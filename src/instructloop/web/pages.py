"""Rendering: templates with autoescape, addresses of static files that change with their content, the navigation."""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from instructloop import __version__
from instructloop.web import charts, markdown, times
from instructloop.web.roles import Viewer, Visitor, visitor_cookie_name

WEB = Path(__file__).parent
IMMUTABLE = "public, max-age=31536000, immutable"


class NavItem(NamedTuple):
    """A link of the header."""

    href: str
    label: str
    roles: frozenset[str]


class Room(NamedTuple):
    """A folder of static files and its version: modules import each other by relative address and so share it."""

    folder: Path
    version: str


class Pages:
    """The templates and static files of an application."""

    def __init__(self, folders: Sequence[Path], static: Mapping[str, Path]) -> None:
        """Take templates from ``folders`` in order (ours last), static files from named ``static`` rooms."""
        self.rooms = {name: Room(folder, _version(folder)) for name, folder in {"web": WEB / "static", **static}.items()}
        self.environment = Environment(
            loader=FileSystemLoader([*folders, WEB / "templates"]),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals.update(static=self.static, charts=charts, version=__version__)
        self.environment.filters.update(markdown=markdown.safe_html, visible=markdown.visible, model_markdown=markdown.model_html)
        self.environment.filters.update(moment=times.moment, span=times.span, pairs=_pairs)

    def static(self, name: str) -> str:
        """The address of a static file, ``web/base.css``: it changes with the room's content, so it may be kept for a year.

        Raises:
            FileNotFoundError: there is no such file (a slip in a template must not wait for a browser to find it).
        """
        room, _, rest = name.partition("/")
        if not (self.rooms[room].folder / rest).is_file():
            raise FileNotFoundError(f"no static file {name}")
        return f"/static/{room}/{self.rooms[room].version}/{rest}"

    def html(self, template: str, **context: Any) -> str:
        """A template's text."""
        return self.environment.get_template(template).render(**context)

    def routes(self) -> list[Route]:
        """The routes of the static files."""
        routes = []
        for name, room in self.rooms.items():
            route = Route(f"/static/{name}/{{version}}/{{path:path}}", _server(room), methods=["GET"], name=f"static-{name}")
            route.is_static = True  # type: ignore[attr-defined]
            routes.append(route)
        return routes


def render(
    request: Request,
    template: str,
    who: Viewer | Visitor | None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """A page.

    Args:
        request: the request it answers.
        template: its name within the application's template folders.
        who: from ``require(...)`` or ``public``; decides navigation and the token of forms.
        status: HTTP status.
        headers: further headers.
        context: what the template needs besides ``viewer``, ``project_name``, ``csrf_token``, ``nav`` and ``path``.
    """
    viewer = who.viewer if isinstance(who, Visitor) else who
    pages: Pages = request.app.state.pages
    text = pages.html(
        template,
        **{
            "viewer": viewer,
            "project_name": request.app.state.project.name,
            "csrf_token": who.form_token if who is not None else "",
            "nav": [item for item in request.app.state.nav if viewer is not None and viewer.role in item.roles],
            "path": request.url.path,
            "page_lang": "en",
            **context,
        },
    )
    response = HTMLResponse(text, status, headers)
    if isinstance(who, Visitor) and who.fresh_secret is not None:
        set_cookie(request, response, visitor_cookie_name(request), who.fresh_secret, max_age=24 * 3600)
    return response


def see_other(url: str) -> RedirectResponse:
    """After a form: go on to a page of ours with GET (303)."""
    assert url.startswith("/"), "redirects stay on this server"
    assert not url.startswith("//"), "redirects stay on this server"
    return RedirectResponse(url, 303)


def wants_json(request: Request) -> bool:
    """Whether the request comes from a module of ours and not from a navigation."""
    return "application/json" in request.headers.get("accept", "")


def set_cookie(request: Request, response: Response, name: str, value: str, *, max_age: int) -> None:
    """A cookie that scripts cannot read and other sites do not send."""
    response.set_cookie(name, value, max_age=max_age, path="/", httponly=True, samesite="lax", secure=request.app.state.settings.https)


def install(app: FastAPI, pages: Pages, nav: Sequence[NavItem]) -> None:
    """Give an application its pages; navigation items whose route does not exist are left out."""
    app.state.pages = pages
    app.router.routes.extend(pages.routes())
    app.state.nav = list(nav)


def _version(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _server(room: Room) -> Any:
    """Static files, compressed once at the start. Pages themselves are not: their size must not betray what a form token is like."""
    files = {file.relative_to(room.folder).as_posix(): file for file in room.folder.rglob("*") if file.is_file()}
    packed = {name: gzip.compress(file.read_bytes(), mtime=0) for name, file in files.items() if file.suffix in {".css", ".js", ".svg"}}

    async def serve(request: Request) -> Response:
        file = files.get(request.path_params["path"])  # only what was there at the start: no path leaves the folder
        if file is None:
            return Response(status_code=404)
        fresh = request.path_params["version"] == room.version
        kind = "text/javascript" if file.suffix in {".js", ".mjs"} else mimetypes.guess_type(file.name)[0]
        headers = {"cache-control": IMMUTABLE if fresh else "no-cache"}
        small = packed.get(request.path_params["path"])
        if small is None:
            return FileResponse(file, headers=headers, media_type=kind)
        headers["vary"] = "Accept-Encoding"
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return FileResponse(file, headers=headers, media_type=kind)
        return Response(small, headers={**headers, "content-encoding": "gzip"}, media_type=kind)

    return serve


def _pairs(values: Sequence[str]) -> list[tuple[str, str]]:
    """Options of a select whose values are their own names."""
    return [(value, value.replace("_", " ")) for value in values]
