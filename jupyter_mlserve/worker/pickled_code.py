"""Code in a pickle that another Python wrote: refused before it is loaded.

dill packs functions, and classes of ``__main__``, with their bytecode. Under another minor version
it often loads without complaint, and ends the process when it is called. The pickle does not say
which Python wrote it; the bytecode does.
"""

from __future__ import annotations

import io
import pickle
import sys

from . import bytecode
from .failures import LoadFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Dict, List, Optional, Sequence, Tuple

_CODE = "_create_code"

# What is looked at, at most, of one pickle. Its first functions tell as much as all.
_MAX_CODES = 20_000
_MAX_BYTES = 512 * 1024
_MAX_NAME = 80  # characters of a function's name in a message


class _Enough(Exception):
    pass


def refuse_foreign_code(file: BinaryIO, name: str) -> None:
    """Read the pickle of the object ``name`` without running anything of it.

    Raises LoadFailure when it holds code that this interpreter cannot run, but not when it cannot
    be read: loading it says why. It takes less time and memory than loading it.
    """
    if sys.implementation.name != "cpython":
        return
    buffered = io.BufferedReader(file)  # type: ignore[type-var]
    reader = _Reader(buffered)
    try:
        reader.load()
    except Exception:
        # What was seen of it counts.
        pass
    finally:
        buffered.detach()
    foreign = _foreign(reader.found)
    if foreign is not None:
        raise LoadFailure(_message(name, *foreign))


# Reading


class _Inert(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls

    def __setstate__(cls, state: Any) -> None:
        pass

    def __setitem__(cls, key: Any, value: Any) -> None:
        pass

    append = extend = add = __setstate__


class _Nothing(metaclass=_Inert):
    """Stands for each class, function and object that a pickle names, whatever it does to them."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls


class _Code:
    """What a pickle gives to make one code object."""

    __slots__ = ("code", "flags", "name", "versions")

    def __init__(
        self, versions: Sequence[bytecode.Version], flags: int, code: bytes, name: str
    ) -> None:
        self.versions, self.flags, self.code, self.name = versions, flags, code, name


class _Reader(pickle.Unpickler):
    """Reads at the speed of loading; of all it is told to make, it keeps the code."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.found: List[_Code] = []
        self._room = _MAX_BYTES

    def find_class(self, module: str, name: str) -> Any:
        if name == _CODE and module.split(".", 1)[0] == "dill":
            return self._keep
        if name == "encode" and module == "_codecs":
            return _encode  # how protocols before 3 write bytes
        return _Nothing

    def persistent_load(self, pid: Any) -> Any:
        return _Nothing

    def _keep(self, *args: Any) -> Any:
        layout = _LAYOUTS.get((isinstance(args[0], int) if args else True, len(args)))
        if layout is not None:
            versions, at_flags, at_code, at_name = layout
            flags, code, name = args[at_flags], args[at_code], args[at_name]
            if isinstance(flags, int) and isinstance(code, bytes) and isinstance(name, str):
                self._room -= len(code)
                if self._room < 0 or len(self.found) >= _MAX_CODES:
                    raise _Enough
                self.found.append(_Code(versions, flags, code, name))
        return _Nothing


def _encode(text: Any, encoding: Any = None, errors: Any = None) -> Any:
    if isinstance(text, str) and encoding == "latin1":
        return text.encode("latin-1")
    return _Nothing


# Judging

_OWN: bytecode.Version = sys.version_info[:2]
# A version after those known keeps to the newest layout.
_NEWEST = [(3, 11), (3, 12), (3, 13), (3, 14), *([_OWN] if _OWN > (3, 14) else [])]
# Whether the first argument is a number (else it is the table of lines in its old form), how many
# there are: which versions of Python, with which dill, write that, and where they put what is used.
_LAYOUTS: Dict[Tuple[bool, int], Any] = {
    (True, 14): ([(2, 7)], 3, 4, 9),
    (True, 15): ([(3, 7)], 4, 5, 10),
    (True, 16): ([(3, 8), (3, 9), (3, 10), *_NEWEST], 5, 6, 11),  # since 3.10 before dill 0.3.6
    (False, 17): ([(3, 10)], 6, 7, 12),
    (True, 18): (_NEWEST, 5, 6, 11),  # dill 0.3.5
    (False, 19): (_NEWEST, 6, 7, 12),
}


def _foreign(codes: Sequence[_Code]) -> Optional[Tuple[_Code, List[bytecode.Version]]]:
    """The first code that this interpreter cannot run, and the versions that could have packed it.

    One interpreter packed all of a pickle, so what a version cannot have written it did not write.
    """
    for item in codes:
        if not _runs_here(item):
            return item, _writers(codes)
    if _OWN == (3, 10) and any((3, 9) in c.versions and bytecode.jumps(c.code) for c in codes):
        # Of such code 3.9 is the likelier origin, and where it jumps would be wrong answers.
        older = [version for version in _writers(codes) if version < _OWN]
        if older:
            return codes[0], older
    return None


def _runs_here(item: _Code) -> bool:
    if _OWN not in item.versions:
        return False
    if not _fits(_OWN, item):
        return False
    other = {(3, 11): (3, 12), (3, 12): (3, 11)}.get(_OWN)
    if other and bytecode.has_two_meanings(item.code) and _fits(other, item):
        return bytecode.balanced(_OWN, item.code, item.flags)
    return True


def _writers(codes: Sequence[_Code]) -> List[bytecode.Version]:
    return [
        version
        for version in [(2, 7), (3, 7), *bytecode.KNOWN]
        if all(version in item.versions and _fits(version, item) for item in codes)
    ]


def _fits(version: bytecode.Version, item: _Code) -> bool:
    if version not in bytecode.KNOWN:
        # What is older has a layout that nothing else has; of what is newer nothing is known.
        return True
    return bytecode.fits(version, item.code, item.flags)


def _message(name: str, item: _Code, versions: Sequence[bytecode.Version]) -> str:
    own = "{}.{}".format(*_OWN)
    found = ["{}.{}".format(*version) for version in versions]
    if found == ["2.7"]:
        writer = "Python 2"
    elif found == ["3.7"]:
        writer = "Python 3.7 or older"
    elif found:
        writer = "Python " + " or ".join(found)
    else:
        writer = "another Python"
    shown = item.name if len(item.name) <= _MAX_NAME else item.name[:_MAX_NAME] + "..."
    hint = ""
    if _OWN == (3, 10) and (3, 9) in item.versions:
        hint = " If it was packed under Python 3.10, pack it with dill 0.3.6 or newer."
    return (
        f"The object {name!r} was packed under {writer}, and is to run under Python {own} "
        f"({sys.executable}). It holds the code of {shown!r}, and code of one Python crashes "
        f"another. Publish from Python {own}, or store an object whose class and functions come "
        "from an installed module: then no code is packed with it." + hint
    )
