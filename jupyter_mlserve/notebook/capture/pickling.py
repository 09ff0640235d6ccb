"""One object becomes one blob: dill, with the rules of a notebook.

Functions and classes of the notebook are written as names of ``__main__`` when the notebook still
has them under their name: the prelude defines them before the blob is loaded. Anonymous ones
(lambdas, closures, classes a function made) go into the blob by value, with ``__main__`` as their
globals, so that what they read is captured by name like everything else. Modules and what they
hold are written as names. What exists only in this kernel ends the pickling.

dill's pickler is Python code and 10 to 100 times slower than pickle's own (a forest of 100 trees:
55 against 4 ms; a list of a million numbers: 1300 against 30 ms), so pickle's own goes first, with
the same rules, and gives up at the first thing that needs dill. It asks no object for its state
whose way of answering is unknown: such an object is asked once, by dill. Larger blobs go to a file
while they are written.
"""

from __future__ import annotations

import builtins
import copyreg
import dis
import importlib
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dill

from . import refusal
from .modules import home_of
from .refusal import CannotTravel, Refusal
from .spool import BlobWriter, Pickled, Spool

_NAME_ONLY = Refusal(
    "it is pickled as nothing but its name", "Define it in the code, or in a cell as plain text."
)
_TOO_DEEP = Refusal(
    "it is nested too deeply to be pickled", "Make it flatter, or build it in an init function."
)


