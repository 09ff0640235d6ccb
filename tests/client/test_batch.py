"""Batches from Python, on a real server: start, watch, results, files, cancel, what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from support.cuttable import Proxy, proxy_to
from support.running_server import RunningServer

import jupyter_mlserve.client.batch as batch_module
from jupyter_mlserve import DeployClient
from jupyter_mlserve.client.batch import Batch
from jupyter_mlserve.client.batch_response import BatchResponse
from jupyter_mlserve.client.batch_waiting import Interrupted, Line
from jupyter_mlserve.client.events import Progress
from jupyter_mlserve.client.misuse import NoSuchRecord, NotInReply, StillRunning, WrongCall
from jupyter_mlserve.client.service import Service
from jupyter_mlserve.contract.errors import (
    BadRequest,
    InvalidInput,
    MLServeError,
    NotFound,
    ServiceFailed,
)

CARS = pd.read_csv(
    Path(__file__).parents[2] / "notebooks" / "mtcars.csv", index_col="model"
).astype({"hp": float})
MODEL = LinearRegression().fit(CARS[["hp", "wt"]], CARS["am"])


@pytest.fixture(scope="module")
def module_client(server: RunningServer) -> Iterator[DeployClient]:
    with DeployClient(server.url, auth=server.token) as found:
        yield found


@pytest.fixture(scope="module")
def tx(module_client: DeployClient) -> Service:
    code = """
        import pandas as pd
        print("scored one row")
        answer = pd.DataFrame({"am_Pred": model.predict(pd.DataFrame({"hp": [hp], "wt": [wt]}))})
        answer.to_csv("answer.csv", index=False)
        if hp > 300:
            open("fast.txt", "w").write("fast")
    """
    return module_client.deploy_service(
        "TxBatch",
        "1.0",
        code_str="\n".join(line[8:] for line in code.splitlines()),
        inputs={"hp": float, "wt": float},
        outputs={"answer": "DataFrame"},
        models={"model": MODEL},
        artifacts=["answer.csv", "fast.txt"],
    )


@pytest.fixture(scope="module")
def slow(module_client: DeployClient) -> Service:
    return module_client.deploy_service(
        "SlowBatch",
        "1.0",
        code_str="import time\ntime.sleep(seconds)\ndone = seconds",
        inputs={"seconds": float},
        outputs={"done": float},
    )


def predicted(cars: pd.DataFrame) -> Any:
    return MODEL.predict(cars[["hp", "wt"]])


# The published examples --------------------------------------------------------------------------


def test_32_cars_are_answered_as_the_model_does(tx: Service) -> None:
    batch = tx.batch(CARS[["hp", "wt"]], parallel_count=10).start()
    assert len(str(batch.execution_id)) == 36
    assert batch.start() is batch
    frame = batch.to_frame()
    assert list(frame.columns) == ["am_Pred", "error"]
    assert list(frame.index) == list(CARS.index)
    assert abs(frame["am_Pred"] - predicted(CARS)).max() < 1e-12
    assert [round(x, 6) for x in frame["am_Pred"][:5]] == [
        0.592204,
        0.469917,
        0.68952,
        0.306868,
        0.376956,
    ]
    assert frame["error"].isna().all()
    results = batch.results()
    assert (results.state, results.completed_item_count, results.total_item_count) == (
        "Complete",
        32,
        32,
    )
    assert len(results) == 32
    assert [reply.index for reply in results] == list(range(32))
    reply = results.execution(0)
    assert reply.output("answer")["am_Pred"][0] == pytest.approx(0.592204, abs=1e-6)
    assert reply.console_output == "scored one row\n"
    assert reply.success
    assert not reply.error
    reply.raise_for_error()


def test_the_programs_of_the_documentation_run(tx: Service) -> None:
    """With the spellings that the published documentation has and its client had not."""
    records = [{"hp": 120, "wt": 2.8}, {"hp": 110, "wt": 2.62}]
    batch = tx.batch(records, parallelCount=4).start()
    deadline = time.monotonic() + 20
    while True:
        found = batch.results(show_partial_results=True)
        if found.state in ("Failed", "Complete"):
            break
        assert time.monotonic() < deadline
    assert batch.state() == batch.state == found.state == "Complete"
    for i in range(found.completed_item_count):
        assert "am_Pred" in found.execution(i).outputs["answer"]
    assert batch.artifact(index=1, file_name="answer.csv").startswith(b"am_Pred\n0.59")  # type: ignore[union-attr]
    assert batch.execution_id in tx.list_batch_executions()
    assert tx.get_batch_executions() == tx.list_batch_execution() == tx.list_batch_executions()
    again = tx.get_batch(str(batch.execution_id))
    assert again.results().execution(1).raw_outputs == found.execution(1).raw_outputs
    batch = batch.cancel()
    assert again.execution_id not in tx.list_batch_executions()


def test_columns_in_another_order_and_other_forms_give_the_same(tx: Service) -> None:
    some = CARS[["wt", "hp"]].head(3)
    for records in (some, some.to_dict("list"), some.to_dict("records")):
        frame = tx.batch(records).start().to_frame()
        assert list(frame["am_Pred"]) == list(predicted(some))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_a_file_is_a_batch(tx: Service, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cars{suffix}"
    some = CARS[["hp", "wt"]].head(4).reset_index(drop=True)
    writers: dict[str, Any] = {
        ".csv": lambda: some.to_csv(path, index=False),
        ".jsonl": lambda: some.to_json(path, orient="records", lines=True, double_precision=15),
        ".json": lambda: some.to_json(path, orient="records", double_precision=15),
        ".parquet": lambda: some.to_parquet(path),
    }
    writers[suffix]()
    frame = tx.batch(path).start().to_frame()
    assert list(frame["am_Pred"]) == pytest.approx(predicted(some), abs=1e-12)


# What goes wrong ---------------------------------------------------------------------------------


def test_what_is_wrong_with_the_records_is_told_before_anything_is_sent(tx: Service) -> None:
    before = tx.list_batch_executions()
    with pytest.raises(InvalidInput, match=r'mpg: .*\n?.*Give df\[\["hp", "wt"\]\]'):
        tx.batch(CARS)
    with pytest.raises(WrongCall, match="from 1 on"):
        tx.batch(CARS[["hp", "wt"]], parallel_count=0)
    with pytest.raises(WrongCall, match="the same"):
        tx.batch([], parallel_count=1, parallelCount=1)
    unstarted = tx.batch(CARS[["hp", "wt"]])
    assert "32 records" in repr(unstarted)
    with pytest.raises(WrongCall, match=r"start\(\)"):
        unstarted.results()
    assert tx.list_batch_executions() == before


def test_a_record_that_fails_fails_alone_and_is_seen(tx: Service) -> None:
    cars = CARS[["hp", "wt"]].head(5).copy()
    cars.iloc[1, 1] = np.nan
    odd = cars.astype(object)
    odd.iloc[3, 0] = "a lot"
    batch = tx.batch(odd).start().wait()
    frame = batch.frame
    assert list(frame.index) == list(cars.index)
    assert list(frame["am_Pred"].isna()) == [False, True, False, True, False]
    assert "NaN" in frame["error"].iloc[1]
    assert frame["error"].iloc[3].startswith("hp: expected")
    results = batch.results()
    assert results.failed_item_count == 2
    assert [reply.index for reply in results.failures()] == [1, 3]
    assert "record 3: hp: expected" in repr(results)
    assert "2 failed" in repr(batch)
    with pytest.raises(InvalidInput) as caught:
        results.execution(3).raise_for_error()
    assert caught.value.field == "hp"
    assert isinstance(results[1].exception, ServiceFailed)
    assert results[-1].success


def test_what_is_not_there_is_said_with_what_is(tx: Service) -> None:
    batch = tx.batch(CARS[["hp", "wt"]].head(2)).start().wait()
    results = batch.results()
    with pytest.raises(IndexError, match="counted from 0 to 1"):
        results.execution(2)
    with pytest.raises(NoSuchRecord):
        results.execution("0")  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        batch.artifact(0, "missing.csv")
    with pytest.raises(NotFound):
        batch.list_artifacts(7)
    with pytest.raises(WrongCall):
        batch.list_artifacts(-1)
    with pytest.raises(NotFound, match="list_batch_executions"):
        tx.get_batch("00000000-0000-0000-0000-000000000000")
    with pytest.raises(NotFound, match="begins with 'x'"):
        tx.get_batch("x")
    assert tx.get_batch(str(batch.execution_id)[:13]).execution_id == batch.execution_id
    batch.cancel()
    with pytest.raises(NotFound, match="list_batch_executions"):
        batch.results()


# While it runs -----------------------------------------------------------------------------------


def test_it_is_watched_without_asking(slow: Service) -> None:
    started = time.monotonic()
    batch = slow.batch({"seconds": [0.5] * 4}, parallel_count=4).start()
    early = batch.results()
    assert early.state != "Complete"
    with pytest.raises(NotInReply, match="no reply here yet"):
        early.execution(3)
    seen = list(batch.progress())
    assert time.monotonic() - started < 6
    assert [one.state for one in seen][-1] == "Complete"
    assert seen[-1].completed == seen[-1].total == 4
    assert {one.execution_id for one in seen} == {batch.execution_id}
    assert list(batch.to_frame()["done"]) == [0.5] * 4


def test_a_wait_that_ends_early_ends_no_batch(slow: Service) -> None:
    batch = slow.batch([{"seconds": 0.9}]).start()
    with pytest.raises(TimeoutError, match="goes on") as caught:
        batch.wait(timeout=0.1)
    assert isinstance(caught.value, StillRunning)
    hidden = batch.results(show_partial_results=False)
    assert len(hidden) == 0
    told: list[Progress] = []
    assert batch.wait(timeout=20, progress=told.append) is batch
    assert told[-1].finished


def test_ctrl_c_ends_the_wait_and_says_how_to_go_on(slow: Service) -> None:
    batch = slow.batch([{"seconds": 1.0}]).start()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(Interrupted, match=f"get_batch\\('{batch.execution_id}'\\)"):
        batch.wait()
    assert batch.wait().state == "Complete"


def test_cancelling_ends_running_records_and_every_watch(slow: Service) -> None:
    batch = slow.batch([{"seconds": 30.0}] * 4, parallel_count=4).start()
    watch = batch.progress()
    while next(watch).state != "InProgress":
        pass
    started = time.monotonic()
    batch.cancel()
    with pytest.raises(NotFound):
        list(watch)
    assert time.monotonic() - started < 10
    assert batch.execution_id not in slow.list_batch_executions()


# Results -----------------------------------------------------------------------------------------


def test_files_of_a_record_come_to_a_folder(tx: Service, tmp_path: Path) -> None:
    batch = tx.batch([{"hp": 110, "wt": 2.6}, {"hp": 335, "wt": 3.6}]).start().wait()
    assert batch.list_artifacts(0) == ["answer.csv"]
    assert sorted(batch.list_artifacts(1)) == ["answer.csv", "fast.txt"]
    assert batch.artifact(1, "fast.txt", encoding="utf-8") == "fast"
    made = batch.download(1, destination=tmp_path / "files")
    assert sorted(made) == [str(tmp_path / "files" / name) for name in ("answer.csv", "fast.txt")]
    assert (tmp_path / "files" / "fast.txt").read_bytes() == b"fast"
    second = (tmp_path / "files" / "answer.csv").read_bytes()
    assert second == batch.artifact(1, "answer.csv") != batch.artifact(0, "answer.csv")
    assert batch.download(0, "answer.csv", tmp_path) == [str(tmp_path / "answer.csv")]


def test_names_of_files_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    from jupyter_mlserve.client.batch_files import save, save_stream

    for name in ("../x", "/etc/x", "a/b", "a\\b", "..", "", "a\0"):
        with pytest.raises(BadRequest):
            save(tmp_path, name, b"x")

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        save_stream(tmp_path / "table.csv", broken())
    assert list(tmp_path.iterdir()) == []


def test_results_are_saved_in_the_format_of_the_suffix(tx: Service, tmp_path: Path) -> None:
    cars = CARS[["hp", "wt"]].head(3).copy()
    cars.iloc[1, 1] = np.nan
    batch = tx.batch(cars).start().wait()
    expected = batch.to_frame().reset_index(drop=True)
    readers: dict[str, Any] = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": lambda path: pd.DataFrame(map(json.loads, path.read_text().splitlines())),
    }
    for suffix, read in readers.items():
        path = batch.download_results(tmp_path / f"out{suffix}")
        table = read(path)
        if suffix == ".jsonl":
            assert list(table["success"]) == [True, False, True]
            continue
        assert list(table["record"]) == [0, 1, 2]
        assert list(table["am_Pred"].dropna()) == list(expected["am_Pred"].dropna())
        assert list(table["error"].isna()) == [True, False, True]
    whole = json.loads(batch.download_results(tmp_path / "all.json").read_text())
    assert len(whole["batchExecutionResults"]) == 3
    with pytest.raises(WrongCall, match="names no format"):
        batch.download_results(tmp_path / "out.xlsx")


def test_outputs_of_every_kind_become_columns(module_client: DeployClient) -> None:
    service = module_client.deploy_service(
        "KindsBatch",
        "1.0",
        code_str=(
            "import numpy as np, pandas as pd\n"
            "x = 1 / n\n"
            "ok, count, text, v = n > 1, n, 'n' * n, np.arange(n)\n"
            "rows = pd.DataFrame({'i': range(n), 'error': 'e'})\n"
        ),
        inputs={"n": int},
        outputs="x: float, ok: bool, count: int, text: str, v: numpy.array, rows: DataFrame",
    )
    frame = service.batch({"n": [2, 0, 1]}).start().to_frame()
    assert list(frame.index) == [0, 0, 1, 2]
    assert frame.index.name == "record"
    assert list(frame["x"].dropna()) == [0.5, 0.5, 1.0]
    assert str(frame["ok"].dtype) == "boolean"
    assert str(frame["count"].dtype) == "Int64"
    assert list(frame["rows.i"].dropna()) == [0, 1, 0]
    assert list(frame["rows.error"].dropna()) == ["e", "e", "e"]
    assert [len(v) for v in frame["v"].dropna()] == [2, 2, 1]
    assert frame["error"].notna().sum() == 1
    assert "division" in frame["error"].iloc[2]


# Many rows ---------------------------------------------------------------------------------------


def test_many_rows_through_a_realtime_service(
    module_client: DeployClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_mlserve import serialize_model

    model = serialize_model(MODEL, CARS[["hp", "wt", "am"]], response="am")
    service = module_client.deploy_realtime("FastBatch", "1.0", serialized_model=model)
    rng = np.random.default_rng(0)
    many = pd.DataFrame({"wt": rng.uniform(1, 5, 30_000), "hp": rng.uniform(50, 350, 30_000)})
    many.index += 7
    batch = service.batch(many).start()
    frame = batch.to_frame()
    assert (frame.index == many.index).all()
    assert abs(frame["am_Pred"] - predicted(many)).max() < 1e-6
    assert frame["error"].isna().all()
    monkeypatch.setattr(batch_module, "find_spec", lambda name: None)  # no pyarrow here
    pd.testing.assert_frame_equal(batch.to_frame(), frame)
    results = batch.results()
    assert results.execution(29_999).output("outputData")["am_Pred"][0] == pytest.approx(
        frame["am_Pred"].iloc[-1]
    )
    bad = many.head(3).astype(object)
    bad.iloc[1, 0] = "heavy"
    table = service.batch(bad).start().to_frame()
    assert list(table["error"].notna()) == [False, True, False]


# Connections that break --------------------------------------------------------------------------


@pytest.fixture
def proxied(server: RunningServer, tx: Service) -> Iterator[tuple[Proxy, DeployClient]]:
    address = urllib.parse.urlsplit(server.url)
    assert address.hostname is not None
    assert address.port is not None
    with proxy_to(address.hostname, address.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}{address.path}"
        with DeployClient(url, auth=server.token) as client:
            yield proxy, client


@pytest.mark.parametrize("when", ["in the upload", "before the answer"])
def test_an_upload_that_is_cut_is_sent_again_and_started_once(
    proxied: tuple[Proxy, DeployClient], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, client = proxied
    service = client.get_service("TxBatch", "1.0")
    before = service.list_batch_executions()

    def first(n: int, seen: bytes, mark: bytes) -> bool:
        return proxy.cuts == 0 and mark in seen

    if when == "in the upload":
        proxy.cut_sent = lambda n, seen: first(n, seen, b"Idempotency-Key") and len(seen) > 100_000
    else:
        proxy.cut_answer = lambda n, seen: first(n, seen, b"BatchExecutionId")
    cars = pd.concat([CARS[["hp", "wt"]]] * 400)
    batch = service.batch(cars).start()
    assert proxy.cuts == 1
    assert set(service.list_batch_executions()) - set(before) == {batch.execution_id}
    assert batch.results().total_item_count == 12_800
    batch.cancel()


def test_a_watch_that_is_cut_goes_on(proxied: tuple[Proxy, DeployClient], slow: Service) -> None:
    proxy, client = proxied
    batch = client.get_service("SlowBatch", "1.0").batch([{"seconds": 0.4}] * 6, 2).start()
    # Every stream of events is cut after its first event.
    proxy.cut_answer = lambda n, seen: proxy.cuts < 3 and seen.count(b"event: progress") > 1
    seen = list(batch.progress())
    assert seen[-1].state == "Complete"
    assert proxy.cuts >= 1
    # No event passes at all: it is asked for.
    proxy.cut_answer = lambda n, seen: b"text/event-stream" in seen
    batch = client.get_service("SlowBatch", "1.0").batch([{"seconds": 0.2}]).start()
    assert list(batch.progress())[-1].state == "Complete"


def test_a_server_that_is_gone_is_waited_for_and_then_named(
    proxied: tuple[Proxy, DeployClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, client = proxied
    service = client.get_service("SlowBatch", "1.0")
    batch = service.batch([{"seconds": 1.0}]).start()
    proxy.cut_sent = lambda n, seen: True
    monkeypatch.setattr(batch_module, "LOST", 0.8)
    seen: list[Progress] = []
    with pytest.raises(MLServeError, match="goes on when the server runs again"):
        batch.wait(progress=seen.append)
    assert seen
    assert not seen[-1].connected
    assert "waiting for the server" in str(seen[-1])
    monkeypatch.setattr(batch_module, "AGAIN", (0.01,))
    with pytest.raises(MLServeError, match=r"sent 2 times\. .*safe"):
        service.batch([{"seconds": 1.0}]).start()


# Texts -------------------------------------------------------------------------------------------


def test_texts_of_progress() -> None:
    running = Progress("id", "InProgress", 1_000_000, 1_500, 3, 2345.6, 425.0)
    assert str(running) == (
        "InProgress: 1,500 of 1,000,000 records, 3 failed, 2,350 records/s, 7 min 5 s left"
    )
    assert str(Progress("id", "Complete", 1, 1)) == "Complete: 1 of 1 records"
    assert Progress("id", "Ready", 0, 0).fraction == 0.0


def test_a_log_gets_few_lines_and_a_terminal_one(capsys: pytest.CaptureFixture[str]) -> None:
    line = Line()
    for done in range(20):
        line.show(Progress("id", "InProgress", 20, done))
    line.show(Progress("id", "Complete", 20, 20))
    line.end()
    log = capsys.readouterr().err.splitlines()
    assert len(log) == 2
    assert log[-1].endswith("100%  Complete: 20 of 20 records")


def test_objects_tell_what_can_be_done_with_them(tx: Service) -> None:
    functions = tx.capabilities()["public-functions"]
    assert functions["batch"] == "batch(records, parallel_count=10)"
    for name in functions:
        assert callable(getattr(tx, name))
    batch = tx.batch([{"hp": 1, "wt": 2}]).start().wait()
    assert ".to_frame()" in batch._repr_html_()
    results = batch.results()
    assert isinstance(results, BatchResponse)
    assert "Complete" in results._repr_html_()
    assert isinstance(batch, Batch)


def test_slips_are_answered_with_a_sentence_and_numpy_counts_as_well(
    tx: Service, tmp_path: Path
) -> None:
    batch = tx.batch(CARS[["hp", "wt"]].head(2)).start().wait()
    assert batch.execution(np.int64(1)).index == 1
    assert batch.list_artifacts(np.int64(1)) == ["answer.csv"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WrongCall, match="is a file: destination is the folder"):
        batch.download(0, destination=tmp_path / "file")
    with pytest.raises(WrongCall, match="is a folder: give the path"):
        batch.download_results(tmp_path, "csv")
    assert batch.download_results(tmp_path / "new" / "r.csv").is_file()
    with pytest.raises(WrongCall, match="timeout='1': it is a number of seconds"):
        batch.wait("1")  # type: ignore[arg-type]
    for index in (["a", "b"], pd.Series(["a", "b"]), pd.DataFrame(index=["a", "b"])):
        assert list(batch.to_frame(index=index).index) == ["a", "b"]
    with pytest.raises(NotFound) as caught:
        batch.artifact(0, "none.txt")
    assert "list_batch_executions" not in str(caught.value)
    batch.cancel()
