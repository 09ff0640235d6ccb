"""Every path and verb of the published core API, driven with real data and held to its document.

``core_api_shape.json`` is the document that Machine Learning Server 9.3 published, without its
sentences. Every reply is validated against it, and each test must have driven every verb of its
paths, with success and with at least one failure.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dill
import httpx
import pytest
from jsonschema import Draft4Validator
from support.accounts import PASSWORD, add_accounts
from support.bodies import definition
from support.realtime_models import linear
from support.running_server import RunningServer, start_server

Json = dict[str, Any]
SHAPE: Json = json.loads(
    (Path(__file__).parents[1] / "contract" / "data" / "core_api_shape.json").read_text("utf-8")
)
CODE = """
print("hello")
z = x + y
with open("made.txt", "w") as f:
    _ = f.write("made")
"""
NOBODY = str(uuid.uuid4())  # no session, no snapshot
# The document does not say which properties a reply must have. All, but these.
OPTIONAL = {
    "AccessTokenResponse": set(),
    "StatusResponse": {"components", "details"},
    "SwaggerJsonResponse": set(),
    "Session": set(),
}


def corrected(shape: Json) -> Json:
    """The document, where it contradicts replies that real servers printed: those win."""
    found = copy.deepcopy(shape)
    schemas = found["definitions"]
    for name, schema in schemas.items():
        schema["required"] = sorted(set(schema.get("properties", ())) - OPTIONAL.get(name, set()))
    web_service = schemas["WebService"]["properties"]
    # Of a version that was published without them, or whose code the reader may not see.
    for name in ("snapshotId", "initCode", "code", "description", "operationId"):
        web_service[name]["type"] = ["string", "null"]
    # A variable can be any JSON value: a number, an array.
    del schemas["WorkspaceObject"]["properties"]["value"]["type"]
    # The printed status has null for what a part does not have.
    for name in ("components", "details"):
        schemas["StatusResponse"]["properties"][name]["type"] = ["object", "null"]
    # ... and plain values among the details.
    del schemas["StatusResponse"]["properties"]["details"]["additionalProperties"]
    # It would allow objects only as the values of a Swagger document.
    schemas["SwaggerJsonResponse"] = {"type": "object"}
    # The answer to a revoked token holds no tokens.
    revoke = found["paths"]["/login/refreshToken"]["delete"]["responses"]["200"]
    revoke["schema"] = {"type": "object"}
    return found


CORE = corrected(SHAPE)
EVERYTHING = {(path, verb) for path, verbs in SHAPE["paths"].items() for verb in verbs}
DRIVEN_BY: dict[str, str] = {}


class Driver:
    """Sends requests that the document knows, and holds the replies to it."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.seen: dict[tuple[str, str], set[bool]] = {}

    def __call__(
        self, verb: str, path: str, status: int, *, query: Json | None = None, **sent: Any
    ) -> Any:
        """``{name}`` and the like are taken from ``sent``; the rest goes to httpx.

        Returns the JSON of the reply, or its bytes where the document says it is a file.
        """
        names = re.findall(r"\{(\w+)\}", path)
        address = path.format(**{name: sent.pop(name) for name in names})
        operation = CORE["paths"][path][verb.lower()]
        reply = self.client.request(verb, address.lstrip("/"), params=query, **sent)
        assert reply.status_code == status, (verb, address, reply.status_code, reply.text)
        response = operation["responses"].get(str(status))
        if response is None:
            assert status >= 400, f"{verb} {path}: {status} is not in the document"
            response = operation["responses"]["default"]
        self.seen.setdefault((path, verb.lower()), set()).add(status < 400)
        schema = response.get("schema")
        if schema == {"type": "file"}:
            return reply.content
        found = reply.json() if reply.content else None
        if schema is not None:
            assert reply.headers["Content-Type"].startswith("application/json")
            root = {**copy.deepcopy(schema), "definitions": CORE["definitions"]}
            problems = [e.message for e in Draft4Validator(root).iter_errors(found)]
            assert problems == [], (verb, address, found)
        return found


def drives(*prefixes: str) -> Any:
    """Marks a test as the one that drives all verbs of these paths, by the first part."""

    def mark(test: Any) -> Any:
        for prefix in prefixes:
            DRIVEN_BY[prefix] = test.__name__
        return pytest.mark.parametrize("prefixes", [prefixes], ids=["-".join(prefixes)])(test)

    return mark


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("core")
    running = start_server(folder, base_url="/user/x/")
    try:
        add_accounts(running, "admin", "guest")
        yield running
    finally:
        running.stop()


