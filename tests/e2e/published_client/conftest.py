"""A real server behind a base URL, as a hub gives one, and Microsoft's own client at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from support import published_client
from support.running_server import RunningServer, start_server

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("server"), base_url="/user/ann/")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def client(server: RunningServer) -> Any:
    """Signed in with the token of Jupyter, which the client sends as it is."""
    deploy_client, ml_server = published_client.load()
    return deploy_client(server.prefix, use=ml_server, auth=server.token)


@pytest.fixture(scope="session")
def cars() -> pd.DataFrame:
    return pd.read_csv(NOTEBOOKS / "mtcars.csv")


@pytest.fixture(scope="session")
def cars_model(cars: pd.DataFrame) -> LinearRegression:
    """Of the samples: whether a car has a manual transmission, from its power and its weight."""
    return LinearRegression().fit(cars[["hp", "wt"]], cars["am"])


@pytest.fixture(scope="session")
def transmission(client: Any, cars_model: LinearRegression) -> Any:
    """TxService 1.0, the service of the samples, as its ``deploy()`` returned it."""
    return deploy_transmission(client, "TxService", cars_model)


def deploy_transmission(client: Any, name: str, model: LinearRegression) -> Any:
    return (
        client.service(name)
        .version("1.0")
        .code_fn(manualTransmission, init)
        .inputs(hp=float, wt=float)
        .outputs(answer=pd.DataFrame)
        .models(cars_model=model)
        .objects(threshold=5)
        .artifacts(["answer.csv", "never.png"])
        .description("My first python model")
        .deploy()
    )


def init() -> None:
    import pandas as pd  # noqa: F401


# The client sends the text of the function; its globals are what goes along as models and objects.
def manualTransmission(hp, wt):  # type: ignore[no-untyped-def]
    import pandas as pd

    new_car = pd.DataFrame({"hp": [hp], "wt": [wt]})
    answer = pd.DataFrame({"am_Pred": cars_model.predict(new_car)})
    print("scored one row")
    answer.to_csv("answer.csv")
    return answer
