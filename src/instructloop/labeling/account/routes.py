"""Pages of logging in and of one's own account; what they do is in ``accounts``, ``links`` and ``logins`` of the store."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from instructloop.core.errors import DataError
from instructloop.feedback import accounts, audit, links, logins, preferences
from instructloop.feedback.database import Database
from instructloop.feedback.schema import Login, User
from instructloop.web import limits
from instructloop.web.errors import Refused
from instructloop.web.pages import render, see_other, set_cookie
from instructloop.web.passwords import Passwords, check_strength
from instructloop.web.roles import EVERYBODY, WORKERS, Viewer, Visitor, cookie_name, posted_form, public, require

router = APIRouter()
Anyone = Annotated[Visitor, Depends(public)]
Member = Annotated[Viewer, Depends(require(*EVERYBODY))]
Text = Annotated[str, Form(max_length=4000)]
_OWN_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x1f]*")


@router.get("/health")
def health(visitor: Anyone) -> Response:
    """For supervisors and proxies: the process answers."""
    del visitor
    return PlainTextResponse("ok\n")


@router.get("/")
def start(viewer: Member) -> Response:
    """The page a role works on."""
    return see_other("/home" if viewer.role in {"labeler", "adjudicator"} else "/admin")


@router.get("/login")
def login_page(request: Request, visitor: Anyone, next: str = "/") -> Response:  # noqa: A002 - the name in the address
    """The form."""
    if visitor.viewer is not None:
        return see_other(_own(next))
    return render(request, "login.html", visitor, next=_own(next), problem="", email="")


@router.post("/login")
async def log_in(request: Request, visitor: Anyone, email: Text = "", password: Text = "", next: Text = "/") -> Response:  # noqa: A002
    """Check the password (the same work for an unknown account) and begin a fresh login."""
    where = limits.address(request)
    await run_in_threadpool(limits.spend, request, "login_address", where)
    await run_in_threadpool(limits.spend, request, "login_account", email.strip().lower())
    db: Database = request.app.state.db
    passwords: Passwords = request.app.state.passwords
    user = await run_in_threadpool(_active_user, db, email)
    if not await passwords.verify(user.password_hash if user is not None else None, password) or user is None:
        await run_in_threadpool(_note_failure, db, user, where)
        problem = "Address and password do not belong together."
        return render(request, "login.html", visitor, status=401, next=_own(next), problem=problem, email=email[:200])
    fresh = await passwords.hash(password) if user.password_hash and passwords.outdated(user.password_hash) else None
    secret = await run_in_threadpool(_begin, db, user, visitor.viewer, fresh, where)
    await run_in_threadpool(limits.forgive, request, "login_account", email.strip().lower())
    return _with_login(request, see_other(_own(next)), secret)


@router.post("/logout")
def log_out(request: Request, viewer: Member) -> Response:
    """End this login here and on the server."""
    with request.app.state.db.write() as session:
        logins.revoke(session, viewer.login.id_hash)
        audit.append(session, actor=viewer.user.id, action="logout", object=f"user/{viewer.user.id}")
    response = see_other("/login")
    response.delete_cookie(cookie_name(request), path="/", secure=request.app.state.settings.https, httponly=True, samesite="lax")
    response.headers["clear-site-data"] = '"cache"'
    return response


@router.get("/setup")
def setup_hint(request: Request, visitor: Anyone) -> Response:
    """Where every page leads before there is an admin."""
    if request.app.state.has_admin:
        return see_other("/")
    return render(request, "account/setup_hint.html", visitor)


@router.get("/setup/{token}")
def setup_page(request: Request, visitor: Anyone, token: str) -> Response:
    """The form for the first admin."""
    return _link_page(request, visitor, "setup", token)


@router.post("/setup/{token}")
async def set_up(
    request: Request, visitor: Anyone, token: str, email: Text = "", name: Text = "", password: Text = "", repeat: Text = ""
) -> Response:
    """Make the first admin."""
    return await _join(request, visitor, "setup", token, email, name, password, repeat)


@router.get("/invite/{token}")
def invite_page(request: Request, visitor: Anyone, token: str) -> Response:
    """The form for an invited person."""
    return _link_page(request, visitor, "invite", token)


@router.post("/invite/{token}")
async def accept_invite(
    request: Request, visitor: Anyone, token: str, email: Text = "", name: Text = "", password: Text = "", repeat: Text = ""
) -> Response:
    """Make the account."""
    return await _join(request, visitor, "invite", token, email, name, password, repeat)


@router.get("/password/{token}")
def password_page(request: Request, visitor: Anyone, token: str) -> Response:
    """The form for a lost password."""
    return _link_page(request, visitor, "password", token)


@router.post("/password/{token}")
async def renew_password(request: Request, visitor: Anyone, token: str, password: Text = "", repeat: Text = "") -> Response:
    """Set a new password by a link; every login of the account ends."""
    db: Database = request.app.state.db
    link = await run_in_threadpool(_open_link, request, "password", token)
    problem = _problem_with(password, repeat, request.app.state.project.name)
    if problem or link.user_id is None:
        return render(request, "account/join.html", visitor, status=422, link=link, token=token, problem=problem, email="", name="")
    hashed = await request.app.state.passwords.hash(password)

    def change(user_id: str) -> str:
        with db.write() as session:
            links.use(session, link.id, user_id)
            accounts.set_password(session, user_id, hashed, actor=user_id)
            return logins.start(session, user_id)[0]

    return _with_login(request, see_other("/"), await run_in_threadpool(change, link.user_id))


@router.get("/account")
def account_page(request: Request, viewer: Member, done: str = "") -> HTMLResponse:
    """One's own account."""
    return _account(request, viewer, done=done)


