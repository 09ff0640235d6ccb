"""Reading declared types and parameters from text, and the table of spellings.

The text is what an author writes after ``-i`` and ``-o``, or in a string annotation::

    params  = param {"," param}
    param   = NAME ":" type ["=" default]
    type    = single {"|" single} ["?"]
    single  = word ["[" columns or anything "]"]     (columns only after a DataFrame)
    columns = [column ":" type {"," column ":" type}]

A default is a Python literal. Every error quotes the text around the place it happened.
"""

from __future__ import annotations

import ast
import difflib
import re
from typing import Any, NamedTuple, NoReturn

from .errors import InvalidDefinition, InvalidName
from .limits import MAX_COLUMNS
from .names import check_column

PYTHON = {
    "logical": "bool",
    "integer": "int",
    "numeric": "float",
    "character": "str",
    "vector": "numpy.array",
    "matrix": "numpy.matrix",
    "data.frame": "DataFrame",
    "datetime": "datetime",
    "bytes": "bytes",
    "list": "list",
    "dict": "dict",
}

# Python's names by the package that defines them.
_WORDS: dict[str, dict[str, str]] = {
    "builtins": {
        "bool": "logical",
        "int": "integer",
        "float": "numeric",
        "str": "character",
        "bytes": "bytes",
        "list": "list",
        "dict": "dict",
    },
    "numpy": {
        **{word: "vector" for word in ("array", "ndarray", "NDArray")},
        "matrix": "matrix",
        **{word: "logical" for word in ("bool", "bool_")},
        **{f"{sign}int{bits}": "integer" for sign in ("", "u") for bits in (8, 16, 32, 64)},
        **{word: "integer" for word in ("integer", "intp", "intc", "int_", "longlong")},
        **{f"float{bits}": "numeric" for bits in (16, 32, 64)},
        **{word: "numeric" for word in ("floating", "number", "double", "single")},
        "str_": "character",
        "datetime64": "datetime",
    },
    "pandas": {"DataFrame": "data.frame", "Timestamp": "datetime"},
    "datetime": {"datetime": "datetime", "date": "datetime"},
    "typing": {
        "List": "list",
        "Sequence": "list",
        "Dict": "dict",
        "Mapping": "dict",
    },
}
_PACKAGES = {
    **{package: package for package in _WORDS},
    "np": "numpy",
    "npt": "numpy",
    "pd": "pandas",
    "dt": "datetime",
    "t": "typing",
    "collections": "typing",
}
# Without a package: the wire's own words, and the Python names that mean one thing.
_BARE: dict[str, str] = {
    **{wire: wire for wire in PYTHON},
    **_WORDS["typing"],
    **_WORDS["pandas"],
    **_WORDS["datetime"],
    **{word: "vector" for word in ("array", "ndarray", "NDArray")},
    **_WORDS["builtins"],
}
# What authors write for a type that is called something else here.
_MEANT = {
    "string": "str",
    "text": "str",
    "boolean": "bool",
    "number": "float",
    "double": "float",
    "tuple": "list",
    "Series": "numpy.array",
}
_COLUMN_TYPES = ("logical", "integer", "numeric", "character", "datetime")

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[^\W\d]\w*")
_DOTTED = re.compile(r"[^\W\d]\w*(?:\s*\.\s*[^\W\d]\w*)*")
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_PAIRS = {"[": "]", "(": ")", "{": "}"}
_MAX_DEPTH = 40


class Type(NamedTuple):
    """What was read: wire type, columns of a frame with a schema, and whether null is allowed."""

    type: str
    columns: list[tuple[str, Type]] | None = None
    nullable: bool = False


class Piece(NamedTuple):
    """One parameter as read. ``default`` is the literal's Python value."""

    name: str
    type: Type
    has_default: bool
    default: Any


def word_of(package: str, name: str) -> str | None:
    """The wire type of a class or function by its package and name; None if it is not ours."""
    return _WORDS.get(_PACKAGES.get(package, ""), {}).get(name)


