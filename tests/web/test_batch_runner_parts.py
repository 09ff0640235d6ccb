"""The parts of the runner that need no server: portions, sizes, turns."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from jupyter_mlserve.store.batches import Chunk, Execution, new_id
from jupyter_mlserve.web.batch.sizes import Sizes
from jupyter_mlserve.web.batch.todo import Span, Text, Todo
from jupyter_mlserve.web.batch.turns import Turn, choose


def execution(**more: Any) -> Execution:
    made = Execution(new_id(), "Name", "1.0", "state", "me", datetime.now(timezone.utc))
    return replace(made, **more)


def chunk(first: int, count: int) -> Chunk:
    return Chunk(first, count, "lines", 0, 1, 0)


def spans(todo: Todo, count: int = 10**9) -> list[tuple[int, int, bool]]:
    found = []
    while (span := todo.take(count)) is not None:
        found.append((span.first, span.stop, span.arrow))
    return found


def test_gaps_are_all_that_is_left() -> None:
    todo = Todo(100, [chunk(0, 5), chunk(20, 10), chunk(90, 10)])
    assert todo.left == 75
    assert spans(todo) == [(5, 20, False), (30, 90, False)]
    assert (todo.left, bool(todo)) == (0, False)


@pytest.mark.parametrize("count", [1, 3, 7, 50])
def test_every_record_comes_once_however_often_it_is_given_back(count: int) -> None:
    todo = Todo(100, [chunk(40, 3)])
    seen: list[int] = []
    turn = 0
    while (span := todo.take(count)) is not None:
        turn += 1
        if turn % 3 == 0 and len(span) > 1:
            todo.back(span.part(span.first + 1, span.stop).suspects())
            span = span.part(span.first, span.first + 1)
        seen += range(span.first, span.stop)
        assert todo.left == 97 - len(seen)
    assert sorted(seen) == [n for n in range(100) if not 40 <= n < 43]


def test_rows_come_by_pieces_and_torn_pieces_as_lines() -> None:
    todo = Todo(95, [chunk(25, 10)], piece=10)
    assert spans(todo, 15) == [
        (0, 10, True),
        (10, 20, True),
        (20, 25, False),
        (35, 40, False),
        (40, 50, True),
        (50, 60, True),
        (60, 70, True),
        (70, 80, True),
        (80, 90, True),
        (90, 95, True),
    ]


def test_suspects_are_tried_in_parts_then_alone() -> None:
    assert Span(0, 6400).suspects().most == 100
    assert Span(0, 64).suspects().most == 1
    todo = Todo(1000, [])
    todo.back(Span(0, 3, most=1))
    assert [todo.take(100), todo.take(100)] == [Span(0, 1), Span(1, 2)]
    assert todo.repeated


def test_lines_are_cut_where_they_are_too_many() -> None:
    text = Text(10, b"aa\nbbb\nc")
    assert len(text) == 3
    assert text.lines(10, 13, 100) == (b"aa\nbbb\nc", 13)
    assert text.lines(11, 13, 4) == (b"bbb\n", 12)
    assert text.lines(11, 12, 1) == (b"bbb\n", 12)  # one at least


def test_portions_follow_what_was_measured() -> None:
    sizes = Sizes(execution(total=10_000, input_bytes=100_000), 4, 0.5)
    assert sizes.next(10_000) == 1
    sizes.measured(1, 0.001)
    assert sizes.next(10_000) == 16  # not yet 500
    sizes.measured(16, 0.016)
    sizes.measured(256, 0.256)
    assert sizes.next(10_000) == 500
    assert sizes.next(1000) == 125
    assert sizes.next(8) == 100  # less is not worth a call
    slow = Sizes(execution(total=8, input_bytes=100), 4, 0.5)
    slow.measured(1, 0.5)
    assert slow.next(7) == 1
    heavy = Sizes(execution(total=100, input_bytes=100 * 1024**2), 1, 0.5)
    heavy.measured(1, 1e-4)
    assert heavy.next(99) == 4


def test_portions_of_realtime_services_begin_large() -> None:
    about = {"format": "arrow", "piece": 4096, "total": 10**6, "input_bytes": 48 * 10**6}
    rows = Sizes(execution(**about), 4, 0.5, realtime=True)
    assert rows.next(10**6) == 4 * 4096
    rows.measured(4 * 4096, 0.01)
    assert rows.next(10**6) == 65_536
    lines = Sizes(execution(total=10**6, input_bytes=10**7), 4, 0.5, realtime=True)
    assert lines.next(10**6) == 4096
    assert lines.next(80) == 10


def names(found: tuple[list[Execution], str | None]) -> tuple[list[str], str | None]:
    return [each.owner for each in found[0]], found[1]


def test_users_with_little_at_work_come_first() -> None:
    waiting = [execution(owner=owner) for owner in "aaab"]
    assert names(choose(waiting, {}, {}, 2, 0.0)) == (["a", "b"], None)
    running = {"1": Turn("a", 0.0), "2": Turn("a", 1.0)}
    # Who has two at work makes room for who has none; who has one, only after its turn.
    assert names(choose(waiting[3:], running, {}, 2, 2.0)) == ([], "1")
    running = {"1": Turn("a", 0.0), "2": Turn("c", 1.0)}
    assert names(choose(waiting[3:], running, {}, 2, 2.0)) == ([], None)
    assert names(choose(waiting[3:], running, {}, 2, 10.0)) == ([], "1")
    running["1"] = Turn("a", 0.0, ending=True)
    assert names(choose(waiting[3:], running, {}, 2, 20.0)) == ([], None)
    # Last served, last in line.
    served = {"a": 5.0, "b": 6.0}
    assert names(choose(waiting, {}, served, 1, 7.0)) == (["a"], None)
    served = {"a": 7.0, "b": 6.0}
    assert names(choose(waiting, {}, served, 1, 8.0)) == (["b"], None)