@router.post("/account/name")
def change_name(request: Request, viewer: Member, name: Text = "") -> Response:
    """How one wants to be called."""
    with request.app.state.db.write() as session:
        accounts.rename(session, viewer.user.id, name)
    return see_other("/account?done=name")


@router.post("/account/password")
async def change_password(request: Request, viewer: Member, current: Text = "", password: Text = "", repeat: Text = "") -> Response:
    """Another password: all logins end, this browser gets a fresh one."""
    passwords: Passwords = request.app.state.passwords
    await run_in_threadpool(limits.spend, request, "login_account", viewer.user.email)
    if not await passwords.verify(viewer.user.password_hash, current):
        return await run_in_threadpool(_account, request, viewer, problem="The current password is not right.", status=422)
    problem = _problem_with(password, repeat, viewer.user.email, viewer.user.name, request.app.state.project.name)
    if problem:
        return await run_in_threadpool(_account, request, viewer, problem=problem, status=422)
    hashed = await passwords.hash(password)

    def change() -> str:
        with request.app.state.db.write() as session:
            accounts.set_password(session, viewer.user.id, hashed, actor=viewer.user.id)
            return logins.start(session, viewer.user.id)[0]

    return _with_login(request, see_other("/account?done=password"), await run_in_threadpool(change))


@router.post("/account/logins")
def end_other_logins(request: Request, viewer: Member) -> Response:
    """Log out everywhere else."""
    with request.app.state.db.write() as session:
        for login in logins.living(session, viewer.user.id):
            if login.id_hash != viewer.login.id_hash:
                logins.revoke(session, login.id_hash)
        audit.append(session, actor=viewer.user.id, action="logout.others", object=f"user/{viewer.user.id}")
    return see_other("/account?done=logins")


@router.post("/account/preferences")
def change_preferences(
    request: Request,
    viewer: Annotated[Viewer, Depends(require(*WORKERS, labeling=True))],
    form: Annotated[FormData, Depends(posted_form)],
) -> Response:
    """Welfare options and keys."""
    wanted = preferences.Preferences(
        blur="blur" in form,
        opt_out=tuple(str(value) for value in form.getlist("opt_out")),
        single_keys="single_keys" in form,
    )
    preferences.save(request.app.state.db, viewer.labeler_id, wanted)
    return see_other("/account?done=preferences")


