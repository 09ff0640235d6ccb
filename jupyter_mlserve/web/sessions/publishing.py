"""Publishing from a snapshot: its objects and files become those of the definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...contract.definition import Definition
from ...contract.errors import InvalidDefinition, InvalidName
from ...contract.names import check_file_name
from ...store.snapshot_models import Item, Snapshot
from .session import PYTHON

Json = dict[str, Any]


def with_snapshot(
    body: object, find: Callable[[object], Snapshot], current: Definition | None = None
) -> object:
    """The ``body`` of a publish, or of an update of ``current``, with what its snapshot holds.

    Its objects and files come in front of those that the body names itself, which win where both
    have a name. An update from an empty snapshot keeps what the version has: the published
    contract's client takes a new snapshot for every update, of whatever it changes. ``find``
    gives the snapshot of an id, or raises; a version's own snapshot is not looked for, so that
    what a client has read can be sent back. Blocks.
    """
    if not isinstance(body, Mapping) or not body.get("snapshotId"):
        return body
    rest = {key: value for key, value in body.items() if key != "snapshotId"}
    if current is not None and body["snapshotId"] == current.snapshot_id:
        return rest
    snapshot = find(body["snapshotId"])
    if snapshot.runtime_type != PYTHON:
        raise InvalidDefinition(
            f"The snapshot {snapshot.id} is of an {snapshot.runtime_type} session; this server "
            "runs Python.",
            field="snapshotId",
        )
    empty = not snapshot.objects and not snapshot.files
    if empty and current is not None:
        return rest
    own = rest.get("mlserve") or {}
    if not isinstance(own, Mapping):
        return rest  # refused as what it is
    for item in snapshot.files:
        _publishable(snapshot, item)
    return {
        **rest,
        "snapshotId": snapshot.id,
        "mlserve": {
            **own,
            "objects": _merged(snapshot.objects, own.get("objects")),
            "files": _merged(snapshot.files, own.get("files")),
        },
    }


def _merged(items: tuple[Item, ...], given: object) -> Any:
    if given and not isinstance(given, list):
        return given
    explicit = given or []
    assert isinstance(explicit, list)
    names = {item.get("name") for item in explicit if isinstance(item, Mapping)}
    staged = [
        {"name": item.name, "sha256": item.sha256, "size": item.size}
        for item in items
        if item.name not in names
    ]
    return [*staged, *explicit]


def _publishable(snapshot: Snapshot, item: Item) -> None:
    try:
        check_file_name(item.name)
    except InvalidName as exc:
        raise InvalidDefinition(
            f"The snapshot {snapshot.id} cannot be published, because of a file in it: "
            f"{exc.message} Rename or remove it in the session, then take another snapshot.",
            field="snapshotId",
        ) from None
