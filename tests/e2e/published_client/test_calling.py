"""Finding, describing and calling standard services with the published client."""

from __future__ import annotations

import json
import pydoc
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import published_client
from support.running_server import RunningServer

ANSWER = 0.5332668559970368
# Of each item of a list, as the product's own server sent them.
KEYS = (
    *("name", "version", "versionPublishedBy", "creationTime", "snapshotId", "runtimeType"),
    *("initCode", "code", "description", "operationId", "inputParameterDefinitions"),
    *("outputParameterDefinitions", "outputFileNames", "myPermissionOnService"),
)


def test_the_answer_of_the_sample(transmission: Any) -> None:
    answer = transmission.manualTransmission(120, 2.8)
    assert answer.error == ""
    assert answer.api == "/api/TxService/1.0"
    found = answer.output("answer")
    assert isinstance(found, pd.DataFrame)
    assert found["am_Pred"][0] == pytest.approx(ANSWER, abs=1e-12)
    assert answer.raw_outputs == {"answer": {"am_Pred": [found["am_Pred"][0]]}}
    assert answer.console_output == "scored one row\n"
    again = transmission.manualTransmission(wt=2.8, hp=120)
    assert again.output("answer").equals(found)


def test_a_file_that_was_not_written_is_null(transmission: Any) -> None:
    answer = transmission.manualTransmission(120, 2.8)
    assert set(answer.artifacts) == {"answer.csv", "never.png"}
    assert answer.artifacts["never.png"] is None
    assert answer.artifact("never.png") is None
    text = answer.artifact("answer.csv", encoding="utf-8")
    assert re.fullmatch(r",am_Pred\n0,0\.53326685599703\d+\n", text)


def test_the_capabilities_of_the_sample(transmission: Any, server: RunningServer) -> None:
    told = transmission.capabilities()
    assert {key: told[key] for key in told if key not in ("creation_time", "snapshot_id")} == {
        "api": "/api/TxService/1.0",
        "name": "TxService",
        "version": "1.0",
        "published_by": told["published_by"],
        "runtime": "Python",
        "description": "My first python model",
        "inputs": [{"name": "hp", "type": "numeric"}, {"name": "wt", "type": "numeric"}],
        "outputs": [{"name": "answer", "type": "data.frame"}],
        "inputs_encoded": [{"name": "hp", "type": "float"}, {"name": "wt", "type": "float"}],
        "outputs_encoded": [{"name": "answer", "type": "pandas.DataFrame"}],
        "artifacts": ["answer.csv", "never.png"],
        "operation_id": "manualTransmission",
        "swagger": f"{server.prefix}api/TxService/1.0/swagger.json",
        "public-functions": told["public-functions"],
    }
    assert told["published_by"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}", told["creation_time"])
    signature = told["public-functions"]["manualTransmission"]
    assert signature == "manualTransmission(self,hp,wt)"


def test_print_and_help_show_the_service(transmission: Any) -> None:
    printed = str(transmission)
    assert printed.startswith("<TxserviceService> \n")
    assert "'_api': '/api/TxService/1.0'" in printed
    assert all(f"'{key}':" in printed for key in KEYS)
    assert "cars_model.predict(new_car)" in printed  # the author sees the code
    helped = pydoc.render_doc(transmission, renderer=pydoc.plaintext)
    assert "Consume the TxService service." in helped
    assert "My first python model" in helped
    assert ":param float hp: The required service input." in helped
    assert "Output: pandas.DataFrame answer" in helped


def test_swagger_is_that_of_the_service(transmission: Any) -> None:
    document = json.loads(transmission.swagger())
    assert document["swagger"] == "2.0"
    assert document["info"]["title"] == "TxService"
    assert document["info"]["version"] == "1.0"
    (path,) = (path for path in document["paths"] if path.endswith("/api/TxService/1.0"))
    assert document["paths"][path]["post"]["operationId"] == "manualTransmission"


def test_lists_have_the_shape_of_the_product(client: Any, transmission: Any) -> None:
    (item,) = client.list_services("TxService", version="1.0")
    assert set(KEYS) <= set(item)
    assert item["code"].endswith("\n\nanswer = manualTransmission(hp, wt)")
    assert item["initCode"].endswith("\n\ninit()")
    assert item["myPermissionOnService"] == "read/write"
    assert item in client.list_services("TxService")
    assert item in client.list_services()
    assert client.list_services("NobodyPublishedThis") == []


