"""Services, versions, their states and blobs, and the history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
ALIVE = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    counter = op.create_table(
        "revision",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.Integer, nullable=False),
    )
    op.bulk_insert(counter, [{"id": 1, "value": 0}])
    op.create_table(
        "service",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("versions", sa.Integer, nullable=False),
    )
    op.create_table(
        "version",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("state_id", sa.String(64), nullable=False),
        sa.Column("last_number", sa.Integer, nullable=False),
        sa.Column("deleted_at", MOMENT, nullable=True),
    )
    op.create_index("version_by_name", "version", ["name", "version", "id"])
    op.create_index(
        "version_alive",
        "version",
        ["name", "version"],
        unique=True,
        sqlite_where=ALIVE,
        postgresql_where=ALIVE,
    )
    op.create_index(
        "version_newest", "version", ["name", "id"], sqlite_where=ALIVE, postgresql_where=ALIVE
    )
    op.create_table(
        "state",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("version.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("content_hash", sa.String(128), nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.UniqueConstraint("version_id", "number", name="state_number"),
    )
    op.create_table(
        "state_blob",
        sa.Column("state_id", sa.String(64), sa.ForeignKey("state.id"), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("state_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
    )
    op.create_index("event_by_name", "event", ["name", "version", "id"])


def downgrade() -> None:
    for table in ("event", "state_blob", "state", "version", "service", "revision"):
        op.drop_table(table)
