"""What left the project, and the book of who did what."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback import audit, browse, snapshots
from instructloop.feedback.exchange.selection import Selection
from instructloop.feedback.project import Project
from instructloop.labeling.admin.rooms import Form, Staff, database, said, show
from instructloop.web.errors import Refused
from instructloop.web.limits import limited
from instructloop.web.pages import see_other
from instructloop.web.roles import Viewer

router = APIRouter()


@router.get("/admin/exports")
def exports(request: Request, viewer: Staff, before: str = "") -> Response:
    """Snapshots on disk, and everything that ever left."""
    return _page(request, viewer, before=before)


def _page(request: Request, viewer: Viewer, *, before: str = "", problem: str = "", status: int = 200) -> Response:
    project: Project = request.app.state.project
    found = browse.exports(database(request), before=before, limit=browse.PAGE + 1)
    return show(
        request,
        "exports.html",
        viewer,
        status=status,
        problem=problem,
        snapshots=list(reversed(snapshots.snapshots(project))),
        exports=found[: browse.PAGE],
        more=found[browse.PAGE - 1].id if len(found) > browse.PAGE else "",
        names=browse.actor_names(database(request)),
    )


@router.post("/admin/exports", dependencies=[Depends(limited("export"))])
def make_snapshot(request: Request, viewer: Staff, form: Form) -> Response:
    """Write a snapshot: the only way out to training. Equal content is one snapshot."""
    purpose = str(form.get("purpose", "training"))
    try:
        if purpose not in {"training", "evaluation"}:
            raise DataError(f"purpose: {purpose!r} cannot be exported here", hint="training or evaluation; a full copy is a command")
        made = snapshots.make_snapshot(
            request.app.state.project,
            database(request),
            selection=Selection(purpose=purpose, include_gold=False),  # type: ignore[arg-type]
            actor=viewer.user.id,
        )
    except (ConfigError, DataError) as error:
        return _page(request, viewer, problem=said(DataError(error.message, hint=error.hint)), status=422)
    return see_other(f"/admin/exports?done={made.name}")


@router.get("/admin/exports/{name}/manifest")
def manifest(request: Request, viewer: Staff, name: str) -> Response:
    """The manifest of a snapshot."""
    del viewer
    found = _snapshot(request, name)
    return JSONResponse(dict(found.manifest), headers={"content-disposition": f'inline; filename="{found.name}-manifest.json"'})


@router.get("/admin/exports/{name}")
def card(request: Request, viewer: Staff, name: str) -> Response:
    """The data card of a snapshot, its counts, and whether every byte is in place."""
    found = _snapshot(request, name)
    file = found.path / snapshots.CARD
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return show(request, "export.html", viewer, snapshot=found, card=text, problems=snapshots.check_snapshot(found))


def _snapshot(request: Request, name: str) -> snapshots.Snapshot:
    found = next((one for one in snapshots.snapshots(request.app.state.project) if one.name == name), None)
    if found is None:
        raise Refused(404, "There is no such snapshot.")
    return found


@router.get("/admin/audit")
def audit_log(request: Request, viewer: Staff, before: int | None = None, action: str = "") -> Response:
    """The audit log, newest first."""
    found = browse.audit_lines(database(request), before=before, action=action, limit=browse.PAGE + 1)
    return show(
        request,
        "audit.html",
        viewer,
        lines=found[: browse.PAGE],
        more=found[browse.PAGE - 1].seq if len(found) > browse.PAGE else None,
        action=action,
        names=browse.actor_names(database(request)),
        broken=None,
        head=audit.head(database(request)),
    )


@router.get("/admin/audit/verify")
def verify(request: Request, viewer: Staff) -> Response:
    """Walk the whole chain of hashes."""
    db = database(request)
    return show(
        request,
        "audit.html",
        viewer,
        lines=browse.audit_lines(db),
        more=None,
        action="",
        names=browse.actor_names(db),
        broken=audit.verify(db),
        head=audit.head(db),
    )
