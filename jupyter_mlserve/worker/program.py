"""The author's program: loaded once into a module of its own, then called again and again.

The module takes the place of ``__main__``, where the notebook's functions and pickles expect to
be. After each call its variables, the environment variables and the working directory are what
they were after loading: a call leaves nothing behind for the next.
"""

from __future__ import annotations

import builtins
import linecache
import os
import sys
import types
from operator import is_

from .describe import InputError
from .failures import LoadFailure, advice_for, failure, message_of, traceback_of
from .inputs import Inputs
from .objects import load_object
from .outputs import Outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

    Spec = Mapping[str, Any]

# ast.PyCF_ALLOW_TOP_LEVEL_AWAIT: a notebook cell may await, so may a service.
_TOP_LEVEL_AWAIT = 0x2000
_CO_COROUTINE = 0x80


def new_main() -> types.ModuleType:
    """A fresh ``__main__`` for the author; it has no file, so that no child tries to run one."""
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    return main


class Program:
    """One version of a service. ``spec`` is the load spec; making it loads everything."""

    def __init__(self, spec: Spec, main: types.ModuleType) -> None:
        self.spec = spec
        self.label = f"{spec['name']} {spec['version']}"
        # Of a version whose function takes the rows of many records: whether it has still to be
        # seen that it answers each by itself, and whether it was seen that it does not.
        self.prove, self.apart = bool(spec.get("prove")), False
        self._ns: Dict[str, Any] = main.__dict__
        self._loop: Any = None
        self._loop_tasks: Any = ()
        self._function: Optional[Callable[..., Any]] = None
        self._positional: Optional[List[str]] = None
        self._code: Any = None
        self._load()
        self._inputs: Inputs = self._declared(Inputs, "inputs")
        self._outputs: Outputs = self._declared(Outputs, "outputs")
        self.decode = self._inputs.decode
        self.decode_parsed = self._inputs.decode_parsed
        self._names: List[str] = self._outputs.names
        self._remember()

    # Loading

    def _load(self) -> None:
        spec = self.spec
        pending = {str(item["name"]): item for item in spec.get("objects") or ()}
        prelude = spec.get("prelude") or ()
        in_prelude = {item["object"] for item in prelude if "object" in item}
        for name in [name for name in pending if name not in in_prelude]:
            self._ns[name] = load_object(pending.pop(name))
        for number, item in enumerate(prelude):
            if "object" in item:
                if item["object"] not in pending:
                    raise LoadFailure(f"The version has no object {item['object']!r}.")
                self._ns[item["object"]] = load_object(pending[item["object"]])
            else:
                names = ", ".join(item.get("names") or ()) or f"part {number + 1}"
                self._execute(item["source"], names[:80])
        if spec.get("initCode"):
            self._execute(spec["initCode"], "init")
        code = spec.get("code") or ""
        if spec.get("function"):
            self._execute(code, "code")
            self._function = self._find_function(str(spec["function"]))
        else:
            self._code = self._compile(code, "code")

    def _find_function(self, name: str) -> Callable[..., Any]:
        function = self._ns.get(name)
        if not callable(function):
            raise LoadFailure(f"The code does not define the function {name!r} that is published.")
        _check_inputs(function, name, self.spec.get("inputs") or ())
        code = getattr(function, "__code__", None)
        if getattr(code, "co_posonlyargcount", 0):
            self._positional = [str(param["name"]) for param in self.spec.get("inputs") or ()]
        found: Callable[..., Any] = function
        return found

    def _declared(self, make: Any, which: str) -> Any:
        try:
            return make(self.spec.get(which) or ())
        except ImportError as exc:
            raise LoadFailure(f"The declared {which} need {exc.name}.{advice_for(exc)}") from None
        except ValueError as exc:
            raise LoadFailure(f"The declared {which} cannot be used: {exc}.") from None

    def _compile(self, source: str, what: str) -> Any:
        file = f"<{self.label}: {what}>"
        # With no time of change an entry stays, and tracebacks show the author's lines.
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        try:
            return compile(source, file, "exec", _TOP_LEVEL_AWAIT, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
            raise self._failed(exc, what) from None

    def _execute(self, source: str, what: str) -> None:
        code = self._compile(source, what)
        try:
            self._run_code(code)
        except MemoryError:
            raise
        except BaseException as exc:
            raise self._failed(exc, what) from None

    def _failed(self, exc: BaseException, what: str) -> LoadFailure:
        where = {"init": "The init code", "code": "The code"}.get(what, f"The definition of {what}")
        return LoadFailure(
            f"{where} failed: {message_of(exc)}.{advice_for(exc)}", traceback=traceback_of(exc)
        )

    def _remember(self) -> None:
        """What every call starts from."""
        ns = self._ns
        ns.pop("__annotations__", None)
        self._base = dict(ns)
        self._base_keys = tuple(ns)
        self._base_values = tuple(ns.values())
        # The encoded dict behind os.environ compares 20 times faster.
        environ: Any = os.environ
        self._environ: Dict[Any, Any] = getattr(environ, "_data", environ)
        self._base_environ = dict(self._environ)
        if self._loop is not None:
            self._loop_tasks = self._tasks()

    # Calling

    def run(self, values: Dict[str, Any]) -> Dict[str, Any]:
        """One call: decoded inputs to encoded outputs. What the author's code raises comes out."""
        return self._outputs.encode(self.outputs_of(values))

    def outputs_of(self, values: Dict[str, Any]) -> Mapping[str, Any]:
        """One call, whose outputs stay what the code gave; there may be more than are declared."""
        function = self._function
        if function is None:
            return self._run_script(values)
        if self._positional is None:
            result = function(**values)
        else:
            result = function(*[values[name] for name in self._positional if name in values])
        if hasattr(type(result), "__await__"):
            result = self._await(result)
        names = self._names
        if len(names) == 1:
            return {names[0]: result}
        return self._by_name(result) if names else {}

    def _run_script(self, values: Dict[str, Any]) -> Mapping[str, Any]:
        ns = self._ns
        for name in self._inputs.absent_allowed:
            ns[name] = None
        ns.update(values)
        self._run_code(self._code)
        for name in self._names:
            if name not in ns:
                raise NameError(f"the code did not assign the declared output {name!r}")
        return ns

    def _by_name(self, result: Any) -> Dict[str, Any]:
        """Several outputs come as a dict by name, or as a tuple in declared order."""
        names = self._names
        if isinstance(result, dict):
            for name in names:
                if name not in result:
                    raise TypeError(
                        f"the function returned no output {name!r} (it returned: "
                        f"{', '.join(map(str, list(result)[:20])) or 'an empty dict'})"
                    )
            return result
        if isinstance(result, (tuple, list)):
            if len(result) != len(names):
                raise TypeError(
                    f"{len(names)} outputs are declared ({', '.join(names)}), "
                    f"but the function returned {len(result)}"
                )
            return dict(zip(names, result))  # noqa: B905 (Python 3.10)
        raise TypeError(
            f"{len(names)} outputs are declared ({', '.join(names)}), so the function must return "
            f"a dict or a tuple of them, not a {type(result).__name__}"
        )

    def _run_code(self, code: Any) -> None:
        if code.co_flags & _CO_COROUTINE:
            self._await(eval(code, self._ns))
        else:
            exec(code, self._ns)

    # Async services: one event loop for the worker's life, as in a notebook

    def _await(self, awaitable: Any) -> Any:
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)

        try:
            return self._loop.run_until_complete(awaitable)
        finally:
            self._end_tasks()

    def _tasks(self) -> Any:
        import asyncio

        return asyncio.all_tasks(self._loop)

    def _end_tasks(self) -> None:
        """Tasks that a call started and left: they would run on in the next call."""
        if not hasattr(self, "_base"):
            return  # loading: the author's background tasks are wanted
        import asyncio

        left = [task for task in self._tasks() if task not in self._loop_tasks]
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=1.0))

    # After a call

    def restore(self) -> None:
        """Undo what the call did to variables, environment and stack limit: 2 microseconds."""
        ns = self._ns
        if (
            len(ns) != len(self._base_values)
            or not all(map(is_, ns.values(), self._base_values))
            or tuple(ns) != self._base_keys
        ):
            ns.clear()
            ns.update(self._base)
        if self._environ != self._base_environ:
            self._restore_environ()

    def _restore_environ(self) -> None:
        decode = getattr(os.environ, "decodekey", str)
        wanted = {decode(key): decode(value) for key, value in self._base_environ.items()}
        for key in [key for key in os.environ if key not in wanted]:
            del os.environ[key]
        for key, value in wanted.items():
            if os.environ.get(key) != value:
                os.environ[key] = value


