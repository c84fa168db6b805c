"""A labeler's thread with the research team."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from instructloop.core.errors import DataError
from instructloop.feedback import messages
from instructloop.feedback.database import Database
from instructloop.web.limits import limited
from instructloop.web.pages import render, see_other
from instructloop.web.roles import WORKERS, Viewer, posted_form, require

router = APIRouter()
Worker = Annotated[Viewer, Depends(require(*WORKERS, labeling=True))]
PAGE = 30


@router.get("/messages")
def show_thread(request: Request, viewer: Worker, before: str = "") -> Response:
    """The thread, newest first; opening it marks the team's messages as read."""
    db: Database = request.app.state.db
    found = messages.thread(db, viewer.labeler_id, before=before or None, limit=PAGE + 1)
    messages.mark_read(db, viewer.labeler_id, by_labeler=True)
    return render(
        request,
        "people/messages.html",
        viewer,
        messages=found[:PAGE],
        more=found[PAGE - 1].id if len(found) > PAGE else "",
        problem="",
        body="",
    )


@router.post("/messages", dependencies=[Depends(limited("message"))])
def send_message(request: Request, viewer: Worker, form: Annotated[FormData, Depends(posted_form)]) -> Response:
    """Write to the team."""
    db: Database = request.app.state.db
    body = str(form.get("body", ""))
    try:
        messages.send(db, viewer.labeler_id, author=viewer.user.id, body=body)
    except DataError as error:
        found = messages.thread(db, viewer.labeler_id, limit=PAGE)
        return render(
            request,
            "people/messages.html",
            viewer,
            status=422,
            messages=found,
            more="",
            problem=f"{error.message}: {error.hint}",
            body=body,
        )
    return see_other("/messages")
