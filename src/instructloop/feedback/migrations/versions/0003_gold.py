"""Find the gold items of a queue, and a labeler's assignments by state, by index."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both indexes."""
    gold = sa.text("gold_id IS NOT NULL")
    op.create_index("ix_task_gold_waiting", "task", ["queue_id", "state"], sqlite_where=gold, postgresql_where=gold)
    op.create_index("ix_assignment_own", "assignment", ["labeler_id", "queue_id", "state"])


def downgrade() -> None:
    """Drop both."""
    op.drop_index("ix_assignment_own", table_name="assignment")
    op.drop_index("ix_task_gold_waiting", table_name="task")
