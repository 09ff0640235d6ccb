"""Batches with the published client."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

# Of the 32 cars of the sample, what it prints of the first two and the last.
FIRST, SECOND, LAST = 0.592204, 0.469917, 0.512737
FINAL = ("Complete", "Failed")


def finished(batch: Any) -> Any:
    """The response when the batch has ended, asked for as the samples do it."""
    deadline = time.monotonic() + 60
    while True:
        response = batch.results()
        if response.state in FINAL:
            return response
        assert response.state in ("Pending", "Ready", "InProgress")
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_values_of_the_sample(
    transmission: Any, cars: pd.DataFrame, cars_model: LinearRegression, tmp_path: Path
) -> None:
    batch = transmission.batch(cars[["hp", "wt"]], parallel_count=4)
    assert batch.execution_id is None
    assert batch.start() is batch
    response = finished(batch)
    assert (response.state, response.completed_item_count) == ("Complete", 32)
    assert response.total_item_count == 32
    answers = [response.execution(i) for i in range(32)]
    found = [answer.output("answer")["am_Pred"][0] for answer in answers]
    assert [round(found[i], 6) for i in (0, 1, 31)] == [FIRST, SECOND, LAST]
    np.testing.assert_allclose(found, cars_model.predict(cars[["hp", "wt"]]), rtol=1e-12)
    assert {answer.error for answer in answers} == {""}
    assert {answer.console_output for answer in answers} == {"scored one row\n"}
    assert "state: Complete" in str(response)

    assert batch.list_artifacts(1) == ["answer.csv"]
    assert batch.artifact(1, "answer.csv").startswith(b",am_Pred\n0,0.46991738265328")
    (path,) = batch.download(1, "answer.csv", str(tmp_path))
    assert Path(path).read_bytes() == batch.artifact(1, "answer.csv")
    assert answers[1].artifact("answer.csv") == batch.artifact(1, "answer.csv")
    assert answers[1].artifacts["never.png"] is None

    assert batch.execution_id in transmission.list_batch_executions()
    again = transmission.get_batch(batch.execution_id).results(show_partial_results=False)
    assert again.execution(31).output("answer")["am_Pred"][0] == found[31]
    batch.cancel()
    assert batch.execution_id not in transmission.list_batch_executions()


@pytest.mark.parametrize(
    "records",
    [
        lambda: [{"hp": 120.0, "wt": 2.8}, {"hp": 110.0, "wt": 2.62}],
        lambda: {"hp": [120, 110], "wt": [2.8, 2.62]},
    ],
    ids=["list of dicts", "dict of lists"],
)
def test_records_of_other_forms(transmission: Any, records: Callable[[], Any]) -> None:
    batch = transmission.batch(records()).start()
    response = finished(batch)
    found = [response.execution(i).output("answer")["am_Pred"][0] for i in range(2)]
    assert found == pytest.approx([0.5332668559970368, 0.5922041177822379], abs=1e-12)
    batch.cancel()


def test_a_record_that_fails_fails_alone(client: Any) -> None:
    service = client.deploy_service(
        "Reciprocal", version="1", code_str="y = 1 / x", inputs={"x": int}, outputs={"y": float}
    )
    batch = service.batch({"x": [2, 0, 4]}, parallel_count=1).start()
    response = finished(batch)
    assert response.state == "Complete"
    assert [response.execution(i).output("y") for i in range(3)] == [0.5, None, 0.25]
    assert "ZeroDivisionError" in response.execution(1).error
    batch.cancel()


def test_cancelling_what_runs_ends_it(client: Any) -> None:
    service = client.deploy_service(
        "Sleeper",
        version="1",
        code_str="import time\ntime.sleep(x)\ny = x",
        inputs={"x": float},
        outputs={"y": float},
    )
    batch = service.batch({"x": [0.3] * 1000}, parallel_count=1).start()
    deadline = time.monotonic() + 30
    while (response := batch.results()).completed_item_count == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert response.state == "InProgress"
    assert response.total_item_count == 1000
    assert response.execution(0).output("y") == 0.3
    assert batch.results(show_partial_results=False).completed_item_count >= 1
    batch.cancel()
    assert service.list_batch_executions() == []


def test_a_realtime_service_has_batches_too(
    client: Any, cars: pd.DataFrame, cars_model: LinearRegression
) -> None:
    from jupyter_mlserve import serialize_model

    model = serialize_model(cars_model, cars[["hp", "wt", "am"]], "am")
    service = client.deploy_realtime("BatchedModel", version="1", serialized_model=model)
    batch = service.batch([{"inputData": {"hp": [120], "wt": [2.8]}}]).start()
    answer = finished(batch).execution(0).output("outputData")
    assert answer["am_Pred"][0] == pytest.approx(0.5332668559970368, abs=1e-12)
    batch.cancel()
