"""Runs in a fresh interpreter: loads a captured service with the worker's own code and calls it.

Standard input: ``{"worker": folder, "spec": load spec, "calls": [inputs, ...]}``. The working
directory holds the files of the service. Standard output: one JSON list, a result or an
``{"error": ..}`` for each call; a failed load is one ``{"error": ..}``.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import traceback


def main() -> object:
    job = json.load(sys.stdin)
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != HERE]
    start = runpy.run_path(os.path.join(job["worker"], "__main__.py"), run_name="worker_start")
    start["load_package"]()
    program = importlib.import_module("_mlserve_worker.program")
    author = program.new_main()
    sys.path.insert(0, "")
    results = []
    try:
        loaded = program.Program(job["spec"], author)
    except Exception as exc:
        return {"error": getattr(exc, "traceback", "") + str(exc) + traceback.format_exc()}
    for call in job["calls"]:
        try:
            results.append(loaded.run(loaded.decode(json.dumps(call).encode())))
        except Exception as exc:
            results.append({"error": f"{type(exc).__name__}: {exc}"})
        loaded.restore()
    return results


if __name__ == "__main__":
    HERE = os.path.dirname(os.path.abspath(__file__))
    out = os.dup(1)
    os.dup2(2, 1)
    answer = main()
    with os.fdopen(out, "w") as reply:
        json.dump(answer, reply)
