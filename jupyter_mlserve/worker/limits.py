"""Limits a worker sets on itself before it loads anything: memory, file size, and its own end."""

from __future__ import annotations

import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def limit_resources(memory: int, file_size: int) -> None:
    """Bound private memory and the size of a file, both in bytes; 0 means no bound.

    RLIMIT_DATA counts what a process may write and shares with nobody, which is what models and
    arrays are; an allocation beyond it fails with MemoryError (Linux 4.7 and newer).
    """
    if memory and sys.platform.startswith("linux"):
        _lower(resource.RLIMIT_DATA, memory)
    if file_size:
        _lower(resource.RLIMIT_FSIZE, file_size)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(which: int, value: int) -> None:
    _soft, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def die_with_parent(parent: int) -> None:
    """Let this process be killed when ``parent`` dies, also in the middle of a call.

    Linux does it by itself. Elsewhere a thread looks once a second, as well as Python lets it.
    """
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    else:
        _watch(parent)
    if os.getppid() != parent:
        os._exit(1)  # it died before it could be asked for


def _watch(parent: int) -> None:
    import threading
    import time

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=look, name="mlserve-parent", daemon=True).start()


def show_place_on(signum: int) -> None:
    """On ``signum`` print the running Python frames to the console: where a stuck call is stuck.

    Also prints them when the process crashes.
    """
    import faulthandler

    faulthandler.enable(file=2, all_threads=False)
    register = getattr(faulthandler, "register", None)
    if register is not None:
        register(signum, file=2, all_threads=False)