@pytest.fixture
def drive(server: RunningServer, prefixes: tuple[str, ...]) -> Iterator[Driver]:
    with httpx.Client(base_url=server.prefix, headers=server.headers, timeout=60) as client:
        driver = Driver(client)
        yield driver
    expected = {key for key in EVERYTHING if key[0].split("/")[1] in prefixes}
    assert set(driver.seen) == expected
    for key, seen in driver.seen.items():
        assert seen >= ({True, False} if takes_anything(*key) else {True}), key


def takes_anything(path: str, verb: str) -> bool:
    """Whether a request could ask for something wrong: a list of all takes nothing."""
    return bool(CORE["paths"][path][verb].get("parameters"))


@contextlib.contextmanager
def as_guest(drive: Driver, server: RunningServer) -> Iterator[Driver]:
    """The same driver, as another user."""
    body = {"username": "guest", "password": PASSWORD}
    token = httpx.post(f"{server.prefix}login", json=body).json()["access_token"]
    own = drive.client
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server.prefix, headers=headers, timeout=60) as client:
        drive.client = client
        try:
            yield drive
        finally:
            drive.client = own


def form(**parts: Any) -> Json:
    """For httpx: ``model`` and ``file`` are files, the rest is text."""
    files = {k: v for k, v in parts.items() if k in ("model", "file")}
    return {"data": {k: v for k, v in parts.items() if k not in files}, "files": files}


def test_every_path_has_its_test() -> None:
    assert {path.split("/")[1] for path, _ in EVERYTHING} == set(DRIVEN_BY)
    assert len(EVERYTHING) == 43


@drives("login")
def test_login(drive: Driver, prefixes: tuple[str, ...]) -> None:
    drive.client.headers.pop("Authorization")
    login, refresh = "/login", "/login/refreshToken"
    drive("POST", login, 401, json={"username": "admin", "password": "wrong"})
    drive("POST", login, 400, json={"username": "admin"})
    first = drive("POST", login, 200, json={"username": "admin", "password": PASSWORD})
    assert (first["token_type"], first["expires_in"]) == ("Bearer", 3600)
    second = drive("POST", refresh, 200, json={"refreshToken": first["refresh_token"]})
    bearer = {"Authorization": f"Bearer {second['access_token']}"}
    assert drive.client.get("services", headers=bearer).status_code == 200
    drive("POST", refresh, 401, json={"refreshToken": "0/none"})
    drive("DELETE", refresh, 200, query={"refreshToken": second["refresh_token"]})
    drive("DELETE", refresh, 401, query={"refreshToken": second["refresh_token"]})
    assert drive.client.get("services", headers=bearer).status_code == 401


@drives("services")
def test_services_and_their_pools(
    drive: Driver, prefixes: tuple[str, ...], server: RunningServer
) -> None:
    named, one = "/services/{name}", "/services/{name}/{version}"
    v1 = {"name": "AddOne", "version": "1.0"}
    assert drive("GET", "/services", 200) == []
    drive("POST", one, 201, **v1, json=definition(description="Adds one."))
    drive("POST", one, 409, **v1, json=definition("y = x + 2"))
    drive("POST", one, 400, name="AddOne", version="2.0", json=definition("y = ("))
    version = drive("POST", named, 201, name="AddOne", json=definition("y = x + 3")).split("/")[-1]
    assert uuid.UUID(version)
    drive("POST", named, 400, name="AddOne", json=definition("y = ("))
    found = drive("GET", named, 200, name="AddOne")
    assert [item["version"] for item in found] == ["1.0", version]
    drive("GET", named, 400, name="no name")
    drive("PATCH", one, 200, **v1, json={"description": "Still adds one."})
    drive("PATCH", one, 404, name="AddOne", version="9", json={"description": "x"})
    (item,) = drive("GET", one, 200, **v1)
    assert item["description"] == "Still adds one."
    assert item["inputParameterDefinitions"] == [{"name": "x", "type": "numeric"}]
    drive("GET", one, 404, name="AddOne", version="9")
    with as_guest(drive, server):
        (item,) = drive("GET", one, 200, **v1)
        assert (item["code"], item["myPermissionOnService"]) == (None, "read only")
        drive("DELETE", one, 403, **v1)
        drive("POST", f"{one}/pool", 403, **v1, json={"InitialPoolSize": 1, "MaxPoolSize": 1})
    pool = f"{one}/pool"
    assert drive("GET", pool, 200, **v1)[0]["Status"] == "NotFound"
    drive("POST", pool, 200, **v1, json={"InitialPoolSize": 1, "MaxPoolSize": 2})
    drive("POST", pool, 400, **v1, json={"InitialPoolSize": 3, "MaxPoolSize": 2})
    eventually(lambda: drive("GET", pool, 200, **v1)[0]["Status"] == "Success")
    drive("GET", pool, 404, name="AddOne", version="9")
    drive("DELETE", pool, 404, name="AddOne", version="9")
    drive("DELETE", pool, 200, **v1)
    assert drive("GET", pool, 200, **v1)[0]["status"] == "NotFound"
    drive("DELETE", one, 200, **v1)
    drive("DELETE", one, 410, **v1)
    drive("DELETE", one, 200, name="AddOne", version=version)
    assert [v for v in drive("GET", "/services", 200) if v["name"] == "AddOne"] == []


