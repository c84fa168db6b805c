"""What must hold of the prompts in a store: splits by owner, no relatives across splits, nothing personal in use (spec A3, A5, A6)."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback.database import Database
from instructloop.feedback.prompts import pii
from instructloop.feedback.prompts.sampling import TRAINING_PII
from instructloop.feedback.schema import Consent, PromptOwner, PromptRow

_SHOWN = 5


class Finding(NamedTuple):
    """Something that does not hold."""

    rule: str
    n: int
    examples: tuple[str, ...]
    """A few identifiers: owner hashes, prefix keys or prompts."""

    def __str__(self) -> str:
        more = ", ..." if self.n > len(self.examples) else ""
        return f"{self.rule}: {self.n} ({', '.join(self.examples)}{more})"


def split_findings(session: Session) -> list[Finding]:
    """Owners and long prefixes that lie in two splits, and prompts that disagree with their owner's split."""

    def spanning(column: Any) -> Select[Any]:
        return select(column).group_by(column).having(func.count(func.distinct(PromptRow.split)) > 1).order_by(column)

    strays = (
        select(PromptRow.id)
        .outerjoin(PromptOwner, PromptOwner.owner_hash == PromptRow.owner_hash)
        .where(or_(PromptOwner.split.is_(None), PromptOwner.split != PromptRow.split))
        .order_by(PromptRow.id)
    )
    return _findings(
        session,
        (
            ("owners in two splits", spanning(PromptRow.owner_hash)),
            ("long prefixes in two splits", spanning(PromptRow.prefix_key)),
            ("prompts outside their owner's split", strays),
        ),
    )


def check_splits(database: Database) -> None:
    """Assert that no owner and no long prefix spans two splits.

    Raises:
        DataError: some do; the message counts and names them.
    """
    with database.read() as session:
        findings = split_findings(session)
    if findings:
        raise DataError(
            "; ".join(str(finding) for finding in findings), hint="keep one of each and erase the others; import drops such prompts itself"
        )


def consent_findings(session: Session) -> list[Finding]:
    """Customers' prompts without a consent in force; snapshots leave them out, this says how many there are."""
    query = select(PromptRow.id).outerjoin(Consent, Consent.id == PromptRow.consent_id).where(PromptRow.erased_at.is_(None))
    without = query.where(PromptRow.source == "api", PromptRow.consent_id.is_(None)).order_by(PromptRow.id)
    revoked = query.where(Consent.revoked_at.is_not(None)).order_by(PromptRow.id)
    return _findings(session, (("customers' prompts without consent", without), ("prompts whose consent was revoked", revoked)))


def personal_findings(session: Session, *, look_again: bool = True) -> list[Finding]:
    """Prompts of the training split that nobody has checked, that wait in quarantine, or in which today's rules find something.

    A prompt that a person cleared is not looked at again.
    """
    base = select(PromptRow.id).where(PromptRow.split == "train", PromptRow.erased_at.is_(None)).order_by(PromptRow.id)
    found = _findings(
        session,
        (
            ("training prompts nobody has checked for personal data", base.where(PromptRow.pii_status == "unchecked")),
            ("training prompts in quarantine", base.where(PromptRow.pii_status == "quarantined")),
        ),
    )
    if look_again:
        in_use = select(PromptRow.id, PromptRow.text, PromptRow.pii_report).where(
            and_(PromptRow.split == "train", PromptRow.text.is_not(None), PromptRow.pii_status.in_(TRAINING_PII))
        )
        bad = [
            row.id
            for row in session.execute(in_use.order_by(PromptRow.id))
            if not (row.pii_report or {}).get("review") and pii.find_pii(row.text)
        ]
        if bad:
            found.append(Finding("training prompts in which the rules find personal data", len(bad), tuple(bad[:_SHOWN])))
    return found


def _findings(session: Session, queries: Iterable[tuple[str, Select[Any]]]) -> list[Finding]:
    found = []
    for rule, query in queries:
        values = list(session.scalars(query))
        if values:
            found.append(Finding(rule, len(values), tuple(values[:_SHOWN])))
    return found
