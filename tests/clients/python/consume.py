"""What an application does with the clients that bravado makes of the two documents.

``python consume.py URL``, with USERNAME and PASSWORD in the environment, and the documents in the
folder. Prints what it got, as JSON. bravado validates what it sends and what comes.
"""

import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from bravado.client import SwaggerClient
from bravado.exception import HTTPError, HTTPUnauthorized
from bravado.requests_client import RequestsClient

URL = sys.argv[1]
LOGIN = {"username": os.environ["USERNAME"], "password": os.environ["PASSWORD"]}
RECORDS = [{"hp": 120, "wt": 2.8}, {"hp": 110, "wt": 2.62}]


def refused(call):
    """The failure of a call, as its document describes it."""
    try:
        call.result()
    except HTTPError as exc:
        return exc
    raise SystemExit("it was not refused")


http = RequestsClient()
clients = {
    name: SwaggerClient.from_spec(json.loads(Path(f"{name}.json").read_text()), URL, http)
    for name in ("service", "core")
}
service, core = clients["service"].TxService, clients["core"]
services = core.Services_Management_APIs
user = clients["service"].User

assert isinstance(refused(services.getAllWebServices()), HTTPUnauthorized)
wrong = refused(user.login(loginRequest={**LOGIN, "password": "wrong"}))
tokens = user.login(loginRequest=LOGIN).result()
http.set_api_key(
    urlsplit(URL).netloc, f"Bearer {tokens.access_token}", "Authorization", param_in="header"
)

called = service.manualTransmission(WebServiceParameters=RECORDS[0]).result()
key = (
    service.StartBatchExecution(BatchWebServiceParameters=RECORDS, parallelCount=2)
    .result()
    .batchExecutionId
)
end = time.monotonic() + 60
while True:
    batch = service.GetBatchExecutionStatus(executionId=key).result()
    if batch.state == "Complete" or time.monotonic() > end:
        break
    time.sleep(0.05)
files = service.GetBatchExecutionFiles(executionId=key, index=1).result()
content = service.GetBatchExecutionFile(executionId=key, index=1, fileName=files[0]).result()
assert content.startswith(b"am_Pred"), content
deleted = service.CancelAndDeleteBatchExecution(executionId=key).result()

listed = services.getAllWebServiceVersionsByName(name="TxService").result()
missing = refused(services.getWebServiceVersion(name="Nothing", version="1.0"))
found = {
    "refused": wrong.status_code,
    "called": called.outputParameters.answer,
    "missingNumber": called.outputParameters.missing,
    "written": called.outputFiles,
    "state": batch.state,
    "batch": [one.outputParameters.answer for one in batch.batchExecutionResults],
    "files": files,
    "deleted": deleted == [key],
    "listed": [
        {"name": one.name, "version": one.version, "operationId": one.operationId} for one in listed
    ],
    "missing": [missing.status_code, missing.swagger_result.exceptionType],
    "status": core.Status_APIs.status().result().statusCode,
}
print(json.dumps(found, default=lambda text: text.decode()))
