"""Code of a session: its inputs become variables, it runs, variables become its outputs."""

from __future__ import annotations

import ast
import collections
import keyword
import linecache

from .describe import InputError, describe
from .inputs import parse_json
from .outputs import jsonable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, Deque, Dict, List, Tuple

# ast.PyCF_ALLOW_TOP_LEVEL_AWAIT: a notebook cell may await, so may code here.
_TOP_LEVEL_AWAIT = 0x2000
_CO_COROUTINE = 0x80
_KEPT_SOURCES = 1000  # of the last executions, for the lines in tracebacks


class Request:
    """The published ExecuteRequest, from its JSON. Raises InputError that names what is wrong."""

    def __init__(self, body: bytes) -> None:
        found = parse_json(body)
        if type(found) is not dict:
            raise InputError("", "an object with the key code", describe(found))
        self.code = _text(found.get("code"), "code")
        self.inputs: Dict[str, Any] = {}
        for number, item in enumerate(_list(found.get("inputParameters"), "inputParameters")):
            field = f"inputParameters[{number}]"
            if type(item) is not dict:
                raise InputError(field, "an object with the keys name and value", describe(item))
            self.inputs[_name(item.get("name"), f"{field}.name")] = item.get("value")
        names = _list(found.get("outputParameters"), "outputParameters")
        self.outputs = [_name(x, f"outputParameters[{i}]") for i, x in enumerate(names)]


def _text(value: Any, field: str) -> str:
    if type(value) is not str:
        raise InputError(field, "a string", describe(value))
    return value


def _list(value: Any, field: str) -> List[Any]:
    if value is None:
        return []
    if type(value) is not list:
        raise InputError(field, "an array", describe(value))
    return value


def _name(value: Any, field: str) -> str:
    name = _text(value, field)
    if not is_name(name):
        raise InputError(field, "the name of a variable", describe(name))
    return name


def is_name(name: str) -> bool:
    """Whether this can be a variable of the session's user."""
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")


class Code:
    """Runs code in ``namespace``, which keeps what it leaves there."""

    def __init__(self, namespace: Dict[str, Any]) -> None:
        self._ns = namespace
        self._count = 0
        self._sources: Deque[str] = collections.deque()
        self._loop: Any = None

    def run(self, request: Request) -> None:
        """What the code raises comes out.

        As in a console, the value of an expression at the end is printed.
        """
        self._ns.update(request.inputs)
        parts = self._compile(request.code)
        if any(part.co_flags & _CO_COROUTINE for part in parts):
            self._await(self._run_async(parts))
        else:
            for part in parts:
                exec(part, self._ns)

    async def _run_async(self, parts: List[CodeType]) -> None:
        """Where one part awaits, the others too expect a running loop."""
        for part in parts:
            if part.co_flags & _CO_COROUTINE:
                await eval(part, self._ns)
            else:
                exec(part, self._ns)

    def outputs(self, names: List[str]) -> List[Dict[str, Any]]:
        """The variables as JSON values. Raises NameError or TypeError that names the output."""
        found = []
        for name in names:
            if name not in self._ns:
                raise NameError(f"there is no variable {name!r} to be the output of that name")
            try:
                found.append({"name": name, "value": jsonable(self._ns[name], name)})
            except InputError as exc:
                raise TypeError(
                    f"the output {name!r} has no JSON form: expected {exc.expected}, "
                    f"got {exc.got}" + (f" ({exc.field})" if exc.field != name else "")
                ) from None
        return found

    def _compile(self, source: str) -> List[CodeType]:
        self._count += 1
        file = f"<session: execution {self._count}>"
        # With no time of change an entry stays, and tracebacks show the author's lines.
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        self._sources.append(file)
        if len(self._sources) > _KEPT_SOURCES:
            linecache.cache.pop(self._sources.popleft(), None)
        tree = compile(source, file, "exec", ast.PyCF_ONLY_AST | _TOP_LEVEL_AWAIT, True)
        parts: List[Tuple[Any, str]] = [(tree, "exec")]
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            parts.append((ast.Interactive([tree.body.pop()]), "single"))
        return [compile(part, file, mode, _TOP_LEVEL_AWAIT, True) for part, mode in parts]

    def _await(self, coroutine: Any) -> None:
        """In one event loop for the session's life; tasks go on when it is awaited again."""
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(coroutine)
        try:
            self._loop.run_until_complete(task)
        except BaseException:
            if not task.done():  # interrupted
                task.cancel()
                self._loop.run_until_complete(asyncio.wait([task], timeout=1.0))
            elif not task.cancelled():
                task.exception()  # it is known: asyncio need not complain
            raise
