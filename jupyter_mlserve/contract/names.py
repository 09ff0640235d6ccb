"""The rules for every name that travels: stated once, checked on both sides of the wire.

Names become URL segments, variables of the author's code, attributes of generated clients and
file names in a working directory. Each rule is the strictest of what those places need, so no
name has to be escaped anywhere.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
import uuid

from .errors import InvalidName
from .limits import MAX_COLUMN_NAME, MAX_FILE_NAME, MAX_NAME, MAX_VERSION

NAME_RULE = (
    f"1 to {MAX_NAME} letters, digits, '.', '_' or '-' (ASCII), starting with a letter, digit "
    "or '_', ending with no '.', and without '..'"
)
VERSION_RULE = (
    f"1 to {MAX_VERSION} letters, digits, '.', '_' or '-' (ASCII), starting with a letter or "
    "digit, ending with no '.', and without '..'"
)
IDENTIFIER_RULE = (
    f"a Python identifier of 1 to {MAX_NAME} ASCII letters, digits or '_', "
    "no keyword, and not of the form __name__"
)
VARIABLE_RULE = (
    f"a Python identifier of 1 to {MAX_NAME} characters, no keyword, and not of the form __name__"
)
FILE_NAME_RULE = (
    f"a plain file name of 1 to {MAX_FILE_NAME} ASCII letters, digits, spaces or any of "
    "'._+=@(),-', starting with a letter, digit or '_', ending with no '.' or space, "
    "without '..' and without folders"
)
COLUMN_RULE = f"1 to {MAX_COLUMN_NAME} printable characters"

# Segments that stand where a version stands: .../api/{name}/swagger.json, .../services/{name}/
# history. Words of later interfaces are kept free with them. Compared without case.
RESERVED_VERSIONS = frozenset(
    {
        "batch",
        "capabilities",
        "docs",
        "files",
        "history",
        "latest",
        "metrics",
        "newest",
        "openapi.json",
        "pool",
        "rollback",
        "states",
        "status",
        "swagger.json",
        "tokens",
        "versions",
    }
)
# operationIds the service's swagger document uses for its other operations (they must be unique).
RESERVED_ALIASES = frozenset(
    {
        "login",
        "renewToken",
        "revokeRefreshToken",
        "StartBatchExecution",
        "GetBatchExecutions",
        "GetBatchExecutionStatus",
        "CancelAndDeleteBatchExecution",
        "GetBatchExecutionFiles",
        "GetBatchExecutionFile",
    }
)

# \Z, not $: $ also matches before a final newline.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ._+=@(),-]*\Z")


def check_name(name: object) -> str:
    """Return ``name`` if it may name a service, else raise InvalidName with the rule."""
    if not _segment(name, _NAME, MAX_NAME):
        raise _bad("service name", name, NAME_RULE)
    return str(name)


def check_version(version: object) -> str:
    """Return ``version`` if it may name a version, else raise InvalidName with the rule."""
    if not _segment(version, _VERSION, MAX_VERSION):
        raise _bad("version", version, VERSION_RULE)
    if str(version).lower() in RESERVED_VERSIONS:
        raise InvalidName(
            f"The version {version!r} is reserved, because an address of this server uses the "
            "word in that place. Choose another version.",
            field="version",
            rule=VERSION_RULE,
        )
    return str(version)


def new_version() -> str:
    """A version for an author who named none: a random GUID, lower case."""
    return str(uuid.uuid4())


def check_identifier(name: object, what: str = "name") -> str:
    """Return ``name`` if it may name an input, output or function; ``what`` is for the message."""
    if not (_variable(name) and str(name).isascii()):
        raise _bad(what, name, IDENTIFIER_RULE)
    return str(name)


def check_variable(name: object, what: str = "object name") -> str:
    """Return ``name`` if author code can have a global of it: any Python identifier.

    Wider than :func:`check_identifier`: what only the author's code sees need not be ASCII. It
    must be in NFKC form, because the compiler looks identifiers up in that form.
    """
    if not _variable(name):
        raise _bad(what, name, VARIABLE_RULE)
    return str(name)


def check_alias(alias: object) -> str:
    """Return ``alias`` if it may be the operation's name in swagger and in clients."""
    check_identifier(alias, "alias")
    if alias in RESERVED_ALIASES:
        raise InvalidName(
            f"The alias {alias!r} is reserved, because every service's swagger document has an "
            "operation of that name. Choose another alias.",
            field="alias",
            rule=IDENTIFIER_RULE,
        )
    return str(alias)


def check_file_name(name: object, what: str = "file name") -> str:
    """Return ``name`` if it is safe as a file in a call's working directory."""
    if not _segment(name, _FILE_NAME, MAX_FILE_NAME) or str(name).endswith(" "):
        raise _bad(what, name, FILE_NAME_RULE)
    return str(name)


def check_column(name: object, what: str = "column name") -> str:
    """Return ``name`` if it may name a column of a frame: any printable text, spaces included."""
    if not (isinstance(name, str) and 0 < len(name) <= MAX_COLUMN_NAME and name.isprintable()):
        raise _bad(what, name, COLUMN_RULE)
    return name


def _segment(name: object, pattern: re.Pattern[str], longest: int) -> bool:
    return (
        isinstance(name, str)
        and len(name) <= longest
        and pattern.match(name) is not None
        and not name.endswith(".")
        and ".." not in name
    )


def _variable(name: object) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_NAME
        and name.isidentifier()
        and not keyword.iskeyword(name)
        and not (name.startswith("__") and name.endswith("__"))
        and unicodedata.normalize("NFKC", name) == name
    )


def _bad(what: str, name: object, rule: str) -> InvalidName:
    if not isinstance(name, str):
        shown = f"{type(name).__name__} {name!r}"
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
    elif len(name) > 80:
        shown = f"{name[:40] + '…'!r} ({len(name):,} characters)"
    else:
        shown = repr(name)
    return InvalidName(f"{shown} is not a valid {what}: it must be {rule}.", field=what, rule=rule)
