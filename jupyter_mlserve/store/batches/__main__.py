"""A child process for hostile files: ``python -m jupyter_mlserve.store.batches PARENT_PID``.

It serves requests on its standard input one after the other, until that closes; see messages.py.
Its memory is bounded, it gives way to the server, and it ends with it.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ...contract.errors import MLServeError, TooLarge, error_body
from .messages import DONE, ERROR, PIECE, answer, json_of, read_request
from .models import Chunk
from .plan import OutPlan, Plan
from .split import SplitLimits, split

_PR_SET_PDEATHSIG = 1
_NICE = 5
# Longest piece of an answer; a pipe's reader holds one at a time.
_PIECE = 1 << 18


def main() -> None:
    _end_with(int(sys.argv[1]))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    # What a library prints must not stand between answers.
    answers = os.fdopen(os.dup(answers.fileno()), "wb")
    os.dup2(2, 1)
    while (request := read_request(requests)) is not None:
        header, body = request
        _limit(int(header["memory"]), int(header.get("file_size", 0)))
        try:
            done = _serve(header, body, answers)
        except BrokenPipeError:
            return
        except MLServeError as error:
            answer(answers, ERROR, json_of(error_body(error)))
        except MemoryError:
            answer(answers, ERROR, json_of(error_body(_no_memory(header))))
        else:
            answer(answers, DONE, json_of(done))
        del request, header, body


def _serve(header: Mapping[str, Any], body: bytes, answers: BinaryIO) -> dict[str, Any]:
    op = header["op"]
    if op == "split":
        found = split(
            Path(header["upload"]),
            header["format"],
            Path(header["folder"]),
            Plan.from_json(header["plan"]),
            SplitLimits(**header["limits"]),
        )
        return dict(vars(found))
    if op == "convert":
        from .split_tables import convert

        _send(answers, convert(body, Plan.from_json(header["plan"])))
        return {}
    assert op == "render", op
    from .render import render

    _send(
        answers,
        render(
            Path(header["folder"]),
            [Chunk(**chunk) for chunk in header["chunks"]],
            OutPlan.from_json(header["outputs"]),
            header["format"],
            header["offset"],
            header["limit"],
        ),
    )
    return {}


def _send(answers: BinaryIO, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        with memoryview(piece) as view:
            for start in range(0, len(view), _PIECE):
                answer(answers, PIECE, view[start : start + _PIECE])


def _no_memory(header: Mapping[str, Any]) -> TooLarge:
    what = "The upload needs" if header["op"] == "split" else "This needs"
    return TooLarge(
        f"{what} more memory than the {header['memory']:,} bytes that this server gives for it. "
        "Send it in smaller parts: JSON lines and CSV need little memory, Parquet needs that of a "
        "row group."
    )


def _end_with(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # It died before it could be asked for.
    os.nice(_NICE)


def _limit(memory: int, file_size: int) -> None:
    """Bound the private memory (Linux counts it by this since 4.7) and the size of a file."""
    if memory and sys.platform.startswith("linux"):
        _lower(resource.RLIMIT_DATA, memory)
    if file_size:
        _lower(resource.RLIMIT_FSIZE, file_size)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(which: int, value: int) -> None:
    # The soft limit: the next request may have a higher one.
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, hard))


if __name__ == "__main__":
    main()
