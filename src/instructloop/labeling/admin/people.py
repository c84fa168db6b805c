"""Labelers: the list, one labeler's quality page, states and cohorts, messages."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from instructloop.core.errors import DataError
from instructloop.feedback import audit, labelers, messages, onboarding, quality, screening
from instructloop.feedback.schema.people import COHORTS, LABELER_STATES
from instructloop.labeling.admin.rooms import Form, Looker, Staff, database, said, show
from instructloop.web import charts
from instructloop.web.limits import limited
from instructloop.web.pages import see_other
from instructloop.web.roles import Viewer
from instructloop.web.times import span

router = APIRouter()


@router.get("/admin/labelers")
def people(request: Request, viewer: Looker, cohort: str = "", state: str = "") -> Response:
    """Everybody with their counts."""
    found = [
        line for line in quality.lines(database(request)) if (not cohort or line.cohort == cohort) and (not state or line.state == state)
    ]
    return show(request, "labelers.html", viewer, lines=found, cohorts=COHORTS, states=LABELER_STATES, cohort=cohort, state=state)


@router.get("/admin/labelers/{labeler_id}")
def one(request: Request, viewer: Looker, labeler_id: str) -> Response:
    """One labeler's numbers, attempts and thread."""
    return _page(request, viewer, labeler_id)


def _page(request: Request, viewer: Viewer, labeler_id: str, *, problem: str = "", status: int = 200) -> Response:
    db = database(request)
    labeler = labelers.get_labeler(db, labeler_id)
    numbers = quality.quality(db, labeler_id)
    slots = numbers.slots
    return show(
        request,
        "labeler.html",
        viewer,
        status=status,
        problem=problem,
        labeler=labeler,
        numbers=numbers,
        work_rows=[(row.kind, row.answers, span(row.median_s)) for row in numbers.work],
        attempts=screening.attempts_of(db, labeler_id),
        progress=onboarding.progress(db, labeler_id),
        cohorts=COHORTS,
        states=LABELER_STATES,
        thread=messages.thread(db, labeler_id, limit=20) if viewer.role != "viewer" else [],
        slots=charts.bars(
            "Best output by place shown",
            [charts.Bar("ABCDEFGHI"[n : n + 1] or str(n), float(count)) for n, count in enumerate(slots.observed)],
        )
        if slots and slots.rankings
        else None,
    )


@router.post("/admin/labelers/{labeler_id}/state")
def change_state(request: Request, viewer: Staff, labeler_id: str, form: Form) -> Response:
    """Pause, retire, qualify; a change of cohort goes the same way."""
    db = database(request)
    try:
        labelers.get_labeler(db, labeler_id)
        for name, change in (("cohort", labelers.set_cohort), ("state", labelers.set_state)):
            value = str(form.get(name, ""))
            if not value:
                continue
            before = change(db, labeler_id, value)
            if before != value:
                with db.write() as session:
                    audit.append(
                        session,
                        actor=viewer.user.id,
                        action=f"labeler.{name}",
                        object=f"labeler/{labeler_id}",
                        detail={"from": before, "to": value},
                    )
    except labelers.UnknownLabelerError:
        raise
    except DataError as error:
        return _page(request, viewer, labeler_id, problem=said(error), status=422)
    return see_other(f"/admin/labelers/{labeler_id}?done=kept")


@router.post("/admin/labelers/{labeler_id}/qualify")
def qualify(request: Request, viewer: Staff, labeler_id: str, form: Form) -> Response:
    """Qualify in spite of the cut-offs, with a reason."""
    try:
        screening.override(database(request), labeler_id, reason=str(form.get("reason", "")), actor=viewer.user.id)
    except labelers.UnknownLabelerError:
        raise
    except DataError as error:
        return _page(request, viewer, labeler_id, problem=said(error), status=422)
    return see_other(f"/admin/labelers/{labeler_id}?done=qualified")


@router.post("/admin/labelers/{labeler_id}/attempt")
def another_try(request: Request, viewer: Staff, labeler_id: str, form: Form) -> Response:
    """Grant one more try at a part of the screening."""
    screening.grant_attempt(database(request), labeler_id, str(form.get("kind", "")), actor=viewer.user.id)
    return see_other(f"/admin/labelers/{labeler_id}?done=attempt")


@router.post("/admin/labelers/{labeler_id}/message", dependencies=[Depends(limited("message"))])
def write_to(request: Request, viewer: Staff, labeler_id: str, form: Form) -> Response:
    """Write into the labeler's thread."""
    db = database(request)
    try:
        message = messages.send(db, labeler_id, author=viewer.user.id, body=str(form.get("body", "")))
    except labelers.UnknownLabelerError:
        raise
    except DataError as error:
        return _page(request, viewer, labeler_id, problem=said(error), status=422)
    messages.mark_read(db, labeler_id, by_labeler=False)
    with db.write() as session:
        audit.append(session, actor=viewer.user.id, action="message", object=f"thread_message/{message}")
    return see_other(f"/admin/labelers/{labeler_id}?done=sent")


@router.get("/admin/messages")
def all_threads(request: Request, viewer: Staff) -> Response:
    """All threads, unread ones first."""
    return show(request, "messages.html", viewer, threads=messages.threads(database(request)))
