"""Queues: making and filling them, pausing, leases, counters; and gold items."""

import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback import assignment, audit, browse, gold, guidelines, progress
from instructloop.feedback.queues import COMPLETIONS, NewTask, add_tasks, create_queue, set_queue_state
from instructloop.feedback.reconcile import reconcile
from instructloop.feedback.schema.people import COHORTS
from instructloop.feedback.schema.prompts import SPLITS
from instructloop.feedback.schema.work import QUEUE_KINDS
from instructloop.labeling.admin.rooms import KIND_NAMES, Form, Staff, database, number, said, show
from instructloop.web.pages import see_other
from instructloop.web.roles import Viewer

router = APIRouter()


@router.get("/admin/queues")
def queues(request: Request, viewer: Staff) -> Response:
    """All queues, and the form for a new one."""
    return _list(request, viewer)


def _list(request: Request, viewer: Viewer, *, problem: str = "", given: Any = None, status: int = 200) -> Response:
    db = database(request)
    return show(
        request,
        "queues.html",
        viewer,
        status=status,
        problem=problem,
        given=given or {},
        queues=progress.queue_progress(db),
        kinds=[(kind, KIND_NAMES[kind]) for kind in QUEUE_KINDS if kind != "adjudicate"],
        cohorts=COHORTS,
        guidelines=sorted({row.name for row in guidelines.versions(db)}),
    )


@router.post("/admin/queues")
def make_queue(request: Request, viewer: Staff, form: Form) -> Response:
    """Open a queue."""
    db = database(request)
    try:
        queue_id = create_queue(
            db,
            name=str(form.get("name", "")).strip() or _refuse("name: is empty", "give the queue a name"),
            kind=str(form.get("kind", "")),
            guideline=str(form.get("guideline", "default")),
            overlap=int(number(form, "overlap", 1, whole=True)),
            extra_overlap_fraction=number(form, "extra_percent", 10) / 100,
            stop_when_agreed="stop_when_agreed" in form,
            cohorts=[str(value) for value in form.getlist("cohorts")],
            gold_rate=number(form, "gold_percent", 5) / 100,
            priority=int(number(form, "priority", 0, whole=True)),
            lease_seconds=int(number(form, "lease_minutes", 10) * 60),
        )
    except (ConfigError, DataError) as error:
        return _list(request, viewer, problem=said(DataError(error.message, hint=error.hint)), given=dict(form), status=422)
    _note(
        request, viewer, "queue.create", f"queue/{queue_id}", {"name": str(form.get("name", ""))[:200], "kind": str(form.get("kind", ""))}
    )
    return see_other(f"/admin/queues/{queue_id}?done=made")


def _refuse(why: str, hint: str) -> str:
    raise DataError(why, hint=hint)


def _note(request: Request, viewer: Viewer, action: str, what: str, detail: dict[str, Any] | None = None) -> None:
    with database(request).write() as session:
        audit.append(session, actor=viewer.user.id, action=action, object=what, detail=detail)


@router.get("/admin/queues/{queue_id}")
def one(request: Request, viewer: Staff, queue_id: str) -> Response:
    """One queue: numbers, leases, filling."""
    return _one(request, viewer, queue_id)


def _one(request: Request, viewer: Viewer, queue_id: str, *, problem: str = "", status: int = 200, differences: Any = None) -> Response:
    db = database(request)
    queue = browse.get_queue(db, queue_id)
    return show(
        request,
        "queue.html",
        viewer,
        status=status,
        problem=problem,
        queue=queue,
        numbers=next(row for row in progress.queue_progress(db) if row.id == queue_id),
        leases=progress.open_leases(db, queue_id=queue_id),
        skips=progress.skip_reasons(db, queue_id=queue_id),
        guidelines=guidelines.versions(db),
        splits=SPLITS,
        fewest=COMPLETIONS[queue.kind][0],
        most=COMPLETIONS[queue.kind][1],
        differences=differences,
    )


@router.post("/admin/queues/{queue_id}/state")
def change_state(request: Request, viewer: Staff, queue_id: str, form: Form) -> Response:
    """Open, pause, close; or another version of the guidelines."""
    db = database(request)
    queue = browse.get_queue(db, queue_id)
    try:
        if state := str(form.get("state", "")):
            set_queue_state(db, queue_id, state)
            _note(request, viewer, "queue.state", f"queue/{queue_id}", {"from": queue.state, "to": state})
        if guideline := str(form.get("guideline", "")):
            guidelines.use(db, queue_id, guideline)
            _note(request, viewer, "queue.guideline", f"queue/{queue_id}", {"guideline": guideline})
    except (ConfigError, DataError) as error:
        return _one(request, viewer, queue_id, problem=error.message, status=422)
    return see_other(f"/admin/queues/{queue_id}?done=kept")


