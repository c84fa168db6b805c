"""Routes of the work itself: my queues, the next task, sending, saving, skipping, editing the last answer.

Handlers parse, call the store once, and render. ``POST /task/...`` answers 303 to a plain form and JSON with the next page's
inside to the module that asked for JSON.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from instructloop.feedback import assignment, drafts, labelers, own_answers, submissions, views
from instructloop.feedback.answers import Answer
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.refusals import NotEditableError, StaleDraftError, UnknownTaskError
from instructloop.feedback.submissions import Receipt
from instructloop.feedback.views import TaskView
from instructloop.labeling.tasks import columns, view
from instructloop.labeling.tasks.forms import FormRefusedError, parse_answer
from instructloop.web.limits import limited
from instructloop.web.pages import render, see_other, wants_json
from instructloop.web.roles import WORKERS, Viewer, posted_form, require

router = APIRouter()
Worker = Annotated[Viewer, Depends(require(*WORKERS, labeling=True))]
Form = Annotated[FormData, Depends(posted_form)]
CONTROL = frozenset({"form_token", "idem_key", "ui_version", "active_ms", "wall_ms", "base_rev"})
MAX_FIELD_CHARACTERS = 200_000
MODULES = ("draft", "keymap")


@dataclass(frozen=True, slots=True)
class Shown:
    """The receipt of the answer before, as the next page shows it."""

    id: str
    edit_url: str
    warnings: tuple[str, ...] = ()


@router.get("/work")
def work(request: Request, viewer: Worker) -> Response:
    """My queues, what waits in them, and my day so far."""
    assert viewer.labeler is not None
    db: Database = request.app.state.db
    return render(
        request,
        "tasks/work.html",
        viewer,
        queues=_queues(db, viewer),
        names=view.NAMES,
        today=own_answers.answered_today(db, viewer.labeler_id),
        receipt=_last(db, viewer),
        state=viewer.labeler.state,
    )


@router.get("/work/{queue_id}")
def next_task(request: Request, viewer: Worker, queue_id: str) -> Response:
    """Lease the next task of a queue, or take up the one in hand."""
    db: Database = request.app.state.db
    queue = next((queue for queue in _queues(db, viewer) if queue.id == queue_id), None)
    if queue is None:
        raise UnknownTaskError.of("queue", queue_id)
    lease = assignment.next_lease(db, viewer.labeler_id, queue_id)
    if lease is None:
        return render(request, "tasks/done.html", viewer, layout="base.html", receipt=_last(db, viewer))
    return see_other(f"/task/{lease.assignment_id}")


@router.get("/task/{assignment_id}")
def show_task(request: Request, viewer: Worker, assignment_id: str) -> Response:
    """One task."""
    db: Database = request.app.state.db
    task = views.task_view(db, assignment_id, viewer.labeler_id)
    if task.editing:
        return see_other(f"/submission/{task.submission_id}/edit")
    if task.state not in {"leased", "expired"}:
        return see_other(f"/work/{task.lease.queue_id}")
    return _page(request, viewer, task, receipt=_last(db, viewer))


@router.post("/task/{assignment_id}", dependencies=[Depends(limited("submit"))])
def send_task(request: Request, viewer: Worker, assignment_id: str, form: Form) -> Response:
    """Store an answer and go on; the same form again gives the same receipt."""
    db: Database = request.app.state.db
    task = views.task_view(db, assignment_id, viewer.labeler_id)
    return _store(request, viewer, task, form, editing=False)


@router.get("/submission/{submission_id}/edit")
def show_edit(request: Request, viewer: Worker, submission_id: str) -> Response:
    """An answer of one's own, to be edited."""
    db: Database = request.app.state.db
    task = _own_answer(db, viewer, submission_id)
    if task.submission_id != submission_id:
        return see_other(f"/submission/{task.submission_id}/edit")
    if task.lease.expires_at < now_ms():
        raise NotEditableError("the time for editing is over", hint="write to the research team if it matters")
    return _page(request, viewer, task)


@router.post("/submission/{submission_id}/edit", dependencies=[Depends(limited("submit"))])
def send_edit(request: Request, viewer: Worker, submission_id: str, form: Form) -> Response:
    """Store an edited answer as a new revision."""
    task = _own_answer(request.app.state.db, viewer, submission_id)
    return _store(request, viewer, task, form, editing=True, submission_id=submission_id)


@router.post("/task/{assignment_id}/draft")
def save_draft(request: Request, viewer: Worker, assignment_id: str, form: Form) -> JSONResponse:
    """Keep what has been entered so far; 409 if another tab saved meanwhile."""
    db: Database = request.app.state.db
    try:
        saved = drafts.save_draft(db, assignment_id, viewer.labeler_id, _values(form), _whole(form, "base_rev"))
    except StaleDraftError as error:
        # the page compares what the store holds with what it sent itself and never heard back about
        current, rev = drafts.load_draft(db, assignment_id, viewer.labeler_id)
        return JSONResponse({"error": error.message, "hint": error.hint, "current_rev": rev, "current": current}, 409)
    return JSONResponse({"rev": saved.rev, "at": saved.at})


@router.post("/task/{assignment_id}/heartbeat")
def beat(request: Request, viewer: Worker, assignment_id: str, form: Form) -> JSONResponse:
    """Somebody is still at it: the lease goes on."""
    expires = assignment.heartbeat(
        request.app.state.db, assignment_id, viewer.labeler_id, active_ms=_whole(form, "active_ms"), wall_ms=_whole(form, "wall_ms")
    )
    return JSONResponse({"expires_at": expires})


