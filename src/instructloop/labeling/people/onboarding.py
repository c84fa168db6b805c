"""A labeler's home and the steps before the first task."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from instructloop.core.errors import DataError
from instructloop.feedback import labelers, messages, onboarding, quality, surveys
from instructloop.feedback.database import Database
from instructloop.feedback.gold import passes
from instructloop.feedback.submissions import last_submission
from instructloop.labeling.people.forms import read_answer
from instructloop.web.pages import render, see_other
from instructloop.web.roles import WORKERS, Viewer, posted_form, require

router = APIRouter()
Worker = Annotated[Viewer, Depends(require(*WORKERS, labeling=True))]
Form = Annotated[FormData, Depends(posted_form)]
Number = Annotated[int, Path(ge=1, le=1000)]


@router.get("/home")
def home(request: Request, viewer: Worker) -> Response:
    """A labeler's day: what is done, what comes next, what the team wrote."""
    db: Database = request.app.state.db
    labeler = labelers.get_labeler(db, viewer.labeler_id)
    last = last_submission(db, labeler.id)
    return render(
        request,
        "people/home.html",
        viewer,
        labeler=labeler,
        numbers=quality.own_numbers(db, labeler.id),
        progress=onboarding.progress(db, labeler.id),
        queues=labelers.eligible_queues(db, labeler.id),
        unread=messages.unread_for_labeler(db, labeler),
        last=last,
        surveys=[kind for kind in surveys.SURVEYS if not surveys.offered(db, labeler.id, kind)],
    )


@router.get("/onboarding")
def next_step(request: Request, viewer: Worker) -> Response:
    """Go on with the step that comes next."""
    step = onboarding.progress(request.app.state.db, viewer.labeler_id).next_step
    return see_other(
        {
            "notice": "/onboarding/notice",
            "guidelines": "/onboarding/guidelines",
            "training": "/onboarding/training",
            "screening": "/screening",
        }.get(step or "", "/home")
    )


@router.get("/onboarding/notice")
def show_notice(request: Request, viewer: Worker) -> Response:
    """What happens with a labeler's work."""
    db: Database = request.app.state.db
    with db.read() as session:
        version, text = onboarding.notice(session)
    accepted = labelers.get_labeler(db, viewer.labeler_id).consent_version
    return render(request, "people/notice.html", viewer, version=version, text=text, accepted=accepted == version)


@router.post("/onboarding/notice")
def accept_notice(request: Request, viewer: Worker, form: Form) -> Response:
    """Accept it."""
    onboarding.accept_notice(request.app.state.db, viewer.labeler_id, str(form.get("version", "")), actor=viewer.user.id)
    return see_other("/onboarding")


@router.get("/onboarding/guidelines")
def show_guidelines(request: Request, viewer: Worker) -> Response:
    """The guidelines, newest versions."""
    with request.app.state.db.read() as session:
        guidelines = onboarding.guidelines_to_read(session)
    labeler = labelers.get_labeler(request.app.state.db, viewer.labeler_id)
    read = set(labeler.preferences.get("onboarding", {}).get("guidelines", []))
    return render(request, "people/guidelines.html", viewer, guidelines=guidelines, read=read)


@router.post("/onboarding/guidelines")
def acknowledge(request: Request, viewer: Worker, form: Form) -> Response:
    """Note that they were read."""
    for guideline_id in form.getlist("guideline")[:50]:
        onboarding.acknowledge(request.app.state.db, viewer.labeler_id, str(guideline_id), actor=viewer.user.id)
    return see_other("/onboarding")


@router.get("/onboarding/training")
def training(request: Request, viewer: Worker) -> Response:
    """The first exercise that has no answer yet."""
    progress = onboarding.progress(request.app.state.db, viewer.labeler_id)
    answered = [onboarding.exercise_answer(request.app.state.db, viewer.labeler_id, n) is not None for n in range(progress.training_total)]
    return see_other(f"/onboarding/training/{answered.index(False) + 1 if False in answered else 1}")


@router.get("/onboarding/training/{number}")
def show_exercise(request: Request, viewer: Worker, number: Number) -> Response:
    """One exercise; after the answer also the explanation."""
    return _exercise(request, viewer, number)


def _exercise(request: Request, viewer: Viewer, number: int, *, problem: str = "", answer: object = None, status: int = 200) -> Response:
    db: Database = request.app.state.db
    kind, item = onboarding.exercise(number - 1)
    given = onboarding.exercise_answer(db, viewer.labeler_id, number - 1)
    return render(
        request,
        "people/exercise.html",
        viewer,
        status=status,
        number=number,
        total=onboarding.progress(db, viewer.labeler_id).training_total,
        kind=kind,
        item=item,
        given=given,
        right=given is not None and passes(given["score"], 0.25),
        answer=given["answer"] if given else answer or {},
        problem=problem,
    )


@router.post("/onboarding/training/{number}")
def answer_exercise(request: Request, viewer: Worker, number: Number, form: Form) -> Response:
    """Keep the answer and show the explanation."""
    kind, item = onboarding.exercise(number - 1)
    answer = read_answer(form, kind, item.payload, 0)
    try:
        onboarding.answer_exercise(request.app.state.db, viewer.labeler_id, number - 1, answer)
    except DataError as error:
        return _exercise(request, viewer, number, problem=f"{error.message}: {error.hint}", answer=answer, status=422)
    return see_other(f"/onboarding/training/{number}")
