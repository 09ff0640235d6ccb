"""What ``/metrics`` says about batch executions. (About calls: test_scoring.)"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

LINES = "application/x-ndjson"


@pytest.fixture
def samples(jp_fetch: Any) -> Any:
    """Our samples about batches, by name and labels as they are written."""

    async def get() -> dict[str, float]:
        text = (await jp_fetch("metrics")).body.decode()
        found = re.findall(r"^jupyter_mlserve_batch_(\S+) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found if "_created" not in name}

    return get


@pytest.fixture
def until(samples: Any) -> Any:
    async def wait(condition: Any) -> dict[str, float]:
        deadline = time.monotonic() + 15
        while not condition(found := await samples()):
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)
        return found

    return wait


def of(name: str, label: str, value: str) -> str:
    labels = {"service": "Counted", "version": "1.0", label: value}
    inner = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
    return f"{name}_total{{{inner}}}"


ANSWERED, FAILED = of("records", "outcome", "answered"), of("records", "outcome", "failed")
COMPLETE = of("executions", "state", "Complete")


def counted(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if "Counted" in name}


async def test_records_and_executions_are_counted_until_the_version_goes(
    http: Any, publish: Any, until: Any
) -> None:
    await publish(name="Counted")
    for _ in range(2):
        body = b'{"x": 1}\n{"x": 2}\n{"x": "three"}\n'
        reply = await http("POST", "api/Counted/1.0/batch", body, headers={"Content-Type": LINES})
        assert reply.status == 202
    found = await until(lambda found: found.get(COMPLETE) == 2)
    assert counted(found) == {ANSWERED: 4, FAILED: 2, COMPLETE: 2}
    await until(lambda found: (found["running"], found["queued"]) == (0, 0))
    await http("DELETE", "services/Counted/1.0")
    await http("POST", "api/Counted/1.0", {"x": 1})
    assert counted(await until(lambda found: True)) == {}


class TestOneAtATime:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"batch_max_running": 1}

    async def test_those_that_run_and_wait_and_what_a_deleted_version_leaves(
        self, http: Any, publish: Any, until: Any, node: Any
    ) -> None:
        await publish(name="Counted", code="import time\nif x:\n    time.sleep(0.2)\ny = x")
        for _ in range(3):
            await http("POST", "api/Counted/1.0/batch?parallelCount=1", [{"x": 1}] * 500)
        await until(lambda found: (found["running"], found["queued"]) == (1, 2))
        await until(lambda found: found.get(ANSWERED, 0) > 0)
        # Deleted: what goes on of it fails, which must not begin the series anew. No request
        # comes that would look for the version, and nothing knew its route.
        node.core.catalog.delete("Counted", "1.0", node.kernel_token.principal.username)
        await until(
            lambda found: (found["running"], found["queued"]) == (0, 0) and not counted(found)
        )
        states = {
            one.state for one in node.core.executions.owned_by(node.kernel_token.principal.username)
        }
        assert states == {"Failed"}
