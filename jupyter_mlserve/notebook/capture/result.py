"""What a capture is asked for, and what it gives back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...contract.errors import InvalidDefinition

Kind = Literal["import", "source", "object", "file", "module"]
Status = Literal["captured", "skipped", "refused"]
Form = Literal["auto", "script", "function"]
Blob = bytes | Path

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class CaptureOptions:
    """What the author says beside the code.

    inputs, outputs: anything ``contract.types.params_of`` reads (text, ``{name: type}``, wire
        dicts); None when not declared, which is not the same as declared empty.
    function: the operation, when it is not the last function of the cell.
    form: "script" runs the code on every call, "function" calls the operation; "auto" decides.
    objects: names that travel even if the code is not seen to use them, or if they look secret.
    files: paths; relative ones are relative to ``folder``.
    artifacts: names of the files the code writes and callers get back.
    exclude: names that are never captured.
    init: code that runs once per worker, after what was captured and before the code: its text,
        or a function without arguments.
    sample: inputs of one call, in Python or JSON; also tells types nobody declared.
    notebook, cell_id, written: where the code comes from, and the cell as it was typed (the code
        is what IPython makes of it).
    folder: the notebook's folder; the default is that of ``notebook``, or the working directory.
    file_limit, total_limit: bytes of one file, and of all that travels.
    """

    inputs: Any = None
    outputs: Any = None
    function: str | None = None
    form: Form = "auto"
    objects: Collection[str] = ()
    files: Sequence[str | Path] = ()
    artifacts: Sequence[str] = ()
    exclude: Collection[str] = ()
    init: str | Callable[[], object] | None = None
    sample: Mapping[str, Any] | None = None
    notebook: str | None = None
    cell_id: str | None = None
    written: str | None = None
    folder: str | Path | None = None
    file_limit: int = 256 * MIB
    total_limit: int = 1024 * MIB


@dataclass(frozen=True)
class Item:
    """One line of the report.

    name, kind, status: what it is and what became of it. size: bytes, None for what has none.
    reason: why, in a few words. advice: what the author can do about it, "" when there is nothing
    to do. type: the class of an object.
    """

    name: str
    kind: Kind
    status: Status
    size: int | None = None
    reason: str = ""
    advice: str = ""
    type: str = ""

    def __str__(self) -> str:
        facts = [self.status, self.type, human_size(self.size), self.reason]
        text = f"{self.name}: {', '.join(fact for fact in facts if fact)}"
        return f"{text}. {self.advice}" if self.advice else f"{text}."


@dataclass
class Capture:
    """A service, packed.

    body: the publish body without name and version, as ``Definition.from_publish`` takes it.
    blobs: content by sha256; large ones are files. report: every name the code uses or that was
    asked for. warnings: sentences for the author. seconds: what packing took.

    Large objects lie in a temporary folder, which is deleted by :meth:`close` or with the capture.
    """

    body: dict[str, Any]
    blobs: dict[str, Blob] = field(default_factory=dict)
    report: list[Item] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    _spool: Any = None

    @property
    def captured(self) -> list[Item]:
        return [item for item in self.report if item.status == "captured"]

    @property
    def skipped(self) -> list[Item]:
        return [item for item in self.report if item.status == "skipped"]

    @property
    def refused(self) -> list[Item]:
        """What the code needs and cannot travel. A capture with any must not be published."""
        return [item for item in self.report if item.status == "refused"]

    @property
    def size(self) -> int:
        """Bytes of all objects and files; what is there twice counts once."""
        parts = [*self.body["mlserve"]["objects"], *self.body["mlserve"]["files"]]
        return sum({part["sha256"]: part["size"] for part in parts}.values())

    def require(self) -> Capture:
        """Return self, or raise InvalidDefinition that names everything that was refused."""
        refused = self.refused
        if not refused:
            return self
        lines = "\n".join(f"  {item}" for item in refused)
        what = refused[0].name if len(refused) == 1 else f"{len(refused)} things the code uses"
        raise InvalidDefinition(
            f"{what} cannot travel with the service, so nothing was published:\n{lines}",
            field=refused[0].name,
            refused=[item.name for item in refused],
        )

    def close(self) -> None:
        """Delete the temporary files of this capture. Safe to call twice."""
        if self._spool is not None:
            self._spool.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def human_size(size: int | None) -> str:
    """Bytes as people read them, in decimal units; "" for None.

    >>> human_size(532), human_size(12_345), human_size(3_000_000)
    ('532 B', '12.3 kB', '3 MB')
    """
    if size is None:
        return ""
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5 or unit == "TB":
            break
    return f"{amount:.3g} {unit}"


def remove_folder(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)
