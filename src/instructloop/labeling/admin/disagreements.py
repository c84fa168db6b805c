"""Disagreements and decisions: answers side by side, nameless."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from instructloop.core.errors import DataError
from instructloop.core.records import prompt_text
from instructloop.feedback import adjudication
from instructloop.feedback.refusals import UnknownTaskError
from instructloop.labeling.admin.rooms import Decider, Form, database, said, show
from instructloop.labeling.tasks.columns import told
from instructloop.web.pages import see_other
from instructloop.web.roles import Viewer

router = APIRouter()
PAGE = 50


@router.get("/admin/disagreements")
def disagreements(request: Request, viewer: Decider, decided: str = "", after: str = "") -> Response:
    """Tasks whose answers lie furthest apart."""
    found = adjudication.disagreements(database(request), decided=decided == "yes")
    start = next((place + 1 for place, one in enumerate(found) if one.task_id == after), 0)
    shown = found[start : start + PAGE]
    more = shown[-1].task_id if len(found) > start + PAGE else ""
    return show(request, "disagreements.html", viewer, found=shown, total=len(found), decided=decided, more=more)


@router.get("/admin/disagreements/{task_id}")
def one(request: Request, viewer: Decider, task_id: str) -> Response:
    """One task with all its answers."""
    return _page(request, viewer, task_id)


def _page(request: Request, viewer: Viewer, task_id: str, *, problem: str = "", status: int = 200) -> Response:
    found = adjudication.case(database(request), task_id)
    letters = {slot: str(slot + 1) for slot in range(len(found.completions))}
    return show(
        request,
        "case.html",
        viewer,
        status=status,
        problem=problem,
        case=found,
        prompt=prompt_text(found.prompt),
        lines={column.letter: told(column.answer, letters) for column in found.columns},
        taxonomy=adjudication.TAXONOMY_TEXT,
    )


@router.post("/admin/disagreements/{task_id}")
def decide(request: Request, viewer: Decider, task_id: str, form: Form) -> Response:
    """Keep a decision and go on to the list."""
    db = database(request)
    letter = str(form.get("decision", ""))
    try:
        found = adjudication.case(db, task_id)
        chosen = next((column.submission_id for column in found.columns if column.letter == letter), None)
        if chosen is None and letter != "none":
            raise DataError("decision: has no answer", hint="choose the answer that holds, or none")
        adjudication.decide(
            db,
            task_id,
            by=viewer.labeler_id,
            actor=viewer.user.id,
            decision=chosen,
            taxonomy=str(form.get("taxonomy", "")),
            note=str(form.get("note", "")),
        )
    except UnknownTaskError:
        raise
    except DataError as error:
        return _page(request, viewer, task_id, problem=said(error), status=422)
    return see_other("/admin/disagreements?done=decided")
