"""The index by which the photo before another one of its bin is found, however many there are."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_counts_bucket_bin_taken_at", "counts", ["bucket", "bin", "taken_at"], unique=False)
    op.drop_index("ix_counts_bucket_bin", table_name="counts")


def downgrade() -> None:
    """Take back."""
    op.create_index("ix_counts_bucket_bin", "counts", ["bucket", "bin"], unique=False)
    op.drop_index("ix_counts_bucket_bin_taken_at", table_name="counts")
