"""A data scientist's script: what it publishes is defined in it. Prints what it got as JSON.

Run as ``python author.py URL TOKEN``. The first part is a program for Machine Learning Server's
published client with another import and a token for the password; nothing else was changed.
"""

import json
import sys

import pandas as pd
from sklearn.linear_model import LinearRegression

from jupyter_mlserve import DeployClient
from jupyter_mlserve.client.deploy import MLServer

URL, TOKEN, DATA = sys.argv[1:]
found = {}

cars = pd.read_csv(DATA)
cars_model = LinearRegression().fit(cars[["hp", "wt"]], cars["am"])
factor = 10


def init():
    import pandas as pd  # noqa: F401


def manualTransmission(hp, wt):
    import pandas as pd

    print("scoring")
    newData = pd.DataFrame({"hp": [hp], "wt": [wt]})
    answer = pd.DataFrame({"am_Pred": cars_model.predict(newData)})
    answer.to_csv("answer.csv", index=False)
    return answer


client = DeployClient(URL, use=MLServer, auth=TOKEN)
service = (
    client.service("TxFluent")
    .version("1.0")
    .code_fn(manualTransmission, init)
    .inputs(hp=float, wt=float)
    .outputs(answer=pd.DataFrame)
    .models(cars_model=cars_model)
    .description("My first python model")
    .artifacts(["answer.csv"])
    .deploy()
)
res = service.manualTransmission(120, 2.8)
found["fluent"] = {
    "answer": res.output("answer")["am_Pred"].tolist(),
    "csv": res.artifact("answer.csv", encoding="utf-8"),
    "console": res.console_output,
    "capabilities": service.capabilities(),
    "swagger": json.loads(service.swagger())["info"]["title"],
    "openapi": json.loads(service.openapi())["openapi"],
}
service = client.service("TxFluent").version("1.0").description("updated").redeploy()
found["redeployed"] = {
    "description": service.capabilities()["description"],
    "answer": service.manualTransmission(hp=120, wt=2.8).output("answer")["am_Pred"].tolist(),
    "artifacts": service.capabilities()["artifacts"],
}
found["versions"] = [(s["name"], s["version"]) for s in client.list_services("TxFluent")]
found["deleted"] = client.delete_service("TxFluent", version="1.0")


def scaled(x: float) -> float:
    return x * factor


def times_ten(x: float) -> float:
    return scaled(x)


service = client.service("TimesTen").code_fn(times_ten).deploy()
found["helpers"] = [
    len(service.version),
    service.inputs,
    list(service.times_ten(4.2).outputs.values()),
]

factor = 20
service = client.redeploy_service("TimesTen", code_fn=times_ten)
found["new value"] = list(service.times_ten(4.2).outputs.values())


class Doubler:
    """A model of the author's own class."""

    def __init__(self, by):
        self.by = by

    def predict(self, x):
        return x * self.by


parts = {"inputs": {"x": int}, "outputs": {"y": int}}
client.deploy_service(
    "OwnClass", "1", code_str="y = model.predict(x)", models={"model": Doubler(2)}, **parts
)
service = client.redeploy_service("OwnClass", models={"model": Doubler(3)})
found["own class"] = service.consume(7).output("y")
del Doubler
service = client.redeploy_service("OwnClass", code_str="y = model.predict(x) + 1")
found["new code"] = service.consume(7).output("y")


def start():
    global calls
    calls = [0]


def count(x):
    calls[0] += 1
    return calls[0]


service = client.deploy_service("Counter", "1", code_fn=count, init_fn=start, **parts)
found["init"] = [service.count(0).output("y"), service.count(0).output("y")]

print(json.dumps(found))
