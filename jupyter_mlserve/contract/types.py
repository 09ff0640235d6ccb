"""Declared types: the wire's words, Python's spellings of them, and the parameters made of them.

The wire knows the published contract's seven types (logical, integer, numeric, character, vector,
matrix, data.frame) and four of ours (datetime, bytes, list, dict). A parameter is a plain dict,
as it travels and is stored::

    {"name": "hp", "type": "numeric"}
    {"name": "n", "type": "integer", "optional": True, "default": 3}
    {"name": "df", "type": "data.frame", "columns": [{"name": "hp", "type": "numeric"},
                                                     {"name": "n", "type": "integer",
                                                      "nullable": True}]}

numpy and pandas are never imported: their types are recognised by module and name, so the same
code serves a server that has neither.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from . import spelling
from .errors import InvalidDefinition
from .names import check_column, check_identifier
from .values import describe, json_problem, misfit

# typing.NotRequired needs Python 3.11; two classes say the same on 3.10.


class _Column(TypedDict):
    name: str
    type: str


class Column(_Column, total=False):
    """A column of a frame. ``nullable`` only on integer and logical: the others always may.

    Columns that go into a realtime service always say it, because null is accepted only where the
    compiled model was proven with it.
    """

    nullable: bool


class _Param(TypedDict):
    name: str
    type: str


class Param(_Param, total=False):
    """A declared input or output. ``default`` is JSON and is there exactly when ``optional``."""

    columns: list[Column]
    optional: bool
    default: Any


WIRE_TYPES = (
    "logical",
    "integer",
    "numeric",
    "character",
    "vector",
    "matrix",
    "data.frame",
    "datetime",
    "bytes",
    "list",
    "dict",
)
COLUMN_TYPES = ("logical", "integer", "numeric", "character", "datetime")


class Declared(NamedTuple):
    """A type without a name: wire type, columns (frames with a schema), and whether null is one
    of its values (``float?``, ``Optional[float]``)."""

    type: str
    columns: tuple[Column, ...] | None = None
    nullable: bool = False


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


def parse_type(spec: object) -> Declared:
    """The declared type that ``spec`` means.

    ``spec`` may be text (``"float"``, ``"pandas.DataFrame"``, ``"DataFrame[hp: float]"``,
    ``"int?"``), a Python annotation or class (``float``, ``numpy.ndarray``, ``Optional[int]``),
    ``numpy.array`` as the published Python client takes it, or a DataFrame, whose columns then
    are the schema. Raises InvalidDefinition with what would be accepted.
    """
    if isinstance(spec, Declared):
        return spec
    if isinstance(spec, str):
        return _declared(spelling.read_type(spec))
    if isinstance(spec, Mapping):
        return _of_mapping(spec)
    if isinstance(spec, typing.ForwardRef):
        return parse_type(spec.__forward_arg__)
    return _of_annotation(spec)


def make_param(
    name: str, spec: object, default: object = MISSING, *, output: bool = False
) -> Param:
    """The parameter ``name`` of type ``spec`` (anything :func:`parse_type` takes).

    ``default`` is a Python value (a function's default) or JSON. A nullable input without a
    default is optional and None by default. Outputs know neither: null is always one of theirs.
    """
    what = "output" if output else "input"
    check_identifier(name, f"{what} name")
    try:
        declared = parse_type(spec)
    except InvalidDefinition as exc:
        raise InvalidDefinition(f"The {what} {name!r}: {exc.message}", field=name) from None
    param = Param(name=name, type=declared.type)
    if declared.columns is not None:
        param["columns"] = [column.copy() for column in declared.columns]
    if output:
        if default is not MISSING:
            raise InvalidDefinition(f"The output {name!r} cannot have a default.", field=name)
        return param
    if default is MISSING and declared.nullable:
        default = None
    if default is not MISSING:
        param["optional"] = True
        param["default"] = _json_default(param, default)
    return param


def parse_params(text: str, *, output: bool = False) -> list[Param]:
    """Read ``"hp: float, wt: float = 2.5, df: DataFrame[hp: float, n: int?]"``.

    Text without a parameter gives []. Raises InvalidDefinition that quotes the piece at fault,
    or InvalidName for a name that cannot be one.
    """
    what = "output" if output else "input"
    params: list[Param] = []
    for piece in spelling.read_params(text, what):
        default = piece.default if piece.has_default else MISSING
        param = make_param(piece.name, _declared(piece.type), default, output=output)
        if any(param["name"] == other["name"] for other in params):
            raise InvalidDefinition(
                f"The {what} {param['name']!r} is declared twice.", field=param["name"]
            )
        params.append(param)
    return params


def params_of(spec: object, *, output: bool = False) -> list[Param]:
    """Parameters from every form callers use: text, ``{name: type}``, wire dicts, or None.

    A list may hold wire dicts (``{"name", "type", ..}``) or texts (``"hp: float"``).
    """
    if spec is None:
        return []
    if isinstance(spec, str):
        return parse_params(spec, output=output)
    if isinstance(spec, Mapping):
        return [_param_of(str(name), item, output) for name, item in spec.items()]
    if not isinstance(spec, Sequence):
        raise InvalidDefinition(
            f"Cannot read {'outputs' if output else 'inputs'} from a {type(spec).__name__}: "
            "give text such as 'hp: float, wt: float', or a dict of names and types.",
            field="outputs" if output else "inputs",
        )
    params: list[Param] = []
    for item in spec:
        if isinstance(item, Mapping) and "name" in item:
            params.append(_param_of(str(item["name"]), item, output))
        else:
            params.extend(params_of(item, output=output))
    return params


def _param_of(name: str, spec: object, output: bool) -> Param:
    default: object = MISSING
    if isinstance(spec, Mapping) and (spec.get("optional") or "default" in spec):
        default = spec.get("default")
    return make_param(name, spec, default, output=output)


def to_text(param: Mapping[str, Any]) -> str:
    """The parameter as an author would write it; :func:`parse_params` reads it back."""
    text = f"{param['name']}: {type_text(param)}"
    if param.get("optional"):
        default = param.get("default")
        # "x: float?" says the same as a default of None.
        text += "?" if default is None else f" = {default!r}"
    return text


def params_to_text(params: Sequence[Mapping[str, Any]]) -> str:
    """All parameters, comma separated, as ``-i`` and ``-o`` take them."""
    return ", ".join(map(to_text, params))


def type_text(param: Mapping[str, Any]) -> str:
    """The type alone, in Python's spelling: ``float``, ``DataFrame[hp: float, n: int?]``."""
    text = spelling.PYTHON[param["type"]]
    columns = param.get("columns")
    if columns is not None:
        inner = ", ".join(
            f"{_column_name(column['name'])}: {spelling.PYTHON[column['type']]}"
            + ("?" if column.get("nullable") else "")
            for column in columns
        )
        text += f"[{inner}]"
    return text


def _column_name(name: str) -> str:
    return name if name.isidentifier() else repr(name)


def _declared(piece: spelling.Type) -> Declared:
    if piece.columns is None:
        return Declared(piece.type, None, piece.nullable)
    columns: list[Column] = []
    for name, inner in piece.columns:
        column = Column(name=name, type=inner.type)
        if inner.nullable and inner.type in ("integer", "logical"):
            column["nullable"] = True
        columns.append(column)
    return Declared(piece.type, tuple(columns), piece.nullable)


def _of_mapping(spec: Mapping[Any, Any]) -> Declared:
    """A wire dict, ``{"type": .., "columns"?: [..]}``, whose types may be any spelling."""
    declared = parse_type(spec.get("type"))
    columns = spec.get("columns")
    if columns is None:
        return declared
    if declared.type != "data.frame" or not isinstance(columns, list | tuple):
        raise InvalidDefinition("Only a DataFrame has columns, as a list.", field="columns")
    found: list[Column] = []
    for item in columns:
        if not (isinstance(item, Mapping) and "name" in item and "type" in item):
            raise InvalidDefinition(
                f"A column is a dict with a name and a type, not {describe(item)}.",
                field="columns",
            )
        inner = parse_type(item["type"])
        if inner.type not in COLUMN_TYPES:
            raise InvalidDefinition(
                f"The column {item['name']!r}: a column is bool, int, float, str or datetime.",
                field="columns",
            )
        column = Column(name=check_column(item["name"]), type=inner.type)
        if (item.get("nullable") or inner.nullable) and column["type"] in ("integer", "logical"):
            column["nullable"] = True
        found.append(column)
    return Declared(declared.type, tuple(found), declared.nullable)


def _of_annotation(spec: Any) -> Declared:
    origin, args = typing.get_origin(spec), typing.get_args(spec)
    if origin is typing.Annotated:
        return parse_type(args[0])
    if origin is typing.Union or origin is types.UnionType:
        return _union([parse_type(arg) for arg in args if arg is not type(None)], spec, args)
    if origin is typing.Literal:
        inner = [parse_type(type(arg)) for arg in args if arg is not None]
        return _union(inner, spec, (type(None),) if None in args else ())
    supertype = getattr(spec, "__supertype__", None)  # typing.NewType
    if supertype is not None:
        return parse_type(supertype)
    target = origin or spec
    module = str(getattr(target, "__module__", "") or "").partition(".")[0]
    word = spelling.word_of(module, str(getattr(target, "__name__", "")))
    if word is not None:
        return Declared(word)
    cls = type(spec)
    if cls.__name__ == "DataFrame" and cls.__module__.partition(".")[0] == "pandas":
        from .learn import columns_of

        return Declared("data.frame", tuple(columns_of(spec)))
    if cls.__module__.partition(".")[0] == "numpy" and hasattr(spec, "kind"):
        return parse_type(spec.type)  # numpy.dtype
    shown = getattr(spec, "__name__", None) or repr(spec)
    if shown == "_empty":  # inspect's mark of a parameter without annotation
        shown = "No annotation (it has no type)"
    raise InvalidDefinition(
        f"{shown} is not a type that can be declared. {spelling.advice(str(shown))}", field="type"
    )


def _union(found: list[Declared], spec: object, args: tuple[Any, ...]) -> Declared:
    """``X | None`` is a nullable X; ``int | float`` is a number; nothing else has one JSON type."""
    nullable = type(None) in args or any(item.nullable for item in found)
    kinds = {(item.type, repr(item.columns)) for item in found}
    if len(kinds) == 1:
        return found[0]._replace(nullable=nullable)
    if {item.type for item in found} == {"integer", "numeric"}:
        return Declared("numeric", None, nullable)
    raise InvalidDefinition(
        f"{spec} means several types, and an input or output has one. {spelling.advice('')}",
        field="type",
    )


def _json_default(param: Param, value: Any) -> Any:
    """``value`` (a Python object or JSON) as the JSON default of ``param``."""
    from .learn import to_json

    found = to_json(value)
    if isinstance(found, str) and isinstance(value, bytes) and param["type"] != "bytes":
        problem: str | None = "bytes can only be the default of a bytes input"
    else:
        problem = json_problem(found) or misfit(found, param)
    if problem:
        raise InvalidDefinition(
            f"The input {param['name']!r} is declared as {type_text(param)}, and its default is "
            f"{describe(value)}: {problem}.",
            field=param["name"],
        )
    return found
