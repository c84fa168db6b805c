"""Prompts with their owners and consent; models, checkpoints and the completions that are labeled."""

from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from instructloop.feedback.schema.base import Base, Created, Id, Json, Key, Sha, one_of, reference

SOURCES = ("api", "labeler", "dataset", "synthetic")
"""Where a prompt comes from; ``api`` = customers (playground, served model)."""
PROMPT_KINDS = ("plain", "fewshot", "user_based")
SPLITS = ("train", "valid", "test")
PII_STATES = ("unchecked", "clean", "quarantined", "redacted", "rejected")
SCOPES = ("train", "eval", "publish")
STAGES = ("base", "sft", "rm", "ppo", "bo_n", "other")
ORIGINS = ("model", "human", "edited")


class Consent(Base):
    """A person's agreement to one notice; revoking keeps the row and closes it."""

    __tablename__ = "consent"
    id: Mapped[Id]
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user_account.id"))
    anonymous_hash: Mapped[Key | None]
    text_version: Mapped[Key]
    scope: Mapped[Key]
    granted_at: Mapped[Created]
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)
    __table_args__ = (one_of("scope", SCOPES),)


class PromptOwner(Base):
    """Which split an owner's prompts lie in: one row, one split (spec A5); prompts refer to both columns together."""

    __tablename__ = "prompt_owner"
    owner_hash: Mapped[Sha] = mapped_column(primary_key=True)
    split: Mapped[Key]
    __table_args__ = (one_of("split", SPLITS), UniqueConstraint("owner_hash", "split"))


class PromptRow(Base):
    """A prompt. ``split`` is a function of the owner, never drawn per row (spec A5)."""

    __tablename__ = "prompt"
    id: Mapped[Id]
    text: Mapped[str | None]
    """Readable text (``core.records.prompt_text``), NFC; NULL after an erasure."""
    messages: Mapped[list[dict[str, str]] | None] = mapped_column(JSON)
    """The conversation, where the prompt is one."""
    sha256: Mapped[Sha] = mapped_column(unique=True)
    """Of the canonical JSON of the prompt's NFC form; stays after an erasure."""
    original_sha256: Mapped[Sha | None]
    """Of the bytes as they came."""
    prefix_key: Mapped[Sha] = mapped_column(index=True)
    """Hash of the long prefix that marks near relatives (spec A3)."""
    source: Mapped[Key]
    kind: Mapped[Key] = mapped_column(default="plain")
    owner_hash: Mapped[Sha] = mapped_column(index=True)
    split: Mapped[Key]
    language: Mapped[Key | None]
    use_case: Mapped[Key | None]
    tokens: Mapped[int] = mapped_column(default=0)
    """Length by the rule stated in ``meta["token_rule"]``."""
    pii_status: Mapped[Key] = mapped_column(default="unchecked")
    pii_report: Mapped[Json]
    consent_id: Mapped[str | None] = mapped_column(ForeignKey("consent.id"))
    licence: Mapped[Key | None]
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("prompt.id"))
    """The few-shot template or the unredacted prompt it was made from."""
    meta: Mapped[Json]
    """Every further field of the imported row."""
    created_at: Mapped[Created]
    erased_at: Mapped[int | None] = mapped_column(BigInteger)
    __table_args__ = (
        ForeignKeyConstraint(["owner_hash", "split"], ["prompt_owner.owner_hash", "prompt_owner.split"], name="fk_prompt_owner_split"),
        one_of("source", SOURCES),
        one_of("kind", PROMPT_KINDS),
        one_of("split", SPLITS),
        one_of("pii_status", PII_STATES),
        CheckConstraint("text IS NOT NULL OR erased_at IS NOT NULL", name="text_or_tombstone"),
    )


class Model(Base):
    """A family of weights. Its name never reaches a labeler."""

    __tablename__ = "model"
    id: Mapped[Id]
    name: Mapped[Key] = mapped_column(unique=True)
    base: Mapped[Key | None]
    licence: Mapped[Key | None]
    created_at: Mapped[Created]


class Checkpoint(Base):
    """One set of weights, by hash."""

    __tablename__ = "checkpoint"
    id: Mapped[Id]
    model_id: Mapped[str] = mapped_column(reference("model.id"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("checkpoint.id"))
    stage: Mapped[Key] = mapped_column(default="other")
    run: Mapped[str | None]
    """The run directory's name as it was given."""
    step: Mapped[int | None]
    sha256: Mapped[Sha] = mapped_column(unique=True)
    config: Mapped[Json]
    tokenizer_sha256: Mapped[Sha | None]
    created_at: Mapped[Created]
    __table_args__ = (one_of("stage", STAGES),)


class CompletionRow(Base):
    """One answer to a prompt, by a model, a person, or a person's edit of a model's."""

    __tablename__ = "completion"
    id: Mapped[Id]
    prompt_id: Mapped[str] = mapped_column(reference("prompt.id"), index=True)
    checkpoint_id: Mapped[str | None] = mapped_column(reference("checkpoint.id"))
    text: Mapped[str | None]
    sha256: Mapped[Sha]
    origin: Mapped[Key] = mapped_column(default="model")
    sampling: Mapped[Json]
    """Temperature, top_p, max_tokens, stop, seed, engine, version."""
    sampling_sha256: Mapped[Sha | None]
    template: Mapped[Key] = mapped_column(default="")
    draw: Mapped[int] = mapped_column(default=0)
    """Number of the sample among those of one seed."""
    finish_reason: Mapped[Key | None]
    tokens: Mapped[int | None]
    meta: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[Created]
    erased_at: Mapped[int | None] = mapped_column(BigInteger)
    __table_args__ = (
        one_of("origin", ORIGINS),
        UniqueConstraint("prompt_id", "checkpoint_id", "template", "sampling_sha256", "draw", name="uq_completion_drawn_once"),
        CheckConstraint("text IS NOT NULL OR erased_at IS NOT NULL", name="text_or_tombstone"),
        Index("ix_completion_checkpoint", "checkpoint_id"),
    )
