"""JSON lines and JSON arrays to records. A record that is not right stays, and fails alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ...contract.errors import InvalidInput
from ...contract.values import describe
from .plan import Plan
from .split import Split, SplitLimits
from .split_rows import template
from .split_writer import InputWriter, too_long, wrong_upload

_BLOCK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
# Larger ones are not parsed again only to say where they are wrong.
_SMALL = 1 << 20
_ITEMS_AT_ONCE = 4096
_SHAPES = 256
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
# Whatever msgspec raises for what is no JSON, or none of its type.
_FAILURES = (msgspec.DecodeError, UnicodeError, RecursionError)


def split_lines(upload: Path, folder: Path, plan: Plan, limits: SplitLimits) -> Split:
    """JSON lines: a record a line. Blank lines are skipped."""
    record = record_maker(plan)
    with open(upload, "rb") as file, InputWriter(folder, limits) as writer:
        first = True
        for lines in _blocks(file, limits.line, writer):
            found = [line for line in map(bytes.strip, lines) if line]
            if first and found:
                first = False
                found[0] = _without_bom(found[0]).strip()
                if found[0][:1] == b"[":
                    raise wrong_upload(
                        "JSON lines, one object of inputs a line",
                        "a line that begins an array (a whole array is application/json)",
                        0,
                    )
                if not found[0]:
                    del found[0]
            writer.lines(list(map(record, found)) if record else found)
    return writer.result()


def split_array(upload: Path, folder: Path, plan: Plan, limits: SplitLimits) -> Split:
    """One JSON array of records, which is read whole."""
    data = _without_bom(upload.read_bytes())
    if not data.strip():
        raise wrong_upload("a JSON array of records", "nothing")
    try:
        items = _decode_array(data)
    except _FAILURES as error:
        raise _no_array(data, error) from None
    record = record_maker(plan)
    with InputWriter(folder, limits) as writer:
        for first in range(0, len(items), _ITEMS_AT_ONCE):
            lines = list(map(_one_line, items[first : first + _ITEMS_AT_ONCE]))
            writer.lines(list(map(record, lines)) if record else lines)
    return writer.result()


def record_maker(plan: Plan) -> Callable[[bytes], bytes] | None:
    """A function from the text of one record to the record; None when they are the same.

    For a service whose only input is a frame, a record may be a plain row.
    """
    if plan.frame is None:
        return None
    frame = plan.frame
    declared = [column["name"] for column in plan.columns or ()]
    usual = tuple(declared)
    usual_shape = template(frame, usual)
    may_be_row = frame in declared
    response = plan.response if plan.response not in declared else None
    shapes: dict[tuple[str, ...], tuple[list[str], bytes]] = {}

    def record(line: bytes) -> bytes:
        try:
            cells = _decode_object(line)
        except _FAILURES:
            return line  # It fails by itself, with the sentence of whoever decodes it.
        names = tuple(cells)
        if names == usual and not may_be_row and usual:
            return usual_shape % tuple(cells.values())
        whole = cells.get(frame)
        if whole is not None:
            start = bytes(whole)[:1]
            if start in (b"{", b"[") or (start == b"n" and not may_be_row):
                return line
        if not cells:
            return line
        found = shapes.get(names)
        if found is None:
            order = [name for name in declared if name in cells]
            order += [name for name in names if name not in usual and name != response]
            found = order, template(frame, order)
            if len(shapes) < _SHAPES:
                shapes[names] = found
        order, shape = found
        return shape % tuple([cells[name] for name in order])

    return record


def _blocks(file: Any, longest: int, writer: InputWriter) -> Iterator[list[bytes]]:
    """The lines of the file, many at a time."""
    rest: list[bytes] = []
    held = 0
    while block := file.read(_BLOCK):
        if b"\n" not in block:
            rest.append(block)
            held += len(block)
            if held > longest + _BLOCK:
                raise too_long(writer.total, longest)
            continue
        lines = block.split(b"\n")
        lines[0] = b"".join((*rest, lines[0]))
        rest = [lines.pop()]
        held = len(rest[0])
        yield lines
    yield [b"".join(rest)]


def _without_bom(data: bytes) -> bytes:
    if data.startswith(_WIDE_BOMS):
        raise wrong_upload("JSON in UTF-8", "text in UTF-16")
    return data.removeprefix(_BOM)


def _one_line(raw: Any) -> bytes:
    """Line breaks in JSON that was read can only stand between its parts."""
    text = bytes(raw)
    if b"\n" in text:
        text = text.replace(b"\n", b" ")
    return text


def _no_array(data: bytes, error: Exception) -> InvalidInput:
    expected = "a JSON array of records"
    if isinstance(error, RecursionError):
        return wrong_upload(expected, "JSON that is nested too deeply")
    got = f"text that is not JSON ({error})"
    if len(data) <= _SMALL:
        try:
            found = json.loads(data.decode("utf-8"))
        except UnicodeDecodeError as where:
            got = f"bytes that are not UTF-8 (byte {where.start})"
        except json.JSONDecodeError as where:
            got = f"text that is not ({where.msg} at line {where.lineno} column {where.colno})"
            if data.lstrip()[:1] == b"{":
                got += "; JSON lines are application/x-ndjson"
        except (ValueError, RecursionError):
            pass
        else:
            if not isinstance(found, list):
                got = describe(found)
    elif isinstance(error, msgspec.ValidationError):
        got = "JSON of another kind"
    return wrong_upload(expected, got)
