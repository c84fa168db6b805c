"""What is known about the answers: gold, adjudication, evaluations; chats; and the books: audit, exports, erasures, settings."""

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from instructloop.feedback.schema.base import Base, Created, Id, Json, Key, Millis, Sha, one_of, reference
from instructloop.feedback.schema.work import QUEUE_KINDS

TAXONOMY = ("ambiguous_prompt", "guideline_gap", "slip", "subjective")
PROVENANCE = ("unanimous", "majority", "adjudicated", "unresolved")


class Gold(Base):
    """An item with a known answer, shown silently; the explanation appears in training only."""

    __tablename__ = "gold"
    id: Mapped[Id]
    kind: Mapped[Key]
    expected: Mapped[Json]
    tolerance: Mapped[float] = mapped_column(default=0.0)
    explanation: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
    __table_args__ = (one_of("kind", QUEUE_KINDS),)


class GoldResult(Base):
    """How a submission did on a gold item, 0..1."""

    __tablename__ = "gold_result"
    submission_id: Mapped[str] = mapped_column(reference("submission.id"), primary_key=True)
    gold_id: Mapped[str] = mapped_column(reference("gold.id"), index=True)
    score: Mapped[float]
    passed: Mapped[bool]


class Adjudication(Base):
    """A decision about a disagreement; the raw answers stay."""

    __tablename__ = "adjudication"
    id: Mapped[Id]
    task_id: Mapped[str] = mapped_column(reference("task.id"), index=True)
    submission_id: Mapped[str | None] = mapped_column(ForeignKey("submission.id"), unique=True)
    """The adjudicator's own submission, where the decision came through a task."""
    decided_by: Mapped[str] = mapped_column(reference("labeler.id"))
    decision_submission_id: Mapped[str | None] = mapped_column(ForeignKey("submission.id"))
    """The answer that holds; NULL = unresolved."""
    taxonomy: Mapped[Key]
    note: Mapped[str]
    created_at: Mapped[Created]
    __table_args__ = (one_of("taxonomy", TAXONOMY),)


class Evaluation(Base):
    """A blind comparison of models, its plan frozen before the first vote."""

    __tablename__ = "evaluation"
    id: Mapped[Id]
    name: Mapped[Key] = mapped_column(unique=True)
    baseline_checkpoint_id: Mapped[str | None] = mapped_column(ForeignKey("checkpoint.id"))
    plan: Mapped[Json]
    seed: Mapped[int] = mapped_column(BigInteger)
    frozen_at: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[Created]


class EvaluationPair(Base):
    """One pair of completions to be voted on, and the task that asks for it."""

    __tablename__ = "evaluation_pair"
    id: Mapped[Id]
    evaluation_id: Mapped[str] = mapped_column(reference("evaluation.id"), index=True)
    task_id: Mapped[str] = mapped_column(reference("task.id"), unique=True)
    completion_a: Mapped[str] = mapped_column(reference("completion.id"))
    completion_b: Mapped[str] = mapped_column(reference("completion.id"))


class EvaluationResult(Base):
    """A computed figure with its method and n."""

    __tablename__ = "evaluation_result"
    id: Mapped[Id]
    evaluation_id: Mapped[str] = mapped_column(reference("evaluation.id"), index=True)
    method: Mapped[Key]
    n: Mapped[int]
    result: Mapped[Json]
    code_version: Mapped[Key]
    created_at: Mapped[Created]


class Chat(Base):
    """A conversation in the playground."""

    __tablename__ = "chat"
    id: Mapped[Id]
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user_account.id"))
    consent_id: Mapped[str | None] = mapped_column(ForeignKey("consent.id"))
    created_at: Mapped[Created]


class ChatMessage(Base):
    """A turn; a tree, because an answer can be drawn again."""

    __tablename__ = "chat_message"
    id: Mapped[Id]
    chat_id: Mapped[str] = mapped_column(reference("chat.id"), index=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("chat_message.id"))
    role: Mapped[Key]
    text: Mapped[str | None]
    completion_id: Mapped[str | None] = mapped_column(ForeignKey("completion.id"))
    created_at: Mapped[Created]
    erased_at: Mapped[int | None] = mapped_column(BigInteger)


class ChatFeedback(Base):
    """Thumbs, a ranking place or an edit on a turn."""

    __tablename__ = "chat_feedback"
    id: Mapped[Id]
    message_id: Mapped[str] = mapped_column(reference("chat_message.id"), index=True)
    kind: Mapped[Key]
    value: Mapped[Json]
    created_at: Mapped[Created]


class Audit(Base):
    """The book of who did what; insert-only, each line hashed together with the hash of the line before."""

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[Millis]
    actor: Mapped[Key]
    """A user's identifier, ``system`` or ``cli``."""
    action: Mapped[Key]
    object: Mapped[str]
    detail: Mapped[Json]
    before_sha256: Mapped[Sha | None]
    after_sha256: Mapped[Sha | None]
    ip_hash: Mapped[Sha | None]
    previous_hash: Mapped[Sha]
    hash: Mapped[Sha] = mapped_column(unique=True)
    __table_args__ = (Index("ix_audit_action", "action", "at"),)


class Export(Base):
    """A snapshot or export that left the store."""

    __tablename__ = "export"
    id: Mapped[Id]
    made_by: Mapped[Key]
    purpose: Mapped[Key]
    filter: Mapped[Json]
    schema_version: Mapped[int]
    rows: Mapped[int]
    sha256: Mapped[Sha]
    includes_pii: Mapped[bool] = mapped_column(default=False)
    prompt_ids: Mapped[Json]
    """``{"ids": [...]}``: what an erasure has to name."""
    created_at: Mapped[Created]


class Erasure(Base):
    """A tombstone: what was erased, when and why; the hash of what stood there stays."""

    __tablename__ = "erasure"
    id: Mapped[Id]
    subject: Mapped[Key]
    """Table and identifier, ``prompt/018f...``."""
    sha256: Mapped[Sha]
    reason: Mapped[Key]
    actor: Mapped[Key]
    affected_exports: Mapped[Json]
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("subject"),)


class Setting(Base):
    """A project-wide choice: screening cut-offs, survey texts, consent notice versions."""

    __tablename__ = "setting"
    key: Mapped[Key] = mapped_column(primary_key=True)
    value: Mapped[Json]
    updated_at: Mapped[Millis]
