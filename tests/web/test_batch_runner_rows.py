"""Batches of rows that are stored as Arrow streams: scored in blocks, bad rows alone."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from typing import Any

import pytest
from support import attitude
from support.bodies import definition
from support.made_batches import ended, make_batch, make_rows, results

from jupyter_mlserve.compute import client
from jupyter_mlserve.compute.realtime import client as realtime_client
from jupyter_mlserve.contract.types import parse_params
from jupyter_mlserve.store.batches import Chunk
from jupyter_mlserve.web.runtime import runtime_key

pa = pytest.importorskip("pyarrow")

TWICE = "import pandas as pd\ny = pd.DataFrame({'twice': df['x'] * 2})"
PICKY = f"if (df['x'] == 7777).any():\n    raise ValueError('seven is not liked')\n{TWICE}"


def stream(**columns: Any) -> bytes:
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def answers(core: Any, id: str, column: str) -> list[Any]:
    """Of each record the value in a column of its frame, or its error."""
    found: list[Any] = []
    for chunk in core.executions.chunks(id):
        assert chunk.first == len(found)
        data = core.batches.read_result(id, chunk)
        if chunk.format == "arrow":
            found += pa.ipc.open_stream(data).read_all().column(column).to_pylist()
        else:
            for line in data.splitlines():
                one = json.loads(line)
                (frame,) = one["outputParameters"].values() or ({},)
                found.append(frame[column][0] if one["success"] else one["errorMessage"])
        assert len(found) == chunk.stop
    return found


async def rows_service(http: Any, code: str = TWICE, sample: bool = True) -> None:
    body = definition(
        code,
        inputParameterDefinitions=parse_params("df: DataFrame[x: float]"),
        outputParameterDefinitions=parse_params("y: DataFrame", output=True),
        mlserve={
            "sample": {"df": {"x": [1.5, 2.0, 4.0]}} if sample else None,
            "batchable": True,
        },
    )
    reply = await http("POST", "services/Rows/1.0", body)
    assert reply.status == 201, reply.json


async def test_rows_of_a_realtime_service(deploy: Any, node: Any, attitude_model: bytes) -> None:
    assert (await deploy("Attitude/1.0", model=attitude_model)).status == 201
    core = node.core
    data = attitude.attitude()
    columns = {name: list(data[name]) * 1000 for name in attitude.NAMES[1:]}
    batch = make_rows(core, "Attitude/1.0", stream(**columns))
    assert (batch.format, batch.total, batch.units) == ("arrow", 30_000, 8)
    found = await ended(core, batch.id)
    assert (found.state, found.failed) == ("Complete", 0)
    chunks: list[Chunk] = core.executions.chunks(batch.id)
    assert {chunk.format for chunk in chunks} == {"arrow"}
    table = pa.concat_tables(
        pa.ipc.open_stream(core.batches.read_result(batch.id, chunk)).read_all() for chunk in chunks
    )
    predicted = attitude.model().predict(data[list(attitude.NAMES[1:])])
    got = table.column(table.num_columns - 1).to_pylist()
    assert got == pytest.approx(list(predicted) * 1000, rel=1e-9)
    # The same as lines: two bad records fail alone.
    rows = [
        {"inputData": {name: [float(data[name][n % 30])] for name in attitude.NAMES[1:]}}
        for n in range(300)
    ]
    rows[5]["inputData"]["learning"] = ["no number"]
    del rows[222]["inputData"]["raises"]
    batch = make_batch(core, "Attitude/1.0", rows)
    found = await ended(core, batch.id)
    assert (found.state, found.completed, found.failed) == ("Complete", 300, 2)
    each = results(core, batch.id)
    assert [n for n, one in enumerate(each) if not one["success"]] == [5, 222]


async def test_a_bad_row_fails_alone(http: Any, node: Any) -> None:
    await rows_service(http, PICKY)
    core = node.core
    count = 20_000
    batch = make_rows(core, "Rows/1.0", stream(x=[float(n) for n in range(count)]))
    assert batch.format == "arrow"
    found = await ended(core, batch.id, 60.0)
    assert (found.state, found.completed, found.failed) == ("Complete", count, 1)
    got = answers(core, batch.id, "twice")
    assert "seven is not liked" in got[7777]
    assert got[:7777] + got[7778:] == [2.0 * n for n in range(count) if n != 7777]
    formats = {chunk.format for chunk in core.executions.chunks(batch.id)}
    assert formats == {"arrow", "lines"}


async def test_a_record_that_stops_the_realtime_process_fails_alone(
    deploy: Any, node: Any, attitude_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in the process beside it each time is innocent."""
    assert (await deploy("Attitude/1.0", model=attitude_model)).status == 201
    core = node.core
    monkeypatch.setattr(client, "_BACKOFF", (0.0,))
    monkeypatch.setattr(
        realtime_client, "crashed", lambda root: ([key + realtime_client.BLOCK], True)
    )
    key = runtime_key(core.catalog.get("Attitude", "1.0").definition)
    call = core.realtime.call

    async def deadly(state: str, body: bytes, *more: Any) -> Any:
        if b"77.5" not in body:
            await asyncio.sleep(0.02)  # so that it comes while the other is there
            return await call(state, body, *more)
        if core.realtime.pid is not None:
            os.kill(core.realtime.pid, signal.SIGSTOP)
        answer = asyncio.ensure_future(call(state, body, *more))
        await asyncio.sleep(0.1)
        while core.realtime.pid is None:  # the last one has just ended
            await asyncio.sleep(0.001)
        os.kill(core.realtime.pid, signal.SIGKILL)
        return await answer

    data = attitude.attitude().drop(columns="rating").head(8).astype(float)
    records = [{"inputData": {k: [v] for k, v in row.items()}} for row in data.to_dict("records")]
    right = make_batch(core, "Attitude/1.0", records)
    assert (await ended(core, right.id)).failed == 0
    records[5]["inputData"]["complaints"] = [77.5]
    monkeypatch.setattr(core.realtime, "call", deadly)
    batch = make_batch(core, "Attitude/1.0", records)
    found = await ended(core, batch.id)
    assert (found.state, found.completed, found.failed) == ("Complete", 8, 1)
    said, expected = results(core, batch.id), results(core, right.id)
    assert said[5]["exceptionType"] == "WorkerLost"
    assert "three times" in said[5]["errorMessage"]
    assert said[:5] + said[6:] == expected[:5] + expected[6:]


