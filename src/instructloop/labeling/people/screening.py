"""The applicant's side of the screening: four parts, results at once where a machine can score."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from instructloop.feedback import labelers, screening
from instructloop.feedback.database import Database
from instructloop.feedback.schema import Labeler
from instructloop.labeling.people.forms import read_answer
from instructloop.web.pages import render, see_other
from instructloop.web.roles import WORKERS, Viewer, posted_form, require

router = APIRouter()
Worker = Annotated[Viewer, Depends(require(*WORKERS, labeling=True))]
Form = Annotated[FormData, Depends(posted_form)]


@router.get("/screening")
def overview(request: Request, viewer: Worker) -> Response:
    """The parts, their state, and every attempt so far."""
    db: Database = request.app.state.db
    screening.ensure_tests(db)
    labeler = labelers.get_labeler(db, viewer.labeler_id)
    attempts = screening.attempts_of(db, labeler.id)
    with db.read() as session:
        parts = screening.active_parts(session)
        rules = screening.rules(session)
    states = {part.kind: _state(part, attempts, _allowed(rules, labeler, part.kind)) for part in parts}
    return render(request, "people/screening.html", viewer, labeler=labeler, parts=parts, states=states, attempts=attempts, rules=rules)


def _allowed(rules: screening.Rules, labeler: Labeler, kind: str) -> int:
    return rules.attempts + int(labeler.preferences.get("screening_attempts", {}).get(kind, 0))


def _state(part: screening.Part, attempts: list[screening.Attempt], allowed: int) -> str:
    """open, running, waiting, passed or failed."""
    mine = [attempt for attempt in attempts if attempt.kind == part.kind]
    if any(attempt.passed for attempt in mine):
        return "passed"
    finished = [attempt for attempt in mine if attempt.finished_at is not None]
    if any(attempt.passed is None for attempt in finished):
        return "waiting"
    if any(attempt.finished_at is None and attempt.test_id == part.id for attempt in mine):
        return "running"
    return "open" if len(finished) < allowed else "failed"


@router.post("/screening")
def begin(request: Request, viewer: Worker, form: Form) -> Response:
    """Begin a part."""
    attempt = screening.start_attempt(request.app.state.db, viewer.labeler_id, str(form.get("test", "")))
    return see_other(f"/screening/{attempt.id}")


@router.get("/screening/{attempt_id}")
def show_part(request: Request, viewer: Worker, attempt_id: str) -> Response:
    """The questions of a part, or its result."""
    return _part(request, viewer, _own(request, viewer, attempt_id))


def _own(request: Request, viewer: Viewer, attempt_id: str) -> screening.Attempt:
    for attempt in screening.attempts_of(request.app.state.db, viewer.labeler_id):
        if attempt.id == attempt_id:
            return attempt
    raise labelers.UnknownLabelerError("there is no such attempt", hint="go back to the list of parts")


def _part(
    request: Request, viewer: Viewer, attempt: screening.Attempt, *, answers: Any = None, problems: Any = None, status: int = 200
) -> Response:
    with request.app.state.db.read() as session:
        part = screening.part(session, attempt.test_id)
    template = "people/attempt.html" if attempt.finished_at is None else "people/result.html"
    return render(
        request,
        template,
        viewer,
        status=status,
        attempt=attempt,
        part=part,
        answers=answers or [{}] * len(part.items),
        problems=problems or {},
    )


@router.post("/screening/{attempt_id}")
def hand_in(request: Request, viewer: Worker, attempt_id: str, form: Form) -> Response:
    """Hand a part in; what is missing is shown beside its question and nothing typed is lost."""
    db: Database = request.app.state.db
    attempt = _own(request, viewer, attempt_id)
    with db.read() as session:
        part = screening.part(session, attempt.test_id)
    answers = [read_answer(form, part.kind, item.payload, position) for position, item in enumerate(part.items)]
    problems = screening.missing_answers(part, answers)
    if problems and attempt.finished_at is None:
        return _part(request, viewer, attempt, answers=answers, problems=problems, status=422)
    if attempt.finished_at is None:
        screening.finish(db, viewer.labeler_id, attempt_id, answers)
    return see_other(f"/screening/{attempt_id}")