@drives("realtime-services")
def test_realtime_services(drive: Driver, prefixes: tuple[str, ...]) -> None:
    named, one = "/realtime-services/{name}", "/realtime-services/{name}/{version}"
    v1 = {"name": "Attitude", "version": "1.0"}
    model, other = linear(1.0), linear(2.0)
    drive("POST", one, 201, **v1, **form(model=model, description="Rates."))
    drive("POST", one, 409, **v1, **form(model=other))
    drive("POST", one, 400, name="Attitude", version="2.0", **form(model=b"blob no model"))
    drive("POST", named, 201, name="Attitude", **form(model=model))
    drive("POST", named, 400, name="Attitude", **form(model=b"blob no model"))
    drive("PATCH", one, 200, **v1, **form(model=other, operationId="rate"))
    drive("PATCH", one, 404, name="Attitude", version="9", **form(model=other))
    reply = drive.client.get("services/Attitude/1.0").json()
    assert (reply[0]["runtimeType"], reply[0]["operationId"]) == ("Realtime", "rate")
    for item in drive.client.get("services/Attitude").json():
        drive.client.delete(f"services/Attitude/{item['version']}")


@drives("api")
def test_the_document_of_a_service(drive: Driver, prefixes: tuple[str, ...]) -> None:
    path = "/api/{name}/{version}/swagger.json"
    drive.client.post("services/Doc/1.0", json=definition()).raise_for_status()
    found = drive("GET", path, 200, name="Doc", version="1.0")
    assert (found["swagger"], found["info"]["title"]) == ("2.0", "Doc")
    drive("GET", path, 404, name="Doc", version="2.0")
    drive.client.delete("services/Doc/1.0").raise_for_status()