@router.post("/admin/queues/{queue_id}/fill")
def fill(request: Request, viewer: Staff, queue_id: str, form: Form) -> Response:
    """Put prompts of the store (with their newest completions) into the queue."""
    db = database(request)
    queue = browse.get_queue(db, queue_id)
    try:
        low, high = COMPLETIONS[queue.kind]
        k = int(number(form, "k", low, whole=True))
        if not low <= k <= high:
            raise DataError(f"k: {k} is not within {low}..{high}", hint=f"a task of this kind takes {low} to {high} completions")
        chosen = browse.prompts_without_task(
            db,
            queue_id,
            splits=tuple(split for split in SPLITS if split in form.getlist("splits")),
            completions=k,
            limit=min(int(number(form, "limit", 100, whole=True)), 10_000),
        )
        added = add_tasks(db, queue_id, [NewTask(prompt_id=prompt, completion_ids=completions) for prompt, completions in chosen])
    except (ConfigError, DataError) as error:
        return _one(request, viewer, queue_id, problem=error.message, status=422)
    _note(request, viewer, "queue.fill", f"queue/{queue_id}", {"tasks": len(added), "k": k})
    return see_other(f"/admin/queues/{queue_id}?done={len(added)}")


@router.post("/admin/queues/{queue_id}/release")
def release(request: Request, viewer: Staff, queue_id: str, form: Form) -> Response:
    """Take a lease back (the store writes the audit line)."""
    assignment.release(database(request), str(form.get("assignment", "")), viewer.user.id)
    return see_other(f"/admin/queues/{queue_id}?done=released")


@router.post("/admin/queues/{queue_id}/reconcile")
def recount(request: Request, viewer: Staff, queue_id: str, form: Form) -> Response:
    """Compare the cached counters with the rows; optionally put them right."""
    fix = form.get("fix") == "yes"
    found = reconcile(database(request), fix=fix)
    _note(request, viewer, "queue.reconcile", "queue", {"differences": len(found), "fixed": fix})
    return _one(request, viewer, queue_id, differences=(fix, found))


@router.get("/admin/gold")
def gold_page(request: Request, viewer: Staff, after: str = "") -> Response:
    """Gold items and how they are met."""
    return _gold(request, viewer, after=after)


def _gold(request: Request, viewer: Viewer, *, after: str = "", problem: str = "", given: Any = None, status: int = 200) -> Response:
    db = database(request)
    found = browse.gold_items(db, after=after, limit=browse.PAGE + 1)
    return show(
        request,
        "gold.html",
        viewer,
        status=status,
        problem=problem,
        given=given or {},
        items=found[: browse.PAGE],
        more=found[browse.PAGE - 1].id if len(found) > browse.PAGE else "",
        queues=[row for row in progress.queue_progress(db) if row.kind in gold.SCORED_KINDS],
        show_json=lambda value: json.dumps(value, ensure_ascii=False),
    )


@router.post("/admin/gold")
def make_gold(request: Request, viewer: Staff, form: Form) -> Response:
    """Make a gold item from a prompt with its completions and what is expected."""
    db = database(request)
    try:
        queue = browse.get_queue(db, str(form.get("queue", "")))
        completions = tuple(str(form.get("completions", "")).split())
        gold_id = gold.add_gold(
            db,
            kind=queue.kind,
            expected=_expected(str(form.get("expected", ""))),
            k=len(completions),
            tolerance=number(form, "tolerance", 25) / 100,
            explanation=str(form.get("explanation", ""))[:4000],
        )
        add_tasks(db, queue.id, [NewTask(prompt_id=str(form.get("prompt", "")).strip(), completion_ids=completions, gold_id=gold_id)])
    except (ConfigError, DataError) as error:
        return _gold(request, viewer, problem=said(DataError(error.message, hint=error.hint)), given=dict(form), status=422)
    _note(request, viewer, "gold.create", f"gold/{gold_id}", {"queue": queue.name})
    return see_other("/admin/gold?done=made")


def _expected(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError("expected: is not JSON", hint='for a ranking of three: {"tiers": [1, 2, 2]}') from error
    if not isinstance(value, dict):
        raise DataError("expected: is not an object", hint='for a ranking of three: {"tiers": [1, 2, 2]}')
    return value


@router.post("/admin/gold/{gold_id}")
def switch_gold(request: Request, viewer: Staff, gold_id: str, form: Form) -> Response:
    """Take an item out of work or put it back."""
    active = form.get("active") == "yes"
    gold.set_active(database(request), gold_id, active=active)
    _note(request, viewer, "gold.active", f"gold/{gold_id}", {"active": active})
    return see_other("/admin/gold?done=kept")
