"""Gangs, pauses, drains, and what becomes of checkpoints.

The downgrade refuses nothing, but forgets nodes of gangs beyond the first and puts paused jobs back
into the queue.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

LIVE = sa.text("status <> 'finished'")
JOB_STATUSES = ("queued", "starting", "running", "stopping", "succeeded", "failed", "cancelled")


def _check(name: str, values: tuple[str, ...]) -> str:
    return f"{name} IN ({', '.join(repr(value) for value in values)})"


def _status_check(table: str, values: tuple[str, ...]) -> None:
    op.drop_constraint(op.f(f"ck_{table}_status"), table)
    op.create_check_constraint(op.f(f"ck_{table}_status"), table, _check("status", values))


def upgrade() -> None:
    zero, false, empty = sa.text("0"), sa.text("false"), sa.text("'{}'")
    for column in (
        sa.Column("num_nodes", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("labels", postgresql.JSONB(), server_default=empty, nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("stop_requested", sa.Text(), nullable=True),
        sa.Column("max_run_seconds", sa.Float(), nullable=True),
        sa.Column("run_seconds", sa.Float(), server_default=zero, nullable=False),
        sa.Column("num_interventions", sa.Integer(), server_default=zero, nullable=False),
    ):
        op.add_column("jobs", column)
    op.create_foreign_key(op.f("fk_jobs_parent_id"), "jobs", "jobs", ["parent_id"], ["id"])
    op.execute("UPDATE jobs SET stop_requested = 'cancel' WHERE cancel_requested")
    op.drop_column("jobs", "cancel_requested")
    _status_check("jobs", (*JOB_STATUSES[:4], "paused", *JOB_STATUSES[4:]))

    for column in (
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("labels", postgresql.JSONB(), server_default=empty, nullable=False),
        sa.Column("protocol", sa.Integer(), server_default=sa.text("1"), nullable=False),
    ):
        op.add_column("nodes", column)

    op.create_table(
        "members",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("node_rank", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            _check("status", ("placed", "claimed", "ready", "finished")),
            name=op.f("ck_members_status"),
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempts.id"], name=op.f("fk_members_attempt_id")
        ),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_members_node_id")),
        sa.PrimaryKeyConstraint("attempt_id", "node_rank", name=op.f("pk_members")),
        sa.UniqueConstraint("attempt_id", "node_id", name=op.f("uq_members_attempt_id_node_id")),
    )
    op.create_index("ix_members_live", "members", ["node_id"], postgresql_where=LIVE)
    op.create_index("ix_members_lease", "members", ["lease_expires_at"], postgresql_where=LIVE)
    op.execute(
        "INSERT INTO members (attempt_id, node_rank, node_id, status, lease_expires_at,"
        " ready_at, finished_at) SELECT id, 0, node_id,"
        " CASE status WHEN 'running' THEN 'ready' ELSE status END,"
        " lease_expires_at, started_at, finished_at FROM attempts"
    )
    op.drop_index("ix_attempts_live", "attempts", postgresql_where=LIVE)
    op.drop_column("attempts", "lease_expires_at")
    for column in (
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("stop_forced", sa.Boolean(), server_default=false, nullable=False),
        sa.Column("failed_node_id", sa.Text(), nullable=True),
    ):
        op.add_column("attempts", column)
    op.create_foreign_key(
        op.f("fk_attempts_failed_node_id"), "attempts", "nodes", ["failed_node_id"], ["id"]
    )
    op.create_index(
        "uq_attempts_port", "attempts", ["node_id", "port"], unique=True, postgresql_where=LIVE
    )
    op.execute("UPDATE attempts SET status = 'placed' WHERE status = 'claimed'")
    _status_check("attempts", ("placed", "running", "finished"))

    committed = sa.text("'committed'")
    op.add_column(
        "checkpoints", sa.Column("status", sa.Text(), server_default=committed, nullable=False)
    )
    op.add_column(
        "checkpoints", sa.Column("pinned", sa.Boolean(), server_default=false, nullable=False)
    )
    clock = sa.text("clock_timestamp()")
    op.add_column(
        "checkpoints",
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=clock, nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_checkpoints_status"),
        "checkpoints",
        _check("status", ("committed", "superseded", "corrupt", "deleting", "deleted")),
    )
    op.drop_constraint(op.f("uq_checkpoints_job_id_step"), "checkpoints")
    op.create_index(
        "uq_checkpoints_committed",
        "checkpoints",
        ["job_id", "step"],
        unique=True,
        postgresql_where=sa.text("status = 'committed'"),
    )

    op.create_table(
        "leaders",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("backend_pid", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leaders")),
    )


def downgrade() -> None:
    op.drop_table("leaders")
    op.drop_index("uq_checkpoints_committed", "checkpoints")
    op.execute("DELETE FROM checkpoints WHERE status <> 'committed'")
    op.create_unique_constraint(
        op.f("uq_checkpoints_job_id_step"), "checkpoints", ["job_id", "step"]
    )
    op.drop_constraint(op.f("ck_checkpoints_status"), "checkpoints")
    for name in ("changed_at", "pinned", "status"):
        op.drop_column("checkpoints", name)

    op.drop_index("uq_attempts_port", "attempts")
    for name in ("port", "stop_reason", "stop_forced", "failed_node_id"):
        op.drop_column("attempts", name)
    op.add_column("attempts", sa.Column("lease_expires_at", sa.DateTime(timezone=True)))
    op.execute(
        "UPDATE attempts SET lease_expires_at = members.lease_expires_at FROM members"
        " WHERE members.attempt_id = attempts.id AND members.node_rank = 0"
    )
    op.alter_column("attempts", "lease_expires_at", nullable=False)
    op.create_index("ix_attempts_live", "attempts", ["node_id"], postgresql_where=LIVE)
    _status_check("attempts", ("placed", "claimed", "running", "finished"))
    op.drop_table("members")

    for name in ("memory_bytes", "labels", "protocol"):
        op.drop_column("nodes", name)
    false = sa.text("false")
    op.add_column(
        "jobs", sa.Column("cancel_requested", sa.Boolean(), server_default=false, nullable=False)
    )
    op.execute("UPDATE jobs SET cancel_requested = true WHERE stop_requested = 'cancel'")
    op.execute("UPDATE jobs SET status = 'queued' WHERE status = 'paused'")
    for name in (
        *("num_nodes", "labels", "parent_id", "stop_requested", "max_run_seconds"),
        *("run_seconds", "num_interventions"),
    ):
        op.drop_column("jobs", name)
    _status_check("jobs", JOB_STATUSES)
