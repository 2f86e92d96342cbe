"""Indexes by which a night's rows are found, and by which the review's queue is walked, best bets first."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_counts_night", "counts", ["night"], unique=False)
    op.create_index("ix_counts_verdict_score", "counts", ["verdict", "score"], unique=False)
    op.drop_index("ix_counts_verdict", table_name="counts")
    op.create_index("ix_counts_bucket_photo", "counts", ["bucket", "photo_id", "key"], unique=False)
    op.drop_index("ix_counts_bucket_photo_id", table_name="counts")


def downgrade() -> None:
    """Take back."""
    op.create_index("ix_counts_bucket_photo_id", "counts", ["bucket", "photo_id"], unique=False)
    op.drop_index("ix_counts_bucket_photo", table_name="counts")
    op.create_index("ix_counts_verdict", "counts", ["verdict"], unique=False)
    op.drop_index("ix_counts_verdict_score", table_name="counts")
    op.drop_index("ix_counts_night", table_name="counts")
