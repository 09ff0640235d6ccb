"""What a call of a service gave back."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..contract.errors import MLServeError
from ..contract.types import type_text
from .misuse import NotInReply, ReplyMismatch

# What decoding a value of this type needs; where it is not installed the plain JSON is given.
NEEDS = {"data.frame": "pandas", "vector": "numpy", "matrix": "numpy"}
# What the text of a reply shows of a frame and of any other value.
TABLE_ROWS = 10
TABLE_COLUMNS = 12
TABLE_WIDTH = 40
LONGEST_TEXT = 500


class ServiceResponse:
    """The reply to one call.

    ``outputs`` are Python values by name (a ``data.frame`` is a ``pandas.DataFrame``, a vector
    and a matrix are numpy arrays, if those libraries are installed); ``raw_outputs`` is the JSON
    as it came. ``artifacts`` are files by name, in base64 (None: the code did not write it).
    """

    def __init__(
        self,
        api: str,
        body: Mapping[str, Any],
        outputs: Sequence[Mapping[str, Any]] = (),
        again: Callable[[], Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        """``outputs`` are the declared ones; ``again`` asks the server what they are by now."""
        self.api = api
        self._again = again
        self.error: str = body.get("errorMessage") or ""
        self.console_output: str = body.get("consoleOutput") or ""
        self._raw: dict[str, Any] = dict(body.get("outputParameters") or {})
        self.artifacts: dict[str, str | None] = dict(body.get("outputFiles") or {})
        self.changed_files: list[str] = list(body.get("changedFiles") or ())
        self._declared = {str(param["name"]): param for param in outputs}
        self._decoded: dict[str, Any] = {}

    @property
    def raw_outputs(self) -> dict[str, Any]:
        """All outputs by name, as JSON."""
        return self._raw

    @property
    def outputs(self) -> dict[str, Any]:
        """All outputs by name, as Python values."""
        return {name: self.output(name) for name in self._names}

    def output(self, name: str) -> Any:
        """One output as a Python value."""
        if name not in self._names:
            raise NotInReply(_nothing_named("output", name, self._names))
        if name not in self._decoded:
            self._decoded[name] = self._decode(name)
        return self._decoded[name]

    @property
    def _names(self) -> list[str]:
        return list(self.raw_outputs)

    def _decode(self, name: str) -> Any:
        value, param = self.raw_outputs[name], self._declared.get(name)
        if param is not None or self._again is None:
            try:
                return decode_output(value, param)
            except ValueError as error:
                return self._decode_anew(name, error)
        return self._decode_anew(name, None)

    def _decode_anew(self, name: str, wrong: ValueError | None) -> Any:
        """The output by what the version declares now: it may have been updated since."""
        again, self._again = self._again, None
        try:
            now = {str(param["name"]): param for param in again()} if again is not None else {}
        except MLServeError:
            now = {}  # the server may have gone since it replied
        if now:
            self._declared = now
        try:
            if wrong is None or name in now:
                return decode_output(self.raw_outputs[name], now.get(name))
        except ValueError as error:
            wrong = error
        raise ReplyMismatch(
            f"The reply of {self.api} is not what this object knows of the service ({wrong}). The "
            "service was probably updated: get it again with get_service.",
            field=name,
        ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_again": None}  # a connection does not travel

    def artifact(self, name: str, decode: bool = True, encoding: str | None = None) -> Any:
        """A file that the code wrote: bytes, or text if an ``encoding`` such as "utf-8" is given,
        or the base64 text with ``decode=False``. None if this call did not write the file."""
        if name not in self.artifacts:
            raise NotInReply(_nothing_named("artifact", name, self.artifacts))
        content = self.artifacts[name]
        if content is None or not decode:
            return content
        data = base64.b64decode(content)
        return data if encoding is None else data.decode(encoding)

    def save(self, name: str, path: str | os.PathLike[str] | None = None) -> Path:
        """Write an artifact to ``path`` (a file or an existing folder; default: here, under its
        own name) and return where it is."""
        data = self.artifact(name)
        if data is None:
            raise FileNotFoundError(f"This call wrote no file {name!r}.")
        target = Path(path) if path is not None else Path(name)
        if target.is_dir():
            target = target / name
        target.write_bytes(data)
        return target

    def __repr__(self) -> str:
        lines = [f"<ServiceResponse of {self.api}>"]
        if self.error:
            lines.append(f"  error: {self.error}")
        for name in self._names:
            text = text_of(self.output(name), self._declared.get(name))
            lines.append(
                f"  {name}:" + (f" {text}" if "\n" not in text else _indented(text.lstrip("\n")))
            )
        for name, content in self.artifacts.items():
            lines.append(f"  {name}: {_size_text(content)}")
        if self.console_output:
            lines.append("  console:" + _indented(self.console_output.rstrip("\n")))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = []
        for name in self._names:
            value = self.output(name)
            html = getattr(value, "_repr_html_", None)
            drawn = html() if html is not None else None
            rows.append((name, drawn or f"<pre>{escape(repr(value))}</pre>"))
        rows += [(name, escape(_size_text(text))) for name, text in self.artifacts.items()]
        if self.console_output:
            rows.append(("console", f"<pre>{escape(self.console_output)}</pre>"))
        if self.error:
            rows.append(("error", f"<pre>{escape(self.error)}</pre>"))
        return html_table(escape(self.api), rows)


def decode_output(value: Any, param: Mapping[str, Any] | None) -> Any:
    """The Python value of an output; its JSON if it was not declared or cannot be decoded here."""
    if value is None or param is None:
        return value
    needed = NEEDS.get(str(param["type"]))
    if needed is not None and find_spec(needed) is None:
        return value
    from ..worker.values import decode_value

    return decode_value(value, param)


def text_of(value: Any, param: Mapping[str, Any] | None) -> str:
    """The value as text of a few lines; a frame as a table of its first and last rows."""
    to_string = getattr(value, "to_string", None)
    if to_string is not None and hasattr(value, "columns"):
        text: str = to_string(
            max_rows=TABLE_ROWS, max_cols=TABLE_COLUMNS, max_colwidth=TABLE_WIDTH, line_width=120
        )
        rows, columns = value.shape
        whole = rows <= TABLE_ROWS and columns <= TABLE_COLUMNS
        return "\n" + text + ("" if whole else f"\n[{rows} rows x {columns} columns]")
    if param is not None and param["type"] == "data.frame" and isinstance(value, Mapping):
        return _frame_text(value)
    text = repr(value)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _frame_text(columns: Mapping[str, Any]) -> str:
    """The JSON of a frame as a table, where pandas is not installed."""
    names = list(columns)[:TABLE_COLUMNS]
    count = max((len(cells) for cells in columns.values()), default=0)
    rows = [names]
    for row in range(min(count, TABLE_ROWS)):
        rows.append([str(columns[name][row])[:TABLE_WIDTH] for name in names])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
    if count > TABLE_ROWS or len(columns) > len(names):
        lines.append(f"… [{count} rows x {len(columns)} columns]")
    return "\n" + "\n".join(lines)


def html_table(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    """Rows of (plain label, HTML) under a caption (HTML); colours are the notebook's own."""
    body = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{escape(label)}</th>'
        f'<td style="text-align:left">{html}</td></tr>'
        for label, html in rows
    )
    return (
        f'<table><caption style="text-align:left">{caption}</caption><tbody>{body}</tbody></table>'
    )


def describe_params(params: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{param['name']}: {type_text(param)}" for param in params) or "none"


def _size_text(content: str | None) -> str:
    if content is None:
        return "not written by this call"
    return f"{len(content) * 3 // 4 - content[-2:].count('=')} bytes"


def _indented(text: str) -> str:
    return "".join(f"\n    {line}" for line in text.splitlines())


def _nothing_named(kind: str, name: str, known: Iterable[str]) -> str:
    there = ", ".join(known) or "none at all"
    return f"The reply has no {kind} {name!r}; it has: {there}."
