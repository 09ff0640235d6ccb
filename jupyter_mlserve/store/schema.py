"""The catalog's tables. The migrations in ``migrations/`` create them; a test holds both equal.

Every writer of the catalog first takes one lock (``BEGIN IMMEDIATE`` on SQLite, the row of
``revision`` elsewhere), so writers are one after the other, over all processes, and the numbers
of the events are the order of the commits. Batch executions are no events: they leave the
revision as it is, and what works on one takes the lock of its row only.
"""

from __future__ import annotations

from datetime import datetime, timezone

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

# The revisions of the schema that this program knows, oldest first; they are those of the files
# in migrations/versions. Kept here so that opening an up-to-date database loads no Alembic.
REVISIONS: tuple[str, ...] = ("0001", "0002", "0003")


class UTCDateTime(TypeDecorator[datetime]):
    """An aware moment, stored as UTC. SQLite has no time zones: there UTC is understood."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(timezone.utc)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=timezone.utc)
        return value.astimezone(timezone.utc)


metadata = MetaData()

# One row: how many events there were. Raised by every change; also the lock of the writers.
revision = Table(
    "revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", Integer, nullable=False),
)

# A name that has at least one version, and who owns it. Gone with the last version.
service = Table(
    "service",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("versions", Integer, nullable=False),
)

# One life of a version, from publish to delete. Published again after a delete, it gets a new row.
# The id is that of the event that published it: a greater one is a newer version.
version = Table(
    "version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(255), nullable=False),
    Column("version", String(255), nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("state_id", String(64), nullable=False),
    Column("last_number", Integer, nullable=False),
    Column("deleted_at", UTCDateTime, nullable=True),
    Index("version_by_name", "name", "version", "id"),
    # At most one life at a time, by the word of the database.
    Index(
        "version_alive",
        "name",
        "version",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(
        "version_newest",
        "name",
        "id",
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
)

# What was published or updated, as a whole. Never changed, never removed.
state = Table(
    "state",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version_id", Integer, ForeignKey("version.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("definition", Text, nullable=False),
    Column("content_hash", String(128), nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    UniqueConstraint("version_id", "number", name="state_number"),
)

# Which blobs a state needs: what garbage collection must keep.
state_blob = Table(
    "state_blob",
    metadata,
    Column("state_id", String(64), ForeignKey("state.id"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
)

# What was live when, and by whose hand. The id is the revision that the change made.
event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", UTCDateTime, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", String(16), nullable=False),
    Column("name", String(255), nullable=False),
    Column("version", String(255), nullable=False),
    Column("state_id", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Index("event_by_name", "name", "version", "id"),
)

# A batch execution: which records, for which state, and how far it is (batches/models.py). Who
# holds it works on it, until held_until; only the holder may add results.
batch = Table(
    "batch",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("version", String(255), nullable=False),
    Column("state_id", String(64), nullable=False),
    Column("owner", Text, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("parallel", Integer, nullable=False),
    Column("format", String(16), nullable=False),
    Column("piece", Integer, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("upload_bytes", BigInteger, nullable=False),
    Column("input_bytes", BigInteger, nullable=False),
    Column("result_bytes", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("started_at", UTCDateTime, nullable=True),
    Column("finished_at", UTCDateTime, nullable=True),
    Column("request_key", String(255), nullable=True),
    Column("digest", String(128), nullable=False),
    Column("holder", String(255), nullable=True),
    Column("held_until", UTCDateTime, nullable=True),
    # Requests without a key (NULL) are all different, for SQLite and PostgreSQL alike.
    UniqueConstraint("owner", "name", "version", "request_key", name="batch_request"),
    Index("batch_by_owner", "owner", "created_at"),
    Index("batch_by_state", "state", "finished_at"),
)

# The records [first, first + count) of an execution have their results, in one file. This row is
# what makes them count.
batch_chunk = Table(
    "batch_chunk",
    metadata,
    Column("batch_id", String(36), ForeignKey("batch.id"), primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("format", String(16), nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("crc", BigInteger, nullable=False),
)

# A local account. Its password is kept as an argon2 hash and nowhere else.
account = Table(
    "account",
    metadata,
    Column("username", String(255), primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("administrator", Boolean, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("changed_at", UTCDateTime, nullable=False),
)

# A login and the pairs of tokens that came of it, of which only those of this generation are
# valid. Tokens are signed and not kept. Gone when the login was revoked.
login = Table(
    "login",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("username", String(255), ForeignKey("account.username"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("started_at", UTCDateTime, nullable=False),
    Column("renewed_at", UTCDateTime, nullable=False),
    Index("login_by_username", "username", "renewed_at"),
)

# Objects and files of a session as they were at a moment; their content is among the blobs.
snapshot = Table(
    "snapshot",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=True),
    Column("owner", Text, nullable=False),
    Column("runtime_type", String(16), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Index("snapshot_by_owner", "owner", "created_at"),
)

snapshot_blob = Table(
    "snapshot_blob",
    metadata,
    Column("snapshot_id", String(36), ForeignKey("snapshot.id"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
)

# The dedicated pool of a version, for as long as the version lives. It goes before the pool in
# the definition; sizes of NULL say that there is none though the definition has one.
service_pool = Table(
    "service_pool",
    metadata,
    Column("version_id", Integer, ForeignKey("version.id"), primary_key=True),
    Column("initial", Integer, nullable=True),
    Column("maximum", Integer, nullable=True),
)
