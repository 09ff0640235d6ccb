"""ONNX Runtime as the realtime process uses it: one thread, bounded memory, loads that can end.

A call may run in any thread; threads inside a session would only compete with those. Measured for
a linear model, one intra-operator thread loads in 0.7 instead of 4 ms.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy
import onnxruntime

_QUIET = 4  # fatal errors only; the others come as exceptions
# Intermediate results of large calls go back when they are over, not into a reserve that only
# grows. Not within such a call itself: its own result would still hold on to what it had.
_SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")
_NO_MEMORY = ("bad_alloc", "allocate memory", "Available memory of", "out of memory")
# ONNX: y = -x for one float; the smallest model there is.
_NOTHING = bytes.fromhex(
    "08083a320a0b0a017812017922034e65671201675a0f0a0178120a0a0808"
    "0112040a020801620f0a0179120a0a08080112040a02080142040a00100d"
)
_allocator_memory = -1
_sweeper: Any = None


def limit_memory(run_memory: int) -> None:
    """Bound what all sessions together may take for intermediate results, in bytes; 0: no bound.

    Once in a process, before its first session.
    """
    global _allocator_memory, _sweeper
    if _allocator_memory >= 0:
        raise RuntimeError("the memory of the sessions has its limit already")
    _allocator_memory = run_memory
    onnxruntime.set_default_logger_severity(_QUIET)
    onnxruntime.disable_telemetry_events()
    info = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    # 1: extended by what is asked for, not to the next power of two.
    arena = onnxruntime.OrtArenaCfg({"max_mem": run_memory, "arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(info, arena)
    # Also what the runtime takes once, with its first session.
    _sweeper = open_session(_NOTHING)
    sweep()


def sweep() -> None:
    """Give back what large calls have left. Quick."""
    options = run_options()
    options.add_run_config_entry(*_SHRINK)
    _sweeper.run(None, {"x": numpy.zeros(1, numpy.float32)}, options)


def session_options() -> Any:
    """Options for :func:`open_session`; ``set_load_cancellation_flag(True)`` ends its load."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    if _allocator_memory >= 0:
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Constants live as long as the session; they are counted with it, not with its calls.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options


def open_session(model: bytes, options: Any = None) -> Any:
    """An InferenceSession of ONNX bytes.

    Raises what ONNX Runtime raises: classes of its own, below Exception, and MemoryError.
    """
    session = onnxruntime.InferenceSession(
        model,
        options if options is not None else session_options(),
        providers=["CPUExecutionProvider"],
        # Or a model that cannot be loaded is loaded twice, and talked about on stdout.
        enable_fallback=0,
    )
    # It keeps the bytes to be able to load them again.
    session._model_bytes = None
    return session


def run_options() -> Any:
    """RunOptions; setting their ``terminate`` ends the run before its next node."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = _QUIET
    return options


def is_memory_error(exc: BaseException) -> bool:
    """Whether this says that memory ran out, in Python or in ONNX Runtime."""
    text = str(exc)
    return isinstance(exc, MemoryError) or any(sign in text for sign in _NO_MEMORY)


class _Mallinfo(ctypes.Structure):
    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


@functools.lru_cache(maxsize=1)
def _mallinfo() -> Callable[[], Any] | None:
    if not sys.platform.startswith("linux"):
        return None
    found = getattr(ctypes.CDLL(None), "mallinfo2", None)  # glibc 2.33 and newer
    if found is not None:
        found.restype = _Mallinfo
    return found


def allocated() -> int | None:
    """Bytes that are allocated in this process now, by whomever; None where nobody can tell."""
    count = _mallinfo()
    if count is None:
        return None
    found = count()
    return int(found.uordblks + found.hblkhd)


def give_back() -> None:
    """Return freed memory to the system; costs milliseconds where there is much."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
