"""What a batch asks of a compute process when it sends many records in one call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

LINES, ARROW = "ll", "aa"  # the ``media`` of a call with a block; "" is lines too
# Seconds that calls go before the blocks that wait, since the first of these came or one was begun:
# then one block has its turn.
PATIENCE = 2.0


@dataclass(frozen=True)
class Block:
    """How the records of one call are worked on.

    budget: seconds; no further record is begun after them.
    parallel: workers this batch may use at a time; its pool may grow to as many.
    rows: the function takes a frame of any number of rows: records may be put into one call.
    owner: the results are read by somebody who may see the code; errors carry the traceback.
    """

    budget: float = 1.0
    parallel: int = 1
    rows: bool = False
    owner: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.budget < float("inf"):
            raise ValueError(f"budget must be 0 seconds or more, not {self.budget}")
        if self.parallel < 1:
            raise ValueError(f"parallel must be at least 1, not {self.parallel}")

    def to_json(self) -> str:
        """As it stands in the header of a call, with the key ``b``."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Block:
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})