def advice(near: str) -> str:
    """A sentence that lists the types, and the one probably meant."""
    last = near.rpartition(".")[2]
    words = {word.lower(): word for word in (*PYTHON, *PYTHON.values())}
    close = difflib.get_close_matches(near.lower(), words, 1, 0.7)
    meant = _MEANT.get(last) or (words[close[0]] if close else None)
    hint = f"Did you mean {meant}? " if meant else ""
    return (
        f"{hint}The types are bool, int, float, str, datetime, bytes, list, dict, numpy.array, "
        "numpy.matrix and pandas.DataFrame."
    )


def read_type(text: str) -> Type:
    """Read one type, such as ``float``, ``int?`` or ``DataFrame[hp: float]``."""
    reader = _Reader(text, "type")
    found = reader.type()
    reader.end()
    return found


def read_params(text: str, what: str) -> list[Piece]:
    """Read all parameters of ``text``; ``what`` ("input" or "output") is for the messages."""
    reader = _Reader(text, what + "s")
    pieces: list[Piece] = []
    if reader.at_end():
        return pieces
    while True:
        pieces.append(reader.param(what))
        if reader.at_end():
            return pieces
        if not reader.take(","):
            reader.fail("expected ',' between two of them")
        if reader.at_end():  # a trailing comma is harmless
            return pieces


