"""Accounts: invitations, roles, suspension, new passwords. Links are shown once and kept nowhere."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from instructloop.core.errors import DataError
from instructloop.feedback import accounts, links
from instructloop.feedback.schema.people import ROLES
from instructloop.labeling.admin.rooms import Admin, Form, database, said, show
from instructloop.web.pages import see_other
from instructloop.web.roles import Viewer

router = APIRouter()


@router.get("/admin/users")
def users(request: Request, viewer: Admin) -> Response:
    """Everybody who may log in, and open invitations."""
    return _page(request, viewer)


def _page(request: Request, viewer: Viewer, *, problem: str = "", link: str = "", link_for: str = "", status: int = 200) -> Response:
    with database(request).read() as session:
        found = accounts.listed(session)
        waiting = links.open_invitations(session)
    return show(
        request,
        "users.html",
        viewer,
        status=status,
        problem=problem,
        accounts=found,
        invitations=waiting,
        roles=ROLES,
        link=f"{str(request.base_url).rstrip('/')}{link}" if link else "",
        link_for=link_for,
    )


@router.post("/admin/users/invite")
def invite(request: Request, viewer: Admin, form: Form) -> Response:
    """Make an invitation; its link is on the answer, once."""
    role = str(form.get("role", ""))
    email = str(form.get("email", "")).strip()
    cohort = str(form.get("cohort", "training")) if role == "labeler" else None
    try:
        if role not in ROLES:
            raise DataError(f"role: {role!r} is not known", hint=f"one of {', '.join(ROLES)}")
        if cohort not in {None, "training", "heldout"}:
            raise DataError(f"cohort: {cohort!r} cannot be invited", hint="training or heldout")
        with database(request).write() as session:
            token = links.make(
                session, "invite", role=role, cohort=cohort, email=accounts.normal_email(email) if email else None, by=viewer.user.id
            )
    except DataError as error:
        return _page(request, viewer, problem=said(error), status=422)
    return _page(request, viewer, link=f"/invite/{token}", link_for=email or f"a new {role}")


@router.post("/admin/users/invitations/{link_id}")
def withdraw(request: Request, viewer: Admin, link_id: str) -> Response:
    """Make an open invitation useless."""
    with database(request).write() as session:
        links.withdraw(session, link_id, by=viewer.user.id)
    return see_other("/admin/users?done=withdrawn")


@router.post("/admin/users/{user_id}/role")
def change_role(request: Request, viewer: Admin, user_id: str, form: Form) -> Response:
    """Change what an account may do."""
    return _change(request, viewer, lambda session: accounts.set_role(session, user_id, str(form.get("role", "")), actor=viewer.user.id))


@router.post("/admin/users/{user_id}/status")
def change_status(request: Request, viewer: Admin, user_id: str, form: Form) -> Response:
    """Suspend an account or let it in again."""
    status = str(form.get("status", ""))
    if status not in {"active", "suspended"}:
        return _page(request, viewer, problem="An account is active or suspended; erasing is a command of its own.", status=422)
    return _change(request, viewer, lambda session: accounts.set_status(session, user_id, status, actor=viewer.user.id))


def _change(request: Request, viewer: Viewer, work: object) -> Response:
    try:
        with database(request).write() as session:
            work(session)  # type: ignore[operator]
    except DataError as error:
        return _page(request, viewer, problem=said(error), status=422)
    return see_other("/admin/users?done=kept")


@router.post("/admin/users/{user_id}/password")
def password_link(request: Request, viewer: Admin, user_id: str) -> Response:
    """A link with which somebody sets a new password."""
    try:
        with database(request).write() as session:
            found = next((one for one in accounts.listed(session) if one.id == user_id), None)
            if found is None:
                raise DataError("there is no such account", hint="reload the page")
            token = links.make(session, "password", user_id=user_id, by=viewer.user.id)
    except DataError as error:
        return _page(request, viewer, problem=said(error), status=422)
    return _page(request, viewer, link=f"/password/{token}", link_for=found.email)
