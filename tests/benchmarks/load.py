"""One run of `wrk` against one address."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path


def need_wrk() -> None:
    if not shutil.which("wrk"):
        raise SystemExit("This benchmark needs wrk (Debian: apt-get install wrk).")


def load(
    url: str, token: str, body: str, connections: int, folder: Path, seconds: int = 6
) -> tuple[float, float, float]:
    """Calls per second, p50 and p99 in milliseconds."""
    script = folder / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = {json.dumps(body)}\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "token {token}"\n'
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        raise SystemExit(f"some calls failed:\n{out}")

    def milliseconds(label: str) -> float:
        found = re.search(rf"{label}%\s+([\d.]+)(us|ms|s)", out)
        assert found, out
        return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]

    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert rate, out
    return float(rate[1]), milliseconds("50"), milliseconds("99")
