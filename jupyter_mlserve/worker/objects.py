"""Objects of a version: verified, then unpickled with the dill of this interpreter."""

from __future__ import annotations

import sys

from .failures import LoadFailure, advice_for, message_of, traceback_of
from .workdir import CHUNK, corrupt, open_blob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Mapping

# dill names this function wherever it packs code.
_CODE_MARK = b"_create_code"


def load_object(item: Mapping[str, Any]) -> Any:
    """The value of ``{"name", "path", "sha256"}``.

    The content is hashed before a byte of it is unpickled. Raises LoadFailure that names the
    object and says what to do.
    """
    import hashlib
    import io

    name = str(item["name"])
    with open_blob(str(item["path"]), f"the object {name!r}") as blob:
        digest = hashlib.sha256()
        while True:
            chunk = blob.read(CHUNK)
            if not chunk:
                break
            digest.update(chunk)
        if digest.hexdigest() != item["sha256"]:
            raise corrupt(f"the object {name!r}", "its content is not what was published")
        dill = _dill()
        refuse_foreign_code(blob, name)
        try:
            return dill.load(io.BufferedReader(blob))
        except MemoryError:
            raise
        except BaseException as exc:
            raise LoadFailure(
                f"The object {name!r} could not be loaded: {message_of(exc)}.{advice_for(exc)}",
                traceback=traceback_of(exc),
            ) from None


def refuse_foreign_code(file: BinaryIO, name: str) -> None:
    """Raise LoadFailure if the pickle of the object ``name`` holds code of another Python.

    Nothing of it is run. ``file`` is read from its start, and left there.
    """
    file.seek(0)
    if _has_code(file):
        # Most models are of importable classes, and have none.
        from . import pickled_code

        file.seek(0)
        pickled_code.refuse_foreign_code(file, name)
    file.seek(0)


def _has_code(file: BinaryIO) -> bool:
    end = b""
    while True:
        chunk = file.read(CHUNK)
        if not chunk:
            return False
        if _CODE_MARK in chunk or _CODE_MARK in end + chunk[: len(_CODE_MARK)]:
            return True
        end = (end + chunk[-len(_CODE_MARK) :])[-len(_CODE_MARK) :]


def _dill() -> Any:
    # Imported after the author's __main__ is in place: dill keeps the one it finds.
    try:
        import dill

        return dill
    except ImportError:
        raise LoadFailure(
            f"The interpreter {sys.executable}, under which the service runs, has no dill, which "
            f"its objects are packed with. Run '{sys.executable} -m pip install dill', "
            "then publish again."
        ) from None
