"""Work to do: guidelines, fields asked, queues, tasks, leases and drafts."""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, desc, text
from sqlalchemy.orm import Mapped, mapped_column

from instructloop.feedback.schema.base import Base, Created, Id, Json, JsonList, Key, Millis, between, one_of, reference

QUEUE_KINDS = ("demonstration", "rank", "rate", "rate_and_rank", "pairwise", "instruction", "toxicity", "edit", "critique", "adjudicate")
"""``rate_and_rank`` is the two-step page of Fig. 12; ``rank`` its second step alone; ``edit`` and ``critique`` are spec L5."""
QUEUE_STATES = ("open", "paused", "closed")
TASK_STATES = ("open", "done", "withdrawn")
ASSIGNMENT_STATES = ("leased", "submitted", "skipped", "expired", "released", "surplus")
SKIP_REASONS = ("off_topic", "pii", "cannot_judge", "uncomfortable", "too_long", "broken", "done_before", "other")
FLAG_SCOPES = ("prompt", "completion")
GUIDELINE_MODES = ("training", "evaluation")


class Guideline(Base):
    """One version of the written instructions; a published version never changes (spec B1)."""

    __tablename__ = "guideline"
    id: Mapped[Id]
    name: Mapped[Key]
    version: Mapped[int]
    mode: Mapped[Key]
    title: Mapped[Key]
    body: Mapped[str]
    """Markdown."""
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("name", "version"), one_of("mode", GUIDELINE_MODES))


class FlagDefinition(Base):
    """A field asked of an instruction or of an output (spec B11, B12), shown and hidden from data."""

    __tablename__ = "flag_definition"
    key: Mapped[Key] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    scope: Mapped[Key]
    position: Mapped[int]
    label: Mapped[str]
    help: Mapped[str]
    shortcut: Mapped[Key | None]
    """The mnemonic after F."""
    options: Mapped[JsonList]
    """Allowed values in order, e.g. ["yes", "no"] or ["yes", "no", "na"] or the ten use cases."""
    applies_if: Mapped[Json]
    """{} = always; else {"flag": key, "equals": value}, a field of the instruction."""
    good_value: Mapped[Key | None]
    active: Mapped[bool] = mapped_column(default=True)
    __table_args__ = (one_of("scope", FLAG_SCOPES),)


class Queue(Base):
    """A stream of tasks of one kind under one version of the guidelines."""

    __tablename__ = "queue"
    id: Mapped[Id]
    name: Mapped[Key] = mapped_column(unique=True)
    kind: Mapped[Key]
    guideline_id: Mapped[str] = mapped_column(reference("guideline.id"))
    overlap: Mapped[int] = mapped_column(default=1)
    """Answers wanted for a task."""
    extra_overlap_fraction: Mapped[float] = mapped_column(default=0.1)
    """Share of tasks that get ``extra_overlap`` more answers, to measure agreement."""
    extra_overlap: Mapped[int] = mapped_column(default=1)
    stop_when_agreed: Mapped[bool] = mapped_column(default=False)
    """Ask for a further label only when the first two disagree."""
    max_overlap: Mapped[int] = mapped_column(default=4)
    gold_rate: Mapped[float] = mapped_column(default=0.05)
    """Share of leases that are silent gold items."""
    priority: Mapped[int] = mapped_column(default=0)
    lease_seconds: Mapped[int] = mapped_column(default=600)
    """Shortest lease; it grows to three times the rolling median time."""
    edit_minutes: Mapped[int] = mapped_column(default=30)
    """How long after submitting a labeler may edit."""
    cohorts: Mapped[JsonList]
    """Cohorts that may work here; [] = all."""
    state: Mapped[Key] = mapped_column(default="open")
    settings: Mapped[Json]
    """``ask_prompt_flags``, ``ask_confidence``, ``source_hidden_note``, ``sensitive`` and the like."""
    evaluation_id: Mapped[str | None] = mapped_column(ForeignKey("evaluation.id"))
    created_at: Mapped[Created]
    __table_args__ = (one_of("kind", QUEUE_KINDS), one_of("state", QUEUE_STATES))


