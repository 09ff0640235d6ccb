"""``services/{name}/{version}/pool``: a dedicated pool of workers for a version."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from ..contract.errors import InvalidInput
from ..contract.limits import MAX_POOL
from ..contract.names import check_name, check_version
from ..store.models import Pool
from .base import SERVICES, MLServeHandler, allowed
from .views import note

Json = dict[str, Any]
SIZES = ("InitialPoolSize", "MaxPoolSize")


class PoolHandler(MLServeHandler):
    """``services/{name}/{version}/pool``"""

    @allowed("read", SERVICES)
    async def get(self, name: str, version: str) -> None:
        """How the pool is on each compute node: Pending, Success, or NotFound if there is none."""
        self.node.policy.require(self.principal, "list")
        check_name(name)
        check_version(version)
        core = self.node.core
        state = await asyncio.to_thread(core.catalog.get, name, version)
        word = core.pools.status(state, await core.compute.status())
        place = self.node.address
        # The published schema has capitals, the answers that real servers print have none.
        self.reply(
            [
                {
                    "computeNodeEndpoint": place,
                    "status": word,
                    "ComputeNodeEndpoint": place,
                    "Status": word,
                }
            ]
        )

    @allowed("write", SERVICES)
    async def post(self, name: str, version: str) -> None:
        """Create the pool, or change its size; its workers are started at once.

        A size that is left out stays as it is.
        """
        body = self.json_body()
        read_pool(body)  # what is wrong with any pool is said before the service is looked for
        state = await self.node.core.publisher.set_pool(
            self.principal, name, version, partial(read_pool, body)
        )
        note(self.node, self.principal, "set the dedicated pool of", state)
        pool = state.pool
        assert pool is not None
        most = f"{pool.maximum}" if pool.maximum else "as many as the server allows"
        workers = "1 worker" if pool.initial == 1 else f"{pool.initial} workers"
        self.reply(
            f"Service {name} version {version} has a dedicated pool of {workers}, at most {most}."
        )

    @allowed("write", SERVICES)
    async def delete(self, name: str, version: str) -> None:
        """Delete the pool: the version shares workers with the others again."""
        state = await self.node.core.publisher.set_pool(
            self.principal, name, version, lambda _: None
        )
        note(self.node, self.principal, "deleted the dedicated pool of", state)
        self.reply(f"Service {name} version {version} has no dedicated pool.")


def read_pool(body: Json, before: Pool | None = None) -> Pool:
    """The sizes in a body; 0 is the server's maximum.

    Both are optional, null is as if left out: then it is as in the pool there was ``before``, or 0.
    """
    found: dict[str, int] = {}
    for key, value in body.items():
        name = next((size for size in SIZES if key in (size, size[0].lower() + size[1:])), None)
        if name is None:
            raise InvalidInput(
                f"The body has the unknown key {key[:80]!r}; known are {' and '.join(SIZES)}.",
                field=key[:80],
            )
        if name in found:
            raise InvalidInput(f"The body has {name} twice, in two spellings.", field=name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidInput(field=name, expected="a whole number", got=repr(value)[:80])
        if not 0 <= value <= MAX_POOL:
            raise InvalidInput(
                f"{name} must be from 0 to {MAX_POOL}, not {str(value)[:20]}.", field=name
            )
        found[name] = value
    initial = found.get(SIZES[0], before.initial if before else 0)
    maximum = found.get(SIZES[1], before.maximum if before else 0)
    if maximum and initial > maximum:
        raise InvalidInput(
            f"InitialPoolSize is {initial}, more than MaxPoolSize, which is {maximum}. Ask for "
            "fewer workers at the start, or allow more.",
            field=SIZES[0],
        )
    return Pool(initial, maximum)
