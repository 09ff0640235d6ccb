"""What a magic's line says: words, options, and values written in Python.

IPython's own splitter keeps quotes in the words and cuts ``[1, 2]`` in two, so lines are split
here: at blanks that are outside quotes and brackets. A word that was quoted as a whole loses
its quotes; inside it only a backslash before a quote or a backslash is an escape.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from IPython.core.error import UsageError

_OPEN, _CLOSE = "([{", ")]}"
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(?!=)")


class Word(NamedTuple):
    """One word of a line; ``quoted`` when the whole word stood in quotes."""

    text: str
    quoted: bool


def split(line: str) -> list[Word]:
    """Cut a line into words at blanks outside quotes and brackets.

    Raises UsageError when a quote or a bracket is left open.
    """
    words: list[Word] = []
    position = 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        end = _word_end(line, position)
        words.append(_unquote(line[position:end]))
        position = end
    return words


def _word_end(line: str, start: int) -> int:
    quote, depth, position = "", 0, start
    while position < len(line):
        letter = line[position]
        if quote:
            if letter == "\\":
                position += 1
            elif letter == quote:
                quote = ""
        elif letter in "\"'":
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
        elif letter.isspace() and depth <= 0:
            break
        position += 1
    if quote:
        raise UsageError(f"A quote ({quote}) is opened and not closed in: {line[start:]}")
    if depth > 0:
        raise UsageError(f"A bracket is opened and not closed in: {line[start:]}")
    return min(position, len(line))


def _unquote(text: str) -> Word:
    if len(text) >= 2 and text[0] in "\"'" and _closing_quote(text) == len(text) - 1:
        return Word(re.sub(r"\\([\"'\\])", r"\1", text[1:-1]), True)
    option = re.match(r"(--[\w-]+=)([\"'])", text)
    if option and _closing_quote(rest := text[len(option[1]) :]) == len(rest) - 1:
        return Word(option[1] + _unquote(rest).text, False)
    return Word(text, False)


def _closing_quote(text: str) -> int:
    """Where the quote that opens the text ends."""
    position = 1
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == text[0]:
            return position
        position += 1
    return -1


def parse(magic: Any, line: str, *, gather: bool = False) -> argparse.Namespace:
    """Parse a magic's line with the parser its decorators built.

    With ``gather`` the words ``name=value`` are taken out first and come back as the attribute
    ``given``: a dict of name to the value's text, in the order of the line. An option that does
    not exist is one UsageError that offers the nearest one.
    """
    parser: argparse.ArgumentParser = magic.parser
    parser.allow_abbrev = False
    words = split(line)
    given: dict[str, str] = {}
    if gather:
        words, given = _gather(words)
    namespace, unknown = parser.parse_known_args(_arguments(words, parser))
    if unknown:
        said = _unknown(str(magic.__name__), unknown[0], parser)
        raise UsageError(said + _quotes_missing(words, unknown[0], parser))
    namespace.given = given
    return namespace


def _gather(words: Sequence[Word]) -> tuple[list[Word], dict[str, str]]:
    rest: list[Word] = []
    given: dict[str, str] = {}
    for word in words:
        match = None if word.quoted else _ASSIGNMENT.match(word.text)
        if match is None:
            if word.text != ",":
                rest.append(word)
            continue
        if match[1] in given:
            raise UsageError(f"{match[1]} is given twice. Give each input once.")
        given[match[1]] = word.text[match.end() :].rstrip(",")
    return rest, given


def _arguments(words: Sequence[Word], parser: argparse.ArgumentParser) -> list[str]:
    """The words as argparse wants them: a quoted value that starts with a dash stays a value."""
    arguments: list[str] = []
    for word in words:
        action = parser._option_string_actions.get(arguments[-1]) if arguments else None
        takes_value = action is not None and action.nargs != 0
        if word.quoted and word.text.startswith("-") and takes_value:
            arguments[-1] += "=" + word.text
        else:
            arguments.append(word.text)
    return arguments


def options(parser: argparse.ArgumentParser) -> list[str]:
    """Every option a magic has, as it is written in the line."""
    return sorted(parser._option_string_actions)


def _unknown(name: str, word: str, parser: argparse.ArgumentParser) -> str:
    if word.startswith("-"):
        known = options(parser)
        message = f"{name} has no option {word.partition('=')[0]}."
        return message + did_you_mean(word.partition("=")[0], known, "Its options: ")
    return f"{name} does not know what to do with {word!r}. See %{name}? for how it is written."


_TEXTS = ("description", "inputs", "outputs", "sample")  # options whose values have blanks


def _quotes_missing(words: Sequence[Word], word: str, parser: argparse.ArgumentParser) -> str:
    """The advice for ``-d Price of a house``: the value of the option, in quotes."""
    texts = [one.text for one in words]
    known = parser._option_string_actions
    if word not in texts:
        return ""
    place = texts.index(word)
    before = [i for i in range(place) if texts[i] in known]
    if not before or known[texts[before[-1]]].dest not in _TEXTS:
        return ""
    start = before[-1]
    after = [i for i in range(place, len(texts)) if texts[i] in known]
    value = " ".join(texts[start + 1 : after[0] if after else len(texts)])
    return f' A text with blanks needs quotes: {texts[start]} "{value}"'


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """`` Did you mean X?``, or the list of what is known, or nothing."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]}?"
    return f" {otherwise}{', '.join(known)}." if otherwise and known else ""


