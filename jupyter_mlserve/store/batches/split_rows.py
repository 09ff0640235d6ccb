"""Rows to records: which columns there must be, and the line that a row becomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from ...contract.errors import InvalidInput
from ...contract.limits import MAX_COLUMN_NAME, MAX_COLUMNS
from .plan import Plan
from .split_writer import wrong_upload


class Layout:
    """The columns of a table as a plan takes them.

    ``places``: which of the table's columns are used, in the order of the record; ``names`` and
    ``kinds``: their names and declared types (None: any).
    """

    def __init__(self, plan: Plan, found: Sequence[str]) -> None:
        """``found``: the table's columns. Raises InvalidInput naming one that is wrong."""
        declared, needed = _declared(plan)
        prefix = f"{plan.frame}." if plan.frame is not None else ""
        places: dict[str, int] = {}
        for place, name in enumerate(found):
            if name in places:
                raise wrong_column(f"{prefix}{name}", "columns that differ in name", "two of this")
            places[name] = place
        if plan.response not in declared:
            places.pop(plan.response or "", None)
        if len(places) > MAX_COLUMNS:
            raise wrong_upload(f"at most {MAX_COLUMNS:,} columns", f"{len(places):,}")
        for name in places:
            if len(name) > MAX_COLUMN_NAME:
                raise wrong_upload(
                    f"names of columns of at most {MAX_COLUMN_NAME} characters", f"{len(name):,}"
                )
        if plan.frame is None or plan.columns is not None:
            _check(prefix, list(places), list(declared), needed, plan.frame is None)
        self.names = [name for name in declared if name in places]
        self.names += [name for name in places if name not in declared]
        self.places = [places[name] for name in self.names]
        self.kinds = [declared.get(name) for name in self.names]
        self.fields = [f"{prefix}{name}" for name in self.names]
        self._template = template(plan.frame, self.names)

    def lines(self, columns: Iterable[Sequence[bytes]]) -> list[bytes]:
        """A line for each row; ``columns`` are JSON cells, in the order of ``names``."""
        shape = self._template
        return [shape % row for row in zip(*columns, strict=True)]


def template(frame: str | None, names: Iterable[str]) -> bytes:
    """A record with %b where the cells come: columns of one row, or inputs by name."""
    cell = b"%b" if frame is None else b"[%b]"
    inner = b"{" + b",".join([_key(name) + b":" + cell for name in names]) + b"}"
    return inner if frame is None else b"{" + _key(frame) + b":" + inner + b"}"


def _key(name: str) -> bytes:
    return orjson.dumps(name).replace(b"%", b"%%")


def _declared(plan: Plan) -> tuple[dict[str, str], set[str]]:
    """Declared types by name, and the names that must be there."""
    if plan.frame is not None:
        kinds = {column["name"]: column["type"] for column in plan.columns or ()}
        return kinds, set(kinds)
    kinds = {param["name"]: param["type"] for param in plan.inputs}
    return kinds, {param["name"] for param in plan.inputs if not param["optional"]}


def _check(
    prefix: str, found: list[str], declared: list[str], needed: set[str], inputs: bool
) -> None:
    what = "input" if inputs else "column"
    if not declared:
        raise wrong_upload("JSON lines of {}, as the service has no inputs", "a table")
    strangers = [name for name in found if name not in declared]
    for name in declared:
        if name in needed and name not in found:
            but = f" (but {', '.join(map(_quoted, strangers[:3]))}, which is not declared)"
            got = "none of this name" + (but if strangers else "")
            raise wrong_column(prefix + name, f"this {what}", got)
    if strangers:
        known = f"the {what}s are {_listed(declared)}"
        of = f" of {prefix[:-1]}" if prefix else ""
        raise InvalidInput(
            f"The {what} {_quoted(strangers[0])}{of} is not declared; {known}.",
            field=(prefix + strangers[0][:200])[:300],
            expected=f"no such {what} ({known})",
            got="one",
        )


def wrong_column(field: str, expected: str, got: str) -> InvalidInput:
    return wrong_upload(expected, got, None, field[:300])


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 50 else name[:47] + "...")


def _listed(names: list[str]) -> str:
    shown = ", ".join(name if len(name) <= 50 else name[:47] + "..." for name in names[:20])
    return shown + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