def test_versions_come_oldest_to_newest_and_the_newest_is_got(client: Any) -> None:
    # Their alphabetical order is another one.
    for number, version in enumerate(("v2", "v10", "v1")):
        client.deploy_service(
            "Ordered", version=version, code_str=f"y = {number}", outputs={"y": int}
        )
    listed = [item["version"] for item in client.list_services("Ordered")]
    assert listed == ["v2", "v10", "v1"]
    newest = client.get_service("Ordered")
    assert newest.capabilities()["version"] == "v1"
    assert newest.consume().output("y") == 2
    assert client.get_service("Ordered", version="v10").consume().output("y") == 1


def test_vectors_matrices_frames_and_missing_values(client: Any) -> None:
    service = client.deploy_service(
        "Types",
        version="1",
        code_str="ov = v * 2\nom = m.T\nod = d.assign(z=d.x * 10)\nod.loc[0, 'z'] = float('nan')\n",
        inputs={"v": "numpy.array", "m": "numpy.matrix", "d": "pandas.DataFrame"},
        outputs={"ov": np.array, "om": np.matrix, "od": pd.DataFrame},
    )
    frame = pd.DataFrame(
        {"x": [1.5, 2.5], "s": pd.Series(["a", None], dtype=object), "b": [True, False]}
    )
    answer = service.consume(np.array([1, 2, 3]), np.array([[1, 2], [3, 4]]), frame)
    assert answer.raw_outputs == {
        "ov": [2, 4, 6],
        "om": [[1, 3], [2, 4]],
        "od": {"x": [1.5, 2.5], "s": ["a", None], "b": [True, False], "z": [None, 25.0]},
    }
    assert isinstance(answer.output("om"), np.matrix)
    assert answer.output("od")["z"].isna().tolist() == [True, False]


def test_nothing_as_a_value(client: Any) -> None:
    service = client.deploy_service(
        "Nulls", version="1", code_str="y = x is None", inputs={"x": int}, outputs={"y": bool}
    )
    assert service.consume(None).output("y") is True
    assert service.consume(1).output("y") is False


def all_types(i, f, s, b):  # type: ignore[no-untyped-def]
    return [i, f, s, b]


def test_four_inputs_of_a_function(client: Any) -> None:
    service = (
        client.service("Four")
        .version("1")
        .code_fn(all_types)
        .inputs(b=bool, s=str, f=float, i=int)  # the order of the function counts
        .outputs(o=list)
        .deploy()
    )
    answer = service.all_types(1, 2.5, "three", True)
    assert answer.raw_outputs == {"o": [1, 2.5, "three", True]}


def test_code_that_fails_answers_400_with_a_result(client: Any) -> None:
    service = client.deploy_service(
        "Failing",
        version="1",
        code_str="print('before')\ny = 1 / x",
        inputs={"x": int},
        outputs={"y": float},
    )
    refused = error_of(lambda: service.consume(0))
    assert refused.status == 400
    result = json.loads(refused.body)
    assert result["success"] is False
    assert "ZeroDivisionError: division by zero" in result["errorMessage"]
    assert result["outputParameters"] == {}
    assert result["outputFiles"] == {}
    assert result["consoleOutput"] == "before\n"
    assert service.consume(2).output("y") == 0.5


@pytest.mark.parametrize(
    ("code", "status"), [("__import__('os')._exit(3)", 500), ("raise SystemExit(3)", 400)]
)
def test_code_that_ends_its_interpreter_is_answered(client: Any, code: str, status: int) -> None:
    service = client.deploy_service("Dying", code_str=f"if x:\n    {code}", inputs={"x": bool})
    refused = error_of(lambda: service.consume(True))
    assert refused.status == status
    assert json.loads(refused.body)["success"] is False
    assert service.consume(False).error == ""


def test_a_wrong_input_is_refused_and_named(server: RunningServer, client: Any) -> None:
    service = client.deploy_service(
        "Typed", version="1", code_str="y = x", inputs={"x": str}, outputs={"y": str}
    )
    refused = error_of(lambda: service.consume(5))  # texts are sent as they are
    assert refused.status == 400
    assert "x" in json.loads(refused.body)["message"]


def test_nobody_is_let_in_with_a_wrong_token(server: RunningServer) -> None:
    deploy_client, ml_server = published_client.load()
    stranger = deploy_client(server.prefix, use=ml_server, auth="not-the-token")
    refused = error_of(stranger.list_services)
    assert refused.status == 401
    assert json.loads(refused.body)["message"]


def error_of(call: Any) -> Any:
    """The client's exception for an answer that is no success."""
    from azureml.common.http_client import HttpException

    with pytest.raises(HttpException) as caught:
        call()
    return caught.value
