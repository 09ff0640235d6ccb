"""CSV to records: a header line with the names, commas, double quotes, UTF-8 (RFC 4180)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .plan import Plan
from .split import Split, SplitLimits
from .split_rows import Layout
from .split_writer import InputWriter, too_long, wrong_upload
from .text_cells import json_cells

_ROWS_AT_ONCE = 2048
_CELLS_AT_ONCE = 65_536
_BYTES_AT_ONCE = 4 << 20
_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")


def split_csv(upload: Path, folder: Path, plan: Plan, limits: SplitLimits) -> Split:
    """One record a row. Blank lines are skipped. Every row has as many cells as the header."""
    csv.field_size_limit(limits.line)
    with open(upload, "rb", buffering=1 << 20) as file, InputWriter(folder, limits) as writer:
        blocks = _blocks(file, limits.line)
        header = next(blocks, None)
        if header is None:
            raise wrong_upload("a header line with the names of the columns", "nothing")
        layout = Layout(plan, [name.strip() for name in header[0]])
        for block in blocks:
            columns = list(zip(*block, strict=True))
            writer.lines(
                layout.lines(
                    json_cells(columns[place], kind)
                    for place, kind in zip(layout.places, layout.kinds, strict=True)
                )
            )
    return writer.result()


def _blocks(file: IO[bytes], longest: int) -> Iterator[list[list[str]]]:
    """The header alone, then the rows, some at a time; each as long as the header.

    Raises InvalidInput with the row.
    """
    width = at_once = 0
    taken = 0  # bytes of the block
    row = -1  # The header.
    block: list[list[str]] = []

    def lines() -> Iterator[str]:
        nonlocal taken
        held = 0
        before = row
        while line := file.readline(longest + 1):
            taken += len(line)
            # A quoted cell may go over many lines.
            held = held + len(line) if before == row else len(line)
            before = row
            if held > longest:
                raise too_long(max(row, 0), longest)
            if b"\0" in line:
                raise wrong_upload("text in UTF-8", "a NUL character", max(row, 0))
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                bad = f"the byte {line[error.start]:#04x}"
                raise wrong_upload("text in UTF-8", bad, max(row, 0)) from None

    start = file.read(3)
    if start.startswith(_WIDE_BOMS):
        raise wrong_upload("text in UTF-8", "text in UTF-16")
    if start != _BOM:
        file.seek(0)
    reader = csv.reader(lines(), strict=True)
    try:
        for cells in reader:
            if not cells:
                continue
            if row < 0:
                width = len(cells)
                at_once = max(1, min(_ROWS_AT_ONCE, _CELLS_AT_ONCE // width))
                yield [cells]
                taken = 0
                row = 0
                continue
            if len(cells) != width:
                expected = f"{width} cells, as the header has"
                got = f"{len(cells)} (line {reader.line_num})"
                raise wrong_upload(expected, got, row)
            block.append(cells)
            row += 1
            if len(block) >= at_once or taken >= _BYTES_AT_ONCE:
                yield block
                block = []
                taken = 0
    except csv.Error as error:
        where = f"what is not ({error}, line {reader.line_num})"
        raise wrong_upload("CSV", where, max(row, 0)) from None
    if block:
        yield block