class _Reader:
    def __init__(self, text: str, what: str) -> None:
        self.text = text
        self.what = what
        self.at = 0
        self.depth = 0

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        at = self.at if at is None else at
        rest = self.text[at : at + 30].strip()
        where = f"at {rest!r} (character {at + 1})" if rest else "at its end"
        shown = self.text if len(self.text) <= 120 else self.text[:117] + "..."
        raise InvalidDefinition(
            f"Cannot read the {self.what} {shown!r} {where}: {problem}.",
            field=self.what,
            position=at,
        )

    def space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def at_end(self) -> bool:
        self.space()
        return self.at >= len(self.text)

    def end(self) -> None:
        if not self.at_end():
            self.fail("nothing more was expected here")

    def take(self, sign: str) -> bool:
        self.space()
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def match(self, pattern: re.Pattern[str]) -> str | None:
        self.space()
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found.group()

    def param(self, what: str) -> Piece:
        name = self.match(_NAME)
        if name is None:
            self.fail(f"expected the name of an {what}, as in 'hp: float'")
        if not self.take(":"):
            self.fail(f"{what} {name!r} has no type; write '{name}: float'")
        kind = self.type()
        if not self.take("="):
            return Piece(name, kind, False, None)
        return Piece(name, kind, True, self.default(name))

    def type(self) -> Type:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail("the type is nested too deep")
        start = self.at
        found = [self.single()]
        while self.take("|"):
            found.append(self.single())
        nullable = any(item is None or item.nullable for item in found)
        if self.take("?"):
            nullable = True
        self.depth -= 1
        return self.union([item for item in found if item is not None], nullable, start)

    def union(self, found: list[Type], nullable: bool, start: int) -> Type:
        if not found:
            self.fail("None alone is not a type", start)
        if all(item.type == found[0].type and item.columns == found[0].columns for item in found):
            return found[0]._replace(nullable=nullable)
        if {item.type for item in found} == {"integer", "numeric"}:
            return Type("numeric", None, nullable)
        self.fail("it means several types, and an input or output has one", start)

    def single(self) -> Type | None:
        """One type without ``|``; None for the word None."""
        quoted = self.match(_STRING)
        if quoted is not None:  # a forward reference inside a string annotation
            return read_type(str(ast.literal_eval(quoted)))
        start = self.at
        word = self.match(_DOTTED)
        if word is None:
            self.fail("expected a type, such as float or DataFrame")
        word = re.sub(r"\s+", "", word)
        if word in ("None", "NoneType"):
            return None
        last = word.rpartition(".")[2]
        if last in ("Optional", "Union", "Annotated") and self.take("["):
            return self.wrapped(last)
        wire = self.wire(word)
        if wire is None:
            # {word!r} may be any text the author wrote; the advice finds what is near.
            self.fail(f"{word!r} is not a type. {advice(word)[:-1]}", start)
        if not self.take("["):
            return Type(wire)
        if wire == "data.frame":
            return Type(wire, self.columns())
        if wire in ("list", "dict", "vector", "matrix"):
            self.at -= 1
            self.skip_brackets()  # list[float], NDArray[np.float64]: elements are not declared
            return Type(wire)
        self.fail(f"{word} takes no [...]", self.at - 1)

    @staticmethod
    def wire(word: str) -> str | None:
        if word in _BARE:
            return _BARE[word]
        package, _, last = word.rpartition(".")
        return word_of(package.partition(".")[0], last) if package else None

    def wrapped(self, word: str) -> Type:
        """The rest of ``Optional[..]``, ``Union[..]`` or ``Annotated[..]`` after its bracket."""
        start = self.at
        if word == "Annotated":
            self.at -= 1
            end = self.skip_brackets()
            inner = _Reader(self.text[start : end - 1], self.what)
            inner.depth = self.depth
            return inner.type()
        found: list[Type] = []
        nullable = word == "Optional"
        while not self.take("]"):
            item = self.type_or_none()
            if item is None:
                nullable = True
            else:
                found.append(item)
            if not self.take(",") and not self.text.startswith("]", self.at):
                self.fail("expected ']'")
        return self.union(found, nullable or any(item.nullable for item in found), start)

    def type_or_none(self) -> Type | None:
        at = self.at
        if self.match(_DOTTED) == "None":
            return None
        self.at = at
        return self.type()

    def columns(self) -> list[tuple[str, Type]]:
        """``hp: float, 'petal length': float?]`` after the opening bracket."""
        found: list[tuple[str, Type]] = []
        names: set[str] = set()
        while not self.take("]"):
            start = self.at
            name = self.match(_STRING)
            name = self.match(_NAME) if name is None else str(ast.literal_eval(name))
            if name is None:
                self.fail("expected the name of a column, as in DataFrame[hp: float]")
            try:
                check_column(name)
            except InvalidName as exc:
                self.fail(exc.message.rstrip("."), start)
            if name in names:
                self.fail(f"the column {name!r} is declared twice", start)
            if not self.take(":"):
                self.fail(f"column {name!r} has no type; write '{name}: float'")
            self.space()
            start = self.at
            kind = self.type()
            if kind.type not in _COLUMN_TYPES:
                self.fail("a column is bool, int, float, str or datetime", start)
            names.add(name)
            found.append((name, kind))
            if len(found) > MAX_COLUMNS:
                self.fail(f"a frame has at most {MAX_COLUMNS} declared columns")
            if not self.take(",") and not self.text.startswith("]", self.at):
                self.fail("expected ',' or ']' after a column")
        if not found:
            self.fail("no columns are declared; write DataFrame for any columns", self.at - 1)
        return found

    def skip_brackets(self) -> int:
        """Pass the bracket at the position and all it holds; return the position after it."""
        start = self.at
        closing: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            string = _STRING.match(self.text, self.at)
            if string:
                self.at = string.end()
                continue
            self.at += 1
            if char in _PAIRS:
                closing.append(_PAIRS[char])
            elif closing and char == closing[-1]:
                closing.pop()
                if not closing:
                    return self.at
        self.fail("this bracket is not closed", start)

    def default(self, name: str) -> Any:
        """The literal after ``=``, up to the next comma that is in no bracket or string."""
        self.space()
        start = self.at
        while self.at < len(self.text) and self.text[self.at] != ",":
            string = _STRING.match(self.text, self.at)
            if string:
                self.at = string.end()
            elif self.text[self.at] in _PAIRS:
                self.skip_brackets()
            else:
                self.at += 1
        literal = self.text[start : self.at].strip()
        if literal in ("true", "false", "null"):  # JSON's words are what many type first
            return {"true": True, "false": False, "null": None}[literal]
        try:
            return ast.literal_eval(literal)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            self.fail(
                f"the default of {name!r} must be a literal, such as 2.5, 'text', [1, 2] or None",
                start,
            )
