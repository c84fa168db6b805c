"""People: accounts, links that work once, logins, labelers, screening, surveys, messages, rate limits."""

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from instructloop.feedback.schema.base import Base, Created, Id, Json, Key, Millis, Sha, one_of, reference

ROLES = ("labeler", "adjudicator", "researcher", "admin", "viewer")
USER_STATES = ("active", "suspended", "erased")
LINK_KINDS = ("setup", "invite", "password")
LABELER_KINDS = ("human", "simulated", "judge")
COHORTS = ("training", "heldout", "researcher", "simulated")
LABELER_STATES = ("applicant", "qualified", "paused", "retired")
SCREEN_KINDS = ("sensitive", "ranking", "demonstration", "self")
SURVEY_KINDS = ("satisfaction", "demographics")


class User(Base):
    """An account that can log in. E-mail addresses live here and nowhere else, and never leave in an export."""

    __tablename__ = "user_account"
    id: Mapped[Id]
    email: Mapped[Key] = mapped_column(unique=True)
    """Lower case."""
    name: Mapped[Key] = mapped_column(default="")
    password_hash: Mapped[str | None] = mapped_column(String(200))
    role: Mapped[Key]
    status: Mapped[Key] = mapped_column(default="active")
    created_at: Mapped[Created]
    last_login_at: Mapped[int | None] = mapped_column(BigInteger)
    __table_args__ = (one_of("role", ROLES), one_of("status", USER_STATES), CheckConstraint("email = lower(email)", name="email_is_lower"))


class OneTimeLink(Base):
    """Set-up, invitation and password links; only the hash of the token is kept, and it works once."""

    __tablename__ = "one_time_link"
    id: Mapped[Id]
    kind: Mapped[Key]
    token_hash: Mapped[Sha] = mapped_column(unique=True)
    role: Mapped[Key | None]
    cohort: Mapped[Key | None]
    email: Mapped[Key | None]
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user_account.id"))
    """Whose password a ``password`` link sets."""
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[Created]
    expires_at: Mapped[Millis]
    used_at: Mapped[int | None] = mapped_column(BigInteger)
    used_by: Mapped[str | None] = mapped_column(ForeignKey("user_account.id"))
    __table_args__ = (one_of("kind", LINK_KINDS), one_of("role", ROLES), one_of("cohort", COHORTS))


class Login(Base):
    """A server-side login; the cookie holds a 256-bit secret of which only the hash is kept."""

    __tablename__ = "login"
    id_hash: Mapped[Sha] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id"), index=True)
    form_secret: Mapped[Key]
    """Key of the form tokens against cross-site requests."""
    created_at: Mapped[Created]
    last_seen_at: Mapped[Millis]
    expires_at: Mapped[Millis]
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)


class RateLimit(Base):
    """A fixed-window counter; in the database, so that several server processes share it."""

    __tablename__ = "rate_limit"
    key: Mapped[Key] = mapped_column(primary_key=True)
    window_start: Mapped[Millis]
    count: Mapped[int]


class Labeler(Base):
    """Who answers tasks. ``code`` is the pseudonym of every export; ``kind`` the only trace by which a simulated answer differs."""

    __tablename__ = "labeler"
    id: Mapped[Id]
    user_id: Mapped[str | None] = mapped_column(reference("user_account.id"), unique=True)
    """None for simulated labelers and judges."""
    code: Mapped[Key] = mapped_column(unique=True)
    kind: Mapped[Key] = mapped_column(default="human")
    cohort: Mapped[Key]
    state: Mapped[Key] = mapped_column(default="applicant")
    locale: Mapped[Key] = mapped_column(default="en")
    expertise: Mapped[Json]
    preferences: Mapped[Json]
    """Welfare options (blur, categories opted out of), key bindings."""
    consent_version: Mapped[Key | None]
    pay_reference: Mapped[Key | None]
    created_at: Mapped[Created]
    __table_args__ = (one_of("kind", LABELER_KINDS), one_of("cohort", COHORTS), one_of("state", LABELER_STATES))


class ScreenTest(Base):
    """One of the four parts of the screening (spec B2), in one version; cut-offs are data."""

    __tablename__ = "screen_test"
    id: Mapped[Id]
    kind: Mapped[Key]
    version: Mapped[int]
    title: Mapped[Key]
    cutoff: Mapped[float | None]
    """Share for sensitive and ranking, 1..7 for demonstration, None for self-assessment."""
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("kind", "version"), one_of("kind", SCREEN_KINDS))


class ScreenItem(Base):
    """One question of a screening test with what researchers answered."""

    __tablename__ = "screen_item"
    id: Mapped[Id]
    test_id: Mapped[str] = mapped_column(reference("screen_test.id"), index=True)
    position: Mapped[int]
    payload: Mapped[Json]
    expected: Mapped[Json]
    __table_args__ = (UniqueConstraint("test_id", "position"),)


class ScreenAttempt(Base):
    """A labeler's try at one test; ``detail`` holds the answers by item."""

    __tablename__ = "screen_attempt"
    id: Mapped[Id]
    labeler_id: Mapped[str] = mapped_column(reference("labeler.id"), index=True)
    test_id: Mapped[str] = mapped_column(reference("screen_test.id"))
    started_at: Mapped[Created]
    finished_at: Mapped[int | None] = mapped_column(BigInteger)
    score: Mapped[float | None]
    passed: Mapped[bool | None]
    detail: Mapped[Json]


class SurveyResponse(Base):
    """A voluntary answer (Tables 12, 13). It names no labeler and carries the month only, so that it cannot be joined to anyone's work."""

    __tablename__ = "survey_response"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=lambda: str(uuid.uuid4()))
    kind: Mapped[Key]
    month: Mapped[Key]
    """``2026-11``; the random identifier of this table does not sort by time either."""
    answers: Mapped[Json]
    # without SQLite's hidden row number, which would keep the order of arrival
    __table_args__ = (one_of("kind", SURVEY_KINDS), {"sqlite_with_rowid": False})


class SurveyOffer(Base):
    """That a survey was shown to a labeler, so that nobody is asked twice; not whether it was answered."""

    __tablename__ = "survey_offer"
    labeler_id: Mapped[str] = mapped_column(reference("labeler.id"), primary_key=True)
    kind: Mapped[Key] = mapped_column(primary_key=True)
    __table_args__ = (one_of("kind", SURVEY_KINDS),)


class ThreadMessage(Base):
    """One message in a labeler's thread with the research team."""

    __tablename__ = "thread_message"
    id: Mapped[Id]
    labeler_id: Mapped[str] = mapped_column(reference("labeler.id"))
    author_id: Mapped[str] = mapped_column(reference("user_account.id"))
    body: Mapped[str]
    task_id: Mapped[str | None] = mapped_column(ForeignKey("task.id"))
    created_at: Mapped[Created]
    read_at: Mapped[int | None] = mapped_column(BigInteger)
    __table_args__ = (Index("ix_thread_message_labeler", "labeler_id", "created_at"),)