class Task(Base):
    """One prompt with its completions to be answered ``wanted`` times."""

    __tablename__ = "task"
    id: Mapped[Id]
    queue_id: Mapped[str] = mapped_column(reference("queue.id"))
    prompt_id: Mapped[str] = mapped_column(reference("prompt.id"), index=True)
    k: Mapped[int] = mapped_column(default=0)
    gold_id: Mapped[str | None] = mapped_column(ForeignKey("gold.id"))
    wanted: Mapped[int]
    taken: Mapped[int] = mapped_column(default=0)
    """Leased or submitted answers that count; kept under the row lock, checked by ``reconcile``."""
    done: Mapped[int] = mapped_column(default=0)
    """Submitted answers that count."""
    priority: Mapped[int] = mapped_column(default=0)
    state: Mapped[Key] = mapped_column(default="open")
    adjudicates: Mapped[str | None] = mapped_column(ForeignKey("task.id"), index=True)
    """The task whose disagreement this one decides."""
    sensitive: Mapped[Key | None]
    """Categories of its content, ``,sexual,violent,``: a labeler may opt out of each."""
    meta: Mapped[Json]
    created_at: Mapped[Created]
    __table_args__ = (
        one_of("state", TASK_STATES),
        CheckConstraint("wanted >= 0 AND taken >= 0 AND done >= 0", name="counters_not_negative"),
        # what next_lease walks along: only tasks that still want somebody, best first
        Index(
            "ix_task_next",
            "queue_id",
            desc("priority"),
            "id",
            sqlite_where=text("state = 'open' AND taken < wanted AND gold_id IS NULL"),
            postgresql_where=text("state = 'open' AND taken < wanted AND gold_id IS NULL"),
        ),
        Index("ix_task_queue", "queue_id", "state"),
        Index("ix_task_gold", "gold_id"),
        Index(
            "ix_task_gold_waiting",
            "queue_id",
            "state",
            sqlite_where=text("gold_id IS NOT NULL"),
            postgresql_where=text("gold_id IS NOT NULL"),
        ),
    )


class TaskItem(Base):
    """A completion of a task. ``slot`` is the stored order; what a labeler sees is the assignment's ``display_order``."""

    __tablename__ = "task_item"
    task_id: Mapped[str] = mapped_column(reference("task.id"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    completion_id: Mapped[str] = mapped_column(reference("completion.id"), index=True)
    __table_args__ = (UniqueConstraint("task_id", "completion_id"),)


class Assignment(Base):
    """A lease of a task to a labeler, and what became of it. One row per (task, labeler), one open lease per (labeler, queue)."""

    __tablename__ = "assignment"
    id: Mapped[Id]
    task_id: Mapped[str] = mapped_column(reference("task.id"))
    queue_id: Mapped[str] = mapped_column(reference("queue.id"))
    labeler_id: Mapped[str] = mapped_column(reference("labeler.id"))
    state: Mapped[Key] = mapped_column(default="leased")
    display_order: Mapped[JsonList]
    """Slots in the order shown: letter A is ``display_order[0]``."""
    guideline_id: Mapped[str | None] = mapped_column(ForeignKey("guideline.id"))
    """The version the labeler was shown."""
    idem_key: Mapped[Key] = mapped_column(unique=True)
    """Issued by the server with the lease; a repeated submission with it returns the first receipt."""
    leased_at: Mapped[Millis]
    expires_at: Mapped[Millis]
    heartbeat_at: Mapped[Millis]
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    active_ms: Mapped[Millis] = mapped_column(default=0)
    wall_ms: Mapped[Millis] = mapped_column(default=0)
    skip_reason: Mapped[Key | None]
    skip_note: Mapped[str | None]
    client: Mapped[Json]
    __table_args__ = (
        one_of("state", ASSIGNMENT_STATES),
        one_of("skip_reason", SKIP_REASONS),
        UniqueConstraint("task_id", "labeler_id"),
        Index(
            "uq_assignment_one_open_lease",
            "labeler_id",
            "queue_id",
            unique=True,
            sqlite_where=text("state = 'leased'"),
            postgresql_where=text("state = 'leased'"),
        ),
        Index("ix_assignment_expiry", "state", "expires_at"),
        Index("ix_assignment_labeler", "labeler_id", "ended_at"),
        Index("ix_assignment_stream", "labeler_id", "queue_id", "id"),
        Index("ix_assignment_own", "labeler_id", "queue_id", "state"),
        Index("ix_assignment_queue", "queue_id", "state", "ended_at"),
    )


class Draft(Base):
    """What a labeler has entered so far; ``rev`` lets a stale tab be told apart."""

    __tablename__ = "draft"
    assignment_id: Mapped[str] = mapped_column(reference("assignment.id"), primary_key=True)
    body: Mapped[Json]
    rev: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[Millis]
    __table_args__ = (between("rev", 1, 1_000_000_000),)
