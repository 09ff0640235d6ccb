"""A program as people wrote them for Machine Learning Server, with the client of that time.

Run by a test under the Python of the tests. It runs under Python 3.7 as well, with the client from
PyPI and nothing else, where nothing in it needs help::

    PYTHONPATH=tests python3.7 tests/e2e/programs/published_client.py URL SERVICE MODEL

MODEL is a file with the bytes of ``serialize_model``: of ``am`` from ``hp`` and ``wt``. TOKEN, or
USERNAME and PASSWORD, are in the environment. What it saw is printed as one JSON object.
"""

import json
import os
import sys
import time

import pandas as pd
from support import published_client

DeployClient, MLServer = published_client.load()


def init():
    import math

    assert math.pi > 3


def manualTransmission(hp, wt):
    import pandas as pd

    am = weights["intercept"] + weights["hp"] * hp + weights["wt"] * wt  # noqa: F821
    answer = pd.DataFrame({"am_Pred": [am]})
    answer.to_csv("answer.csv", index=False)
    return answer


def main(url, name, model_path):
    environment = os.environ
    auth = environment.get("TOKEN") or (environment["USERNAME"], environment["PASSWORD"])
    client = DeployClient(url, use=MLServer, auth=auth)
    # What a linear regression makes of the 32 cars of R's mtcars.
    weights = {
        "intercept": 1.547429724801912,
        "hp": 0.0027382786541119467,
        "wt": -0.4795558240351101,
    }
    deployed = (
        client.service(name)
        .version("1.0")
        .code_fn(manualTransmission, init)
        .inputs(hp=float, wt=float)
        .outputs(answer=pd.DataFrame)
        .objects(weights=weights)
        .artifacts(["answer.csv", "never.png"])
        .description("first")
        .deploy()
    )
    seen = {"python": list(sys.version_info[:2]), "first": answer_of(deployed)}
    client.service(name).version("1.0").description("second").redeploy()
    service = client.get_service(name)
    seen["description"] = service.capabilities()["description"]
    seen["second"] = answer_of(service)
    seen["permissions"] = [
        item["myPermissionOnService"] for item in client.list_services(name, version="1.0")
    ]
    seen["batch"] = batch_of(service)
    with open(model_path, "rb") as stream:
        realtime = client.deploy_realtime(
            name + "RT", version="1.0", serialized_model=stream.read()
        )
    scored = realtime.consume(pd.DataFrame({"hp": [120.0], "wt": [2.8]}))
    seen["realtime"] = scored.output("outputData")["am_Pred"].tolist()
    for one in (name, name + "RT"):
        seen["deleted " + one] = client.delete_service(one, version="1.0")
    print(json.dumps(seen))


def answer_of(service):
    response = service.manualTransmission(120, 2.8)
    return {
        "am_Pred": response.output("answer")["am_Pred"].tolist(),
        "answer.csv": response.artifact("answer.csv", encoding="utf-8"),
        "never.png": response.artifact("never.png"),
        "console": response.console_output,
        "error": response.error,
    }


def batch_of(service):
    records = pd.DataFrame({"hp": [110.0, 120.0], "wt": [2.62, 2.8]})
    batch = service.batch(records, parallel_count=2).start()
    deadline = time.time() + 60
    results = batch.results()
    while results.state not in ("Complete", "Failed") and time.time() < deadline:
        time.sleep(0.05)
        results = batch.results()
    values = [results.execution(i).output("answer")["am_Pred"][0] for i in range(2)]
    files = batch.list_artifacts(1)
    batch.cancel()
    return {"state": results.state, "values": values, "files": files}


if __name__ == "__main__":
    main(*sys.argv[1:])
