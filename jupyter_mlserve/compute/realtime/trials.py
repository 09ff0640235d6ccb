"""The trial of an uploaded model, from outside: start a process that may die, and see how it ends.

The process is started afresh: measured, it takes 0.4 seconds to import all it needs, which no
publisher notices beside the upload.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...contract.errors import (
    BundleCorrupt,
    InternalError,
    InvalidDefinition,
    MLServeError,
    TooBusy,
    TooLarge,
    TrialFailed,
    empty_result,
    error_body,
)
from ..replies import error_frame, size_text
from .config import RealtimeConfig

Json = dict[str, Any]
Answer = Callable[[Json, bytes], None]

MODULE = "jupyter_mlserve.compute.realtime.trial"
_ELSE = "A standard service (%%publish_service) can serve it."
_MEMORY_SIGNS = ("bad_alloc", "MemoryError", "Cannot allocate memory")


class Trials:
    """Runs ``config.trials`` at a time, in threads of its own; others wait."""

    def __init__(self, config: RealtimeConfig, folder: Path) -> None:
        self.running = 0
        self._config = config
        self._folder = folder
        self._waiting: queue.SimpleQueue[tuple[float, Json, Answer]] = queue.SimpleQueue()
        # The children end when the thread that started them does, so the threads stay.
        for _ in range(config.trials):
            threading.Thread(target=self._run, name="mlserve-trial", daemon=True).start()

    def submit(self, spec: Json, answer: Answer) -> None:
        """``answer`` is called in another thread, with header and body of the reply."""
        if self._waiting.qsize() >= self._config.max_queue:
            answer(*refusal(TooBusy("Too many models are being published.", retry_after=5.0)))
            return
        self._waiting.put((time.monotonic(), spec, answer))

    def _run(self) -> None:
        while True:
            since, spec, answer = self._waiting.get()
            self.running += 1
            try:
                if time.monotonic() - since > self._config.trial_timeout:
                    raise TooBusy(
                        "Other models are being tried (trials). Try again in a moment.",
                        retry_after=5.0,
                    )
                reply = run_trial(spec, self._config, self._folder)
            except MLServeError as exc:
                reply = refusal(exc)
            except Exception as exc:
                reply = refusal(InternalError(f"The trial could not be made: {exc!r}"))
            finally:
                self.running -= 1
            answer(*reply)


def refusal(exc: MLServeError) -> tuple[Json, bytes]:
    """Header and body of the reply for a model that is not published."""
    known = InvalidDefinition | TooLarge | TrialFailed | BundleCorrupt | TooBusy | InternalError
    if not isinstance(exc, known):
        exc = TrialFailed(f"The model failed its trial: {exc.message}", **exc.details)
    header, _ = error_frame(exc)
    body = error_body(exc, owner=True)
    body.update(empty_result(body["message"]))
    return header, json.dumps(body).encode()


def run_trial(spec: Json, config: RealtimeConfig, folder: Path) -> tuple[Json, bytes]:
    """Try the model of a load spec. Raises MLServeError when it is not fit to be published.

    Returns header (``status``, ``load_seconds``, ``call_seconds``, ``bytes`` of memory) and the
    result for the example row.
    """
    home = tempfile.mkdtemp(prefix="trial-", dir=folder)
    try:
        with (Path(home) / "output").open("w+b") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=home,
                start_new_session=True,
            )
            try:
                request = {"spec": spec, "config": config.to_dict(), "parent": os.getpid()}
                answer = _talk(process, json.dumps(request).encode(), config)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        with contextlib.suppress(OSError):
                            pipe.close()
            reply = _parse(answer)
            if reply is not None:
                return reply
            output.seek(0)
            said = output.read(100_000).decode("utf-8", "replace")
        raise _died(process.returncode, said, config)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _talk(process: subprocess.Popen[bytes], request: bytes, config: RealtimeConfig) -> bytes:
    """Send the request, and read until the process has ended. Raises TrialFailed."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(request)  # small enough for the pipe
        process.stdin.close()
    end = time.monotonic() + config.trial_timeout
    limit = config.result_limit + 1024 * 1024
    parts: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            rest = end - time.monotonic()
            if rest <= 0 or not selector.select(rest):
                raise _too_slow(config)
            part = os.read(process.stdout.fileno(), 1 << 20)
            if not part:
                break
            parts.append(part)
            size += len(part)
            if size > limit:
                raise TrialFailed(f"The model's result for one row is over {limit:,} bytes.")
    try:
        process.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _too_slow(config) from None
    return b"".join(parts)


def _parse(answer: bytes) -> tuple[Json, bytes] | None:
    """Header and body; None for anything that our own side did not write."""
    line, separator, body = answer.partition(b"\n")
    if not separator:
        return None
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(header, dict) and header.pop("length", None) == len(body)
    return (header, body) if fits else None


def _too_slow(config: RealtimeConfig) -> TrialFailed:
    return TrialFailed(
        f"The model's trial took longer than {config.trial_timeout:g} seconds (trial_timeout) and "
        f"was ended. {_ELSE}",
        stage="load",
    )


def _died(status: int, said: str, config: RealtimeConfig) -> TrialFailed:
    if status == -signal.SIGXCPU:
        return _too_slow(config)
    if any(sign in said for sign in _MEMORY_SIGNS):
        return out_of_memory(config)
    how = f"status {status}"
    if status < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-status).name
    return TrialFailed(
        f"The model crashed the process that tried it ({how}). Make it with "
        f"serialize_model(model, sample). {_ELSE}",
        stage="load",
        console=said[-2000:],
    )


def out_of_memory(config: RealtimeConfig) -> TrialFailed:
    return TrialFailed(
        "The model's trial needed more memory than it may use, "
        f"{size_text(config.trial_memory)} (trial_memory). {_ELSE}",
        stage="load",
    )