@drives("sessions", "snapshots")
def test_sessions_and_snapshots(drive: Driver, prefixes: tuple[str, ...]) -> None:
    one = "/sessions/{id}"
    files, objects = f"{one}/files", f"{one}/workspace"
    drive("POST", "/sessions", 400, json={"runtimeType": "COBOL"})
    id = drive("POST", "/sessions", 201, json={"runtimeType": "Python", "name": "mine"})[
        "sessionId"
    ]
    (session,) = drive("GET", "/sessions", 200)
    assert (session["id"], session["name"]) == (id, "mine")

    run = {
        "code": CODE,
        "inputParameters": [{"name": "x", "value": 1.5}],
        "outputParameters": ["z", "lists"],
    }
    drive("POST", f"{one}/workspace/{{objectName}}", 200, id=id, objectName="y", **raw(2))
    drive("POST", f"{one}/workspace/{{objectName}}", 400, id=id, objectName="no name", **raw(2))
    drive("POST", f"{one}/execute", 200, id=id, json={"code": "lists = [1, 'a', None]"})
    done = drive("POST", f"{one}/execute", 200, id=id, json=run)
    assert done["success"] is True
    assert {item["name"]: item["value"] for item in done["outputParameters"]} == {
        "z": 3.5,
        "lists": [1, "a", None],
    }
    assert (done["consoleOutput"], done["changedFiles"]) == ("hello\n", ["made.txt"])
    failed = drive("POST", f"{one}/execute", 400, id=id, json={"code": "1 / 0"})
    assert (failed["success"], failed["outputParameters"]) == (False, [])
    assert "ZeroDivisionError" in failed["errorMessage"]
    drive("POST", f"{one}/execute", 404, id=NOBODY, json=run)
    assert drive("GET", f"{one}/console-output", 200, id=id)["consoleOutput"] is not None
    drive("GET", f"{one}/console-output", 404, id=NOBODY)
    assert drive("GET", f"{one}/history", 200, id=id)[1] == CODE
    drive("GET", f"{one}/history", 404, id=NOBODY)

    drive("POST", files, 201, id=id, **form(file=("sent.csv", b"a,b\n1,2\n")))
    drive("POST", files, 400, id=id, **form(description="no file at all", file=("", b"")))
    assert drive("GET", files, 200, id=id) == ["made.txt", "sent.csv"]
    drive("GET", files, 404, id=NOBODY)
    assert drive("GET", f"{files}/{{fileName}}", 200, id=id, fileName="made.txt") == b"made"
    drive("GET", f"{files}/{{fileName}}", 404, id=id, fileName="none.txt")
    drive("DELETE", f"{files}/{{fileName}}", 200, id=id, fileName="made.txt")
    drive("DELETE", f"{files}/{{fileName}}", 404, id=id, fileName="made.txt")

    assert set(drive("GET", objects, 200, id=id)) >= {"x", "y", "z"}
    drive("GET", objects, 404, id=NOBODY)
    pickled = drive("GET", f"{objects}/{{objectName}}", 200, id=id, objectName="z")
    assert dill.loads(pickled) == 3.5
    drive("GET", f"{objects}/{{objectName}}", 404, id=id, objectName="none")
    drive("DELETE", f"{objects}/{{objectName}}", 200, id=id, objectName="z")
    drive("DELETE", f"{objects}/{{objectName}}", 404, id=id, objectName="z")

    kept = drive("POST", f"{one}/snapshot", 201, id=id, json={"name": "kept"})["snapshotId"]
    drive("POST", f"{one}/snapshot", 404, id=NOBODY, json={"name": None})
    (snapshot,) = drive("GET", "/snapshots", 200)
    assert (snapshot["id"], snapshot["name"]) == (kept, "kept")
    content = drive("GET", "/snapshots/{id}", 200, id=kept)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert any(name.endswith("sent.csv") for name in archive.namelist())
    drive("GET", "/snapshots/{id}", 404, id=NOBODY)
    drive("POST", f"{one}/cancel", 200, id=id)
    drive("POST", f"{one}/cancel", 404, id=NOBODY)
    drive("DELETE", one, 200, id=id)
    drive("DELETE", one, 410, id=id)
    other = drive("POST", "/sessions", 201, json={"runtimeType": "Python"})["sessionId"]
    load = f"{one}/loadsnapshot/{{snapshotId}}"
    drive("POST", load, 200, id=other, snapshotId=kept)
    drive("POST", load, 404, id=other, snapshotId=NOBODY)
    done = drive("POST", f"{one}/execute", 200, id=other, json={"code": "w = y", **wanted("w")})
    assert done["outputParameters"] == [{"name": "w", "value": 2}]
    assert drive("GET", files, 200, id=other) == ["sent.csv"]
    drive("DELETE", f"{one}/force", 200, id=other)
    drive("DELETE", f"{one}/force", 410, id=other)
    drive("DELETE", "/snapshots/{id}", 200, id=kept)
    drive("DELETE", "/snapshots/{id}", 404, id=kept)
    assert drive("GET", "/sessions", 200) == drive("GET", "/snapshots", 200) == []


@drives("status", "computenodes")
def test_status_and_compute_nodes(
    drive: Driver, prefixes: tuple[str, ...], server: RunningServer
) -> None:
    assert drive("GET", "/status", 200)["statusCode"] == "pass"
    nodes = drive("GET", "/computenodes", 200)["computeNodes"]
    assert len(nodes) == 1
    for verb in ("POST", "PUT", "DELETE"):
        drive(verb, "/computenodes", 400, json={"entries": ["no address"]})
        drive(verb, "/computenodes", 200, json={"entries": [] if verb == "DELETE" else nodes})
        with as_guest(drive, server):
            drive(verb, "/computenodes", 403, json={"entries": nodes})
    with as_guest(drive, server):
        drive("GET", "/computenodes", 403)


def raw(value: object) -> Json:
    """An object as clients send it."""
    return {"content": dill.dumps(value), "headers": {"Content-Type": "application/octet-stream"}}


def wanted(*names: str) -> Json:
    return {"outputParameters": list(names)}


def eventually(holds: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
