"""A card as text: aligned, short, readable without colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .document import Beside, Card, Cell, Code, Facts, Link, Meter, Note, Part, Section, Table

_MARKS = {"ok": "", "info": "", "warning": "! ", "error": "x "}
_WIDEST_CELL = 60


def card_text(card: Card) -> str:
    """The text/plain form of a card."""
    heading = " ".join(filter(None, (card.title, card.badge)))
    lines = [_MARKS[card.tone] + heading + (f": {card.state}" if card.state else "")]
    if card.subtitle:
        lines.append("  " + plain(card.subtitle))
    width = max((len(label) for label in _labels(card.parts)), default=0)
    for part in card.parts:
        lines += _part(part, width)
    return "\n".join(lines)


def _labels(parts: Iterable[Part]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, Facts):
            yield from (label for label, _ in part.rows)
        elif isinstance(part, Beside):
            yield from _labels(part.parts)
        elif isinstance(part, Section) and part.brief and not part.html_only:
            yield part.title
        elif isinstance(part, Section) and not part.html_only:
            yield from _labels(part.parts)


def _part(part: Part, width: int, indent: str = "  ") -> list[str]:
    if isinstance(part, Facts):
        return [f"{indent}{label.ljust(width)}  {_cells(cell)}" for label, cell in part.rows]
    if isinstance(part, Note):
        return [indent + (_MARKS[part.tone] or "") + plain(part.text)]
    if isinstance(part, Code):
        lines = [f"{indent}{part.label}:"] if part.label else []
        code = part.text.expandtabs(4).splitlines()
        lines += [f"{indent}{plain(line)}".rstrip() for line in code]
        return lines + ([f"{indent}{plain(part.note)}"] if part.note else [])
    if isinstance(part, Table):
        return _table(part, indent)
    if isinstance(part, Meter):
        return [indent + plain(part.text)]
    if isinstance(part, Beside):
        return [line for one in part.parts for line in _part(one, width, indent)]
    if part.html_only:
        return []
    if part.brief:
        return [f"{indent}{part.title.lower().ljust(width)}  {plain(part.brief)}"]
    lines = [f"{indent}{part.title}:"]
    inside = [one for one in part.parts if not (isinstance(one, Section) and one.html_only)]
    if len(inside) == 1 and isinstance(inside[0], Section):
        inside = list(inside[0].parts)  # one choice needs no heading of its own
    for inner in inside:
        lines += _part(inner, width, indent + "  ")
    return lines


def _table(table: Table, indent: str) -> list[str]:
    lines = [f"{indent}{table.caption}:"] if table.caption else []
    head = [str(column) for column in table.columns]
    # The last column ends a line, so nothing stands behind it that it could push away.
    rows = [
        [*(_short(_cell(cell)) for cell in row[:-1]), _cell(row[-1])]
        if table.whole
        else [_short(_cell(cell)) for cell in row]
        for row in table.rows
    ]
    lines += align([head, *rows], indent, {head.index(name) for name in table.numeric})
    return lines + ([f"{indent}{table.more}"] if table.more else [])


def align(
    rows: Sequence[Sequence[str]], indent: str = "  ", right: Iterable[int] = ()
) -> list[str]:
    """Rows of texts as lines whose columns stand under one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = set(right)
    return [
        (
            indent
            + "  ".join(
                text.rjust(width) if index in right else text.ljust(width)
                for index, (text, width) in enumerate(zip(row, widths, strict=True))
            )
        ).rstrip()
        for row in rows
    ]


def _cells(cells: Cell | Sequence[Cell]) -> str:
    if isinstance(cells, list | tuple):
        shown = [one for one in cells if not (isinstance(one, Link) and one.aside)]
        return "  ".join(map(_cell, shown))
    return _cell(cells)  # type: ignore[arg-type]


def _cell(cell: Cell) -> str:
    if isinstance(cell, Link):
        return plain(cell.url)
    return plain(cell if isinstance(cell, str) else cell.text)


def plain(text: str) -> str:
    """One line of printable text: what others wrote must not move the cursor of a terminal."""
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST_CELL else text[: _WIDEST_CELL - 1] + "…"