def assignments(text: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``hp=120, wt=2.8``: Python literals or names of notebook variables.

    A text that is one dict, written out or as the name of a variable, is taken as the inputs
    themselves. Raises UsageError naming the input that cannot be read.
    """
    stripped = text.strip()
    if not stripped:
        return {}
    if stripped.startswith("{") or stripped.isidentifier():
        inputs = value(stripped, variables, "the inputs")
        if not isinstance(inputs, Mapping) or not all(isinstance(key, str) for key in inputs):
            raise UsageError(
                f"{stripped} is {_kind(inputs)}, and must be a dict of input name to value."
            )
        return dict(inputs)
    try:
        call = ast.parse(f"f({stripped}\n)", mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or call.args:
        raise UsageError(f"Write inputs as hp=120, wt=2.8 (Python values), not as: {stripped}")
    inputs = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise UsageError(f"** is not understood here: {stripped}")
        if keyword.arg in inputs:
            raise UsageError(f"{keyword.arg} is given twice. Give each input once.")
        inputs[keyword.arg] = _evaluate(keyword.value, variables, keyword.arg)
    return inputs


def value(text: str, variables: Mapping[str, Any], what: str) -> Any:
    """One value: a Python literal or the name of a notebook variable (also inside lists)."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise UsageError(
            f"{what}: {text!r} is neither a Python value nor a variable of the notebook."
        ) from None
    return _evaluate(tree, variables, what)


def _evaluate(node: ast.expr, variables: Mapping[str, Any], what: str) -> Any:
    if isinstance(node, ast.Name):
        if node.id not in variables:
            raise UsageError(
                f"{what}: {node.id} is no variable of this notebook"
                f" (a text is written in quotes: {what}={node.id!r})."
                + did_you_mean(node.id, [name for name in variables if not name.startswith("_")])
            )
        return variables[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        values = [_evaluate(item, variables, what) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_evaluate(key, variables, what) for key in node.keys if key is not None]
        return dict(zip(keys, (_evaluate(v, variables, what) for v in node.values), strict=True))
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise UsageError(
            f"{what}: {ast.unparse(node)} is code. Values in a magic's line are Python literals"
            " or names of variables: put the result in a variable and give its name."
        ) from None


def _kind(thing: Any) -> str:
    return f"a {type(thing).__name__}"
