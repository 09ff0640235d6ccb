"""The trial of an uploaded model, from inside: ``python -m ...compute.realtime.trial``.

The request comes on stdin, the answer goes to stdout: a line of JSON (``status``, ``length`` of
what follows, ...) and the body. Whatever the model does to this process, nothing else is harmed.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from typing import Any

from ...contract.errors import BundleCorrupt, InternalError, MLServeError, TrialFailed
from ...worker.limits import die_with_parent, limit_resources
from ..replies import size_text
from .config import HEADROOM, RealtimeConfig
from .trials import out_of_memory, refusal

Json = dict[str, Any]

_COPIES = 100  # of the example row, in a second call
_FILES = 64  # open at a time
_OUTPUT = 1024 * 1024  # bytes of any file, of which there is only our own output


def main() -> None:
    request = json.load(sys.stdin)
    config = RealtimeConfig.from_dict(request["config"])
    die_with_parent(request["parent"])
    answer = os.dup(1)
    os.dup2(2, 1)  # what libraries print is not the answer
    confine(config)
    header, body = attempt(request["spec"], config)
    with os.fdopen(answer, "wb") as file:
        file.write(json.dumps({**header, "length": len(body)}).encode() + b"\n" + body)
        file.flush()
    # No clean-up: it could crash now that everything has been said.
    os._exit(0)


def confine(config: RealtimeConfig) -> None:
    """Limits that the process cannot lift again."""
    os.umask(0o077)
    limit_resources(config.trial_memory, _OUTPUT)
    seconds = math.ceil(config.trial_timeout)
    for which, value in (
        (resource.RLIMIT_AS, config.trial_memory + 4 * HEADROOM),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NOFILE, _FILES),
    ):
        _soft, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def attempt(spec: Json, config: RealtimeConfig) -> tuple[Json, bytes]:
    """Header and body of the answer."""
    from . import sessions

    try:
        return try_model(spec, config)
    except MLServeError as exc:
        if isinstance(exc, InternalError) and not isinstance(exc, BundleCorrupt):
            # What would be the server's fault later is the model's now.
            return refusal(TrialFailed(exc.message, stage="call", traceback=exc.traceback))
        return refusal(exc)
    except Exception as exc:
        if sessions.is_memory_error(exc):
            return refusal(out_of_memory(config))
        # Errors of ONNX Runtime have classes of its own, of which one stands for all.
        text = " ".join(str(exc).split())[:400]
        return refusal(TrialFailed(f"The compiled model does not work: {text}", stage="load"))


def try_model(spec: Json, config: RealtimeConfig) -> tuple[Json, bytes]:
    """Check the model, load it, and score the example row: alone, and many times at once."""
    from . import sessions
    from .blobs import read_blob
    from .scoring import Scorer
    from .validate import Limits, validate_upload

    start = time.perf_counter()
    usual = Limits()
    limits = Limits(model=config.max_model_size, tensor=max(usual.tensor, config.max_model_size))
    container = validate_upload(read_blob(spec), limits)
    allowed = config.trial_memory - HEADROOM // 2
    sessions.limit_memory(min(config.run_memory or allowed, allowed))
    before = sessions.allocated()
    scorer = Scorer(
        container.header,
        sessions.open_session(container.model),
        max_rows=config.max_rows,
        result_limit=config.result_limit,
    )
    after = sessions.allocated()
    loaded = time.perf_counter()
    size = max(0, after - before) if before is not None and after is not None else 0
    if size > config.model_memory:
        raise TrialFailed(
            f"The loaded model takes {size_text(size)}, more than all loaded models may take, "
            f"{size_text(config.model_memory)} (model_memory).",
            stage="load",
        )
    result = scorer.score(example_body(container.header, 1))
    called = time.perf_counter()
    rows = min(_COPIES, config.max_rows)
    many = json.loads(scorer.score(example_body(container.header, rows)))
    for name, values in many["outputParameters"]["outputData"].items():
        if len(values) != rows:
            raise TrialFailed(f"The model gives {len(values)} values of {name!r} for {rows} rows.")
    header = {
        "status": 200,
        "load_seconds": round(loaded - start, 6),
        "call_seconds": round(called - loaded, 6),
        "bytes": size,
    }
    return header, result


def example_body(header: Json, rows: int) -> bytes:
    """The JSON of a call with the header's example row, ``rows`` times."""
    example = {name: [value] * rows for name, value in header["example"].items()}
    return json.dumps({"inputData": example}).encode()


if __name__ == "__main__":
    main()
