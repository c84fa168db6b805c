"""Running the labeling app: one process for SQLite, several for PostgreSQL; stops gracefully."""

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from instructloop.core.errors import ConfigError
from instructloop.feedback import accounts, migrations
from instructloop.feedback.project import Project
from instructloop.labeling.app import create_app, setup_path
from instructloop.web.settings import Limit, ServerSettings, check_exposure

GRACE_SECONDS: Final = 10
"""How long running requests may take to end after the signal to stop."""
_VARIABLE = "INSTRUCTLOOP_LABEL_SETTINGS"


def serve(project: Project, settings: ServerSettings, *, workers: int = 1, announce: Callable[[str, str | None, list[str]], None]) -> None:
    """Serve until interrupted.

    Args:
        project: an opened project whose store is at the newest revision.
        settings: where to listen, what to trust.
        workers: server processes; more than one needs PostgreSQL.
        announce: called once, when the port is bound, with the address, the one-time set-up address (None once there is
            an admin) and warnings.

    Raises:
        ConfigError: an unsafe or impossible combination, a taken port, a store that needs a migration.
    """
    db = project.database()
    try:
        migrations.require_current(db)
        with db.read() as session:
            has_admin = accounts.has_admin(session)
        if workers > 1 and db.dialect != "postgresql":
            raise ConfigError(
                f"{workers} server processes need PostgreSQL",
                hint="leave --workers out, or make the project with --database postgresql://...",
            )
    finally:
        db.close()
    warnings = check_exposure(settings, has_admin=has_admin, has_key=bool(project.key))
    with _bound(settings) as sock:
        settings = replace(settings, port=sock.getsockname()[1])
        address = f"{'https' if settings.https else 'http'}://{_shown_host(settings)}:{settings.port}"
        path = setup_path(project)
        announce(address, address + path if path else None, warnings)
        if workers == 1:
            uvicorn.Server(uvicorn.Config(create_app(project, settings=settings), **_options(settings))).run(sockets=[sock])
    if workers > 1:  # uvicorn binds the port itself and hands it to its processes
        with _environment(project, settings):
            uvicorn.run("instructloop.labeling.serve:from_environment", factory=True, workers=workers, **_options(settings))


def from_environment() -> FastAPI:
    """The application in a further server process."""
    given = json.loads(os.environ[_VARIABLE])
    settings = given["settings"]
    limits = {name: Limit(**limit) for name, limit in settings.pop("limits").items()}
    hosts = tuple(settings.pop("hosts"))
    return create_app(Project.open(given["project"]), settings=ServerSettings(limits=limits, hosts=hosts, **settings))


def _options(settings: ServerSettings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "log_level": "warning",
        "access_log": False,  # addresses of pages hold one-time tokens
        "server_header": False,
        "proxy_headers": settings.proxy,
        "forwarded_allow_ips": "127.0.0.1,::1" if settings.proxy else "",
        "timeout_graceful_shutdown": GRACE_SECONDS,
        "timeout_keep_alive": 30,
        "limit_concurrency": 1000,
        "ws": "none",
        "lifespan": "on",
    }


@contextlib.contextmanager
def _bound(settings: ServerSettings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host.strip("[]"), settings.port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}", hint="give another --port, or 0 for a free one"
            ) from error
        sock.set_inheritable(True)
        yield sock


@contextlib.contextmanager
def _environment(project: Project, settings: ServerSettings) -> Iterator[None]:
    os.environ[_VARIABLE] = json.dumps({"project": str(project.path), "settings": asdict(settings)})
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


def _shown_host(settings: ServerSettings) -> str:
    if settings.hosts:
        return settings.hosts[0]
    if settings.host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "localhost"
    return f"[{settings.host}]" if ":" in settings.host else settings.host
