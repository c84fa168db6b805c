"""Checked rows into the tables, inside one transaction of the caller: whatever is wrong here leaves nothing behind.

Rows of several files may add to one submission; the same row imported twice is recognised by its content.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from instructloop.core.hashing import hash_json
from instructloop.core.records import prompt_json
from instructloop.feedback import schema as table
from instructloop.feedback.exchange.frames import Defaults, Frames
from instructloop.feedback.exchange.incoming import Incoming
from instructloop.feedback.exchange.ledger import Ledger
from instructloop.feedback.exchange.typed import part_of, typed_rows
from instructloop.feedback.ids import new_id, now_ms
from instructloop.formats.loaded import RowProblemError


@dataclass(slots=True)
class _Open:
    """A submission that rows of several files may add to."""

    id: str
    slots: tuple[str, ...]
    parts: set[str] = field(default_factory=set)


class Writer:
    """Puts rows into an open transaction; one for each import."""

    def __init__(self, session: Session, defaults: Defaults, rows: Sequence[Incoming]) -> None:
        """Look up what these rows may meet."""
        self.session = session
        self.defaults = defaults
        self.ledger = Ledger(session, rows)
        self.frames = Frames(session, defaults, self.ledger)
        self.counts = self.frames.counts
        self._open: dict[str, _Open] = {}
        self._tasks: dict[str, list[tuple[str, tuple[str, ...], set[str]]]] = defaultdict(list)
        self._decisions: dict[str, tuple[Incoming, str]] = {}
        self._made: dict[str, dict[str, Any]] = {}
        self._more: Counter[str] = Counter()
        self._imported: set[str] | None = None
        self._rows = rows

    def add(self, row: Incoming) -> None:
        """One row.

        Raises:
            RowProblemError: it contradicts the store or an earlier row.
        """
        prompt_id = self.frames.prompt(row)
        if row.kind == "prompt":
            self.counts.kinds["prompt"] += 1
            return
        given = row.lineage.submission_id
        opened = self._open.get(given or "")
        if opened is None:
            labeler = self.frames.labeler(row)
            identity = self._identity(row, labeler.code)
            if given is None and identity in self._here_before():
                self.counts.known += 1
                return
            if given is not None and given in self.ledger.submissions:
                raise RowProblemError("submission_id", f"{given!r} is in the store already", hint="these answers were imported before")
            opened = self._submission(row, prompt_id, labeler, identity)
        self._part(row, opened)

    def finish(self) -> None:
        """Counters of the tasks, and decisions, once everything is in.

        Raises:
            DataError: a decision names a submission that is nowhere, or a person of another cohort.
        """
        for row, task_id in self._decisions.values():
            try:
                self._decide(row, task_id)
            except RowProblemError as problem:
                raise problem.as_error(row.where) from None
        for task_id, done in self._more.items():
            if task_id in self._made:
                self._made[task_id] |= {"done": done, "taken": done, "wanted": done}
                continue
            task = self.session.get_one(table.Task, task_id, with_for_update=True)
            task.done, task.taken = task.done + done, task.taken + done
            task.wanted = max(task.wanted, task.taken)
        self.session.flush()
        self.ledger.write()

    def _here_before(self) -> set[str]:
        """Identities of this file's rows without identifiers that came in before."""
        if self._imported is None:
            plain = [row for row in self._rows if row.kind != "prompt" and row.lineage.submission_id is None]
            self._imported = self.ledger.imported(self._identity(row, self.frames.code(row)) for row in plain)
        return self._imported

    def _identity(self, row: Incoming, code: str) -> str:
        said = [row.text, row.ranks, row.none_acceptable, row.winner, row.slot, row.overall, row.critique, row.input_toxicity, row.toxicity]
        about = [prompt_json(row.prompt), row.completions, row.lineage.models, dict(row.flags), dict(row.prompt_flags)]
        return f"import:{hash_json([self.defaults.tool, code, row.kind, about, said])}"

    def _task(self, row: Incoming, prompt_id: str, queue_id: str, labeler: table.Labeler) -> tuple[str, tuple[str, ...]]:
        """The task a row belongs to: by its identifier, else one with the same content that this labeler has not answered."""
        lineage = row.lineage
        key = lineage.task_id or hash_json([queue_id, prompt_id, row.completions, lineage.models])
        for task_id, slots, people in self._tasks[key]:
            if labeler.id not in people:
                people.add(labeler.id)
                return task_id, slots
            if lineage.task_id is not None:
                raise RowProblemError("task_id", f"labeler {labeler.code} answered {lineage.task_id!r} already")
        if lineage.task_id in self.ledger.tasks:
            task_id = str(lineage.task_id)
            asked, _queue, slots = self.ledger.tasks[task_id]
            if asked != prompt_id:
                raise RowProblemError("task_id", f"{task_id!r} is another task in the store", hint="the identifiers were mixed up")
        else:
            slots = self.frames.completions(row, prompt_id)
            task_id = lineage.task_id or new_id()
            gold = self._gold(row)
            frame: dict[str, Any] = {"k": len(slots), "gold_id": gold, "state": "done", "wanted": 1, "taken": 0, "done": 0, "meta": {}}
            self._made[task_id] = self.ledger.enter(table.Task, id=task_id, queue_id=queue_id, prompt_id=prompt_id, **frame)
            for slot, name in enumerate(slots):
                self.ledger.enter(table.TaskItem, task_id=task_id, slot=slot, completion_id=name)
        self._tasks[key].append((task_id, slots, {labeler.id}))
        return task_id, slots

    def _gold(self, row: Incoming) -> str | None:
        """A gold item whose answer did not come along keeps its mark, so that it still stays out of training."""
        if not row.lineage.gold:
            return None
        gold = self.ledger.enter(table.Gold, id=new_id(), kind=row.kind, expected={}, explanation="imported", active=False)
        return str(gold["id"])

    def _submission(self, row: Incoming, prompt_id: str, labeler: table.Labeler, identity: str) -> _Open:
        lineage = row.lineage
        guideline_id = self.frames.guideline(lineage)
        queue_id = self.frames.queue(row, guideline_id)
        task_id, slots = self._task(row, prompt_id, queue_id, labeler)
        if task_id in self.ledger.tasks:
            queue_id = self.ledger.tasks[task_id][1]
        if len(slots) != len(row.completions):
            raise RowProblemError("completions", f"has {len(row.completions)} entries, the task has {len(slots)}")
        at = lineage.created_at or now_ms()
        order = lineage.display_order if lineage.display_order is not None else [*range(len(slots))]
        submission_id = lineage.submission_id or new_id()
        idem = f"import:{submission_id}" if lineage.submission_id else identity
        assignment = self.ledger.enter(
            table.Assignment,
            id=new_id(),
            task_id=task_id,
            queue_id=queue_id,
            guideline_id=guideline_id,
            labeler_id=labeler.id,
            state="surplus" if lineage.surplus else "submitted",
            display_order=order,
            idem_key=idem,
            leased_at=at,
            expires_at=at,
            heartbeat_at=at,
            ended_at=at,
            active_ms=lineage.active_ms,
            wall_ms=lineage.wall_ms,
            client={"imported_from": self.defaults.tool},
        )
        self.ledger.enter(
            table.Submission,
            id=submission_id,
            assignment_id=assignment["id"],
            task_id=task_id,
            labeler_id=labeler.id,
            kind=row.kind,
            rev=lineage.rev,
            idem_key=idem if lineage.rev == 1 else f"{idem}:{lineage.rev}",
            guideline_id=guideline_id,
            ui_version=lineage.ui_version,
            display_order={"slots": order},
            confidence=lineage.confidence,
            comment=lineage.comment,
            active_ms=lineage.active_ms,
            wall_ms=lineage.wall_ms,
            too_fast=lineage.too_fast,
            surplus=lineage.surplus,
            origin=self._origin(row),
            sha256=identity.removeprefix("import:"),
            created_at=at,
        )
        self.ledger.submissions.add(submission_id)
        if lineage.adjudication is not None:
            self._decisions.setdefault(lineage.adjudication.id, (row, task_id))
        opened = _Open(submission_id, slots)
        if lineage.submission_id is not None:
            self._open[submission_id] = opened
        self._more[task_id] += not lineage.surplus
        self.counts.submissions += 1
        self.counts.kinds[row.kind] += 1
        return opened

    def _origin(self, row: Incoming) -> dict[str, Any]:
        origin: dict[str, Any] = {"tool": self.defaults.tool, "file": self.defaults.file, "line": row.where.line}
        if row.lineage.submission_id is not None:
            origin["origin"] = row.lineage.origin
        if row.beside:
            origin["fields"] = dict(row.beside)
        return origin

    def _part(self, row: Incoming, opened: _Open) -> None:
        """What this row says, into the typed tables of its submission."""
        part = part_of(row)
        if part in opened.parts:
            raise RowProblemError("submission_id", f"{opened.id!r} stands twice in this import ({part})", hint="remove one of the two rows")
        if row.completions and tuple(row.lineage.completion_ids or ()) not in ((), opened.slots):
            raise RowProblemError("completion_ids", "are others than in another row of this submission")
        voted = {"vote", "vote as a ranking"} & opened.parts
        opened.parts.add(part)
        if row.winner is not None and voted:
            return  # the same vote again, in its other form
        flags = bool(row.prompt_flags) and "prompt flags" not in opened.parts
        opened.parts |= {"prompt flags"} if flags else set()
        for model, values in typed_rows(row, opened.id, opened.slots, with_prompt_flags=flags):
            self.ledger.enter(model, **values)

    def _decide(self, row: Incoming, task_id: str) -> None:
        decision = row.lineage.adjudication
        assert decision is not None
        if decision.id in self.ledger.decisions:
            return
        if decision.decision is not None and decision.decision not in self.ledger.submissions:
            raise RowProblemError("adjudication.decision", f"{decision.decision!r} is no submission of this import or of the store")
        self.ledger.enter(
            table.Adjudication,
            id=decision.id,
            task_id=task_id,
            decided_by=self.frames.person(decision.decided_by, decision.cohort, "human").id,
            decision_submission_id=decision.decision,
            taxonomy=decision.taxonomy,
            note="",
            created_at=decision.created_at,
        )
