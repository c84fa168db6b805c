"""The researchers' side of the screening: applicants, cut-offs, questions, and rating texts without knowing who wrote them."""

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import PlainTextResponse, Response

from instructloop.core.errors import DataError
from instructloop.feedback import labelers, screening
from instructloop.feedback.schema.people import SCREEN_KINDS
from instructloop.labeling.admin.rooms import Form, Staff, database, number, said, show
from instructloop.web.errors import Refused
from instructloop.web.pages import see_other
from instructloop.web.roles import Viewer

router = APIRouter()
MAX_BYTES = 2_000_000
"""Of a file with questions; a longer one ends in the middle of a line and is refused as such."""


@router.get("/admin/screening")
def overview(request: Request, viewer: Staff) -> Response:
    """Applicants with their scores, and the rules."""
    return _page(request, viewer)


def _page(request: Request, viewer: Viewer, *, problem: str = "", status: int = 200) -> Response:
    db = database(request)
    screening.ensure_tests(db)
    applicants = labelers.all_labelers(db, states=("applicant",))
    with db.read() as session:
        parts = screening.active_parts(session)
        rules = screening.rules(session)
    best = {one.id: _best(screening.attempts_of(db, one.id)) for one in applicants}
    return show(
        request,
        "screening.html",
        viewer,
        status=status,
        problem=problem,
        applicants=applicants,
        best=best,
        parts=parts,
        rules=rules,
        kinds=SCREEN_KINDS,
        waiting=screening.waiting_to_rate(db, viewer.user.id),
    )


def _best(attempts: list[screening.Attempt]) -> dict[str, screening.Attempt]:
    """The best finished attempt of each part."""
    best: dict[str, screening.Attempt] = {}
    for attempt in attempts:
        known = best.get(attempt.kind)
        if attempt.finished_at is not None and (known is None or (attempt.score or 0) > (known.score or 0)):
            best[attempt.kind] = attempt
    return best


@router.post("/admin/screening")
def change_rules(request: Request, viewer: Staff, form: Form) -> Response:
    """Cut-offs, required parts, tries, raters."""
    db = database(request)
    try:
        for kind in SCREEN_KINDS:
            if kind != "self" and f"cutoff.{kind}" in form:
                scale = 1 if kind == "demonstration" else 100
                text = str(form.get(f"cutoff.{kind}", "")).strip()
                screening.set_cutoff(db, kind, number(form, f"cutoff.{kind}", 0) / scale if text else None, actor=viewer.user.id)
        with db.read() as session:
            known = screening.rules(session)
        screening.set_rules(
            db,
            screening.Rules(
                required=tuple(kind for kind in SCREEN_KINDS if kind in form.getlist("required")),
                attempts=int(number(form, "attempts", known.attempts, whole=True)),
                raters=int(number(form, "raters", known.raters, whole=True)),
            ),
            actor=viewer.user.id,
        )
    except DataError as error:
        return _page(request, viewer, problem=said(error), status=422)
    return see_other("/admin/screening?done=kept")


@router.get("/admin/screening/rate")
def rate_page(request: Request, viewer: Staff) -> Response:
    """The next text to rate."""
    db = database(request)
    return show(
        request, "rate.html", viewer, item=screening.next_to_rate(db, viewer.user.id), waiting=screening.waiting_to_rate(db, viewer.user.id)
    )


@router.post("/admin/screening/rate")
def rate(request: Request, viewer: Staff, form: Form) -> Response:
    """Keep a rating."""
    screening.rate_demonstration(
        database(request),
        str(form.get("attempt", "")),
        int(number(form, "position", -1, whole=True)),
        rater=viewer.user.id,
        score=int(number(form, "score", 0, whole=True)),
    )
    return see_other("/admin/screening/rate")


@router.get("/admin/screening/{kind}.jsonl")
def download(request: Request, viewer: Staff, kind: str) -> Response:
    """The questions in force, with the researchers' answers."""
    del viewer
    screening.ensure_tests(database(request))
    with database(request).read() as session:
        found = next((part for part in screening.active_parts(session) if part.kind == kind), None)
    if found is None:
        raise Refused(404, "There is no such part.")
    return PlainTextResponse(
        screening.export_items(found),
        media_type="application/x-ndjson",
        headers={"content-disposition": f'attachment; filename="screening-{found.kind}-{found.version}.jsonl"'},
    )


@router.post("/admin/screening/questions")
async def upload(request: Request, viewer: Staff, form: Form) -> Response:
    """Put other questions in force, from JSONL."""
    file = form.get("file")
    kind = str(form.get("kind", ""))
    raw = b""
    if isinstance(file, UploadFile):
        raw = await file.read(MAX_BYTES)
        await file.close()

    def work() -> Response:
        try:
            screening.import_items(database(request), kind, raw.decode("utf-8").splitlines(), actor=viewer.user.id)
        except UnicodeDecodeError:
            return _page(request, viewer, problem="The file is not valid UTF-8.", status=422)
        except DataError as error:
            return _page(request, viewer, problem=said(error), status=422)
        return see_other("/admin/screening?done=questions")

    return await run_in_threadpool(work)