def _account(request: Request, viewer: Viewer, *, done: str = "", problem: str = "", status: int = 200) -> HTMLResponse:
    with request.app.state.db.read() as session:
        open_logins: list[Login] = logins.living(session, viewer.user.id)
    return render(
        request,
        "account/account.html",
        viewer,
        status=status,
        done=done,
        problem=problem,
        logins=open_logins,
        preferences=preferences.of(viewer.labeler) if viewer.labeler is not None else None,
        categories=preferences.CATEGORIES,
    )


def _open_link(request: Request, kind: str, token: str) -> links.LinkView:
    limits.spend(request, "link_address", limits.address(request))
    with request.app.state.db.read() as session:
        link = links.look(session, kind, token[:100])
    if link is None:
        raise Refused(404, "This link was never given out. It may have lost a part on its way.")
    if link.spent:
        raise Refused(410, "This link has been used or has run out.", remedy="" if kind == "setup" else None)
    return link


def _link_page(request: Request, visitor: Visitor, kind: str, token: str) -> Response:
    link = _open_link(request, kind, token)
    return render(request, "account/join.html", visitor, link=link, token=token, problem="", email=link.email or "", name="")


async def _join(request: Request, visitor: Visitor, kind: str, token: str, email: str, name: str, password: str, repeat: str) -> Response:
    link = await run_in_threadpool(_open_link, request, kind, token)
    problem = _problem_with(password, repeat, email, name, request.app.state.project.name)
    if not problem:
        hashed = await request.app.state.passwords.hash(password)

        def join() -> str:
            with request.app.state.db.write() as session:
                user = links.accept(session, link, email=email, name=name, password_hash=hashed)
                if visitor.viewer is not None:
                    logins.revoke(session, visitor.viewer.login.id_hash)
                return logins.start(session, user.id)[0]

        try:
            secret = await run_in_threadpool(join)
        except DataError as error:
            problem = f"{error.message}: {error.hint}"
        else:
            request.app.state.has_admin = request.app.state.has_admin or kind == "setup"
            return _with_login(request, see_other("/"), secret)
    return render(request, "account/join.html", visitor, status=422, link=link, token=token, problem=problem, email=email, name=name)


def _problem_with(password: str, repeat: str, *about: str) -> str:
    if password != repeat:
        return "The two passwords differ."
    try:
        check_strength(password, *about)
    except DataError as error:
        return f"{error.message[0].upper()}{error.message[1:]}: {error.hint}."
    return ""


def _active_user(db: Database, email: str) -> User | None:
    with db.read() as session:
        user = accounts.user_by_email(session, email[:200])
        if user is None or user.status != "active":
            return None
        session.expunge(user)
        return user


def _note_failure(db: Database, user: User | None, where: str) -> None:
    with db.write() as session:
        audit.append(session, actor="visitor", action="login.failed", object=f"user/{user.id if user else 'unknown'}", ip=where)


def _begin(db: Database, user: User, before: Viewer | None, fresh_hash: str | None, where: str) -> str:
    with db.write() as session:
        if fresh_hash is not None:
            accounts.set_password(session, user.id, fresh_hash, actor=user.id, rehash=True)
        if before is not None:
            logins.revoke(session, before.login.id_hash)
        logins.forget_ended(session)
        secret, _ = logins.start(session, user.id)
        accounts.ensure_labeler(session, user)
        audit.append(session, actor=user.id, action="login", object=f"user/{user.id}", ip=where)
    return secret


def _with_login(request: Request, response: RedirectResponse, secret: str) -> RedirectResponse:
    set_cookie(request, response, cookie_name(request), secret, max_age=logins.LONGEST_MS // 1000)
    return response


def _own(address: str) -> str:
    """A path of this server, or the start: nobody is led away by a link to the login page."""
    return address if len(address) < 2000 and _OWN_PATH.fullmatch(address) else "/"
