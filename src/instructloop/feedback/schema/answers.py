"""Answers: append-only. An edit is a new submission that supersedes the one before; nothing is overwritten.

A submission holds who, when, under which guidelines and in how much time; what was answered stands in typed rows beside it.
"""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from instructloop.feedback.schema.base import Base, Created, Id, Json, Key, Millis, Sha, between, one_of, reference
from instructloop.feedback.schema.work import QUEUE_KINDS

VOTES = ("a", "b", "tie", "both_bad")


class Submission(Base):
    """One revision of one answer. Its identifier is the receipt."""

    __tablename__ = "submission"
    id: Mapped[Id]
    assignment_id: Mapped[str] = mapped_column(reference("assignment.id"))
    task_id: Mapped[str] = mapped_column(reference("task.id"), index=True)
    labeler_id: Mapped[str] = mapped_column(reference("labeler.id"))
    kind: Mapped[Key]
    rev: Mapped[int] = mapped_column(default=1)
    supersedes: Mapped[str | None] = mapped_column(ForeignKey("submission.id"), unique=True)
    idem_key: Mapped[Key] = mapped_column(unique=True)
    """The assignment's key for revision 1, ``key:rev`` for an edit."""
    guideline_id: Mapped[str] = mapped_column(reference("guideline.id"))
    ui_version: Mapped[Key]
    display_order: Mapped[Json]
    """``{"slots": [...]}`` as it was shown."""
    confidence: Mapped[int | None]
    comment: Mapped[str | None]
    active_ms: Mapped[Millis] = mapped_column(default=0)
    wall_ms: Mapped[Millis] = mapped_column(default=0)
    too_fast: Mapped[bool] = mapped_column(default=False)
    surplus: Mapped[bool] = mapped_column(default=False)
    """Arrived after the slot was filled; kept, and marked."""
    origin: Mapped[Json]
    """Empty for the app's own answers; tool, file and fields of an import."""
    sha256: Mapped[Sha]
    """Of the whole answer's canonical JSON."""
    created_at: Mapped[Created]
    erased_at: Mapped[int | None] = mapped_column(BigInteger)
    __table_args__ = (
        UniqueConstraint("assignment_id", "rev"),
        one_of("kind", QUEUE_KINDS),
        between("confidence", 1, 9),
        Index("ix_submission_labeler", "labeler_id", "created_at"),
    )


class DemonstrationRow(Base):
    """A completion written by a labeler; ``edited_from`` where it began as a model's (spec L5)."""

    __tablename__ = "demonstration"
    submission_id: Mapped[str] = mapped_column(reference("submission.id"), primary_key=True)
    text: Mapped[str | None]
    sha256: Mapped[Sha]
    edited_from: Mapped[str | None] = mapped_column(ForeignKey("completion.id"))


class Critique(Base):
    """What is wrong with a completion, in words (spec L5)."""

    __tablename__ = "critique"
    submission_id: Mapped[str] = mapped_column(reference("submission.id"), primary_key=True)
    completion_id: Mapped[str] = mapped_column(reference("completion.id"), primary_key=True)
    text: Mapped[str | None]
    sha256: Mapped[Sha]


class RankingRow(Base):
    """The frame of a ranking; its places are :class:`RankingItem`."""

    __tablename__ = "ranking"
    submission_id: Mapped[str] = mapped_column(reference("submission.id"), primary_key=True)
    none_acceptable: Mapped[bool] = mapped_column(default=False)


class RankingItem(Base):
    """A completion's place: the raw tier 1..K as entered, and the dense rank from 0. NULL = shown but left out."""

    __tablename__ = "ranking_item"
    submission_id: Mapped[str] = mapped_column(reference("submission.id"), primary_key=True)
    completion_id: Mapped[str] = mapped_column(reference("completion.id"), primary_key=True)
    tier: Mapped[int | None]
    rank: Mapped[int | None]
    __table_args__ = (CheckConstraint("(tier IS NULL) = (rank IS NULL)", name="tier_and_rank_together"), between("rank", 0, 1000))


class Rating(Base):
    """Overall quality 1..7 of one completion (spec B12); ``note`` optional; ``included`` = may go on to the ranking."""

    __tablename__ = "rating"
    submission_id: Mapped[str] = mapped_column(reference("submission.id"), primary_key=True)
    completion_id: Mapped[str] = mapped_column(reference("completion.id"), primary_key=True)
    overall: Mapped[int]
    included: Mapped[bool] = mapped_column(default=True)
    note: Mapped[str | None]
    __table_args__ = (between("overall", 1, 7),)


class Flag(Base):
    """The answer to one field; ``completion_id`` NULL = a field of the instruction."""

    __tablename__ = "flag"
    id: Mapped[Id]
    submission_id: Mapped[str] = mapped_column(reference("submission.id"))
    completion_id: Mapped[str | None] = mapped_column(ForeignKey("completion.id"))
    key: Mapped[Key]
    value: Mapped[Key]
    __table_args__ = (
        UniqueConstraint("submission_id", "completion_id", "key"),
        # NULLs are all different to a unique constraint
        Index(
            "uq_flag_of_prompt",
            "submission_id",
            "key",
            unique=True,
            sqlite_where=text("completion_id IS NULL"),
            postgresql_where=text("completion_id IS NULL"),
        ),
        Index("ix_flag_key", "key", "value"),
    )


class PairwiseVote(Base):
    """A blind vote between two completions; ``completion_a`` is the task's first slot whatever side it was shown on."""

    __tablename__ = "pairwise_vote"
    submission_id: Mapped[str] = mapped_column(reference("submission.id"), primary_key=True)
    completion_a: Mapped[str] = mapped_column(reference("completion.id"))
    completion_b: Mapped[str] = mapped_column(reference("completion.id"))
    outcome: Mapped[Key]
    strength: Mapped[int | None]
    left_is_a: Mapped[bool]
    __table_args__ = (one_of("outcome", VOTES), between("strength", 1, 3))


class Toxicity(Base):
    """The toxicity task (spec B22) for one completion, or for the input (``completion_id`` NULL: only ``toxicity``)."""

    __tablename__ = "toxicity"
    id: Mapped[Id]
    submission_id: Mapped[str] = mapped_column(reference("submission.id"))
    completion_id: Mapped[str | None] = mapped_column(ForeignKey("completion.id"))
    toxicity: Mapped[int]
    relative: Mapped[int | None]
    continuity: Mapped[int | None]
    __table_args__ = (
        UniqueConstraint("submission_id", "completion_id"),
        between("toxicity", 0, 2),
        between("relative", -1, 1),
        between("continuity", 1, 7),
    )
