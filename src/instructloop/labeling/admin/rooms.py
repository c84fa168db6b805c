"""What the project's pages share: who may open which room, and the list of rooms at the top."""

from typing import Annotated, Any, Final, NamedTuple

from fastapi import Depends, Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse

from instructloop.core.errors import DataError
from instructloop.feedback.database import Database
from instructloop.web.pages import render
from instructloop.web.roles import Viewer, posted_form, require

LOOKERS: Final = ("researcher", "admin", "viewer")
STAFF: Final = ("researcher", "admin")
DECIDERS: Final = ("adjudicator", "researcher", "admin")

Looker = Annotated[Viewer, Depends(require(*LOOKERS))]
"""Reads numbers."""
Staff = Annotated[Viewer, Depends(require(*STAFF))]
"""Changes the project, but not accounts."""
Admin = Annotated[Viewer, Depends(require("admin"))]
Decider = Annotated[Viewer, Depends(require(*DECIDERS, labeling=True))]
"""Adjudicates."""
Form = Annotated[FormData, Depends(posted_form)]


class Room(NamedTuple):
    """A link of the second row."""

    href: str
    label: str
    roles: tuple[str, ...]


ROOMS: Final = (
    Room("/admin", "Progress", LOOKERS),
    Room("/admin/throughput", "Throughput", LOOKERS),
    Room("/admin/agreement", "Agreement", LOOKERS),
    Room("/admin/comparisons", "Comparisons", LOOKERS),
    Room("/admin/labelers", "Labelers", LOOKERS),
    Room("/admin/screening", "Screening", STAFF),
    Room("/admin/messages", "Messages", STAFF),
    Room("/admin/surveys", "Surveys", LOOKERS),
    Room("/admin/disagreements", "Disagreements", DECIDERS),
    Room("/admin/queues", "Queues", STAFF),
    Room("/admin/gold", "Gold", STAFF),
    Room("/admin/guidelines", "Guidelines", STAFF),
    Room("/admin/prompts", "Prompts", STAFF),
    Room("/admin/exports", "Exports", STAFF),
    Room("/admin/users", "Users", ("admin",)),
    Room("/admin/audit", "Audit log", STAFF),
)

KIND_NAMES: Final = {
    "demonstration": "Write an answer",
    "rank": "Rank outputs",
    "rate": "Rate outputs",
    "rate_and_rank": "Rate, then rank",
    "pairwise": "Compare two blindly",
    "instruction": "Label the instruction",
    "toxicity": "Toxicity",
    "edit": "Edit an output",
    "critique": "Criticise outputs",
    "adjudicate": "Adjudicate",
}


def show(request: Request, template: str, viewer: Viewer, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page of the project with its row of rooms."""
    rooms = [room for room in ROOMS if viewer.role in room.roles]
    return render(
        request,
        f"admin/{template}",
        viewer,
        status=status,
        rooms=rooms,
        **{"problem": "", "names": KIND_NAMES, "done": request.query_params.get("done", ""), **context},
    )


def database(request: Request) -> Database:
    """The project's store."""
    db: Database = request.app.state.db
    return db


def said(error: DataError) -> str:
    """An error as one sentence for the page."""
    return f"{error.message} – {error.hint}" if error.hint else error.message


def number(form: FormData, name: str, default: float, *, whole: bool = False) -> float:
    """A number of a form.

    Raises:
        DataError: it is none.
    """
    text = str(form.get(name, "")).strip().replace(",", ".")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value or abs(value) > 1e9 or (whole and value != int(value)):
        raise DataError(f"{name.replace('_', ' ')}: {text!r} is no {'whole ' if whole else ''}number", hint="write it with digits")
    return value
