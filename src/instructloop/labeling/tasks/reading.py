"""Beside the work: the guidelines, version by version, and the keys of the task pages."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from instructloop.core.errors import DataError
from instructloop.feedback import guidelines, preferences
from instructloop.feedback.database import Database
from instructloop.feedback.refusals import UnknownTaskError
from instructloop.labeling.tasks.view import COMMAND_NAMES, changes
from instructloop.web.pages import render, see_other, wants_json
from instructloop.web.roles import EVERYBODY, WORKERS, Viewer, posted_form, require

router = APIRouter()
Worker = Annotated[Viewer, Depends(require(*WORKERS, labeling=True))]


@router.get("/guidelines/{name}/{version}")
def show_guideline(
    request: Request, viewer: Annotated[Viewer, Depends(require(*EVERYBODY))], name: str, version: Annotated[int, Path(ge=1, le=1_000_000)]
) -> Response:
    """One version of the guidelines, with what changed since the viewer read them last."""
    db: Database = request.app.state.db
    known = {row.version: row for row in guidelines.versions(db, name)}
    if version not in known:
        raise UnknownTaskError.of("guideline", f"{name}, version {version}")
    guideline = known[version]
    seen = preferences.seen_guideline(viewer.labeler, name) if viewer.labeler is not None else None
    before = known.get(seen if seen is not None and seen < version else version - 1)
    if viewer.labeler is not None and seen != version:
        preferences.note_guideline(db, viewer.labeler_id, name, version)
    layout = "tasks/bare.html" if wants_json(request) else "base.html"
    page = render(
        request,
        "tasks/guideline.html",
        viewer,
        layout=layout,
        guideline=guideline,
        versions=sorted(known),
        before=before,
        changed=changes(before.body, guideline.body) if before is not None else [],
        unread=seen is not None and seen != version,
    )
    return JSONResponse({"main": bytes(page.body).decode()}) if wants_json(request) else page


@router.get("/work/keys")
def show_keys(request: Request, viewer: Worker, done: str = "") -> Response:
    """The keys of the task pages."""
    assert viewer.labeler is not None
    return _keys(request, viewer, preferences.keys_of(viewer.labeler), done=done == "yes")


@router.post("/work/keys")
def change_keys(request: Request, viewer: Worker, form: Annotated[FormData, Depends(posted_form)]) -> Response:
    """Give commands other keys, or the usual ones again."""
    given = {command: str(form.get(f"key.{command}", "")) for command in preferences.KEYS}
    wanted = preferences.KEYS if "reset" in form else {command: key.strip().lower() for command, key in given.items()}
    try:
        preferences.save_keys(request.app.state.db, viewer.labeler_id, wanted)
    except DataError as error:
        return _keys(request, viewer, given, problem=error, status=422)
    return see_other("/work/keys?done=yes")


def _keys(
    request: Request, viewer: Viewer, keys: dict[str, str], *, done: bool = False, problem: DataError | None = None, status: int = 200
) -> Response:
    name = problem.message.partition(":")[0] if problem is not None else ""
    text = f"{problem.message.partition(': ')[2]}; {problem.hint}" if problem is not None else ""
    return render(
        request,
        "tasks/keys.html",
        viewer,
        status=status,
        commands=[(command, COMMAND_NAMES[command], key[:8]) for command, key in keys.items()],
        done=done,
        wrong=name,
        problem=text,
        single_keys=preferences.of(viewer.labeler).single_keys if viewer.labeler is not None else True,
    )
