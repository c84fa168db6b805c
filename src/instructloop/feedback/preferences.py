"""What a labeler chose for themselves: how sensitive items are shown, which they never want to see, whether single keys act.

Choosing costs nothing: opted-out categories are left out of the leases (``assignment``), and skips carry no penalty.
"""

from dataclasses import asdict, dataclass

from instructloop.core.errors import DataError
from instructloop.feedback.database import Database
from instructloop.feedback.flags import FLAGS
from instructloop.feedback.schema import Labeler

CATEGORIES = {key: FLAGS[key].label for key in ("asks_sexual", "asks_violent", "asks_abuse", "asks_denigration")}
"""Instruction fields that may be opted out of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preferences:
    """A labeler's choices."""

    blur: bool = True
    """Sensitive items are blurred until asked for."""
    opt_out: tuple[str, ...] = ()
    """Keys of ``CATEGORIES`` whose items are never offered."""
    single_keys: bool = True
    """Letters and digits act on task pages (WCAG 2.2 SC 2.1.4)."""


def of(labeler: Labeler) -> Preferences:
    """The choices of a labeler, with the defaults where nothing was chosen."""
    stored = labeler.preferences or {}
    return Preferences(
        blur=bool(stored.get("blur", True)),
        opt_out=tuple(stored.get("opt_out", ())),
        single_keys=bool(stored.get("single_keys", True)),
    )


def save(db: Database, labeler_id: str, wanted: Preferences) -> None:
    """Keep a labeler's choices; other keys of the column stay.

    Raises:
        DataError: an unknown category.
    """
    for key in wanted.opt_out:
        if key not in CATEGORIES:
            raise DataError(f"no category is called {key!r}", hint=f"use {', '.join(CATEGORIES)}")
    with db.write() as session:
        labeler = session.get(Labeler, labeler_id)
        assert labeler is not None
        labeler.preferences = {**labeler.preferences, **asdict(wanted), "opt_out": list(wanted.opt_out)}
