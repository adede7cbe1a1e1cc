"""Slots of GPUs have the UUID of theirs, and may be lost; jobs and attempts name their device.

Slots of nodes that registered before have no UUID: they get them when their worker registers again.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("slots", sa.Column("device", sa.Text(), nullable=True))
    op.add_column(
        "slots", sa.Column("offered", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    for table in ("jobs", "attempts"):
        op.add_column(table, sa.Column("device", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    for table in ("attempts", "jobs"):
        op.drop_column(table, "device")
    for name in ("offered", "device"):
        op.drop_column("slots", name)
