"""What a magic answers, before it is drawn: a card of headings, facts, tables and code.

A card is drawn twice from the same parts: as HTML in a notebook (``html.py``) and as aligned
text in a terminal (``text.py``). Texts in here are plain; only the drawing escapes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Tone = Literal["ok", "info", "warning", "error"]


@dataclass(frozen=True)
class Link:
    """An address, shown as ``label`` where links can be followed (the address otherwise).

    ``aside``: a terminal, where every address takes a line, leaves it out.
    """

    url: str
    label: str = ""
    aside: bool = False


@dataclass(frozen=True)
class Mono:
    """A text that is code: a name, a type, a path."""

    text: str


Cell = str | Link | Mono


@dataclass(frozen=True)
class Facts:
    """Labelled values, one a line."""

    rows: Sequence[tuple[str, Cell | Sequence[Cell]]]


@dataclass(frozen=True)
class Table:
    """Columns and rows of cells. ``numeric`` names the columns whose values align right.

    ``whole``: the text form cuts nothing of the last column, which says what to do.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    numeric: frozenset[str] = frozenset()
    more: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Code:
    """A text to read or to paste. ``whole``: one click selects all of it."""

    text: str
    label: str = ""
    whole: bool = False
    note: str = ""


@dataclass(frozen=True)
class Note:
    """A sentence that must be seen."""

    text: str
    tone: Tone = "info"


@dataclass(frozen=True)
class Meter:
    """A finding, and where it stands between two ends: a scale in a notebook, else the sentence.

    text: the sentence; share: the place on the scale, 0 (the good end) to 1; low, high: what the
    ends mean; label: what the scale is, for those who hear it.
    """

    text: str
    share: float
    low: str
    high: str
    label: str


@dataclass(frozen=True)
class Beside:
    """Parts side by side where there is room for it, else one below the other."""

    parts: Sequence[Part]


@dataclass(frozen=True)
class Section:
    """Parts under a heading that can be folded.

    ``brief`` stands beside the heading while it is folded, and is all that a terminal shows;
    without it the terminal shows the parts. ``html_only`` sections are left out there.
    """

    title: str
    parts: Sequence[Part]
    open: bool = False
    brief: str = ""
    html_only: bool = False


Part = Facts | Table | Code | Note | Meter | Beside | Section


@dataclass
class Card:
    """The answer to one magic. Shows itself in a notebook and in a terminal.

    title: the main line; badge: what stands beside it (a version); state: what happened and
    when, at the right; parts: what follows, in order.
    """

    title: str
    badge: str = ""
    state: str = ""
    tone: Tone = "ok"
    subtitle: str = ""
    parts: list[Part] = field(default_factory=list)

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> dict[str, Any]:
        from .html import card_html
        from .text import card_text

        return {"text/plain": card_text(self), "text/html": card_html(self)}

    def __repr__(self) -> str:
        from .text import card_text

        return card_text(self)
