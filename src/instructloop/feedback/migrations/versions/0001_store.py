"""The store as first released."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=200), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("before_sha256", sa.String(length=71), nullable=True),
        sa.Column("after_sha256", sa.String(length=71), nullable=True),
        sa.Column("ip_hash", sa.String(length=71), nullable=True),
        sa.Column("previous_hash", sa.String(length=71), nullable=False),
        sa.Column("hash", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_hash")),
    )
    op.create_index("ix_audit_action", "audit", ["action", "at"], unique=False)
    op.create_table(
        "erasure",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=71), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("affected_exports", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
        sa.UniqueConstraint("subject", name=op.f("uq_erasure_subject")),
    )
    op.create_table(
        "export",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.Column("purpose", sa.String(length=200), nullable=False),
        sa.Column("filter", sa.JSON(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=71), nullable=False),
        sa.Column("includes_pii", sa.Boolean(), nullable=False),
        sa.Column("prompt_ids", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export")),
    )
    op.create_table(
        "flag_definition",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("scope", sa.String(length=200), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("help", sa.String(), nullable=False),
        sa.Column("shortcut", sa.String(length=200), nullable=True),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("applies_if", sa.JSON(), nullable=False),
        sa.Column("good_value", sa.String(length=200), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.CheckConstraint("scope IN ('prompt', 'completion')", name=op.f("ck_flag_definition_scope_is_known")),
        sa.PrimaryKeyConstraint("key", "version", name=op.f("pk_flag_definition")),
    )
    op.create_table(
        "gold",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("expected", sa.JSON(), nullable=False),
        sa.Column("tolerance", sa.Double(), nullable=False),
        sa.Column("explanation", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('demonstration', 'rank', 'rate', 'rate_and_rank', 'pairwise', 'instruction', 'toxicity', 'edit', 'critique', 'adjudicate')",
            name=op.f("ck_gold_kind_is_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gold")),
    )
    op.create_table(
        "model",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("base", sa.String(length=200), nullable=True),
        sa.Column("licence", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("name", name=op.f("uq_model_name")),
    )
    op.create_table(
        "prompt_owner",
        sa.Column("owner_hash", sa.String(length=71), nullable=False),
        sa.Column("split", sa.String(length=200), nullable=False),
        sa.CheckConstraint("split IN ('train', 'valid', 'test')", name=op.f("ck_prompt_owner_split_is_known")),
        sa.PrimaryKeyConstraint("owner_hash", name=op.f("pk_prompt_owner")),
        sa.UniqueConstraint("owner_hash", "split", name=op.f("uq_prompt_owner_owner_hash_split")),
    )
    op.create_table(
        "rate_limit",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("window_start", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_limit")),
    )
    op.create_table(
        "screen_test",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("cutoff", sa.Double(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('sensitive', 'ranking', 'demonstration', 'self')", name=op.f("ck_screen_test_kind_is_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screen_test")),
        sa.UniqueConstraint("kind", "version", name=op.f("uq_screen_test_kind_version")),
    )
    op.create_table(
        "setting",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_setting")),
    )
    op.create_table(
        "survey_response",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("month", sa.String(length=200), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.CheckConstraint("kind IN ('satisfaction', 'demographics')", name=op.f("ck_survey_response_kind_is_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_survey_response")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "user_account",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("email", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=True),
        sa.Column("role", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_login_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "role IN ('labeler', 'adjudicator', 'researcher', 'admin', 'viewer')", name=op.f("ck_user_account_role_is_known")
        ),
        sa.CheckConstraint("status IN ('active', 'suspended', 'erased')", name=op.f("ck_user_account_status_is_known")),
        sa.CheckConstraint("email = lower(email)", name=op.f("ck_user_account_email_is_lower")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.UniqueConstraint("email", name=op.f("uq_user_account_email")),
    )
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("model_id", sa.String(length=36), nullable=False),
        sa.Column("parent_id", sa.String(length=36), nullable=True),
        sa.Column("stage", sa.String(length=200), nullable=False),
        sa.Column("run", sa.String(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("sha256", sa.String(length=71), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("tokenizer_sha256", sa.String(length=71), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("stage IN ('base', 'sft', 'rm', 'ppo', 'bo_n', 'other')", name=op.f("ck_checkpoint_stage_is_known")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_checkpoint_model_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["parent_id"], ["checkpoint.id"], name=op.f("fk_checkpoint_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("sha256", name=op.f("uq_checkpoint_sha256")),
    )
    op.create_table(
        "consent",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("anonymous_hash", sa.String(length=200), nullable=True),
        sa.Column("text_version", sa.String(length=200), nullable=False),
        sa.Column("scope", sa.String(length=200), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("scope IN ('train', 'eval', 'publish')", name=op.f("ck_consent_scope_is_known")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_consent_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
    )
    op.create_table(
        "guideline",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("mode", sa.String(length=200), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("mode IN ('training', 'evaluation')", name=op.f("ck_guideline_mode_is_known")),
        sa.ForeignKeyConstraint(["created_by"], ["user_account.id"], name=op.f("fk_guideline_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guideline")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_guideline_name_version")),
    )
    op.create_table(
        "labeler",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("code", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("cohort", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("locale", sa.String(length=200), nullable=False),
        sa.Column("expertise", sa.JSON(), nullable=False),
        sa.Column("preferences", sa.JSON(), nullable=False),
        sa.Column("consent_version", sa.String(length=200), nullable=True),
        sa.Column("pay_reference", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("cohort IN ('training', 'heldout', 'researcher', 'simulated')", name=op.f("ck_labeler_cohort_is_known")),
        sa.CheckConstraint("kind IN ('human', 'simulated', 'judge')", name=op.f("ck_labeler_kind_is_known")),
        sa.CheckConstraint("state IN ('applicant', 'qualified', 'paused', 'retired')", name=op.f("ck_labeler_state_is_known")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_labeler_user_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labeler")),
        sa.UniqueConstraint("code", name=op.f("uq_labeler_code")),
        sa.UniqueConstraint("user_id", name=op.f("uq_labeler_user_id")),
    )
    op.create_table(
        "login",
        sa.Column("id_hash", sa.String(length=71), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("form_secret", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_login_user_id")),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_login")),
    )
    op.create_index(op.f("ix_login_user_id"), "login", ["user_id"], unique=False)
    op.create_table(
        "one_time_link",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("token_hash", sa.String(length=71), nullable=False),
        sa.Column("role", sa.String(length=200), nullable=True),
        sa.Column("cohort", sa.String(length=200), nullable=True),
        sa.Column("email", sa.String(length=200), nullable=True),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("created_by", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("used_by", sa.String(length=36), nullable=True),
        sa.CheckConstraint("cohort IN ('training', 'heldout', 'researcher', 'simulated')", name=op.f("ck_one_time_link_cohort_is_known")),
        sa.CheckConstraint("kind IN ('setup', 'invite', 'password')", name=op.f("ck_one_time_link_kind_is_known")),
        sa.CheckConstraint(
            "role IN ('labeler', 'adjudicator', 'researcher', 'admin', 'viewer')", name=op.f("ck_one_time_link_role_is_known")
        ),
        sa.ForeignKeyConstraint(["created_by"], ["user_account.id"], name=op.f("fk_one_time_link_created_by")),
        sa.ForeignKeyConstraint(["used_by"], ["user_account.id"], name=op.f("fk_one_time_link_used_by")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_one_time_link_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_time_link")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_one_time_link_token_hash")),
    )
    op.create_table(
        "screen_item",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("test_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("expected", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["test_id"], ["screen_test.id"], name=op.f("fk_screen_item_test_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screen_item")),
        sa.UniqueConstraint("test_id", "position", name=op.f("uq_screen_item_test_id_position")),
    )
    op.create_index(op.f("ix_screen_item_test_id"), "screen_item", ["test_id"], unique=False)
    op.create_table(
        "chat",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("consent_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.id"], name=op.f("fk_chat_consent_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_chat_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat")),
    )
    op.create_table(
        "evaluation",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("baseline_checkpoint_id", sa.String(length=36), nullable=True),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("frozen_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["baseline_checkpoint_id"], ["checkpoint.id"], name=op.f("fk_evaluation_baseline_checkpoint_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint("name", name=op.f("uq_evaluation_name")),
    )
    op.create_table(
        "prompt",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("messages", sa.JSON(), nullable=True),
        sa.Column("sha256", sa.String(length=71), nullable=False),
        sa.Column("original_sha256", sa.String(length=71), nullable=True),
        sa.Column("prefix_key", sa.String(length=71), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("owner_hash", sa.String(length=71), nullable=False),
        sa.Column("split", sa.String(length=200), nullable=False),
        sa.Column("language", sa.String(length=200), nullable=True),
        sa.Column("use_case", sa.String(length=200), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("pii_status", sa.String(length=200), nullable=False),
        sa.Column("pii_report", sa.JSON(), nullable=False),
        sa.Column("consent_id", sa.String(length=36), nullable=True),
        sa.Column("licence", sa.String(length=200), nullable=True),
        sa.Column("parent_id", sa.String(length=36), nullable=True),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('plain', 'fewshot', 'user_based')", name=op.f("ck_prompt_kind_is_known")),
        sa.CheckConstraint(
            "pii_status IN ('unchecked', 'clean', 'quarantined', 'redacted', 'rejected')", name=op.f("ck_prompt_pii_status_is_known")
        ),
        sa.CheckConstraint("source IN ('api', 'labeler', 'dataset', 'synthetic')", name=op.f("ck_prompt_source_is_known")),
        sa.CheckConstraint("split IN ('train', 'valid', 'test')", name=op.f("ck_prompt_split_is_known")),
        sa.CheckConstraint("text IS NOT NULL OR erased_at IS NOT NULL", name=op.f("ck_prompt_text_or_tombstone")),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.id"], name=op.f("fk_prompt_consent_id")),
        sa.ForeignKeyConstraint(["owner_hash", "split"], ["prompt_owner.owner_hash", "prompt_owner.split"], name="fk_prompt_owner_split"),
        sa.ForeignKeyConstraint(["parent_id"], ["prompt.id"], name=op.f("fk_prompt_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt")),
        sa.UniqueConstraint("sha256", name=op.f("uq_prompt_sha256")),
    )
    op.create_index(op.f("ix_prompt_owner_hash"), "prompt", ["owner_hash"], unique=False)
    op.create_index(op.f("ix_prompt_prefix_key"), "prompt", ["prefix_key"], unique=False)
    op.create_table(
        "screen_attempt",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("labeler_id", sa.String(length=36), nullable=False),
        sa.Column("test_id", sa.String(length=36), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_screen_attempt_labeler_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["test_id"], ["screen_test.id"], name=op.f("fk_screen_attempt_test_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screen_attempt")),
    )
    op.create_index(op.f("ix_screen_attempt_labeler_id"), "screen_attempt", ["labeler_id"], unique=False)
    op.create_table(
        "survey_offer",
        sa.Column("labeler_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.CheckConstraint("kind IN ('satisfaction', 'demographics')", name=op.f("ck_survey_offer_kind_is_known")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_survey_offer_labeler_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("labeler_id", "kind", name=op.f("pk_survey_offer")),
    )
    op.create_table(
        "completion",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("prompt_id", sa.String(length=36), nullable=False),
        sa.Column("checkpoint_id", sa.String(length=36), nullable=True),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(length=71), nullable=False),
        sa.Column("origin", sa.String(length=200), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("sampling_sha256", sa.String(length=71), nullable=True),
        sa.Column("template", sa.String(length=200), nullable=False),
        sa.Column("draw", sa.Integer(), nullable=False),
        sa.Column("finish_reason", sa.String(length=200), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("origin IN ('model', 'human', 'edited')", name=op.f("ck_completion_origin_is_known")),
        sa.CheckConstraint("text IS NOT NULL OR erased_at IS NOT NULL", name=op.f("ck_completion_text_or_tombstone")),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoint.id"], name=op.f("fk_completion_checkpoint_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_completion_prompt_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_completion")),
        sa.UniqueConstraint("prompt_id", "checkpoint_id", "template", "sampling_sha256", "draw", name="uq_completion_drawn_once"),
    )
    op.create_index("ix_completion_checkpoint", "completion", ["checkpoint_id"], unique=False)
    op.create_index(op.f("ix_completion_prompt_id"), "completion", ["prompt_id"], unique=False)
    op.create_table(
        "evaluation_result",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("evaluation_id", sa.String(length=36), nullable=False),
        sa.Column("method", sa.String(length=200), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("code_version", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluation.id"], name=op.f("fk_evaluation_result_evaluation_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_result")),
    )
    op.create_index(op.f("ix_evaluation_result_evaluation_id"), "evaluation_result", ["evaluation_id"], unique=False)
    op.create_table(
        "queue",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("guideline_id", sa.String(length=36), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("extra_overlap_fraction", sa.Double(), nullable=False),
        sa.Column("extra_overlap", sa.Integer(), nullable=False),
        sa.Column("stop_when_agreed", sa.Boolean(), nullable=False),
        sa.Column("max_overlap", sa.Integer(), nullable=False),
        sa.Column("gold_rate", sa.Double(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("lease_seconds", sa.Integer(), nullable=False),
        sa.Column("edit_minutes", sa.Integer(), nullable=False),
        sa.Column("cohorts", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("evaluation_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('demonstration', 'rank', 'rate', 'rate_and_rank', 'pairwise', 'instruction', 'toxicity', 'edit', 'critique', 'adjudicate')",
            name=op.f("ck_queue_kind_is_known"),
        ),
        sa.CheckConstraint("state IN ('open', 'paused', 'closed')", name=op.f("ck_queue_state_is_known")),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluation.id"], name=op.f("fk_queue_evaluation_id")),
        sa.ForeignKeyConstraint(["guideline_id"], ["guideline.id"], name=op.f("fk_queue_guideline_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue")),
        sa.UniqueConstraint("name", name=op.f("uq_queue_name")),
    )
    op.create_table(
        "chat_message",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("chat_id", sa.String(length=36), nullable=False),
        sa.Column("parent_id", sa.String(length=36), nullable=True),
        sa.Column("role", sa.String(length=200), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("completion_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_chat_message_chat_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["completion_id"], ["completion.id"], name=op.f("fk_chat_message_completion_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["chat_message.id"], name=op.f("fk_chat_message_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_message")),
    )
    op.create_index(op.f("ix_chat_message_chat_id"), "chat_message", ["chat_id"], unique=False)
    op.create_table(
        "task",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("queue_id", sa.String(length=36), nullable=False),
        sa.Column("prompt_id", sa.String(length=36), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("gold_id", sa.String(length=36), nullable=True),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("adjudicates", sa.String(length=36), nullable=True),
        sa.Column("sensitive", sa.String(length=200), nullable=True),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'done', 'withdrawn')", name=op.f("ck_task_state_is_known")),
        sa.ForeignKeyConstraint(["adjudicates"], ["task.id"], name=op.f("fk_task_adjudicates")),
        sa.ForeignKeyConstraint(["gold_id"], ["gold.id"], name=op.f("fk_task_gold_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_task_prompt_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["queue_id"], ["queue.id"], name=op.f("fk_task_queue_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
    )
    op.create_index(op.f("ix_task_adjudicates"), "task", ["adjudicates"], unique=False)
    op.create_index("ix_task_gold", "task", ["gold_id"], unique=False)
    op.create_index(op.f("ix_task_prompt_id"), "task", ["prompt_id"], unique=False)
    op.create_index("ix_task_queue", "task", ["queue_id", "state"], unique=False)
    op.create_table(
        "assignment",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("queue_id", sa.String(length=36), nullable=False),
        sa.Column("labeler_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("display_order", sa.JSON(), nullable=False),
        sa.Column("guideline_id", sa.String(length=36), nullable=True),
        sa.Column("idem_key", sa.String(length=200), nullable=False),
        sa.Column("leased_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("active_ms", sa.BigInteger(), nullable=False),
        sa.Column("wall_ms", sa.BigInteger(), nullable=False),
        sa.Column("skip_reason", sa.String(length=200), nullable=True),
        sa.Column("skip_note", sa.String(), nullable=True),
        sa.Column("client", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "skip_reason IN ('off_topic', 'pii', 'cannot_judge', 'uncomfortable', 'too_long', 'broken', 'done_before', 'other')",
            name=op.f("ck_assignment_skip_reason_is_known"),
        ),
        sa.CheckConstraint(
            "state IN ('leased', 'submitted', 'skipped', 'expired', 'released', 'surplus')", name=op.f("ck_assignment_state_is_known")
        ),
        sa.ForeignKeyConstraint(["guideline_id"], ["guideline.id"], name=op.f("fk_assignment_guideline_id")),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_assignment_labeler_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["queue_id"], ["queue.id"], name=op.f("fk_assignment_queue_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_assignment_task_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
        sa.UniqueConstraint("idem_key", name=op.f("uq_assignment_idem_key")),
        sa.UniqueConstraint("task_id", "labeler_id", name=op.f("uq_assignment_task_id_labeler_id")),
    )
    op.create_index("ix_assignment_expiry", "assignment", ["state", "expires_at"], unique=False)
    op.create_index("ix_assignment_labeler", "assignment", ["labeler_id", "ended_at"], unique=False)
    op.create_index("ix_assignment_queue", "assignment", ["queue_id", "state", "ended_at"], unique=False)
    op.create_index(
        "uq_assignment_one_open_lease",
        "assignment",
        ["labeler_id", "queue_id"],
        unique=True,
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_table(
        "chat_feedback",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["chat_message.id"], name=op.f("fk_chat_feedback_message_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_feedback")),
    )
    op.create_index(op.f("ix_chat_feedback_message_id"), "chat_feedback", ["message_id"], unique=False)
    op.create_table(
        "evaluation_pair",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("evaluation_id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("completion_a", sa.String(length=36), nullable=False),
        sa.Column("completion_b", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["completion_a"], ["completion.id"], name=op.f("fk_evaluation_pair_completion_a"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["completion_b"], ["completion.id"], name=op.f("fk_evaluation_pair_completion_b"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluation.id"], name=op.f("fk_evaluation_pair_evaluation_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_evaluation_pair_task_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_pair")),
        sa.UniqueConstraint("task_id", name=op.f("uq_evaluation_pair_task_id")),
    )
    op.create_index(op.f("ix_evaluation_pair_evaluation_id"), "evaluation_pair", ["evaluation_id"], unique=False)
    op.create_table(
        "task_item",
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("completion_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["completion_id"], ["completion.id"], name=op.f("fk_task_item_completion_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_item_task_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("task_id", "slot", name=op.f("pk_task_item")),
        sa.UniqueConstraint("task_id", "completion_id", name=op.f("uq_task_item_task_id_completion_id")),
    )
    op.create_index(op.f("ix_task_item_completion_id"), "task_item", ["completion_id"], unique=False)
    op.create_table(
        "thread_message",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("labeler_id", sa.String(length=36), nullable=False),
        sa.Column("author_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["author_id"], ["user_account.id"], name=op.f("fk_thread_message_author_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_thread_message_labeler_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_thread_message_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_thread_message")),
    )
    op.create_index("ix_thread_message_labeler", "thread_message", ["labeler_id", "created_at"], unique=False)
    op.create_table(
        "draft",
        sa.Column("assignment_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("rev BETWEEN 1 AND 1000000000", name=op.f("ck_draft_rev_in_range")),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignment.id"], name=op.f("fk_draft_assignment_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("assignment_id", name=op.f("pk_draft")),
    )
    op.create_table(
        "submission",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("assignment_id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("labeler_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("supersedes", sa.String(length=36), nullable=True),
        sa.Column("idem_key", sa.String(length=200), nullable=False),
        sa.Column("guideline_id", sa.String(length=36), nullable=False),
        sa.Column("ui_version", sa.String(length=200), nullable=False),
        sa.Column("display_order", sa.JSON(), nullable=False),
        sa.Column("confidence", sa.Integer(), nullable=True),
        sa.Column("comment", sa.String(), nullable=True),
        sa.Column("active_ms", sa.BigInteger(), nullable=False),
        sa.Column("wall_ms", sa.BigInteger(), nullable=False),
        sa.Column("too_fast", sa.Boolean(), nullable=False),
        sa.Column("surplus", sa.Boolean(), nullable=False),
        sa.Column("origin", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(length=71), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('demonstration', 'rank', 'rate', 'rate_and_rank', 'pairwise', 'instruction', 'toxicity', 'edit', 'critique', 'adjudicate')",
            name=op.f("ck_submission_kind_is_known"),
        ),
        sa.CheckConstraint("confidence BETWEEN 1 AND 9", name=op.f("ck_submission_confidence_in_range")),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignment.id"], name=op.f("fk_submission_assignment_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["guideline_id"], ["guideline.id"], name=op.f("fk_submission_guideline_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["labeler_id"], ["labeler.id"], name=op.f("fk_submission_labeler_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["supersedes"], ["submission.id"], name=op.f("fk_submission_supersedes")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_submission_task_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submission")),
        sa.UniqueConstraint("assignment_id", "rev", name=op.f("uq_submission_assignment_id_rev")),
        sa.UniqueConstraint("idem_key", name=op.f("uq_submission_idem_key")),
        sa.UniqueConstraint("supersedes", name=op.f("uq_submission_supersedes")),
    )
    op.create_index("ix_submission_labeler", "submission", ["labeler_id", "created_at"], unique=False)
    op.create_index(op.f("ix_submission_task_id"), "submission", ["task_id"], unique=False)
    op.create_table(
        "adjudication",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("submission_id", sa.String(length=36), nullable=True),
        sa.Column("decided_by", sa.String(length=36), nullable=False),
        sa.Column("decision_submission_id", sa.String(length=36), nullable=True),
        sa.Column("taxonomy", sa.String(length=200), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "taxonomy IN ('ambiguous_prompt', 'guideline_gap', 'slip', 'subjective')", name=op.f("ck_adjudication_taxonomy_is_known")
        ),
        sa.ForeignKeyConstraint(["decided_by"], ["labeler.id"], name=op.f("fk_adjudication_decided_by"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["decision_submission_id"], ["submission.id"], name=op.f("fk_adjudication_decision_submission_id")),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_adjudication_submission_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_adjudication_task_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjudication")),
        sa.UniqueConstraint("submission_id", name=op.f("uq_adjudication_submission_id")),
    )
    op.create_index(op.f("ix_adjudication_task_id"), "adjudication", ["task_id"], unique=False)
    op.create_table(
        "critique",
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("completion_id", sa.String(length=36), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(length=71), nullable=False),
        sa.ForeignKeyConstraint(["completion_id"], ["completion.id"], name=op.f("fk_critique_completion_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_critique_submission_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("submission_id", "completion_id", name=op.f("pk_critique")),
    )
    op.create_table(
        "demonstration",
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(length=71), nullable=False),
        sa.Column("edited_from", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["edited_from"], ["completion.id"], name=op.f("fk_demonstration_edited_from")),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_demonstration_submission_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_demonstration")),
    )
    op.create_table(
        "flag",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("completion_id", sa.String(length=36), nullable=True),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["completion_id"], ["completion.id"], name=op.f("fk_flag_completion_id")),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_flag_submission_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flag")),
        sa.UniqueConstraint("submission_id", "completion_id", "key", name=op.f("uq_flag_submission_id_completion_id_key")),
    )
    op.create_index("ix_flag_key", "flag", ["key", "value"], unique=False)
    op.create_index(
        "uq_flag_of_prompt",
        "flag",
        ["submission_id", "key"],
        unique=True,
        sqlite_where=sa.text("completion_id IS NULL"),
        postgresql_where=sa.text("completion_id IS NULL"),
    )
    op.create_table(
        "gold_result",
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("gold_id", sa.String(length=36), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["gold_id"], ["gold.id"], name=op.f("fk_gold_result_gold_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_gold_result_submission_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_gold_result")),
    )
    op.create_index(op.f("ix_gold_result_gold_id"), "gold_result", ["gold_id"], unique=False)
    op.create_table(
        "pairwise_vote",
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("completion_a", sa.String(length=36), nullable=False),
        sa.Column("completion_b", sa.String(length=36), nullable=False),
        sa.Column("outcome", sa.String(length=200), nullable=False),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column("left_is_a", sa.Boolean(), nullable=False),
        sa.CheckConstraint("outcome IN ('a', 'b', 'tie', 'both_bad')", name=op.f("ck_pairwise_vote_outcome_is_known")),
        sa.CheckConstraint("strength BETWEEN 1 AND 3", name=op.f("ck_pairwise_vote_strength_in_range")),
        sa.ForeignKeyConstraint(["completion_a"], ["completion.id"], name=op.f("fk_pairwise_vote_completion_a"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["completion_b"], ["completion.id"], name=op.f("fk_pairwise_vote_completion_b"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_pairwise_vote_submission_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_pairwise_vote")),
    )
    op.create_table(
        "ranking",
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("none_acceptable", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_ranking_submission_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_ranking")),
    )
    op.create_table(
        "ranking_item",
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("completion_id", sa.String(length=36), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=True),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.CheckConstraint("(tier IS NULL) = (rank IS NULL)", name=op.f("ck_ranking_item_tier_and_rank_together")),
        sa.CheckConstraint("rank BETWEEN 0 AND 1000", name=op.f("ck_ranking_item_rank_in_range")),
        sa.ForeignKeyConstraint(["completion_id"], ["completion.id"], name=op.f("fk_ranking_item_completion_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_ranking_item_submission_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("submission_id", "completion_id", name=op.f("pk_ranking_item")),
    )
    op.create_table(
        "rating",
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("completion_id", sa.String(length=36), nullable=False),
        sa.Column("overall", sa.Integer(), nullable=False),
        sa.Column("included", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(), nullable=True),
        sa.CheckConstraint("overall BETWEEN 1 AND 7", name=op.f("ck_rating_overall_in_range")),
        sa.ForeignKeyConstraint(["completion_id"], ["completion.id"], name=op.f("fk_rating_completion_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_rating_submission_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("submission_id", "completion_id", name=op.f("pk_rating")),
    )
    op.create_table(
        "toxicity",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("submission_id", sa.String(length=36), nullable=False),
        sa.Column("completion_id", sa.String(length=36), nullable=True),
        sa.Column("toxicity", sa.Integer(), nullable=False),
        sa.Column("relative", sa.Integer(), nullable=True),
        sa.Column("continuity", sa.Integer(), nullable=True),
        sa.CheckConstraint("continuity BETWEEN 1 AND 7", name=op.f("ck_toxicity_continuity_in_range")),
        sa.CheckConstraint("relative BETWEEN -1 AND 1", name=op.f("ck_toxicity_relative_in_range")),
        sa.CheckConstraint("toxicity BETWEEN 0 AND 2", name=op.f("ck_toxicity_toxicity_in_range")),
        sa.ForeignKeyConstraint(["completion_id"], ["completion.id"], name=op.f("fk_toxicity_completion_id")),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_toxicity_submission_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_toxicity")),
        sa.UniqueConstraint("submission_id", "completion_id", name=op.f("uq_toxicity_submission_id_completion_id")),
    )

    op.create_index(
        "ix_task_next",
        "task",
        ["queue_id", sa.text("priority DESC"), "id"],
        sqlite_where=sa.text("state = 'open' AND taken < wanted AND gold_id IS NULL"),
        postgresql_where=sa.text("state = 'open' AND taken < wanted AND gold_id IS NULL"),
    )


def downgrade() -> None:
    """Drop every table."""
    op.drop_table("toxicity")
    op.drop_table("rating")
    op.drop_table("ranking_item")
    op.drop_table("ranking")
    op.drop_table("pairwise_vote")
    op.drop_index(op.f("ix_gold_result_gold_id"), table_name="gold_result")
    op.drop_table("gold_result")
    op.drop_index(
        "uq_flag_of_prompt",
        table_name="flag",
        sqlite_where=sa.text("completion_id IS NULL"),
        postgresql_where=sa.text("completion_id IS NULL"),
    )
    op.drop_index("ix_flag_key", table_name="flag")
    op.drop_table("flag")
    op.drop_table("demonstration")
    op.drop_table("critique")
    op.drop_index(op.f("ix_adjudication_task_id"), table_name="adjudication")
    op.drop_table("adjudication")
    op.drop_index(op.f("ix_submission_task_id"), table_name="submission")
    op.drop_index("ix_submission_labeler", table_name="submission")
    op.drop_table("submission")
    op.drop_table("draft")
    op.drop_index("ix_thread_message_labeler", table_name="thread_message")
    op.drop_table("thread_message")
    op.drop_index(op.f("ix_task_item_completion_id"), table_name="task_item")
    op.drop_table("task_item")
    op.drop_index(op.f("ix_evaluation_pair_evaluation_id"), table_name="evaluation_pair")
    op.drop_table("evaluation_pair")
    op.drop_index(op.f("ix_chat_feedback_message_id"), table_name="chat_feedback")
    op.drop_table("chat_feedback")
    op.drop_index(
        "uq_assignment_one_open_lease",
        table_name="assignment",
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.drop_index("ix_assignment_queue", table_name="assignment")
    op.drop_index("ix_assignment_labeler", table_name="assignment")
    op.drop_index("ix_assignment_expiry", table_name="assignment")
    op.drop_table("assignment")
    op.drop_index("ix_task_queue", table_name="task")
    op.drop_index(op.f("ix_task_prompt_id"), table_name="task")
    op.drop_index("ix_task_gold", table_name="task")
    op.drop_index(op.f("ix_task_adjudicates"), table_name="task")
    op.drop_table("task")
    op.drop_index(op.f("ix_chat_message_chat_id"), table_name="chat_message")
    op.drop_table("chat_message")
    op.drop_table("queue")
    op.drop_index(op.f("ix_evaluation_result_evaluation_id"), table_name="evaluation_result")
    op.drop_table("evaluation_result")
    op.drop_index(op.f("ix_completion_prompt_id"), table_name="completion")
    op.drop_index("ix_completion_checkpoint", table_name="completion")
    op.drop_table("completion")
    op.drop_table("survey_offer")
    op.drop_index(op.f("ix_screen_attempt_labeler_id"), table_name="screen_attempt")
    op.drop_table("screen_attempt")
    op.drop_index(op.f("ix_prompt_prefix_key"), table_name="prompt")
    op.drop_index(op.f("ix_prompt_owner_hash"), table_name="prompt")
    op.drop_table("prompt")
    op.drop_table("evaluation")
    op.drop_table("chat")
    op.drop_index(op.f("ix_screen_item_test_id"), table_name="screen_item")
    op.drop_table("screen_item")
    op.drop_table("one_time_link")
    op.drop_index(op.f("ix_login_user_id"), table_name="login")
    op.drop_table("login")
    op.drop_table("labeler")
    op.drop_table("guideline")
    op.drop_table("consent")
    op.drop_table("checkpoint")
    op.drop_table("user_account")
    op.drop_table("survey_response")
    op.drop_table("setting")
    op.drop_table("screen_test")
    op.drop_table("rate_limit")
    op.drop_table("prompt_owner")
    op.drop_table("model")
    op.drop_table("gold")
    op.drop_table("flag_definition")
    op.drop_table("export")
    op.drop_table("erasure")
    op.drop_index("ix_audit_action", table_name="audit")
    op.drop_table("audit")