async def test_a_gap_within_a_piece_is_filled_with_lines(http: Any, node: Any) -> None:
    """As after a kill while a piece was being answered record by record."""
    await rows_service(http)
    core = node.core
    count = 9000
    batch = make_rows(core, "Rows/1.0", stream(x=[float(n) for n in range(count)]), submit=False)
    holder = "elsewhere:1:1"
    assert core.executions.lease(batch.id, holder, 60.0)
    assert core.executions.begin(batch.id, holder)
    lines = b"".join(
        json.dumps({"success": True, "outputParameters": {"y": {"twice": [2.0 * n]}}}).encode()
        + b"\n"
        for n in range(5000, 5100)
    )
    size, crc = core.batches.write_result(batch.id, 5000, 100, lines)
    chunk = Chunk(5000, 100, "lines", 0, size, crc)
    assert core.executions.commit(batch.id, holder, chunk)
    core.executions.release(batch.id, holder)
    core.runner.submit(batch.id)
    found = await ended(core, batch.id, 30.0)
    assert (found.state, found.failed) == ("Complete", 0)
    assert answers(core, batch.id, "twice") == [2.0 * n for n in range(count)]


async def test_a_word_that_was_not_proven_does_not_change_answers(http: Any, node: Any) -> None:
    """The answer for a row is the one that it has alone, whatever its author said."""
    await rows_service(http, "y = df - df.mean() + len(df)", sample=False)
    core = node.core
    values = [float(n) for n in range(5000)]
    for batch in (
        make_rows(core, "Rows/1.0", stream(x=values)),
        make_batch(core, "Rows/1.0", [{"df": {"x": [value]}} for value in values[:500]]),
    ):
        found = await ended(core, batch.id)
        assert (found.state, found.failed) == ("Complete", 0)
        assert set(answers(core, batch.id, "x")) == {1.0}
