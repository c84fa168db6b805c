"""Find a labeler's last task of a queue by index; counters of a task are never negative."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NEXT = "state = 'open' AND taken < wanted AND gold_id IS NULL"


def upgrade() -> None:
    """Add the index and the check; a counter that drifted below zero is set to zero (``feedback reconcile`` counts it anew)."""
    op.create_index("ix_assignment_stream", "assignment", ["labeler_id", "queue_id", "id"])
    op.execute("UPDATE task SET taken = 0 WHERE taken < 0")
    op.execute("UPDATE task SET done = 0 WHERE done < 0")
    op.execute("UPDATE task SET wanted = 0 WHERE wanted < 0")
    # SQLite makes the table anew and does not carry over an index that sorts downwards
    op.drop_index("ix_task_next", table_name="task")
    with op.batch_alter_table("task") as batch:
        batch.create_check_constraint(op.f("ck_task_counters_not_negative"), "wanted >= 0 AND taken >= 0 AND done >= 0")
    _index_next()


def downgrade() -> None:
    """Drop both."""
    op.drop_index("ix_task_next", table_name="task")
    with op.batch_alter_table("task") as batch:
        batch.drop_constraint(op.f("ck_task_counters_not_negative"), type_="check")
    _index_next()
    op.drop_index("ix_assignment_stream", table_name="assignment")


def _index_next() -> None:
    columns: list[str | sa.TextClause] = ["queue_id", sa.text("priority DESC"), "id"]
    op.create_index("ix_task_next", "task", columns, sqlite_where=sa.text(NEXT), postgresql_where=sa.text(NEXT))
