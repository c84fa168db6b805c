"""Guidelines in versions, with what changed; prompts, and those set aside for personal information."""

import difflib
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import prompt_text
from instructloop.feedback import audit, browse, guidelines
from instructloop.feedback.flags import USE_CASES
from instructloop.feedback.prompts.review import DECISIONS, quarantined
from instructloop.feedback.prompts.review import review as decide_about
from instructloop.feedback.schema.prompts import PII_STATES, SPLITS
from instructloop.feedback.schema.work import GUIDELINE_MODES
from instructloop.labeling.admin.rooms import Form, Staff, database, said, show
from instructloop.web.errors import Refused
from instructloop.web.pages import see_other
from instructloop.web.roles import Viewer

router = APIRouter()


@router.get("/admin/guidelines")
def guideline_list(request: Request, viewer: Staff) -> Response:
    """All versions."""
    return show(request, "guidelines.html", viewer, versions=guidelines.versions(database(request)), modes=GUIDELINE_MODES)


@router.get("/admin/guidelines/{name}")
def one(request: Request, viewer: Staff, name: str) -> Response:
    """The newest version, what it changed, and the form for the next."""
    return _one(request, viewer, name)


def _one(request: Request, viewer: Viewer, name: str, *, problem: str = "", given: Any = None, status: int = 200) -> Response:
    found = guidelines.versions(database(request), name)
    if not found and not given:
        raise Refused(404, "There are no guidelines of that name.")
    body = str(given.get("body", "")) if given else found[0].body
    against = found[0].body if given and found else (found[1].body if len(found) > 1 else "")
    return show(
        request,
        "guideline.html",
        viewer,
        status=status,
        problem=problem,
        name=name,
        versions=found,
        newest=found[0] if found else None,
        title=str(given.get("title", "")) if given else found[0].title,
        mode=str(given.get("mode", "")) if given else found[0].mode,
        body=body,
        previewed=given is not None and not problem,
        diff=changes(against, body) if against else [],
        modes=GUIDELINE_MODES,
    )


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """Lines that differ with two lines around them: (" ", "+", "-" or "@", text)."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm="")
    return [(line[:1], line[1:] if line[:1] != "@" else line) for line in lines if not line.startswith(("---", "+++"))]


@router.post("/admin/guidelines")
def publish(request: Request, viewer: Staff, form: Form) -> Response:
    """Look at what changes first, then publish the next version; a published one never changes."""
    db = database(request)
    name = str(form.get("name", "")).strip()
    given = {key: str(form.get(key, "")) for key in ("title", "mode", "body")}
    if form.get("action") == "preview":
        return _one(request, viewer, name, given=given)
    try:
        published = guidelines.publish(db, name, given["mode"], given["title"], given["body"].replace("\r\n", "\n"), by=viewer.user.id)
    except (ConfigError, DataError) as error:
        return _one(request, viewer, name, problem=said(DataError(error.message, hint=error.hint)), given=given, status=422)
    with db.write() as session:
        audit.append(
            session,
            actor=viewer.user.id,
            action="guideline.publish",
            object=f"guideline/{published}",
            detail={"name": name},
            after=given["body"],
        )
    return see_other(f"/admin/guidelines/{name}?done=published")


@router.get("/admin/prompts")
def prompt_list(request: Request, viewer: Staff, after: str = "", split: str = "", pii: str = "", use_case: str = "") -> Response:
    """Prompts, with filters, a page at a time."""
    db = database(request)
    found = browse.prompts(db, after=after, split=split, pii=pii, use_case=use_case, limit=browse.PAGE + 1)
    return show(
        request,
        "prompts.html",
        viewer,
        prompts=found[: browse.PAGE],
        more=found[browse.PAGE - 1].id if len(found) > browse.PAGE else "",
        counts=browse.prompt_counts(db),
        splits=SPLITS,
        states=PII_STATES,
        use_cases=USE_CASES,
        chosen={"split": split, "pii": pii, "use_case": use_case},
    )


@router.get("/admin/prompts/quarantine")
def quarantine(request: Request, viewer: Staff, after: str = "") -> Response:
    """Prompts set aside for personal information, with what the rules found."""
    with database(request).read() as session:
        found = quarantined(session, limit=11, after=after)
    shown = [(row, prompt_text(row.content)) for row in found[:10]]
    return show(request, "quarantine.html", viewer, found=shown, more=found[9].id if len(found) > 10 else "")


@router.get("/admin/prompts/{prompt_id}")
def prompt_page(request: Request, viewer: Staff, prompt_id: str) -> Response:
    """One prompt with its completions: what a gold item is made of."""
    found = browse.prompt_page(database(request), prompt_id)
    return show(request, "prompt.html", viewer, found=found, prompt="(erased)" if found.content is None else prompt_text(found.content))


@router.post("/admin/prompts/{prompt_id}/review")
def review(request: Request, viewer: Staff, prompt_id: str, form: Form) -> Response:
    """Clear, black out or reject (the pipeline writes the audit line)."""
    decision = str(form.get("decision", ""))
    if decision not in DECISIONS:
        raise Refused(422, "No decision was chosen.")
    text = str(form.get("text", "")).strip()
    decide_about(database(request), prompt_id, decision, actor=viewer.user.id, text=text if decision == "redact" and text else None)
    return see_other("/admin/prompts/quarantine?done=kept")