@dataclass
class Found:
    """What a blob refers to.

    names: names of the notebook that must be there before the blob is loaded. later: names that
    its functions read when they are called. modules: modules it imports when it is loaded.
    """

    names: dict[str, None] = field(default_factory=dict)
    later: dict[str, None] = field(default_factory=dict)
    modules: dict[str, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Notebook(NamedTuple):
    """Whose objects are pickled: the names, and the modules whose things count as the notebook's
    (``__main__``, or the script's module when it is not installed)."""

    namespace: Mapping[str, Any]
    homes: frozenset[str]

    def owns(self, value: object) -> bool:
        """Whether ``value``, or its class if it has no module itself, was made by the notebook."""
        module = getattr(value, "__module__", None)
        return isinstance(module, str) and module in self.homes

    def has_variables(self, variables: Mapping[str, Any]) -> bool:
        """Whether these are the notebook's own variables, as the globals of its functions are."""
        modules = [sys.modules[name] for name in self.homes if name in sys.modules]
        return variables is self.namespace or any(variables is vars(each) for each in modules)

    def name_of(self, value: object) -> str | None:
        """The dotted name under which the notebook has this very object."""
        qualname = getattr(value, "__qualname__", None)
        if not isinstance(qualname, str) or "<" in qualname:
            return None
        first, *rest = qualname.split(".")
        at = self.namespace.get(first)
        for step in rest:
            at = vars(at).get(step) if isinstance(at, type) else None
        return qualname if at is value else None


def pickle_object(
    value: object,
    notebook: Notebook,
    spool: Spool,
    limit: int,
    circular: Callable[[str], bool] = lambda name: False,
) -> tuple[Pickled, Found]:
    """Pickle ``value``. Raises CannotTravel, whatever went wrong.

    ``circular(name)`` says that what the notebook calls ``name`` cannot be defined before this
    object is there; it then goes into the blob by value.
    """
    quick, found = BlobWriter(spool, limit), Found()
    try:
        _Quick(quick, value, notebook, found, circular).dump(value)
        return quick.done(), found
    except Exception:  # not only NeedsDill: dill may know better, or tells where the trouble is
        quick.discard()
        if quick.size > limit:
            raise
    writer, found = BlobWriter(spool, limit), Found()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _Full(writer, value, notebook, found, circular).dump(value)
        for each in caught:
            if "recursive self-references" in str(each.message):  # dill wrote a mere name
                raise CannotTravel(_NAME_ONLY)
            found.notes.append(str(each.message).rstrip("."))
        return writer.done(), found
    except CannotTravel:
        writer.discard()
        raise
    except RecursionError:
        writer.discard()
        raise CannotTravel(_TOO_DEEP) from None
    except Exception as exc:
        writer.discard()
        text = " ".join(str(exc).split())[:300]
        raise CannotTravel(
            Refusal(
                f"it cannot be pickled ({type(exc).__name__}: {text})",
                "Make it in the code or in an init function, or keep the data it is made of.",
            )
        ) from exc


def is_definition(value: object) -> bool:
    """Functions, classes, and what a decorator made of one and says so."""
    return isinstance(value, types.FunctionType | type) or "__wrapped__" in _dict_of(value)


class NeedsDill(Exception):
    """pickle's own pickler met something that only dill can write."""


class _Quick(pickle.Pickler):
    """pickle's pickler, for whatever needs no more than names of ``__main__``."""

    def __init__(
        self,
        file: BlobWriter,
        root: object,
        notebook: Notebook,
        found: Found,
        circular: Callable[[str], bool],
    ) -> None:
        super().__init__(file, protocol=5)
        self.root = root
        self.notebook = notebook
        self.found = found
        self.circular = circular
        self.main = sys.modules["__main__"]
        self.seen: set[type] = set()

    def reducer_override(self, obj: Any) -> Any:
        cls = type(obj)
        if isinstance(obj, type) or cls is types.FunctionType:
            self.definition(obj)
        elif cls in self.seen:
            pass
        elif (home := home_of(obj)) is not None:  # a function written in C
            self.found.modules[home[0]] = None
        elif self.notebook.owns(obj) and cls.__module__ != obj.__module__:
            raise NeedsDill  # a type variable: pickle would write it as a name
        elif "__wrapped__" in _dict_of(obj) or refusal.refusal_of(obj) or not _plain_state(cls):
            raise NeedsDill
        else:
            self.seen.add(cls)
        return NotImplemented

    def definition(self, obj: Any) -> None:
        if self.notebook.owns(obj):
            name = self.notebook.name_of(obj)
            if name is None or obj is self.root or obj.__module__ != "__main__":
                raise NeedsDill
            first = name.partition(".")[0]
            if self.circular(first):
                raise NeedsDill
            self.found.names[first] = None
            return  # pickle checks that __main__ has it
        home = home_of(obj)
        module = home[0] if home else getattr(obj, "__module__", None)
        if not isinstance(module, str):
            raise NeedsDill
        self.found.modules[module] = None


def _plain_state(cls: type) -> bool:
    """Whether asking an instance for its state twice does no harm."""
    if cls.__module__.partition(".")[0] in _TAME:
        return True
    own = any(getattr(cls, name, None) is not getattr(object, name, None) for name in _STATE)
    return not own and cls not in copyreg.dispatch_table


_STATE = ("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")
# Libraries whose objects give their state without doing anything else.
_TAME = frozenset(sys.stdlib_module_names) | frozenset(
    (
        "catboost",
        "joblib",
        "lightgbm",
        "numpy",
        "pandas",
        "polars",
        "pyarrow",
        "scipy",
        "sklearn",
        "statsmodels",
        "torch",
        "xgboost",
    )
)


class _Full(dill.Pickler):  # type: ignore[misc]
    """dill's pickler with the rules of a notebook."""

    def __init__(
        self,
        file: BlobWriter,
        root: object,
        notebook: Notebook,
        found: Found,
        circular: Callable[[str], bool],
    ) -> None:
        super().__init__(file, protocol=5, byref=False, recurse=False)
        self.root = root
        self.notebook = notebook
        self.found = found
        self.circular = circular
        self.copies: dict[int, types.FunctionType] = {}
        self.keep: list[object] = []  # the memo goes by id
        self.main = vars(sys.modules["__main__"])

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        try:
            if type(obj) in _PLAIN or id(obj) in self.memo or not self.saved(obj):
                if obj is self.main:
                    self.write(b"c__main__\n__dict__\n")
                else:
                    super().save(obj, save_persistent_id)
        except CannotTravel as exc:
            exc.trail.append(type(obj).__name__)
            raise

    def saved(self, obj: Any) -> bool:
        """Write what has a rule of its own; False leaves it to dill."""
        if is_definition(obj):
            return self.save_definition(obj)
        if isinstance(obj, types.ModuleType):
            self.save_module(obj)
            return True
        if type(obj) is types.BuiltinFunctionType:
            if isinstance(obj.__module__, str):
                self.found.modules[obj.__module__] = None
        elif obj is not self.root:
            why = refusal.inside(obj)
            if why is not None:
                raise CannotTravel(why)
        return False

    def save_definition(self, obj: Any) -> bool:
        notebook = self.notebook
        if not notebook.owns(obj):
            home = home_of(obj)
            module = home[0] if home else getattr(obj, "__module__", None)
            if isinstance(module, str):
                self.found.modules[module] = None
            if home is None or module == "builtins":
                return False
            self.save_name(*home, obj)
            return True
        name = notebook.name_of(obj)
        first = name.partition(".")[0] if name is not None else ""
        if name is not None and not self.in_root(obj, name) and not self.circular(first):
            self.found.names[first] = None
            self.save_name("__main__", name, obj)
            return True
        if isinstance(obj, types.FunctionType):
            super().save(self.by_value(obj))
            return True
        again = obj.__qualname__ in notebook.namespace and not isinstance(self.root, type)
        if isinstance(obj, type) and name is None and again:
            self.found.notes.append(
                f"its class {obj.__qualname__} was defined again since; the old definition "
                "travels with it. Make the object again if it should use the new one"
            )
        return False

    def in_root(self, obj: object, name: str) -> bool:
        """Whether this is the object itself, or a part of the class that it is."""
        own = getattr(self.root, "__qualname__", None)
        return obj is self.root or (
            isinstance(self.root, type) and name.startswith(f"{own}.") and self.notebook.owns(obj)
        )

    def save_global(self, obj: Any, name: str | None = None, *more: Any, **options: Any) -> None:
        """What an object gives as its own pickle: the name of a global (type variables do)."""
        if self.notebook.owns(obj) and isinstance(name, str):
            if self.notebook.namespace.get(name.partition(".")[0]) is self.root:
                raise CannotTravel(_NAME_ONLY)
            self.found.names[name.partition(".")[0]] = None
            self.save_name("__main__", name, obj)
        else:
            super().save_global(obj, name, *more, **options)

    def save_name(self, module: str, name: str, obj: object) -> None:
        super().save(module)
        super().save(name)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    def save_module(self, obj: types.ModuleType) -> None:
        name = obj.__name__
        if name != "__main__":
            if sys.modules.get(name) is not obj:
                raise CannotTravel(
                    Refusal(
                        f"the module {name} was made while the notebook ran",
                        "Import a module from a file, or use its parts by name.",
                    )
                )
            self.found.modules[name] = None
        self.save_reduce(importlib.import_module, (name,), obj=obj)

    def by_value(self, function: types.FunctionType) -> types.FunctionType:
        """The function with the worker's ``__main__`` as its globals, which dill then writes.

        A function that a library made for a class of the notebook (attrs does) has globals of its
        own, and keeps those it reads.
        """
        known = self.copies.get(id(function))
        if known is not None:
            return known
        names = global_names(function.__code__)
        variables = self.main
        if self.notebook.has_variables(function.__globals__):
            for name, sure in names.items():
                if name in self.notebook.namespace or (sure and not hasattr(builtins, name)):
                    self.found.later[name] = None
        else:
            own = function.__globals__
            variables = {name: own[name] for name in ("__name__", *names) if name in own}
        copy = types.FunctionType(
            function.__code__,
            variables,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        copy.__module__ = "__main__"
        copy.__qualname__ = function.__qualname__
        copy.__doc__ = function.__doc__
        copy.__kwdefaults__ = function.__kwdefaults__
        copy.__dict__.update(function.__dict__)
        # Annotations are left behind: they may name what need not travel.
        self.copies[id(function)] = copy
        self.keep += [copy, function]
        return copy


_PLAIN = frozenset(
    (dict, list, tuple, set, frozenset, str, bytes, int, float, bool, complex, type(None))
)


def _dict_of(obj: object) -> Mapping[str, Any]:
    try:
        found = object.__getattribute__(obj, "__dict__")
    except Exception:
        return {}
    return found if type(found) is dict else {}


def global_names(code: types.CodeType) -> dict[str, bool]:
    """Global names a code object reads, with all code inside it, in order of appearance.

    False for a name that only a class body reads, which may be the body's own.
    """
    names: dict[str, bool] = {}
    todo = [code]
    while todo:
        at = todo.pop(0)
        for instruction in dis.get_instructions(at):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                name = str(instruction.argval)
                names[name] = names.get(name, False) or instruction.opname == "LOAD_GLOBAL"
        todo += [const for const in at.co_consts if isinstance(const, types.CodeType)]
    return names
