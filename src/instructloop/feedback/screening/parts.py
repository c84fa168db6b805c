"""The parts of the screening as data: questions, researchers' answers, cut-offs, which parts are required.

A part is never edited: new questions or another cut-off make a new version, so that an attempt always names what it was scored by.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import ScreenItem, ScreenTest, Setting
from instructloop.feedback.schema.people import SCREEN_KINDS
from instructloop.feedback.screening.scoring import check_item

DEFAULT_CUTOFFS: Final[Mapping[str, float | None]] = {"sensitive": 0.75, "ranking": 0.75, "demonstration": 6.0, "self": None}
"""Spec B2: 75 % agreement twice, 6 of 7, and a self-assessment without a cut-off."""
_RULES_KEY = "screening"


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question. ``expected`` and ``explanation`` never reach an applicant before the attempt is over."""

    payload: Mapping[str, Any]
    expected: Mapping[str, Any]
    explanation: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of the screening in one version."""

    id: str
    kind: str
    version: int
    title: str
    instructions: str
    cutoff: float | None
    items: tuple[Item, ...]
    active: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """Project-wide choices of the screening."""

    required: tuple[str, ...] = SCREEN_KINDS
    """Kinds that must be passed to become qualified."""
    attempts: int = 2
    """How often one part may be tried without asking."""
    raters: int = 1
    """How many researchers must rate each demonstration before it counts."""


@cache
def shipped() -> Mapping[str, Any]:
    """The questions that come with the program, by kind."""
    text = resources.files(__package__).joinpath("items.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def training_items() -> tuple[tuple[str, Item], ...]:
    """The onboarding's exercises with their explanations: (kind, item)."""
    text = resources.files(__package__).joinpath("training.json").read_text(encoding="utf-8")
    return tuple(
        (row["kind"], Item(payload=row["payload"], expected=row["expected"], explanation=row["explanation"]))
        for row in json.loads(text)["items"]
    )


def create_test(
    session: Session,
    *,
    kind: str,
    title: str,
    items: Sequence[Item],
    instructions: str = "",
    cutoff: float | None = None,
    actor: str = "system",
) -> str:
    """Put a new version of a part in force; the version before stays for the attempts that were made with it.

    Args:
        session: an open write transaction.
        kind: sensitive, ranking, demonstration or self.
        title: shown to applicants.
        items: the questions, in order.
        instructions: shown above them.
        cutoff: share (sensitive, ranking), 1..7 (demonstration), None = passed by answering.
        actor: for the audit log.

    Returns:
        The version's identifier.

    Raises:
        DataError: an unknown kind, no questions, a question that cannot be scored, or a cut-off out of range.
    """
    if kind not in SCREEN_KINDS:
        raise DataError(f"screening: kind {kind!r} is not known", hint=f"one of {', '.join(SCREEN_KINDS)}")
    if not items:
        raise DataError(f"screening: the part {kind} has no questions", hint="give at least one")
    for number, item in enumerate(items, start=1):
        check_item(kind, item.payload, item.expected, f"screening: {kind}, question {number}")
    _check_cutoff(kind, cutoff)
    version = (session.scalar(select(func.max(ScreenTest.version)).where(ScreenTest.kind == kind)) or 0) + 1
    session.execute(update(ScreenTest).where(ScreenTest.kind == kind).values(active=False))
    test = ScreenTest(kind=kind, version=version, title=title, cutoff=cutoff, active=True)
    session.add(test)
    session.flush()
    for position, item in enumerate(items):
        payload = {**item.payload, **({"instructions": instructions} if position == 0 and instructions else {})}
        expected = {**item.expected, **({"explanation": item.explanation} if item.explanation else {})}
        session.add(ScreenItem(test_id=test.id, position=position, payload=payload, expected=expected))
    session.flush()
    audit.append(
        session,
        actor=actor,
        action="screening.version",
        object=f"screen_test/{test.id}",
        detail={"kind": kind, "version": version, "items": len(items), "cutoff": cutoff},
    )
    return test.id


def _check_cutoff(kind: str, cutoff: float | None) -> None:
    if cutoff is None:
        return
    low, high = (1.0, 7.0) if kind == "demonstration" else (0.0, 1.0)
    if kind == "self" or not low <= cutoff <= high:
        raise DataError(f"screening: cut-off {cutoff} does not fit the part {kind}", hint=f"{low:g}..{high:g}, none for self")


def ensure_tests(db: Database) -> None:
    """Put the shipped questions in force for every part that has none yet; safe to repeat, and from several processes at once."""
    with db.read() as session:
        known = set(session.scalars(select(ScreenTest.kind).where(ScreenTest.active)))
    if known >= set(SCREEN_KINDS):
        return
    try:
        with db.write() as session:
            known = set(session.scalars(select(ScreenTest.kind).where(ScreenTest.active)))
            for kind in SCREEN_KINDS:
                if kind not in known:
                    _put_shipped(session, kind)
    except IntegrityError:
        pass  # another process was quicker: its questions are the same


