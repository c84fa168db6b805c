"""Every export is written into the books: a row of the export table and a line of the audit log, in one transaction."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Session

from instructloop.feedback import audit
from instructloop.feedback.exchange.selection import Selection
from instructloop.feedback.ids import new_id
from instructloop.feedback.schema import Export

SCHEMA_VERSION = 1
"""Version of the rows and of the manifest; grows when a field changes its meaning."""


def record_export(
    session: Session, *, actor: str, purpose: str, selection: Selection, rows: int, sha256: str, prompt_ids: Iterable[str]
) -> str:
    """Write an export into the books.

    Args:
        session: inside ``Database.write()``.
        actor: a user's identifier, or ``cli``.
        purpose: ``snapshot``, ``export`` or ``csv``.
        selection: what was chosen.
        rows: number of rows in all files.
        sha256: content hash of what left.
        prompt_ids: prompts whose text left: an erasure has to name the exports it comes too late for.

    Returns:
        The identifier of the row.
    """
    filters: dict[str, Any] = selection.as_json()
    row = Export(
        id=new_id(),
        made_by=actor,
        purpose=purpose,
        filter=filters,
        schema_version=SCHEMA_VERSION,
        rows=rows,
        sha256=sha256,
        includes_pii=selection.include_pii,
        prompt_ids={"ids": sorted(set(prompt_ids))},
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        actor=actor,
        action="export",
        object=f"export/{row.id}",
        detail={"purpose": purpose, "rows": rows, "filter": filters},
        after=sha256,
    )
    return row.id
