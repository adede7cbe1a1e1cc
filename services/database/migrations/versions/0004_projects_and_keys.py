"""Projects, API keys, answers to idempotency keys, logs; events cannot be changed.

What is there already belongs to the project `default`.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'events are only ever appended'; END $$
"""
APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    for table in ("jobs", "datasets"):
        op.add_column(
            table, sa.Column("project", sa.Text(), server_default="default", nullable=False)
        )
    op.create_index("ix_jobs_project", "jobs", ["project", sa.text("id DESC")])
    op.create_index(
        "ix_jobs_tags",
        "jobs",
        ["tags"],
        postgresql_using="gin",
        postgresql_ops={"tags": "jsonb_path_ops"},
    )
    op.create_index(
        "ix_jobs_parent_id",
        "jobs",
        ["parent_id"],
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    _name_datasets(
        "'failed', 'deleted'", ["project", "name"], "'preparing', 'ready', 'failed', 'deleted'"
    )
    op.create_table(
        "log_chunks",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("num_bytes", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempts.id"], name=op.f("fk_log_chunks_attempt_id")
        ),
        sa.PrimaryKeyConstraint("attempt_id", "rank", "offset", name=op.f("pk_log_chunks")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        _time("created_at", nullable=False),
        _time("expires_at"),
        _time("revoked_at"),
        _time("last_used_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_table(
        "idempotent_answers",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        _time("created_at", nullable=False),
        sa.PrimaryKeyConstraint("project", "key", name=op.f("pk_idempotent_answers")),
    )
    op.create_index(op.f("ix_idempotent_answers_created_at"), "idempotent_answers", ["created_at"])
    op.execute(REFUSE_CHANGE)
    op.execute(APPEND_ONLY)


def downgrade() -> None:
    op.execute("DROP TRIGGER append_only ON events")
    op.execute("DROP FUNCTION refuse_change")
    for table in ("idempotent_answers", "api_keys", "log_chunks"):
        op.drop_table(table)
    op.execute("UPDATE datasets SET status = 'failed' WHERE status = 'deleted'")
    _name_datasets("'failed'", ["name"], "'preparing', 'ready', 'failed'")
    for index in ("ix_jobs_parent_id", "ix_jobs_tags", "ix_jobs_project"):
        op.drop_index(index, "jobs")
    for table in ("jobs", "datasets"):
        op.drop_column(table, "project")


def _name_datasets(free: str, columns: list[str], statuses: str) -> None:
    op.drop_index("uq_datasets_name", "datasets")
    op.create_index(
        "uq_datasets_name",
        "datasets",
        columns,
        unique=True,
        postgresql_where=sa.text(f"status NOT IN ({free})"),
    )
    op.drop_constraint(op.f("ck_datasets_status"), "datasets")
    op.create_check_constraint(op.f("ck_datasets_status"), "datasets", f"status IN ({statuses})")


def _time(name: str, *, nullable: bool = True) -> sa.Column[datetime]:
    default = None if nullable else sa.text("clock_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)