def _put_shipped(session: Session, kind: str) -> None:
    given = shipped()[kind]
    items = [Item(payload=row["payload"], expected=row["expected"], explanation=row.get("explanation", "")) for row in given["items"]]
    create_test(session, kind=kind, title=given["title"], items=items, instructions=given["instructions"], cutoff=DEFAULT_CUTOFFS[kind])


def active_parts(session: Session) -> list[Part]:
    """The parts in force, in the order of the paper."""
    tests = {test.kind: test for test in session.scalars(select(ScreenTest).where(ScreenTest.active))}
    return [_part(session, tests[kind]) for kind in SCREEN_KINDS if kind in tests]


def part(session: Session, test_id: str) -> Part:
    """One version of a part.

    Raises:
        DataError: there is none.
    """
    test = session.get(ScreenTest, test_id)
    if test is None:
        raise DataError(f"no screening part {test_id}", hint="reload the page")
    return _part(session, test)


def _part(session: Session, test: ScreenTest) -> Part:
    rows = session.scalars(select(ScreenItem).where(ScreenItem.test_id == test.id).order_by(ScreenItem.position)).all()
    items = tuple(
        Item(
            payload={key: value for key, value in row.payload.items() if key != "instructions"},
            expected={key: value for key, value in row.expected.items() if key != "explanation"},
            explanation=str(row.expected.get("explanation", "")),
        )
        for row in rows
    )
    return Part(
        id=test.id,
        kind=test.kind,
        version=test.version,
        title=test.title,
        instructions=str(rows[0].payload.get("instructions", "")) if rows else "",
        cutoff=test.cutoff,
        items=items,
        active=test.active,
    )


def set_cutoff(db: Database, kind: str, cutoff: float | None, *, actor: str) -> str:
    """Put the questions in force under another cut-off, as a new version; attempts made before keep their verdict.

    Raises:
        DataError: an unknown kind or a cut-off out of range.
    """
    with db.write() as session:
        found = next((one for one in active_parts(session) if one.kind == kind), None)
        if found is None:
            raise DataError(f"screening: there is no part {kind!r}", hint=f"one of {', '.join(SCREEN_KINDS)}")
        if found.cutoff == cutoff:
            return found.id
        return create_test(
            session, kind=kind, title=found.title, items=found.items, instructions=found.instructions, cutoff=cutoff, actor=actor
        )


def export_items(found: Part) -> str:
    """A part's questions as JSONL, the form that :func:`import_items` reads."""
    rows = [{"payload": dict(item.payload), "expected": dict(item.expected), "explanation": item.explanation} for item in found.items]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def import_items(db: Database, kind: str, lines: Iterable[str], *, actor: str) -> str:
    """Make a new version of a part from JSONL: ``{"payload": {...}, "expected": {...}, "explanation": "..."}`` a line.

    Raises:
        DataError: a line that is no such object or cannot be scored, by its number; nothing changes then.
    """
    items = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"screening: {kind}, line {number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{where}: not valid JSON", hint="one object a line") from error
        if not isinstance(row, dict) or not isinstance(row.get("payload"), dict) or not isinstance(row.get("expected", {}), dict):
            raise DataError(f"{where}: needs the objects payload and expected", hint="export the present questions for an example")
        check_item(kind, row["payload"], row.get("expected", {}), where)
        items.append(Item(payload=row["payload"], expected=row.get("expected", {}), explanation=str(row.get("explanation", ""))))
    with db.write() as session:
        before = next((one for one in active_parts(session) if one.kind == kind), None)
        return create_test(
            session,
            kind=kind,
            title=before.title if before else kind,
            items=items,
            instructions=before.instructions if before else "",
            cutoff=before.cutoff if before else DEFAULT_CUTOFFS.get(kind),
            actor=actor,
        )


def rules(session: Session) -> Rules:
    """The project's rules, or the defaults."""
    row = session.get(Setting, _RULES_KEY)
    if row is None:
        return Rules()
    known = Rules()
    return replace(
        known,
        required=tuple(row.value.get("required", known.required)),
        attempts=int(row.value.get("attempts", known.attempts)),
        raters=int(row.value.get("raters", known.raters)),
    )


def set_rules(db: Database, changed: Rules, *, actor: str) -> None:
    """Change the rules; they hold for what happens from now on.

    Raises:
        DataError: an unknown part, or a number below 1.
    """
    unknown = [kind for kind in changed.required if kind not in SCREEN_KINDS]
    if unknown or changed.attempts < 1 or changed.raters < 1:
        raise DataError(f"screening: rules do not fit ({', '.join(unknown) or 'attempts and raters are at least 1'})", hint="correct them")
    value = {"required": list(changed.required), "attempts": changed.attempts, "raters": changed.raters}
    with db.write() as session:
        before = rules(session)
        row = session.get(Setting, _RULES_KEY)
        if row is None:
            session.add(Setting(key=_RULES_KEY, value=value, updated_at=now_ms()))
        else:
            row.value, row.updated_at = value, now_ms()
        session.flush()
        audit.append(
            session,
            actor=actor,
            action="screening.rules",
            object="setting/screening",
            detail={"from": {"required": list(before.required), "attempts": before.attempts, "raters": before.raters}, "to": value},
        )
