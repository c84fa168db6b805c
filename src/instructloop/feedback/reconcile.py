"""Cached counters against the rows they stand for: no counter without a job that checks it."""

from dataclasses import dataclass

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from instructloop.feedback.database import Database
from instructloop.feedback.schema import Assignment, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A task's counter that does not match its assignments."""

    task_id: str
    column: str
    stored: int
    counted: int


def reconcile(db: Database, *, fix: bool = False) -> list[Difference]:
    """Compare every task's ``taken`` and ``done`` with its assignments; ``fix`` writes the counted numbers.

    Fixing while people work is safe: the rows are locked, and leases count again under the lock anyway.
    """
    if fix:
        return db.transact(lambda session: _compare(session, fix=True))
    with db.read() as session:
        return _compare(session, fix=False)


def _compare(session: Session, *, fix: bool) -> list[Difference]:
    if fix and session.get_bind().dialect.name == "postgresql":
        session.execute(select(Task.id).order_by(Task.id).with_for_update(key_share=True)).all()
    query = (
        select(Task, func.count(Assignment.id), func.count(Assignment.id).filter(Assignment.state == "submitted"))
        .outerjoin(Assignment, and_(Assignment.task_id == Task.id, Assignment.state.in_(("leased", "submitted"))))
        .where(Task.gold_id.is_(None))
        .group_by(Task.id)
        .order_by(Task.id)
    )
    found = []
    for task, taken, done in session.execute(query).all():
        for column, counted in (("taken", taken), ("done", done)):
            if getattr(task, column) != counted:
                found.append(Difference(task_id=task.id, column=column, stored=getattr(task, column), counted=counted))
                if fix:
                    setattr(task, column, counted)
    return found
