"""What users may keep on the disk as batch executions. Asked inside the transaction that adds."""

from __future__ import annotations

from sqlalchemy import Connection

from ...contract.errors import OutOfSpace, TooBusy
from . import statements as sql
from .models import Execution, Quota


def check_new(connection: Connection, execution: Execution, quota: Quota) -> None:
    """Raise TooBusy or OutOfSpace if there is no room for another execution."""
    if quota.user_executions:
        _, count = used(connection, execution.owner)
        if count >= quota.user_executions:
            raise TooBusy(
                f"You have {count} batch executions on this server, the most that it keeps for "
                "one user (batch_max_executions). Delete finished ones that are not needed any "
                "more (DELETE …/batch/{id}), then send the records again; or ask the administrator "
                "to raise the limit.",
                limit=quota.user_executions,
            )
    check_bytes(connection, execution, quota, "The records", execution.input_bytes)


def check_bytes(
    connection: Connection, execution: Execution, quota: Quota, what: str, more: int = 0
) -> None:
    """Raise OutOfSpace if the bytes of the executions, and ``more``, are over a quota."""
    all_users = "all batch executions on this server"
    for owner, limit, whose, trait in (
        (execution.owner, quota.user_bytes, "your batch executions", "batch_user_quota"),
        (None, quota.total_bytes, all_users, "batch_quota"),
    ):
        if limit and used(connection, owner)[0] + more > limit:
            raise OutOfSpace(
                f"{what} do not fit into the {limit:,} bytes for {whose} ({trait}). Delete "
                "finished executions that are not needed any more (DELETE …/batch/{id}), or ask "
                "the administrator to raise the quota.",
                limit=limit,
            )


def used(connection: Connection, owner: str | None) -> tuple[int, int]:
    """(bytes, number) of one user's executions, or of all."""
    statement = sql.USED if owner is None else sql.USED_BY
    size, count = connection.execute(statement, {} if owner is None else {"user": owner}).one()
    return int(size), int(count)
