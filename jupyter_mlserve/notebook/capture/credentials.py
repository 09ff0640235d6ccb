"""Names and values that look like secrets. They travel only if the author says so by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from types import FunctionType
from typing import Any

_NAME = re.compile(
    r"(?:^|_)(?:token|key|apikey|pwd|passwd|passphrase)$|password|secret|credential",
    re.IGNORECASE,
)
# Inside objects, "sort_key" and "pad_token" are everyday words.
_INNER = re.compile(
    r"password|passwd|secret|credential|(?:api|access|auth|private)_?(?:key|token)$", re.IGNORECASE
)
_PLAIN_KEYS = frozenset(("key", "_key"))  # a loop's variable, not a secret
_VALUES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a private key", re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})")),
    ("a Slack token", re.compile(r"\bxox[abeprs]-[A-Za-z0-9-]{10,}")),
    ("a Google API key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    ("an API key", re.compile(r"\bsk-(?=[\w-]*\d)[\w-]{20,}|\b[spr]k_(?:live|test)_\w{10,}")),
    ("an API key", re.compile(r"\bhf_[A-Za-z0-9]{30,}")),
    ("a signed token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.")),
    ("a password in an address", re.compile(r"^[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@]+@", re.I)),
    ("a bearer token", re.compile(r"^Bearer\s+[A-Za-z0-9._~+/=-]{16,}$", re.I)),
)
_OPAQUE = re.compile(r"[A-Za-z0-9_-]{40,}={0,2}\Z")
_SHORTEST, _LONGEST = 16, 20_000
_DEPTH, _MANY = 4, 2_000


def secret_name(name: str) -> bool:
    """Whether a variable of this name is meant to be secret: ``API_TOKEN``, ``db_password``."""
    return name not in _PLAIN_KEYS and bool(_NAME.search(name))


def secret_value(value: object) -> str | None:
    """What a text looks like ("an AWS access key"); None when it looks harmless."""
    if isinstance(value, bytes | bytearray):
        if not _SHORTEST <= len(value) <= _LONGEST:
            return None
        value = bytes(value).decode("latin-1")
    if not isinstance(value, str) or not _SHORTEST <= len(value) <= _LONGEST:
        return None
    for what, pattern in _VALUES:
        if pattern.search(value):
            return what
    return "a long random token" if _random(value) else None


def _random(text: str) -> bool:
    """A long run of mixed letters and digits. Hexadecimal digests have one case and pass."""
    if not _OPAQUE.match(text) or len(text) > 512:
        return False
    kinds = (str.isupper, str.islower, str.isdigit)
    if not all(any(kind(letter) for letter in text) for kind in kinds):
        return False
    numbers = len(re.findall(r"\d+", text))
    changes = sum(
        one.isalpha() and two.isalpha() and one.isupper() != two.isupper()
        for one, two in pairwise(text)
    )
    # Joined words change case less often, and have their numbers in one or two places.
    return numbers >= 3 and changes >= len(text) / 8


def secrets_in(value: object) -> str | None:
    """What in ``value`` looks secret, with its place: ``config["api_key"]``; None for nothing.

    Looks into dicts, lists, tuples and sets, and into the attributes of an object, a few levels
    deep, and stops after some thousands of values.
    """
    budget = [_MANY]
    for place, what in _search(value, "", _DEPTH, budget):
        return f"{place.lstrip('.')} looks like {what}" if place else f"it looks like {what}"
    return None


def _search(value: object, place: str, depth: int, budget: list[int]) -> Iterator[tuple[str, str]]:
    budget[0] -= 1
    if budget[0] < 0:
        return
    what = secret_value(value)
    if what is not None:
        yield place, what
        return
    if depth == 0:
        return
    if isinstance(value, Mapping):
        if type(value) is not dict and type(value).__module__ not in ("collections", "types"):
            return  # a mapping may compute what it gives
        for key, item in value.items():
            where = f"{place}[{key!r}]"
            if isinstance(key, str) and _INNER.search(key) and _holds_text(item):
                yield where, "a secret, by its name"
            yield from _search(item, where, depth - 1, budget)
    elif type(value) in (list, tuple, set, frozenset):
        for number, item in enumerate(value):  # type: ignore[arg-type]
            yield from _search(item, f"{place}[{number}]", depth - 1, budget)
    else:
        state = _variables(value) if isinstance(value, FunctionType) else _state(value)
        for key, item in state.items():
            where = f"{place}.{key}"
            if _INNER.search(key) and _holds_text(item):
                yield where, "a secret, by its name"
            yield from _search(item, where, depth - 1, budget)


def _holds_text(value: object) -> bool:
    return isinstance(value, str | bytes) and len(value) > 0


def _state(value: object) -> dict[str, Any]:
    """Attributes stored in an instance, without asking the instance."""
    if isinstance(value, type):
        return dict(vars(value)) if value.__module__ == "__main__" else {}
    try:
        state = object.__getattribute__(value, "__dict__")
    except Exception:
        return {}
    return dict(state) if type(state) is dict else {}


def _variables(function: FunctionType) -> dict[str, Any]:
    """The variables of the function around it that a closure keeps."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not yet bound
            found[name] = cell.cell_contents
    return found


def secrets_in_source(tree: ast.AST) -> list[tuple[int, str]]:
    """Literals in a text that look secret: ``(line, what)``."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            what = secret_value(node.value)
            if what is not None:
                found.append((node.lineno, what))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                named = isinstance(target, ast.Name) and secret_name(target.id)
                text = node.value.value
                if named and _holds_text(text) and secret_value(text) is None:
                    found.append((node.lineno, f"a secret, by its name ({ast.unparse(target)})"))
    return sorted(found)
