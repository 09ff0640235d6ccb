"""The files that the calls of a batch wrote."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract.errors import MLServeError
from .batch_files import save
from .http import error_of
from .misuse import WrongCall

if TYPE_CHECKING:
    from .http import Connection


class Artifacts:
    """The methods of ``Batch`` for the files of its records."""

    _connection: Connection

    if TYPE_CHECKING:

        @property
        def _id(self) -> str: ...
        def _path(self, *parts: str) -> str: ...
        def _ask(self, *parts: str) -> Any: ...
        def _missing(self, error: MLServeError) -> MLServeError: ...

    def list_artifacts(self, index: int) -> list[str]:
        """Names of the files that a record's call wrote."""
        return list(self._ask(str(_position(index)), "files"))

    def artifact(self, index: int, file_name: str, encoding: str | None = None) -> bytes | str:
        """A file of a record: bytes, or text if an ``encoding`` such as "utf-8" is given."""
        response = self._connection.send(
            "GET", self._path(self._id, str(_position(index)), "files", file_name)
        )
        if response.status_code >= 300:
            raise self._missing(error_of(response, self._connection.address))
        return response.content if encoding is None else response.content.decode(encoding)

    def download(
        self,
        index: int,
        file_name: str | None = None,
        destination: str | os.PathLike[str] = ".",
    ) -> list[str]:
        """Write a file of a record, or all of them, into a folder; returns their paths."""
        names = self.list_artifacts(index) if file_name is None else [file_name]
        folder = Path(destination).expanduser()
        if folder.exists() and not folder.is_dir():
            raise WrongCall(f"{str(folder)!r} is a file: destination is the folder to write into.")
        folder.mkdir(parents=True, exist_ok=True)
        made = []
        for name in names:
            data = self.artifact(index, name)
            assert isinstance(data, bytes)
            made.append(str(save(folder, name, data)))
        return made


def _position(index: int) -> int:
    try:
        found = -1 if isinstance(index, bool) else operator.index(index)  # NumPy has ints, too
    except TypeError:
        found = -1
    if found < 0:
        raise WrongCall(f"index={index!r}: records are counted from 0.")
    return found
