"""Whole projects for tests: founded, with answers of every kind."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.founding import found
from instructloop.feedback.project import Project
from instructloop.feedback.schema import Consent, PromptRow
from instructloop.feedback.submissions import submit
from instructloop.testing import feedback as build

ANSWER_KINDS = ("demonstration", "edit", "rank", "rate", "rate_and_rank", "pairwise", "instruction", "toxicity", "critique")
_OF_THREE = {"rank", "rate", "rate_and_rank", "toxicity", "critique"}


@dataclass(frozen=True)
class Store:
    """A project with its open store."""

    project: Project
    db: Database

    def consent(self, scope: str = "train") -> None:
        """Every prompt's owner agrees."""
        with self.db.write() as session:
            agreed = Consent(text_version="v1", scope=scope)
            session.add(agreed)
            session.flush()
            for prompt in session.scalars(select(PromptRow)):
                prompt.consent_id = agreed.id

    def answer(self, labeler_id: str, queue: build.SeededQueue, kind: str) -> list[str]:
        """One labeler answers everything that waits in a queue; returns the receipts."""
        receipts = []
        while lease := next_lease(self.db, labeler_id, queue.queue_id):
            answer = build.any_answer(kind, lease.k)
            receipts.append(submit(self.db, lease.assignment_id, labeler_id, lease.idem_key, answer, ui_version="test").submission_id)
        return receipts

    def answer_everything(self) -> None:
        """Two tasks of every kind, with consent, answered by two training labelers and a held-out one (9 x 2 x 3 answers)."""
        queues = {
            kind: build.seed_queue(self.db, kind=kind, prompts=2, k=3 if kind in _OF_THREE else None, overlap=3) for kind in ANSWER_KINDS
        }
        self.consent()
        for code, cohort in (("L001", "training"), ("L002", "training"), ("H001", "heldout")):
            labeler = build.add_labeler(self.db, code, cohort=cohort)
            for kind, queue in queues.items():
                self.answer(labeler, queue, kind)


def new_store(path: Path) -> Store:
    """A founded project in a new folder."""
    project = found(path)
    return Store(project, project.database())
