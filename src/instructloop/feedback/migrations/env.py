"""Run by Alembic for every upgrade: the connection, its transaction and its lock come from ``migrations.upgrade``."""

from alembic import context

from instructloop.feedback.schema import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
context.run_migrations()
