"""Who holds a lease, in a form that tells others whether that process still lives.

``HOST:PID:START:RANDOM``. HOST names the machine since its start, and the set of process numbers
(containers of one machine have each their own); START tells a process from a later one that has
got the same number; RANDOM tells apart the holders of one process.
"""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from functools import lru_cache


def new_holder() -> str:
    """A holder of leases in this process; no other has the same."""
    pid = os.getpid()
    return f"{_host()}:{pid}:{_start(pid)}:{secrets.token_hex(4)}"


def is_dead(holder: str) -> bool:
    """True when the process of the holder has certainly ended: then its leases are worth nothing.

    False for one of another machine, about which nothing is known here.
    """
    host, *numbers = holder.split(":")
    if host != _host() or len(numbers) != 3 or not numbers[0].isdecimal():
        return False
    pid, start, _ = numbers
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        # It is another user's, of whom the system may show nothing.
        return _start(int(pid)) not in ("", start)
    return _start(int(pid)) != start


@lru_cache(maxsize=1)
def _host() -> str:
    parts = [socket.gethostname().replace(":", "-")[:100]]
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        parts.append(file.read().strip())
    with suppress(OSError):
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return "/".join(parts)


def _start(pid: int) -> str:
    """When a process started, in ticks of the system; "" where the system does not say, and for
    one that has ended but was not yet waited for."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in parentheses, may hold anything; what follows it does not.
            fields = file.read().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except (OSError, IndexError):
        return ""
