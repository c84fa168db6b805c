"""Guidelines: the written instructions, in versions. A published version never changes; answers name the one that was shown.

Two come with every project, in our own words after spec B6-B9, B13-B15: ``default`` for work that trains models and
``evaluation`` for work that judges them, with other priorities.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback.database import Database, insert_if_new
from instructloop.feedback.flags import COMPLETION_FLAGS, PROMPT_FLAGS
from instructloop.feedback.schema import FlagDefinition, Guideline, Queue
from instructloop.feedback.schema.work import GUIDELINE_MODES

MAX_BODY_BYTES = 200_000
FLAG_VERSION = 1


@dataclass(frozen=True, slots=True)
class GuidelineText:
    """A guideline as it is written: Markdown without the title line."""

    name: str
    mode: str
    title: str
    body: str


@cache
def default_guidelines() -> tuple[GuidelineText, ...]:
    """The two texts that come with the package."""
    return (_shipped("default", "training", "training.md"), _shipped("evaluation", "evaluation", "evaluation.md"))


def _shipped(name: str, mode: str, file: str) -> GuidelineText:
    folder = files("instructloop.feedback.guidelines")
    title, _, body = folder.joinpath(file).read_text(encoding="utf-8").partition("\n")
    shared = folder.joinpath("shared.md").read_text(encoding="utf-8")
    return GuidelineText(name, mode, title.removeprefix("# ").strip(), f"{body.strip()}\n\n{shared.strip()}\n")


def publish(db: Database, name: str, mode: str, title: str, body: str, by: str | None = None) -> str:
    """Publish the next version of a guideline; queues keep the version they have until :func:`use`.

    Args:
        db: the store.
        name: of the series, e.g. ``default``.
        mode: ``training`` or ``evaluation``.
        body: Markdown.
        by: the account that publishes, if any.

    Returns:
        The identifier of the new version.

    Raises:
        ConfigError: an unknown mode, or a name with ``@`` or white space.
        DataError: empty or too long.
    """
    if mode not in GUIDELINE_MODES:
        raise ConfigError(f"mode: {mode!r} is not known", hint=f"use one of {', '.join(GUIDELINE_MODES)}")
    if not name or "@" in name or any(character.isspace() for character in name):
        raise ConfigError(f"name: {name!r} cannot name a guideline", hint="use letters, digits and dashes")
    if not body.strip() or len(body.encode()) > MAX_BODY_BYTES:
        raise DataError(f"body: must have between 1 and {MAX_BODY_BYTES:,} bytes", hint="write the instructions in Markdown")
    return db.transact(lambda session: _publish(session, GuidelineText(name, mode, title.strip() or name, body), by))


def _publish(session: Session, text: GuidelineText, by: str | None) -> str:
    newest = select(func.coalesce(func.max(Guideline.version), 0)).where(Guideline.name == text.name)
    version = 0
    for _ in range(20):  # two people publishing at once get two versions
        version = session.scalars(newest).one() + 1
        row = {"name": text.name, "version": version, "mode": text.mode, "title": text.title, "body": text.body, "created_by": by}
        if insert_if_new(session, Guideline, row, on=("name", "version")):
            break
    return session.scalars(select(Guideline.id).where(Guideline.name == text.name, Guideline.version == version)).one()


def versions(db: Database, name: str | None = None) -> list[Guideline]:
    """All versions of one guideline (or of all), newest first."""
    query = select(Guideline).order_by(Guideline.name, Guideline.version.desc())
    with db.read() as session:
        return list(session.scalars(query if name is None else query.where(Guideline.name == name)))


def use(db: Database, queue_id: str, guideline_id: str) -> None:
    """Let a queue's coming leases show another version; answers to what is out still name the one that was shown.

    Raises:
        DataError: unknown queue or guideline.
    """
    with db.write() as session:
        queue = session.get(Queue, queue_id)
        if queue is None or session.get(Guideline, guideline_id) is None:
            raise DataError(f"there is no queue {queue_id!r} or no guideline {guideline_id!r}", hint="list them first")
        queue.guideline_id = guideline_id


def seed(db: Database) -> None:
    """What every project begins with: the fields asked and the default guidelines. Doing it again changes nothing."""
    with db.write() as session:
        for position, flag in enumerate((*PROMPT_FLAGS, *COMPLETION_FLAGS)):
            values = {
                "key": flag.key,
                "version": FLAG_VERSION,
                "scope": flag.scope,
                "position": position,
                "label": flag.label,
                "help": flag.help,
                "shortcut": flag.shortcut or None,
                "options": list(flag.options),
                "applies_if": dict(flag.applies_if),
                "good_value": flag.good_value or None,
                "active": True,
            }
            insert_if_new(session, FlagDefinition, values, on=("key", "version"))
        for text in default_guidelines():
            if session.scalar(select(Guideline.id).where(Guideline.name == text.name).limit(1)) is None:
                _publish(session, text, None)