@router.post("/task/{assignment_id}/skip")
def skip(request: Request, viewer: Worker, assignment_id: str, form: Form) -> Response:
    """Put the task aside with a reason."""
    db: Database = request.app.state.db
    task = views.task_view(db, assignment_id, viewer.labeler_id)
    assignment.skip(db, assignment_id, viewer.labeler_id, _text(form, "reason"), _text(form, "note")[:500])
    return see_other(f"/work/{task.lease.queue_id}")


@router.post("/task/{assignment_id}/release")
def hand_back(request: Request, viewer: Worker, assignment_id: str, form: Form) -> Response:
    """Give the task back for somebody else."""
    del form
    assignment.release(request.app.state.db, assignment_id, viewer.user.id, labeler_id=viewer.labeler_id)
    return see_other("/work")


def _store(
    request: Request, viewer: Viewer, task: TaskView, form: FormData, *, editing: bool, submission_id: str | None = None
) -> Response:
    db: Database = request.app.state.db
    decided = columns.behind(db, task)
    asked = view.asked_of(task, [column.submission_id for column in decided])
    values = _values(form)
    try:
        answer = parse_answer(task.lease.kind, values, asked)
    except FormRefusedError as error:
        if wants_json(request):
            told = [{"field": one.field, "message": one.message, "hint": one.hint} for one in error.errors]
            return JSONResponse({"error": error.message, "errors": told}, 422)
        errors = {one.field: ". ".join(part for part in (one.message, one.hint) if part) for one in error.errors}
        return _page(request, viewer, task, values=values, errors=errors, status=422)
    confidence = _whole(form, "confidence") or None
    given: dict[str, Any] = {
        "active_ms": _whole(form, "active_ms"),
        "wall_ms": _whole(form, "wall_ms"),
        "confidence": confidence,
        "comment": values.get("comment"),
        "ui_version": _text(form, "ui_version") or view.UI_VERSION,
    }
    key = _text(form, "idem_key")
    if editing and submission_id is not None:
        receipt = submissions.revise(db, submission_id, viewer.labeler_id, key, answer, **given)
    else:
        receipt = submissions.submit(db, task.lease.assignment_id, viewer.labeler_id, key, answer, **given)
    return _onward(request, viewer, task, answer, receipt)


def _onward(request: Request, viewer: Viewer, task: TaskView, answer: Answer, receipt: Receipt) -> Response:
    """The answer is on disk: the next task, with the receipt."""
    db: Database = request.app.state.db
    queue_id = task.lease.queue_id
    if not wants_json(request):
        return see_other(f"/work/{queue_id}")
    told = view.contradictions(answer, view.asked_of(task))
    if receipt.surplus:
        told.append("The task had all its answers by then. Yours is kept beside them.")
    shown = Shown(receipt.submission_id, f"/submission/{receipt.submission_id}/edit", tuple(told))
    lease = assignment.next_lease(db, viewer.labeler_id, queue_id)
    page: Response
    if lease is None:
        page = render(request, "tasks/done.html", viewer, layout="tasks/bare.html", receipt=shown)
        url = f"/work/{queue_id}"
    else:
        following = views.task_view(db, lease.assignment_id, viewer.labeler_id)
        page = _page(request, viewer, following, receipt=shown, layout="tasks/bare.html")
        url = f"/task/{lease.assignment_id}"
    return JSONResponse({"receipt": receipt.submission_id, "next_url": url, "main": bytes(page.body).decode()})


def _page(
    request: Request,
    viewer: Viewer,
    task: TaskView,
    *,
    values: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    receipt: Shown | None = None,
    layout: str = "base.html",
    status: int = 200,
) -> Response:
    assert viewer.labeler is not None
    decided = columns.behind(request.app.state.db, task)
    asked = view.asked_of(task, [column.submission_id for column in decided])
    page = view.page_of(task, viewer.labeler, [column.shown for column in decided], now=now_ms())
    static = request.app.state.pages.static
    return render(
        request,
        view.TEMPLATES[page.kind],
        viewer,
        status=status,
        layout=layout,
        view=page,
        values=view.values_of(task, asked) if values is None else values,
        errors=errors or {},
        receipt=receipt,
        modules=[static(f"labeling/{name}.js") for name in MODULES],
        skip_reasons=view.SKIP_REASONS,
        flag_labels=view.flag_labels(),
        option_labels=view.option_labels,
    )


def _queues(db: Database, viewer: Viewer) -> list[labelers.QueueForLabeler]:
    """The queues open to the viewer; disagreements are decided by others than labelers."""
    mine = labelers.eligible_queues(db, viewer.labeler_id)
    return [queue for queue in mine if queue.kind != "adjudicate" or viewer.is_any("adjudicator", "researcher", "admin")]


def _last(db: Database, viewer: Viewer) -> Shown | None:
    """The receipt of the labeler's last answer, with the way to edit it while that is possible."""
    last = submissions.last_submission(db, viewer.labeler_id)
    return None if last is None else Shown(last.id, f"/submission/{last.id}/edit")


def _own_answer(db: Database, viewer: Viewer, submission_id: str) -> TaskView:
    assignment_id = own_answers.assignment_of(db, submission_id, viewer.labeler_id)
    return views.task_view(db, assignment_id, viewer.labeler_id)


def _values(form: FormData) -> dict[str, str]:
    """The fields that make up the answer."""
    return {name: value[:MAX_FIELD_CHARACTERS] for name, value in form.items() if isinstance(value, str) and value and name not in CONTROL}


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


def _whole(form: FormData, name: str) -> int:
    """A whole number of the page's own making; anything else counts as 0."""
    text = _text(form, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
