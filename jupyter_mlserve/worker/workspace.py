"""The objects of a session: listed, loaded from dill files, and stored in them."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
import types

from .execution import is_name
from .failures import LoadFailure, message_of, missing_module, traceback_of
from .objects import refuse_foreign_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple


class ObjectFailure(Exception):
    """``header`` is that of the reply: it names the object and says why."""

    def __init__(
        self, name: str, why: str, kind: str = "SessionFailed", traceback: str = ""
    ) -> None:
        self.header: Dict[str, Any] = {"status": 400, "kind": kind, "message": why, "field": name}
        if traceback:
            self.header["traceback"] = traceback
        super().__init__(why)


class Workspace:
    """The variables of ``namespace``; what begins with ``_`` is the user's own business."""

    def __init__(self, namespace: Dict[str, Any]) -> None:
        self._ns = namespace

    def names(self) -> List[str]:
        """Names of the objects, sorted. Imported modules are among them, as any variable."""
        return sorted(
            name
            for name in list(self._ns)
            if type(name) is str and is_name(name) and not name.startswith("_")
        )

    def load(self, name: str, path: str) -> None:
        """Unpickle the file into a variable. Raises ObjectFailure."""
        if not is_name(name):
            raise ObjectFailure(name, f"{name!r} cannot be the name of a variable.")
        dill = _dill(name)
        try:
            with open(path, "rb") as file:
                refuse_foreign_code(file, name)
                self._ns[name] = dill.load(file)
        except KeyboardInterrupt:
            raise
        except LoadFailure as exc:
            raise ObjectFailure(name, exc.message) from None
        except BaseException as exc:
            why = f"The object {name!r} could not be loaded: {message_of(exc)}."
            module = missing_module(exc)
            if module is not None:
                why += (
                    f" The interpreter {sys.executable}, under which the session runs, has no "
                    f"module {module!r}. Install it there."
                )
            raise ObjectFailure(name, why, traceback=traceback_of(exc)) from None

    def store(self, name: str, path: str) -> None:
        """Pickle the variable into the file. Raises ObjectFailure."""
        value = self._value(name)
        dill = _dill(name)
        if isinstance(value, types.ModuleType):
            value = _Import(value.__name__)  # dill copies those that are not installed
        try:
            with open(path, "wb") as file:
                # Else the pickle of a file that was open for writing empties it when it is loaded.
                dill.dump(value, file, fmode=dill.CONTENTS_FMODE)
        except BaseException as exc:
            if os.path.exists(path):
                os.unlink(path)
            if isinstance(exc, KeyboardInterrupt):
                raise
            too_large = isinstance(exc, OSError) and exc.errno == errno.EFBIG
            raise ObjectFailure(
                name,
                f"The object {name!r} could not be stored: {message_of(exc)}"
                + (" (file_limit)" if too_large else "")
                + ". Delete it, or give it a name that begins with an underscore: such variables "
                "are not stored.",
                traceback=traceback_of(exc),
            ) from None

    def save(self, folder: str) -> List[str]:
        """Store every object in a file of its name; returns the names. Raises ObjectFailure.

        Files that are or were open are left out: what they hold is in the working directory.
        """
        names = [name for name in self.names() if not isinstance(self._ns[name], io.IOBase)]
        for name in names:
            self.store(name, os.path.join(folder, name))
        return names

    def delete(self, name: str) -> None:
        self._value(name)
        del self._ns[name]

    def _value(self, name: str) -> Any:
        if name not in self._ns or not is_name(name):
            raise ObjectFailure(name, f"The session has no object {name!r}.", "NotFound")
        return self._ns[name]


class _Import:
    """Pickles as the import of a module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> Tuple[Any, Tuple[str]]:
        return importlib.import_module, (self._name,)


def _dill(name: str) -> Any:
    # Imported after the session's __main__ is in place: dill keeps the one it finds.
    try:
        import dill

        return dill
    except ImportError:
        why = (
            f"The object {name!r} cannot be loaded or stored: the interpreter {sys.executable} "
            f"has no dill. Run '{sys.executable} -m pip install dill'."
        )
        raise ObjectFailure(name, why) from None
