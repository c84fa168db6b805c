"""``instructloop init``, ``instructloop label`` and ``instructloop users``: a project folder, its labeling server, its accounts."""

import webbrowser
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from instructloop.cli.arguments import parse
from instructloop.core.errors import DataError

if TYPE_CHECKING:
    from instructloop.feedback.database import Database
    from instructloop.feedback.project import Project

Folder = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class InitArguments:
    """Arguments of ``init``."""

    folder: Folder
    """A new or empty folder."""
    name: str = ""
    """Shown to labelers; the folder's name by default."""
    database: str = ""
    """postgresql://user@host/name; by default a SQLite file in the folder, good for about 20 labelers at a time."""


@dataclass(frozen=True)
class LabelArguments:
    """Arguments of ``label``."""

    folder: Folder
    """A project folder (instructloop init)."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond this machine only once there is an admin."""
    port: int = 8000
    """Port; 0 takes a free one."""
    open: bool = False
    """Open the page in a browser."""
    https: bool = False
    """A TLS proxy stands in front: Secure cookies with the __Host- prefix."""
    proxy: bool = False
    """Believe X-Forwarded-For of a proxy on this machine."""
    hosts: list[str] = field(default_factory=list)
    """Further host names to answer to, e.g. label.example.org."""
    workers: int = 1
    """Server processes; more than one needs PostgreSQL."""


@dataclass(frozen=True)
class InviteArguments:
    """Arguments of ``users invite``."""

    folder: Folder
    """A project folder."""
    email: str = ""
    """Binds the invitation to an address."""
    role: Literal["labeler", "adjudicator", "researcher", "admin", "viewer"] = "labeler"
    """What the person may do."""
    cohort: Literal["training", "heldout"] = "training"
    """Of a labeler: held-out labelers serve evaluation only (spec B3)."""


@dataclass(frozen=True)
class PasswordArguments:
    """Arguments of ``users password``."""

    folder: Folder
    """A project folder."""
    email: Annotated[str, tyro.conf.Positional]
    """The account's address."""


@dataclass(frozen=True)
class ListArguments:
    """Arguments of ``users list``."""

    folder: Folder
    """A project folder."""


def init(arguments: list[str], prog: str) -> None:
    """Make a project folder with its store."""
    given = parse(InitArguments, arguments, prog)
    from instructloop.feedback.founding import found

    project = found(given.folder, name=given.name, url=given.database)
    print(f"made {project.path}: {'a SQLite store' if not given.database else 'its store in PostgreSQL'}, a secret key, default guidelines")
    print(f"next: instructloop label {project.path}")


def label(arguments: list[str], prog: str) -> None:
    """Run the labeling server."""
    given = parse(LabelArguments, arguments, prog)
    from instructloop.feedback.project import Project
    from instructloop.labeling.serve import serve
    from instructloop.web.settings import ServerSettings

    settings = ServerSettings(host=given.host, port=given.port, https=given.https, proxy=given.proxy, hosts=tuple(given.hosts))

    def announce(address: str, setup: str | None, warnings: list[str]) -> None:
        for warning in warnings:
            print(f"warning: {warning}")
        if setup is not None:
            print(f"no admin yet; open this once, within 24 hours: {setup}")
        print(f"labeling at {address} (Ctrl+C stops)", flush=True)
        if given.open:
            webbrowser.open(setup or address)

    serve(Project.open(given.folder), settings, workers=given.workers, announce=announce)


def invite(arguments: list[str], prog: str) -> None:
    """Print an invitation link."""
    given = parse(InviteArguments, arguments, prog)
    from instructloop.feedback import audit, links

    db = _store(given.folder)[1]
    with db.write() as session:
        cohort = given.cohort if given.role == "labeler" else None
        token = links.make(session, "invite", role=given.role, cohort=cohort, email=given.email or None)
        audit.append(session, actor="cli", action="link.invite", object="link", detail={"role": given.role, "cohort": cohort})
    db.close()
    print(f"for one {given.role}, once, within 14 days; put the server's address before it:\n/invite/{token}")


def password(arguments: list[str], prog: str) -> None:
    """Print a link that sets a new password."""
    given = parse(PasswordArguments, arguments, prog)
    from instructloop.feedback import accounts, audit, links

    db = _store(given.folder)[1]
    with db.write() as session:
        user = accounts.user_by_email(session, given.email)
        if user is None:
            raise DataError(f"no account has the address {given.email}", hint=f"instructloop users list {given.folder}")
        token = links.make(session, "password", user_id=user.id)
        audit.append(session, actor="cli", action="link.password", object=f"user/{user.id}")
    db.close()
    print(f"for {given.email}, once, within 24 hours; put the server's address before it:\n/password/{token}")


def users(arguments: list[str], prog: str) -> None:
    """Print the accounts."""
    given = parse(ListArguments, arguments, prog)
    from instructloop.feedback import accounts

    db = _store(given.folder)[1]
    with db.read() as session:
        for line in accounts.listed(session):
            print(f"{line.email:<40} {line.role:<12} {line.status:<10} {line.code or '-':<6} {line.cohort or '-'}")
    db.close()


def _store(folder: Path) -> "tuple[Project, Database]":
    from instructloop.feedback import migrations
    from instructloop.feedback.project import Project

    project = Project.open(folder)
    db = project.database()
    migrations.require_current(db)
    return project, db
