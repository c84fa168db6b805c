"""What a labeler chose for themselves: how sensitive items are shown, which they never want to see, whether single keys act.

Choosing costs nothing: opted-out categories are left out of the leases (``assignment``), and skips carry no penalty.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from instructloop.core.errors import DataError
from instructloop.feedback.database import Database
from instructloop.feedback.flags import FLAGS
from instructloop.feedback.queues import ASKED
from instructloop.feedback.schema import Labeler

CATEGORIES = {category: FLAGS[key].label for key, category in ASKED.items()}
"""Categories of tasks (``Task.sensitive``) that may be opted out of, in the words of the instruction's fields."""


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
        opt_out=tuple(key for key in stored.get("opt_out", ()) if key in CATEGORIES),
        single_keys=bool(stored.get("single_keys", True)),
    )


KEYS = {
    "undo": "u",
    "skip": "s",
    "guidelines": "g",
    "diff": "d",
    "flags": "f",
    "rest_no": "n",
    "next": "j",
    "previous": "k",
    "tie": "=",
    "both_bad": "x",
    "clear": "0",
    "help": "?",
}
"""Commands of the task pages and their keys; outputs keep letters and digits, and a command gives way to them with Shift."""


def keys_of(labeler: Labeler) -> dict[str, str]:
    """The key of every command for a labeler."""
    stored = (labeler.preferences or {}).get("keys", {})
    return {command: str(stored.get(command, key)) for command, key in KEYS.items()}


def save_keys(db: Database, labeler_id: str, keys: Mapping[str, str]) -> None:
    """Give commands other keys.

    Args:
        db: the store.
        labeler_id: whose.
        keys: command -> one character; commands left out keep their default.

    Raises:
        DataError: an unknown command, not a single sign, a digit from 1 to 9, or one key for two commands.
    """
    wanted = {**KEYS, **{command: key.lower() for command, key in keys.items()}}
    for command, key in wanted.items():
        if command not in KEYS:
            raise DataError(f"keys.{command}: is no command", hint=f"use {', '.join(KEYS)}")
        if len(key) != 1 or not key.isprintable() or key.isspace() or key in "123456789":
            raise DataError(f"keys.{command}: {key!r} cannot be a key", hint="one sign; the digits 1 to 9 belong to ranks and ratings")
    taken = {key: command for command, key in wanted.items()}
    for command, key in wanted.items():
        if taken[key] != command:
            raise DataError(f"keys.{command}: {key!r} is the key of {taken[key]} too", hint="give every command a key of its own")
    with db.write() as session:
        labeler = session.get(Labeler, labeler_id)
        assert labeler is not None
        labeler.preferences = {**labeler.preferences, "keys": wanted}


def seen_guideline(labeler: Labeler, name: str) -> int | None:
    """The version of a guideline that the labeler read last; None = none yet."""
    version = (labeler.preferences or {}).get("guidelines_seen", {}).get(name)
    return int(version) if version is not None else None


def note_guideline(db: Database, labeler_id: str, name: str, version: int) -> None:
    """The labeler has opened a version of a guideline."""
    with db.write() as session:
        labeler = session.get(Labeler, labeler_id)
        assert labeler is not None
        seen = (labeler.preferences or {}).get("guidelines_seen", {})
        labeler.preferences = {**labeler.preferences, "guidelines_seen": {**seen, name: version}}


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
