"""``batchable`` in the client: the fluent form, the dict form, updates, and errors in its words."""

from __future__ import annotations

import uuid
from typing import Any

import pandas as pd
import pytest
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient
from jupyter_mlserve.client.wording import as_arguments
from jupyter_mlserve.contract.errors import InvalidDefinition, TrialFailed

ROWS = pd.DataFrame({"x": [1.0, 2.0, 5.0]})


def twice(df: Any) -> Any:
    return df * 2


def centred(df: Any) -> Any:
    return df - df.mean()


@pytest.fixture
def client(server: RunningServer) -> Any:
    with DeployClient(server.url, auth=server.token) as made:
        yield made


@pytest.fixture
def name() -> str:
    return "B" + uuid.uuid4().hex[:8]


def test_both_forms_publish_it_and_updates_keep_it(client: DeployClient, name: str) -> None:
    types = {"inputs": "df: DataFrame[x: float]", "outputs": {"y": "DataFrame"}}
    made = (
        client.service(name)
        .version("1.0")
        .code_fn(twice)
        .inputs(df="DataFrame[x: float]")
        .outputs(y="DataFrame")
        .sample(df=ROWS)
        .batchable()
        .deploy()
    )
    assert made.definition["mlserve"]["batchable"] is True
    dicts = client.deploy_service(
        name, "2.0", code_fn=twice, sample={"df": ROWS}, batchable=True, **types
    )
    assert dicts.definition["mlserve"]["batchable"] is True
    kept = client.update(name, "2.0", description="new")
    assert kept.definition["mlserve"]["batchable"] is True
    with pytest.raises(TrialFailed, match=r"depends on the other rows: row 1 of y\.x") as caught:
        client.update(name, "2.0", code_fn=centred)
    assert "batchable=False" in caught.value.message
    plain = client.update(name, "2.0", code_fn=centred, batchable=False)
    assert "batchable" not in plain.definition["mlserve"]
    with pytest.raises(TrialFailed):
        client.service(name).version("2.0").batchable().redeploy()


def test_a_service_that_cannot_be_is_told_in_the_callers_words(client: DeployClient) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        client.deploy_service(
            "N", "1.0", code_fn=twice, inputs={"df": float}, outputs={"y": float}, batchable=True
        )
    assert caught.value.message.startswith("batchable is not valid: it needs one input")
    assert "without it (batchable=False) batches" in caught.value.message
    assert caught.value.field == "batchable"


def test_the_words_of_the_proof_are_those_of_arguments() -> None:
    assert as_arguments("without (--no-batchable, batchable=False)") == "without (batchable=False)"
