"""Voluntary surveys. The answer is kept without any trace of who gave it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from instructloop.feedback import surveys
from instructloop.feedback.database import Database
from instructloop.web.errors import Refused
from instructloop.web.pages import render, see_other
from instructloop.web.roles import WORKERS, Viewer, posted_form, require

router = APIRouter()
Worker = Annotated[Viewer, Depends(require(*WORKERS, labeling=True))]


def _known(kind: str) -> str:
    if kind not in surveys.SURVEYS:
        raise Refused(404, "There is no such survey.")
    return kind


@router.get("/surveys/{kind}")
def show_survey(request: Request, viewer: Worker, kind: str) -> Response:
    """The questions, or thanks where they were answered or declined before."""
    closed = surveys.offered(request.app.state.db, viewer.labeler_id, _known(kind))
    return render(
        request, "people/survey.html", viewer, kind=kind, questions=surveys.SURVEYS[kind], closed=closed, least=surveys.SHOWN_FROM
    )


@router.post("/surveys/{kind}")
def answer_survey(request: Request, viewer: Worker, kind: str, form: Annotated[FormData, Depends(posted_form)]) -> Response:
    """Keep the answers, if any: in a transaction of its own, apart from the note that the survey was offered."""
    db: Database = request.app.state.db
    answers = {question.key: [str(value) for value in form.getlist(question.key)] for question in surveys.SURVEYS[_known(kind)]}
    if surveys.close_offer(db, viewer.labeler_id, kind) and form.get("action") != "decline":
        surveys.respond(db, kind, answers)
    return see_other(f"/surveys/{kind}")
