"""The two ways in: capture of a cell's text, and of a function."""

from __future__ import annotations

import ast
import inspect
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ...contract.errors import InvalidDefinition
from ...contract.names import check_identifier
from . import sources
from .operation import operation_of
from .packing import Job, pack
from .reading import definitions
from .result import Capture, CaptureOptions


def capture_cell(
    source: str, namespace: Mapping[str, Any], options: CaptureOptions | None = None
) -> Capture:
    """Pack a cell: its text, and all that the text needs from ``namespace``.

    source: plain Python (``shell.transform_cell`` has made it of a cell with magics).
    namespace: the notebook's variables (``shell.user_ns``), after the cell was run if it was; or
    only some values by name, which then count before the variables of ``__main__``.

    A cell whose last statement defines a function is in function form: the text runs once in each
    worker, then the function is called with the inputs. Any other cell is a script: the text runs
    on every call, with the inputs as variables.

    Raises InvalidDefinition or InvalidName when the cell cannot be a service whatever it finds.
    What it needs and cannot travel is in the report; see :meth:`Capture.require`.
    """
    started = time.perf_counter()
    options = options or CaptureOptions()
    with _quietly():
        tree = _parsed(source)
        if not (tree.body or options.objects or options.files):
            raise InvalidDefinition(
                "The cell has no code. Put the function, or the lines that compute the answer, "
                "below the magic's line.",
                field="code",
            )
        if "__name__" not in namespace:  # objects given by name, not a notebook's variables
            namespace = {**vars(sys.modules["__main__"]), **namespace}
        job = Job(options, namespace, source, written=options.written or source)
        node = _function_of(tree, options)
        if node is not None:
            live = namespace.get(node.name)
            plain = sources.plain_function(live)
            if plain is None or not sources.defined_by(plain, source):
                live = None  # the cell was changed since it ran, or never ran
            job.operation = operation_of(node.name, node, live)
            job.description = ast.get_docstring(node)
        _add_init(job)
        return pack(job, started)


def capture_function(
    f: Callable[..., Any],
    init: Callable[[], object] | str | None = None,
    namespace: Mapping[str, Any] | None = None,
    options: CaptureOptions | None = None,
) -> Capture:
    """Pack a function of a notebook, a script or a module: its source, and all that needs.

    f: a function. One without source (a closure), and any other callable, travels by value.
    init: runs once in each worker before the first call: a function without arguments, or code.
    namespace: values that count before the function's own globals, by name (models, data).

    Raises like :func:`capture_cell`.
    """
    started = time.perf_counter()
    options = options or CaptureOptions()
    if init is not None:
        options = replace(options, init=init)
    if not callable(f) or isinstance(f, type):
        raise InvalidDefinition(
            f"The operation must be a function, and this is a {type(f).__name__}.", field="function"
        )
    with _quietly():
        plain = sources.plain_function(f)
        below = plain.__globals__ if plain is not None else vars(sys.modules["__main__"])
        source = sources.source_of_function(plain, nested=True) if plain is not None else None
        if source is not None and sources.decorator_depth(f) > len(
            getattr(source.node, "decorator_list", ())
        ):
            source = None
        job = Job(options, {**below, **(namespace or {})})
        if source is not None:
            name = source.name
            job.code = source.text
        else:
            name = str(options.function or getattr(f, "__name__", ""))
            name = name if name.isidentifier() else "operation"
            job.code = f"# {name} travels by value: no text defines it.\n"
            job.namespace = {**job.namespace, name: f}
            job.by_value = name
        node = source.node if source is not None else None
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node = None
        job.operation = operation_of(check_identifier(name, "function name"), node, f)
        job.written = options.written or job.code
        job.description = inspect.getdoc(f) if plain is not None else None
        _add_init(job)
        return pack(job, started)


@contextmanager
def _quietly() -> Iterator[None]:
    """Compiling the author's text again would repeat the compiler's warnings about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _parsed(source: str) -> ast.Module:
    """Parse and compile a text; InvalidDefinition with the line when that fails."""
    try:
        compile(source, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        tree = ast.parse(source)
    except SyntaxError as exc:
        line = (exc.text or "").strip()
        where = f"Line {exc.lineno}" if exc.lineno else "The code"
        raise InvalidDefinition(
            f"{where} is not valid Python ({exc.msg}){': ' + line if line else '.'}", field="code"
        ) from None
    except (ValueError, RecursionError, MemoryError) as exc:
        raise InvalidDefinition(f"The code cannot be compiled ({exc}).", field="code") from None
    return tree


def _function_of(
    tree: ast.Module, options: CaptureOptions
) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The operation of a cell in function form; None for a script."""
    found = {
        name: node
        for name, node in definitions(tree).items()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    if options.function is not None:
        if options.form == "script":
            raise InvalidDefinition(
                "A script has no function that is called. Leave out one of the two.",
                field="function",
            )
        if options.function not in found:
            raise InvalidDefinition(
                f"The cell does not define the function {options.function!r}; it defines "
                f"{', '.join(found) or 'none'}.",
                field="function",
            )
        return found[options.function]
    if options.form == "script":
        return None
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef):
        return last
    if options.form == "function":
        if not found:
            raise InvalidDefinition("The cell defines no function.", field="function")
        return list(found.values())[-1]
    return None


def _add_init(job: Job) -> None:
    """The init code: a text as it is, or a function's source and a call of it."""
    init = job.options.init
    if init is None:
        return
    if isinstance(init, str):
        _parsed(init or "pass")
        job.init = init or None
        return
    plain = sources.plain_function(init)
    source = sources.source_of_function(plain, nested=True) if plain is not None else None
    if source is not None:
        job.init = f"{source.text}\n{source.name}()\n"
        return
    name = getattr(init, "__name__", "init")
    name = name if name.isidentifier() else "init"
    job.namespace = {**job.namespace, name: init}
    job.init = f"{name}()\n"
