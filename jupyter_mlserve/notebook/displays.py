"""Cards for objects of the client, while the extension is loaded.

A magic returns the thing itself (a ``Service``, a ``ServiceResponse``), so that it can be used;
what is shown for it is the card made for that very object, or else a card made when it is shown.
The client knows nothing of cards: IPython's formatters are told by the types' names, which also
keeps the client unimported until it is needed.
"""

from __future__ import annotations

from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from .document import Card

_T = TypeVar("_T")
_CARDS: WeakKeyDictionary[object, Card] = WeakKeyDictionary()
_TYPES = (
    ("jupyter_mlserve.client.service", "Service"),
    # Named too, because it has a text form of its own, which IPython would find before Service's.
    ("jupyter_mlserve.client.realtime_service", "RealtimeService"),
    ("jupyter_mlserve.client.response", "ServiceResponse"),
    ("jupyter_mlserve.client.batch", "Batch"),
    ("jupyter_mlserve.notebook.manage", "ServiceList"),
)
_BATCH = ("jupyter_mlserve.client.batch", "Batch")


def shown_as(thing: _T, card: Card) -> _T:
    """The thing, which from now on is shown as ``card``."""
    _CARDS[thing] = card
    return thing


def card_of(thing: Any) -> Card:
    """The card made for a thing, or one made now."""
    if isinstance(thing, list):  # a ServiceList, which cannot be a key
        found: Card = thing.card  # type: ignore[attr-defined]
        return found
    card = _CARDS.get(thing)
    if card is not None:
        return card
    if hasattr(thing, "execution_id"):
        from .batch import card_of_batch

        return card_of_batch(thing)
    from . import card as cards

    if hasattr(thing, "raw_outputs"):
        return cards.reply_card(thing)
    return cards.service_card(thing.definition, urls_of(thing))


def urls_of(service: Any) -> dict[str, str]:
    """The addresses of a service object, as a publish answers them."""
    return {
        "api": service.url,
        "swagger": f"{service.url}/swagger.json",
        "openapi": f"{service.url}/openapi.json",
    }


def register(shell: Any) -> None:
    """Show services and replies as cards in this shell."""
    formatters = shell.display_formatter.formatters
    for module, name in _TYPES:
        formatters["text/html"].for_type_by_name(module, name, _html)
        formatters["text/plain"].for_type_by_name(module, name, _text)
    if getattr(shell, "kernel", None) is not None:
        shell.display_formatter.ipython_display_formatter.for_type_by_name(*_BATCH, _live)


def unregister(shell: Any) -> None:
    formatters = shell.display_formatter.formatters
    for module, name in _TYPES:
        for kind in ("text/html", "text/plain"):
            formatters[kind].pop(f"{module}.{name}", None)
    shell.display_formatter.ipython_display_formatter.pop(".".join(_BATCH), None)


def _live(batch: Any) -> None:
    """A batch that runs is shown as it goes; others as cards (NotImplementedError)."""
    from .batch import show_live

    if not show_live(batch):
        raise NotImplementedError


def _html(thing: Any) -> str:
    from .html import card_html

    return card_html(card_of(thing))


def _text(thing: Any, printer: Any, cycle: bool) -> None:
    from .text import card_text

    printer.text(card_text(card_of(thing)))
