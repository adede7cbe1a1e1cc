"""How much room the disk of a node has; nothing of those whose worker does not tell it yet."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

COLUMNS = ("disk_bytes", "disk_free_bytes")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("nodes", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("nodes", name)
