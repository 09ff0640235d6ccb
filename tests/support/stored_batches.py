"""Batch executions put into the store by hand: results without the work that makes them.

They are held, as by a web node elsewhere, so that the server under test lets them be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from jupyter_mlserve.store.batches import Chunk, Execution, IndexWriter, new_id

HOLDER = "elsewhere:1:1"


def result(value: Any, **more: Any) -> dict[str, Any]:
    """A WebServiceResult with the output ``y``."""
    return {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {},
        "outputParameters": {"y": value},
        **more,
    }


def lines(results: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in results)


class Stored:
    """One execution in the stores of a web node; ``add`` commits results."""

    def __init__(
        self,
        core: Any,
        owner: str,
        total: int,
        service: str = "AddOne/1.0",
        state_id: str = "none",
        format: str = "lines",
        **more: Any,
    ) -> None:
        self.core = core
        name, version = service.split("/")
        upload = core.batches.upload(new_id())
        upload.write(b"records")
        upload.finish()
        (upload.folder / "input").write_bytes(b"{}\n")
        with IndexWriter(upload.folder) as index:
            index.add(b"{}\n")
        size = upload.seal()
        self.execution = core.executions.admit(
            upload,
            Execution(
                id=upload.id,
                name=name,
                version=version,
                state_id=state_id,
                owner=owner,
                created_at=datetime.now(timezone.utc),
                total=total,
                parallel=2,
                format=format,
                units=total,
                input_bytes=size,
                **more,
            ),
        )
        self.id = self.execution.id
        self.path = f"api/{service}/batch/{self.id}"
        assert core.executions.lease(self.id, HOLDER, 3600.0)

    def begin(self) -> Stored:
        assert self.core.executions.begin(self.id, HOLDER)
        return self

    def add(self, first: int, results: Sequence[Any], failed: int = 0) -> Execution:
        return self.add_bytes(first, len(results), lines(results), failed)

    def add_bytes(
        self, first: int, count: int, data: bytes, failed: int = 0, format: str = "lines"
    ) -> Execution:
        size, crc = self.core.batches.write_result(self.id, first, count, data)
        chunk = Chunk(first, count, format, failed, size, crc)
        made = self.core.executions.commit(self.id, HOLDER, chunk)
        assert made is not None
        return made

    def fail(self, message: str) -> None:
        assert self.core.executions.fail(self.id, None, message)
