"""Local accounts and their logins, snapshots of sessions, dedicated pools of versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("username", sa.String(255), primary_key=True),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("administrator", sa.Boolean, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
    )
    op.create_table(
        "login",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("username", sa.String(255), sa.ForeignKey("account.username"), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("renewed_at", MOMENT, nullable=False),
    )
    op.create_index("login_by_username", "login", ["username", "renewed_at"])
    op.create_table(
        "snapshot",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.Text, nullable=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("runtime_type", sa.String(16), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_index("snapshot_by_owner", "snapshot", ["owner", "created_at"])
    op.create_table(
        "snapshot_blob",
        sa.Column("snapshot_id", sa.String(36), sa.ForeignKey("snapshot.id"), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
    )
    op.create_table(
        "service_pool",
        sa.Column("version_id", sa.Integer, sa.ForeignKey("version.id"), primary_key=True),
        sa.Column("initial", sa.Integer, nullable=True),
        sa.Column("maximum", sa.Integer, nullable=True),
    )


def downgrade() -> None:
    for table in ("service_pool", "snapshot_blob", "snapshot", "login", "account"):
        op.drop_table(table)