def _check_inputs(function: Any, name: str, params: Any) -> None:
    """A call must be possible: an update may have changed the inputs and not the function."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return  # C functions need not say
    kinds = {param.kind for param in parameters.values()}
    given = {str(param["name"]) for param in params}
    strange = sorted(given - set(parameters))
    if strange and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise LoadFailure(
            f"The function {name!r} takes no argument {strange[0]!r}, which is declared as an "
            f"input; it takes: {', '.join(parameters) or 'none'}."
        )
    for param in parameters.values():
        variable = param.kind in (param.VAR_KEYWORD, param.VAR_POSITIONAL)
        if param.default is param.empty and not variable and param.name not in given:
            raise LoadFailure(
                f"The function {name!r} needs the argument {param.name!r}, which is not declared "
                "as an input."
            )


def call_failure(exc: BaseException) -> Tuple[Dict[str, Any], bool]:
    """Reply header of a call whose code raised, and whether the worker should be replaced."""
    if isinstance(exc, MemoryError):
        # Whatever was half done when memory ran out may be broken.
        return failure(exc, "OutOfMemory", 500), True
    return failure(exc), False


def input_failure(exc: Exception) -> Dict[str, Any]:
    """Reply header of a call whose inputs could not be decoded."""
    if isinstance(exc, MemoryError):
        return dict(call_failure(exc)[0], retire=True)
    if not isinstance(exc, InputError):  # a library's own error about a value we let through
        exc = InputError("", "values that the declared types can hold", message_of(exc))
    return {
        "status": 400,
        "kind": "InvalidInput",
        "message": exc.message,
        "field": exc.field,
        "expected": exc.expected,
        "got": exc.got,
    }
