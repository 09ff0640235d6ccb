"""How every process and store is, in the shape of the published contract's status.

A component is ``statusCode`` (pass, warn, fail), ``details`` (scalars) and ``components``, which
are such again. Beside ``details``, those that the contract does not name say what they know under
keys of their own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .._version import __version__

if TYPE_CHECKING:
    from ..compute.client import ComputeNode
    from .node import WebNode

Json = dict[str, Any]
PASS, WARN, FAIL = "pass", "warn", "fail"
PATIENCE = 5.0  # seconds; a part that does not say how it is for so long, is not well


async def health(node: WebNode) -> Json:
    """Everything, with its details; starts nothing, and never raises."""
    compute, realtime, database, blobs, batches, local = await asyncio.gather(
        _process(node, "compute"),
        _process(node, "realtime"),
        _ask(lambda: _database(node)),
        _ask(lambda: _blobs(node)),
        _ask(lambda: _batches(node)),
        _ask(lambda: {"details": node.core.logins.status()}),
    )
    if database["statusCode"] == FAIL:
        database["details"] = {"state": "Broken"}
    uptime = round(time.time() - node.started, 3)
    return whole(
        {
            "web": {
                "statusCode": PASS,
                "pid": os.getpid(),
                "uptime": uptime,
                "running": node.running,
            },
            "backends": whole({node.address: _backend(node, compute)}),
            "compute": compute,
            "realtime": realtime,
            "database": database,
            "blobs": blobs,
            "batches": batches,
            "authentication": whole({"jupyter": _jupyter(node), "localAccounts": local}),
        },
        {"version": __version__, "uptime": uptime},
    )


def whole(components: Json, details: Json | None = None, code: str = PASS) -> Json:
    """A component of others: it is as well as the worst of them."""
    codes = [code, *(part["statusCode"] for part in components.values())]
    worst = next(code for code in (FAIL, WARN, PASS) if code in codes)
    return {"statusCode": worst, "details": details or {}, "components": components}


def bare(component: Json) -> Json:
    """What everybody may see: how it is, but nothing of processes, paths and numbers."""
    seen: Json = {"statusCode": component["statusCode"], "details": {}}
    if "components" in component:
        seen["components"] = {name: bare(part) for name, part in component["components"].items()}
    return seen


# -- stores ---------------------------------------------------------------------------------------


async def _ask(question: Callable[[], Json]) -> Json:
    return await _answer(asyncio.to_thread(question))


async def _answer(question: Awaitable[Json]) -> Json:
    try:
        return {"statusCode": PASS, **await asyncio.wait_for(question, PATIENCE)}
    except (asyncio.TimeoutError, TimeoutError):
        return {"statusCode": FAIL, "message": f"No answer within {PATIENCE:.0f} seconds."}
    except Exception as exc:
        return {"statusCode": FAIL, "message": str(exc)}


def _database(node: WebNode) -> Json:
    catalog = node.core.catalog
    revision = catalog.read_revision()
    database = catalog.database
    kind = database.engine.dialect.name
    return {
        "revision": revision,
        "details": {"type": kind, "name": database.name, "state": "Open"},
    }


def _blobs(node: WebNode) -> Json:
    used, quota = node.core.blobs.used(), node.settings.storage_quota
    full = bool(quota) and used > 0.9 * quota
    return {"statusCode": WARN if full else PASS, "used": used, "quota": quota or None}


def _batches(node: WebNode) -> Json:
    summary = node.core.executions.summary()
    quota = node.settings.batch.quota
    full = bool(quota) and summary.bytes > 0.9 * quota
    return {
        "statusCode": WARN if full else PASS,
        "executions": summary.executions,
        "ready": summary.ready,
        "running": summary.running,
        "bytes": summary.bytes,
        "quota": quota or None,
        **node.core.desk.busy,
    }


# -- who may enter --------------------------------------------------------------------------------


def _jupyter(node: WebNode) -> Json:
    """Jupyter's own way of signing in; without any, everybody is its owner."""
    provider = node.web_settings["identity_provider"]
    enabled = bool(getattr(provider, "auth_enabled", True))
    details = {
        "provider": type(provider).__name__,
        "enabled": enabled,
        "namesUsers": not node.anonymous,
    }
    return {"statusCode": PASS if enabled else WARN, "details": details}


# -- processes ------------------------------------------------------------------------------------


async def _process(node: WebNode, name: str) -> Json:
    async def ask() -> Json:
        compute: ComputeNode = getattr(node.core, name)
        about = await compute.status()
        # Versions of realtime services that stopped their process again and again.
        code = WARN if about.get("held_back") else PASS
        if about["down"]:
            code = FAIL if about["down"] > 1.0 else WARN
        return {"statusCode": code, **about}

    return await _answer(ask())


def _backend(node: WebNode, compute: Json) -> Json:
    """The compute node as the contract shows one, with its dedicated pools."""
    core, config = node.opened, node.settings.compute
    pools = core.pools.report(compute) if core is not None else {}
    shared = [pool for pool in compute.get("pools") or () if not pool["dedicated"]]
    used = int(compute.get("used") or 0)
    can_open = compute["statusCode"] != FAIL and used < config.max_workers
    details = {
        "pythonMaxPoolSize": config.max_workers,
        "pythonActiveShellCount": sum(pool["busy"] for pool in shared),
        "pythonCurrentPoolSize": used,
        "pythonCanOpenShell": str(can_open),
        "dedicatedMaxPoolSize": config.most_dedicated,
        "dedicatedCurrentPoolSize": int(compute.get("workers") or 0) - used,
        "running": bool(compute.get("running")),
        "restarts": int(compute.get("restarts") or 0),
        "apiVersion": "1.0",
    }
    components = {
        name: {"statusCode": PASS if about["status"] == "Success" else WARN, "details": about}
        for name, about in pools.items()
    }
    return whole(components, details, compute["statusCode"])
