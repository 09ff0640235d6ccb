"""``computenodes``: which compute nodes this server has, namely one, its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..contract.errors import Conflict, InvalidInput
from .base import STATUS, MLServeHandler, allowed

Json = dict[str, Any]
MAX_ENTRIES = 1000
MAX_NODES = 10_000  # of all ranges together
MAX_LENGTH = 2048
_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})")
_NUMBERS = re.compile(r"[\d.\-]+")
_PORTS = re.compile(r"\d*|\d+-\d+")


class ComputeNodesHandler(MLServeHandler):
    """``computenodes``, for administrators. A change that changes nothing is accepted."""

    @allowed("read", STATUS)
    async def get(self) -> None:
        """The addresses of the compute nodes."""
        self.node.policy.require(self.principal, "administer")
        self._reply_nodes()

    @allowed("write", STATUS)
    async def post(self) -> None:
        """Set all of them."""
        if self._asked() != {plain(self.node.address)}:
            raise self._fixed("It cannot be exchanged, and further ones cannot be added yet.")
        self._reply_nodes()

    @allowed("write", STATUS)
    async def put(self) -> None:
        """Add some."""
        if self._asked() - {plain(self.node.address)}:
            raise self._fixed("Further compute nodes cannot be added yet.")
        self._reply_nodes()

    @allowed("write", STATUS)
    async def delete(self) -> None:
        """Remove some."""
        asked = self._asked()
        if plain(self.node.address) in asked:
            raise self._fixed("It cannot be removed: nothing would run the services.")
        if asked:
            raise InvalidInput(
                f"There is no compute node {min(asked)}; the only one is {self.node.address}.",
                field="entries",
            )
        self._reply_nodes()

    def _reply_nodes(self) -> None:
        self.reply({"computeNodes": [self.node.address]})

    def _asked(self) -> set[str]:
        self.node.policy.require(self.principal, "administer")
        return read_entries(self.json_body())

    def _fixed(self, why: str) -> Conflict:
        return Conflict(f"This server has one compute node, its own at {self.node.address}. {why}")


def read_entries(body: Json) -> set[str]:
    """The addresses that ``{"entries": [...]}`` names, each as :func:`plain` writes it.

    An entry is an address, or a range of them: ``http://10.0.1-3.7:12800-12805``.
    """
    entries = body.get("entries")
    if not isinstance(entries, list) or set(body) != {"entries"}:
        raise InvalidInput(
            'The body must be {"entries": [...]}, a list of addresses or ranges of them.',
            field="entries",
        )
    if len(entries) > MAX_ENTRIES:
        raise InvalidInput(
            f"It has {len(entries)} entries; at most {MAX_ENTRIES} are read.", field="entries"
        )
    addresses = itertools.chain.from_iterable(map(_expanded, entries))
    found = set(itertools.islice(addresses, MAX_NODES))
    if next(addresses, None) is not None:
        raise InvalidInput(f"The ranges are of more than {MAX_NODES} addresses.", field="entries")
    return found


def plain(address: str) -> str:
    """An address without what does not matter in it."""
    parts = urlsplit(address)
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _expanded(entry: object) -> Iterator[str]:
    wrong = InvalidInput(
        f"{entry!r:.80} is not the address of a compute node, such as http://10.0.0.1:12805, nor "
        "a range of them, such as http://10.0.0.1-3:12805-12807.",
        field="entries",
    )
    if not isinstance(entry, str) or len(entry) > MAX_LENGTH:
        raise wrong
    try:
        parts = urlsplit(entry)
        netloc = parts.netloc
    except ValueError:
        raise wrong from None
    if not parts.scheme or not netloc or "@" in netloc or parts.query or parts.fragment:
        raise wrong
    host, colon, port = netloc.rpartition(":")
    if not colon or netloc.endswith("]"):
        host, colon, port = netloc, "", ""
    if not host or not _PORTS.fullmatch(port):
        raise wrong
    # A host name may have such a thing in it and be no range.
    pieces: list[str | list[str]] = []
    if _NUMBERS.fullmatch(host):
        for number, piece in enumerate(host.split(".")):
            pieces += (["."] if number else []) + [_range(piece, wrong)]
    else:
        pieces.append(host)
    pieces += [colon, _range(port, wrong)]
    choices = [[piece] if isinstance(piece, str) else piece for piece in pieces]
    for chosen in itertools.product(*choices):
        yield plain(f"{parts.scheme}://{''.join(chosen)}{parts.path}")


def _range(text: str, wrong: InvalidInput) -> str | list[str]:
    if "-" not in text:
        return text
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise wrong
    return [str(number) for number in range(int(found[1]), int(found[2]) + 1)]
