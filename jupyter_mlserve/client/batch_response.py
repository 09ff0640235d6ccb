"""What a batch execution has given so far: its state, and the reply to each record."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ..contract.batch import COMPLETE, FAILED
from ..contract.errors import MLServeError, from_body
from .events import Progress
from .misuse import NoSuchRecord, NotInReply
from .response import ServiceResponse, html_table

Json = dict[str, Any]
# Replies that are fetched at a time.
PAGE = 1_000
_KEPT = 4  # pages
_SHOWN = 5


class State(str):
    """A state: ``Pending``, ``Ready``, ``InProgress``, ``Complete`` or ``Failed``.

    It may be called, too: programs for the published client write ``batch.state()``.
    """

    __slots__ = ()

    def __call__(self) -> str:
        return str(self)


class RecordResponse(ServiceResponse):
    """The reply to one record of a batch: a ServiceResponse, with its position ``index``.

    A record that failed has its sentence in ``error``, and ``success`` is False.
    """

    def __init__(
        self,
        index: int,
        api: str,
        body: Mapping[str, Any],
        outputs: Sequence[Mapping[str, Any]] = (),
        again: Callable[[], Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        super().__init__(api, body, outputs, again)
        self.index = index
        self.success = bool(body.get("success"))
        self._body = None if self.success else dict(body)

    def raise_for_error(self) -> None:
        """Raise what a single call would have raised; nothing if the record succeeded."""
        if self._body is not None:
            raise self.exception

    @property
    def exception(self) -> MLServeError:
        """The failure as an exception. Raises ValueError if the record succeeded."""
        if self._body is None:
            raise ValueError(f"Record {self.index} succeeded.")
        return from_body(int(self._body.get("code") or 500), self._body)


class BatchResponse:
    """State and replies of a batch execution, when it was asked.

    ``execution(i)`` is the reply to record ``i`` (from 0), a ServiceResponse; iteration goes over
    the replies there are, in the order of the records. They are fetched as they are needed.
    """

    def __init__(
        self,
        progress: Progress,
        answered: int | None,
        fetch: Callable[[int, int], Sequence[Json]],
        make: Callable[[int, Json], RecordResponse],
        *,
        shown: bool = True,
    ) -> None:
        """``answered``: how many records from the first on have their reply here (None: not known
        yet); ``fetch(offset, limit)`` gets replies; ``shown``: partial results are wanted."""
        self._progress = progress
        self._fetch = fetch
        self._make = make
        self._answered = answered
        self._shown = shown
        self._pages: dict[int, Sequence[Json]] = {}

    @property
    def execution_id(self) -> str:
        return self._progress.execution_id

    @property
    def state(self) -> State:
        return State(self._progress.state)

    @property
    def total_item_count(self) -> int:
        """Records of the batch."""
        return self._progress.total

    @property
    def completed_item_count(self) -> int:
        """Records that have their reply, be it a failure."""
        return self._progress.completed

    @property
    def failed_item_count(self) -> int:
        """Records that failed, of those completed."""
        return self._progress.failed

    @property
    def error(self) -> str:
        """Why the batch as a whole failed or waits; "" if it does not."""
        return self._progress.message

    @property
    def progress(self) -> Progress:
        return self._progress

    def execution(self, index: int) -> RecordResponse:
        """The reply to a record. Raises NotInReply if there is none (yet)."""
        total = self.total_item_count
        number = operator.index(index) if hasattr(index, "__index__") else None  # also NumPy's
        if isinstance(index, bool) or number is None or not -total <= number < total:
            raise NoSuchRecord(
                f"There is no record {index!r}: the batch has {total:,}, counted from 0 to "
                f"{total - 1:,}.",
                field="index",
            )
        index = number % total
        page = self._page(index // PAGE)
        if index % PAGE >= len(page):
            wanted = "" if self._shown else " (show_partial_results=False)"
            raise NotInReply(
                f"Record {index} has no reply here yet: the batch is {self.state}, with "
                f"{self.completed_item_count:,} of {total:,} records done{wanted}. Ask again with "
                "results(), or wait() for the end.",
                field="index",
            )
        return self._make(index, page[index % PAGE])

    def __getitem__(self, index: int) -> RecordResponse:
        return self.execution(index)

    def __iter__(self) -> Iterator[RecordResponse]:
        number = 0
        while page := self._page(number):
            for place, body in enumerate(page):
                yield self._make(number * PAGE + place, body)
            if len(page) < PAGE:
                return
            number += 1

    def __len__(self) -> int:
        """Replies that are here: those of the first records, without a gap."""
        if self._answered is None:
            found = 0
            while page := self._page(found // PAGE):
                found += len(page)
                if len(page) < PAGE:
                    break
            self._answered = found
        return self._answered

    def __bool__(self) -> bool:
        return True

    def failures(self) -> Iterator[RecordResponse]:
        """The replies of records that failed."""
        return (reply for reply in self if not reply.success)

    def _page(self, number: int) -> Sequence[Json]:
        if self._answered is not None and number * PAGE >= self._answered:
            return ()
        if number not in self._pages:
            limit = PAGE
            if self._answered is not None:
                limit = min(limit, self._answered - number * PAGE)
            while len(self._pages) >= _KEPT:
                del self._pages[next(iter(self._pages))]
            self._pages[number] = self._fetch(number * PAGE, limit)
        return self._pages[number]

    def __repr__(self) -> str:
        lines = [f"<BatchResponse {self.execution_id}> {self._progress}"]
        if self.error:
            lines.append(f"  {'error' if self.state == FAILED else 'note'}: {self.error}")
        for reply in self._first_failures():
            lines.append(f"  record {reply.index}: {reply.error}")
        if self.failed_item_count > _SHOWN:
            lines.append("  … (.failures() goes over all of them)")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [("state", escape(str(self._progress)))]
        if self.error:
            rows.append(("error" if self.state == FAILED else "note", escape(self.error)))
        rows += [(f"record {one.index}", escape(one.error)) for one in self._first_failures()]
        return html_table(f"Batch <code>{escape(self.execution_id)}</code>", rows)

    def _first_failures(self) -> list[RecordResponse]:
        """A few of the failures; for their sake at most one page is fetched."""
        if not self.failed_item_count or not (self._shown or self.state == COMPLETE):
            return []
        first = self._page(0)
        failed = [place for place, body in enumerate(first) if not body.get("success")]
        return [self._make(place, first[place]) for place in failed[:_SHOWN]]
