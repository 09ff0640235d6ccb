"""Words for messages about values: what was expected, what came; and the error that says it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple, Type

EXPECTED = {
    "logical": "true or false",
    "integer": "an integer",
    "numeric": "a number",
    "character": "a string",
    "datetime": "an ISO 8601 string such as 2024-05-31T12:00:00Z",
    "bytes": "a base64 string",
    "vector": "a flat array of numbers, strings or booleans",
    "matrix": "an array of rows of equal length",
    "list": "an array",
    "dict": "an object",
    "data.frame": "an object of columns, or an array of records",
}
SPELLING = {
    "logical": "bool",
    "integer": "int",
    "numeric": "float",
    "character": "str",
    "datetime": "datetime",
    "bytes": "bytes",
    "vector": "numpy.array",
    "matrix": "numpy.matrix",
    "list": "list",
    "dict": "dict",
    "data.frame": "pandas.DataFrame",
}


class InputError(ValueError):
    """A value is not what was declared.

    ``field`` names it (``"hp"``, ``"df.wt[3]"``; ``""`` means the whole body), ``expected`` and
    ``got`` are phrases. ``message`` is the sentence about it, made of them if there is none.
    """

    def __init__(self, field: str, expected: str, got: str, message: str = "") -> None:
        # A column's name may come from the caller.
        self.field = field = field if len(field) <= 300 else field[:297] + "..."
        self.expected = expected
        self.got = got
        where = f"{field}: " if field else ""
        self.message = message or f"{where}expected {expected}, got {got}."
        super().__init__(self.message[:-1])

    def __reduce__(self) -> Tuple[Type[InputError], Tuple[str, str, str, str]]:
        return type(self), (self.field, self.expected, self.got, self.message)


def describe(value: Any) -> str:
    """A JSON value in a few words: ``the string 'abc'``, ``an array of 3``."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    kind = type(value)
    if kind is int:
        return repr(value) if -(10**20) < value < 10**20 else "a huge integer"
    if kind is float:
        return repr(value)
    if kind is str:
        return "the string " + quote(value)
    if kind is dict:
        return f"an object of {len(value)}"
    if kind is list:
        return f"an array of {len(value)}"
    return with_article(type_name(value))


def quote(text: str, limit: int = 40) -> str:
    """The text quoted and cut; characters that UTF-8 cannot carry are escaped."""
    return ascii(text) if len(text) <= limit else ascii(text[: limit - 3]) + "..."


def with_article(noun: str) -> str:
    """``an int``, ``a str``."""
    return f"{'an' if noun[:1] in 'aeio' else 'a'} {noun}"


def type_name(value: Any) -> str:
    """The type of a Python value as its author knows it, with the shape of arrays and frames."""
    cls = type(value)
    module = getattr(cls, "__module__", "") or ""
    name = str(getattr(cls, "__qualname__", cls.__name__))
    top = module.split(".", 1)[0]
    if top in ("numpy", "pandas", "polars", "scipy"):
        shape = getattr(value, "shape", None)
        # Scalars of numpy have the shape ().
        of_shape = f" of shape {shape}" if type(shape) is tuple and shape else ""
        return f"{top}.{name}{of_shape}"
    return name if module in ("builtins", "__main__") else f"{module}.{name}"
