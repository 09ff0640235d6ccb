"""What a version is run from: its load spec, and the key under which the compute node keeps it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..contract.definition import Definition
from ..contract.realtime_definition import REALTIME
from .batchable import unproven

if TYPE_CHECKING:
    from ..store.models import Pool

Json = dict[str, Any]

# The parts of a definition that workers are made from. What is not here (description, alias,
# sample, package list, provenance, sizes of a pool) can change without touching a running worker.
_RUNS = (
    "name",
    "version",
    "runtimeType",
    "code",
    "initCode",
    "inputParameterDefinitions",
    "outputParameterDefinitions",
    "outputFileNames",
)
_RUNS_OWN = ("form", "function", "prelude", "objects", "files", "interpreter")


def is_realtime(definition: Mapping[str, Any]) -> bool:
    """Whether it is a compiled model, for the realtime process; else it is code, for workers."""
    return bool(definition["runtimeType"] == REALTIME)


def runtime_key(definition: Mapping[str, Any]) -> str:
    """A digest of everything that runs: states with one key can share workers or a session.

    All of a realtime version that matters is inside the container it was uploaded as.
    """
    own = definition["mlserve"]
    if is_realtime(definition):
        parts = [REALTIME, definition["name"], definition["version"], own["model"]["sha256"]]
    else:
        parts = [*(definition.get(key) for key in _RUNS), *(own.get(key) for key in _RUNS_OWN)]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load_spec(
    definition: Mapping[str, Any], path: Callable[[str], Any], pool: Pool | None = None
) -> Json:
    """What the compute node needs to run it. ``path`` gives the local file of a blob.

    ``pool``: the dedicated pool that the version has now, whatever its definition says.
    """
    own = definition["mlserve"]
    if is_realtime(definition):
        sha = own["model"]["sha256"]
        return {
            "runtimeType": REALTIME,
            "name": definition["name"],
            "version": definition["version"],
            "model": {"path": str(path(sha)), "sha256": sha},
        }
    interpreter = own.get("interpreter") or {}

    def bundle(items: list[Json]) -> list[Json]:
        return [
            {"name": item["name"], "path": str(path(item["sha256"])), "sha256": item["sha256"]}
            for item in items
        ]

    spec: Json = {
        "name": definition["name"],
        "version": definition["version"],
        "runtimeType": definition["runtimeType"],
        "code": definition["code"],
        "initCode": definition.get("initCode"),
        "function": own.get("function"),
        "prelude": own.get("prelude") or [],
        "inputs": definition["inputParameterDefinitions"],
        "outputs": definition["outputParameterDefinitions"],
        "files_out": definition["outputFileNames"],
        "objects": bundle(own.get("objects") or []),
        "files": bundle(own.get("files") or []),
        "interpreter": interpreter.get("executable") or sys.executable,
        "python": interpreter.get("version"),
        "imports": [*(own.get("packages") or ())],
    }
    if pool is not None:
        spec["pool"] = {"initial": pool.initial, "max": pool.maximum}
    if own.get("batchable") and unproven(Definition.from_json(definition)):
        spec["prove"] = True  # by the first records that a worker gets together
    return spec
