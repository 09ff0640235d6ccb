"""Realtime services with the published client: a compiled model instead of its serialized one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from support import attitude

from jupyter_mlserve import serialize_model


@pytest.fixture(scope="module")
def ratings(client: Any) -> Any:
    return (
        client.realtime_service("RatingService")
        .version("1.0")
        .serialized_model(serialize_model(attitude.model(), attitude.attitude(), "rating"))
        .description("This is a real-time model.")
        .deploy()
    )


def contract_part(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: one[key] for key in ("name", "type")} for one in parameters]


def test_it_has_the_fixed_schema(ratings: Any) -> None:
    told = ratings.capabilities()
    assert told["runtime"] == "Realtime"
    assert told["description"] == "This is a real-time model."
    # Beside them stand the columns, which the product does not know.
    assert contract_part(told["inputs"]) == [{"name": "inputData", "type": "data.frame"}]
    assert contract_part(told["outputs"]) == [{"name": "outputData", "type": "data.frame"}]
    assert told["inputs_encoded"] == [{"name": "inputData", "type": "pandas.DataFrame"}]
    assert told["artifacts"] == []
    assert told["operation_id"] == "consume"


def test_the_ratings_are_those_of_the_sample(ratings: Any) -> None:
    # The sample sends the response, too, as the formula of its model names it.
    answer = ratings.consume(attitude.attitude().head(5))
    assert answer.error == ""
    assert list(answer.raw_outputs) == ["outputData"]
    assert answer.raw_outputs["outputData"]["rating_Pred"][0] == pytest.approx(
        51.110295255533131, rel=1e-12
    )
    found = answer.output("outputData")
    assert list(found.columns) == ["rating_Pred"]
    np.testing.assert_allclose(found["rating_Pred"], attitude.FIRST_FIVE, atol=5e-7)


def test_a_model_is_deployed_and_replaced(
    client: Any, cars: pd.DataFrame, cars_model: LinearRegression
) -> None:
    columns = ["hp", "wt", "am"]
    model = serialize_model(cars_model, cars[columns], "am")
    service = client.deploy_realtime("LinModService", version="1.0", serialized_model=model)
    rows = cars[columns].head(5)
    first = service.consume(rows).output("outputData")["am_Pred"]
    np.testing.assert_allclose(first, cars_model.predict(rows[["hp", "wt"]]), rtol=1e-12)

    constant = LinearRegression().fit(cars[["hp", "wt"]], 0 * cars["am"] + 1)
    constant_model = serialize_model(constant, cars[columns], "am")
    service = (
        client.realtime_service("LinModService")
        .version("1.0")
        .alias("rate")
        .serialized_model(constant_model)
        .redeploy()
    )
    assert service.capabilities()["operation_id"] == "rate"
    second = service.rate(rows).output("outputData")["am_Pred"]
    np.testing.assert_allclose(second, 1, rtol=1e-12)
    assert len(client.list_services("LinModService")) == 1


def test_a_model_without_a_version_has_one_of_the_server(client: Any) -> None:
    model = serialize_model(attitude.model(), attitude.attitude(), "rating")
    service = client.deploy_realtime("UnnamedRating", serialized_model=model)
    version = service.capabilities()["version"]
    assert len(version) == 36
    assert client.delete_service("UnnamedRating", version=version) is True
