"""Which executions are worked on when there are more than may be: users take turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...store.batches.models import Execution

# Seconds after which an execution makes room for one that waits.
TURN = 10.0


@dataclass(frozen=True)
class Turn:
    """An execution that is being worked on: whose, since when (seconds), and whether it is about
    to make room."""

    owner: str
    since: float
    ending: bool = False


def choose(
    waiting: Sequence[Execution],
    running: Mapping[str, Turn],
    served: Mapping[str, float],
    most: int,
    now: float,
) -> tuple[list[Execution], str | None]:
    """Which of ``waiting`` (oldest first) to begin, and which running one should make room.

    ``served``: when an execution, or one of a user, was worked on for the last time. First come
    those of the user who has fewest at work, then of the one who has waited longest.
    """
    counts = Counter(turn.owner for turn in running.values())
    left = list(waiting)
    chosen: list[Execution] = []

    def first() -> Execution:
        return min(
            left,
            key=lambda one: (
                counts[one.owner],
                served.get(one.owner, 0.0),
                served.get(one.id, 0.0),
            ),
        )

    while left and len(running) + len(chosen) < most:
        one = first()
        left.remove(one)
        chosen.append(one)
        counts[one.owner] += 1
    going = {id: turn for id, turn in running.items() if not turn.ending}
    if not left or not going or len(going) < len(running):
        return chosen, None
    wants = counts[first().owner]
    longest = min(going, key=lambda id: (-counts[going[id].owner], going[id].since))
    has, since = counts[going[longest].owner], going[longest].since
    if wants + 2 <= has or (wants <= has and now - since >= TURN):
        return chosen, longest
    return chosen, None
