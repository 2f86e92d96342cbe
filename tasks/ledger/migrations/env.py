"""Alembic's entry: migrates over the connection that `tasks.ledger.database` hands in."""

from alembic import context

from tasks.ledger.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters by copying
    compare_type=True,
)
context.run_migrations()
