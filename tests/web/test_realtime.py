"""Publishing compiled models: what is stored, what is refused, and what an update changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from support import attitude
from support.bodies import definition

from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.store.catalog import Catalog

ROW = {"inputData": attitude.attitude().iloc[:1, 1:].to_dict("list")}
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


async def rated(http: Any, path: str = "Attitude/1.0") -> float:
    reply = await http("POST", f"api/{path}", ROW)
    assert reply.status == 200, reply.json
    (value,) = reply.json["outputParameters"]["outputData"]["rating_Pred"]
    return float(value)


async def test_the_life_of_a_realtime_service(
    http: Any, deploy: Any, node: Any, attitude_model: bytes, higher_model: bytes
) -> None:
    reply = await deploy("Attitude/1.0", model=attitude_model, description="Grüße")
    assert reply.status == 201
    assert reply.headers["Location"].endswith("/mlserve/services/Attitude/1.0")
    assert reply.headers["Preference-Applied"] == "return=representation"
    service, trial = reply.json["service"], reply.json["trial"]
    assert (service["runtimeType"], service["code"]) == ("Realtime", None)
    assert (service["snapshotId"], service["description"]) == (None, "Grüße")
    assert service["outputFileNames"] == []
    (columns,) = [item["columns"] for item in service["inputParameterDefinitions"]]
    assert [column["name"] for column in columns] == list(attitude.NAMES[1:])
    header = unpack(attitude_model).header
    assert service["mlserve"]["proof"] == header["proof"]
    # The trial scored the example row; so does anybody who sends it.
    (expected,) = trial["result"]["outputParameters"]["outputData"]["rating_Pred"]
    example = {name: [value] for name, value in service["mlserve"]["example"].items()}
    called = await http("POST", "api/Attitude/1.0", {"inputData": example})
    assert called.json["outputParameters"]["outputData"]["rating_Pred"] == [expected]
    assert trial["load_seconds"] > 0
    assert trial["call_seconds"] > 0
    low = await rated(http)

    # The same again changes nothing; other content needs an update.
    again = await deploy("Attitude/1.0", model=attitude_model, description="Grüße")
    assert (again.status, again.json["unchanged"], again.json["trial"]) == (200, True, None)
    other = await deploy("Attitude/1.0", model=higher_model)
    assert (other.status, other.json["exceptionType"]) == (409, "VersionExists")
    assert "publish_realtime --update" in other.json["message"]

    updated = await deploy("Attitude/1.0", "PATCH", model=higher_model, operationId="rate")
    assert (updated.status, updated.json["service"]["mlserve"]["state"]["number"]) == (200, 2)
    assert updated.json["trial"]["result"]["success"] is True
    assert updated.json["service"]["description"] == "Grüße"
    assert await rated(http) == pytest.approx(low + 1000)
    swagger = (await http("GET", "api/Attitude/1.0/swagger.json")).json
    file = swagger["paths"]["/api/Attitude/1.0/batch/{executionId}/{index}/files/{fileName}"]
    # Swagger 2.0 has this type for answers; the validator does not know it.
    assert file["get"]["responses"]["200"]["schema"].pop("type") == "file"
    validate(swagger)
    assert swagger["paths"]["/api/Attitude/1.0"]["post"]["operationId"] == "rate"
    validate((await http("GET", "api/Attitude/1.0/openapi.json")).json)

    states = (await http("GET", "services/Attitude/1.0/states")).json
    assert [state["mlserve"]["state"]["number"] for state in states] == [1, 2]
    back = await http("POST", "services/Attitude/1.0/rollback", {"state": 1})
    assert back.status == 200
    assert await rated(http) == low
    assert (await http("DELETE", "services/Attitude/1.0")).status == 200
    gone = await http("POST", "api/Attitude/1.0", ROW)
    assert (gone.status, gone.json["exceptionType"]) == (410, "VersionDeleted")
    late = await deploy("Attitude/1.0", "PATCH", description="x")
    assert (late.status, late.json["exceptionType"]) == (410, "VersionDeleted")
    history = (await http("GET", "services/Attitude/history")).json["history"]
    assert [event["action"] for event in history] == ["publish", "update", "rollback", "delete"]
    assert node.held == 0


async def test_the_published_clients_own_requests(
    http: Any, raw: Any, attitude_model: bytes
) -> None:
    """Its parts, in its order and spelling; the answers are JSON strings."""
    boundary = "250db348691d41f13579815e9fce7f1f"

    def body(field: str, text: str) -> bytes:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n'
        head += f'--{boundary}\r\nContent-Disposition: form-data; name="model"; filename="model"'
        return f"{head}\r\n\r\n".encode() + attitude_model + f"\r\n--{boundary}--\r\n".encode()

    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    path = "realtime-services/LinModService/1.0"
    reply = await http("POST", path, body("description", "A model."), headers=headers)
    assert (reply.status, reply.json) == (201, "/services/LinModService/1.0")
    reply = await http("PATCH", path, body("operationId", "rate"), headers=headers)
    assert (reply.status, reply.json) == (200, "/services/LinModService/1.0")
    (service,) = (await http("GET", "services/LinModService/1.0")).json
    assert (service["description"], service["operationId"]) == ("A model.", "rate")
    unnamed = await http(
        "POST", "realtime-services/LinModService", body("description", "x"), headers=headers
    )
    assert unnamed.status == 201
    version = unnamed.json.rpartition("/")[2]
    assert GUID.match(version)
    # In two pieces of a chunked body.
    connection = await raw()
    await connection.send(
        "POST",
        "realtime-services/Chunked/1",
        f"Content-Type: {headers['Content-Type']}",
        "Transfer-Encoding: chunked",
    )
    data = body("description", "x")
    for piece in (data[:700], data[700:]):
        connection.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
        await connection.writer.drain()
    connection.write(b"0\r\n\r\n")
    status, _, answer = await connection.answer()
    assert (status, json.loads(answer)) == (201, "/services/Chunked/1")


async def test_words_change_without_a_model_and_without_a_trial(
    http: Any, deploy: Any, node: Any, attitude_model: bytes
) -> None:
    await deploy("Attitude/1.0", model=attitude_model, description="One.", operationId="rate")
    await rated(http)
    before = (await http("GET", "status")).json["components"]["realtime"]
    changed = await deploy("Attitude/1.0", "PATCH", description="Two.")
    assert (changed.status, changed.json["trial"]) == (200, None)
    service = changed.json["service"]
    assert (service["description"], service["operationId"]) == ("Two.", "rate")
    cleared = await deploy("Attitude/1.0", "PATCH", operationId="")
    service = cleared.json["service"]
    assert (service["description"], service["operationId"]) == ("Two.", None)
    nothing = await deploy("Attitude/1.0", "PATCH", description="Two.")
    assert (nothing.status, nothing.json["unchanged"]) == (200, True)
    # Also through the address that all services share.
    patched = await http(
        "PATCH", "services/Attitude/1.0", {"description": "Three.", "operationId": "score"}
    )
    assert patched.status == 200
    (service,) = (await http("GET", "services/Attitude/1.0")).json
    assert (service["description"], service["operationId"]) == ("Three.", "score")
    await rated(http)
    after = (await http("GET", "status")).json["components"]["realtime"]
    assert [version["loads"] for version in after["versions"]] == [1]
    assert after["pid"] == before["pid"]


async def test_code_and_models_do_not_mix(
    http: Any, deploy: Any, publish: Any, attitude_model: bytes
) -> None:
    await publish()
    await deploy("Attitude/1.0", model=attitude_model)
    reply = await deploy("AddOne/1.0", model=attitude_model)
    assert (reply.status, reply.json["exceptionType"]) == (409, "VersionExists")
    for parts in ({"model": attitude_model}, {"description": "x"}):
        reply = await deploy("AddOne/1.0", "PATCH", **parts)
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidDefinition")
        assert "standard service" in reply.json["message"]
    for body in (definition(), {"code": "y = 1"}, {"runtimeType": "Python"}):
        reply = await http("PATCH", "services/Attitude/1.0", body)
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidDefinition"), body
        assert "realtime-services/Attitude/1.0" in reply.json["message"], body
    reply = await http("POST", "services/Other/1.0", {"runtimeType": "Realtime", "code": ""})
    assert (reply.status, reply.json["fields"]) == (400, "runtimeType")
    assert (await http("POST", "api/AddOne/1.0", {"x": 1})).status == 200
    await rated(http)


async def test_what_is_no_model_is_refused(
    http: Any, deploy: Any, node: Any, attitude_model: bytes
) -> None:
    header = unpack(attitude_model).header
    damaged = bytearray(attitude_model)
    damaged[-10] ^= 1
    wrong = {
        b"": "blob",
        b"blob": "format",
        b"blobMLS1": "cut off",
        b"\x80\x03cdill": "blob",
        attitude_model[:-1]: "cut off",
        attitude_model + b"\n": "length",
        bytes(damaged): "sha256",
        attitude_model.replace(b'"kind"', b'"kinf"'): "kind",
        None: "part 'model'",
    }
    assert header["kind"] == "regression"
    for model, why in wrong.items():
        reply = await deploy("Attitude/1.0", model=model, description="x")
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidDefinition"), why
        assert why in reply.json["message"], reply.json
    reply = await deploy("Attitude/1.0", model=attitude_model, operationId="not an alias")
    assert (reply.status, reply.json["fields"]) == (400, "operationId")
    assert (await http("GET", "services/Attitude")).json == []
    assert blobs(node) == []
    # Nobody had to ask the realtime process.
    assert node.core.realtime.pid is None
    for path in ("bad name/1.0", "Attitude/bad version"):
        reply = await deploy(path.replace(" ", "%20"), model=attitude_model)
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidName")
    assert (await deploy("Nothing/1.0", "PATCH", description="x")).status == 404
    assert node.held == 0


def blobs(node: Any) -> list[Path]:
    return [path for path in (node.settings.data_dir / "blobs").glob("??/*") if path.is_file()]


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


async def test_what_is_no_form_is_refused(http: Any, attitude_model: bytes) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    model, end = part % (b"model", attitude_model), b"--b--\r\n"
    bodies = [
        ({}, b"{}"),
        ({"Content-Type": "application/json"}, b"{}"),
        ({"Content-Type": "multipart/form-data"}, model + end),
        (FORM, b""),
        (FORM, model),
        (FORM, (model + end)[:-500]),
        (FORM, model * 2 + end),
        (FORM, model + part % (b"code", b"1") + end),
        (FORM, model + part % (b"description", b"\xff") + end),
        (FORM, model * 10_000 + end),
    ]
    for method in ("POST", "PATCH"):
        if method == "PATCH":
            good = await http("POST", "realtime-services/A/1", model + end, headers=FORM)
            assert good.status == 201
        for headers, body in bodies:
            reply = await http(method, "realtime-services/A/1", body, headers=headers)
            found = (reply.status, reply.json["exceptionType"])
            assert found == (400, "InvalidInput"), (headers, body[:80])
    for method, path in [
        ("GET", "realtime-services"),
        ("GET", "realtime-services/A"),
        ("PATCH", "realtime-services/A"),
        ("GET", "realtime-services/A/1"),
        ("PUT", "realtime-services/A/1"),
        ("DELETE", "realtime-services/A/1"),
    ]:
        reply = await http(method, path)
        expected = 404 if path == "realtime-services" else 405
        assert reply.status == expected, (method, path)
    assert reply.headers["Allow"] == "POST, PATCH"


async def test_a_hostile_model_is_refused_in_its_trial_and_leaves_no_version(
    http: Any, deploy: Any, attitude_model: bytes, higher_model: bytes
) -> None:
    import onnx

    from jupyter_mlserve.contract.realtime import pack

    found = unpack(attitude_model)
    graph = onnx.load_from_string(found.model)
    graph.graph.node[0].op_type = "Loop"
    header = {key: value for key, value in found.header.items() if key != "sha256"}
    hostile = pack(header, graph.SerializeToString())
    reply = await deploy("Attitude/1.0", model=hostile)
    assert reply.status == 400, reply.json
    assert "so nothing was published" in reply.json["message"]
    assert "Attitude" in reply.json["message"]
    assert (await http("GET", "services/Attitude")).json == []
    assert (await deploy("Attitude/1.0", model=attitude_model)).status == 201
    low = await rated(http)
    reply = await deploy("Attitude/1.0", "PATCH", model=hostile)
    assert reply.status == 400
    assert "so it stays as it was" in reply.json["message"]
    assert await rated(http) == low


async def test_concurrent_updates_of_model_and_words_are_all_kept(
    http: Any, deploy: Any, attitude_model: bytes, higher_model: bytes
) -> None:
    await deploy("Attitude/1.0", model=attitude_model)
    low = await rated(http)
    replies = await asyncio.gather(
        deploy("Attitude/1.0", "PATCH", model=higher_model),
        deploy("Attitude/1.0", "PATCH", description="Words."),
        http("PATCH", "services/Attitude/1.0", {"operationId": "rate"}),
    )
    assert [reply.status for reply in replies] == [200, 200, 200]
    (service,) = (await http("GET", "services/Attitude/1.0")).json
    assert (service["description"], service["operationId"]) == ("Words.", "rate")
    assert await rated(http) == pytest.approx(low + 1000)


async def test_of_two_who_publish_the_same_version_one_wins(
    deploy: Any, attitude_model: bytes, higher_model: bytes
) -> None:
    replies = await asyncio.gather(
        *(deploy("A/1", model=model) for model in (attitude_model, higher_model, attitude_model))
    )
    assert sorted(reply.status for reply in replies) in ([200, 201, 409], [201, 409, 409])


async def test_another_process_publishes_and_deletes(
    http: Any, deploy: Any, node: Any, attitude_model: bytes
) -> None:
    """Calls follow the catalog; the blob is shared."""
    made = (await deploy("Attitude/1.0", model=attitude_model)).json["service"]
    body = node.core.catalog.get("Attitude", "1.0").definition
    with Catalog(node.settings.database) as other:
        body = {**body, "version": "2.0"}
        other.publish("s2", body, made["mlserve"]["contentHash"], "other", any_owner=True)
        assert await rated(http, "Attitude") == await rated(http, "Attitude/2.0")
        other.delete("Attitude", "2.0", "other")
    assert (await http("POST", "api/Attitude/2.0", ROW)).status == 410
    assert await rated(http, "Attitude") > 0
    realtime = (await http("GET", "status")).json["components"]["realtime"]
    assert [version["version"] for version in realtime["versions"]] == ["1.0"]


async def test_a_model_that_was_damaged_or_lost_is_healed_by_publishing_it_again(
    http: Any, deploy: Any, node: Any, attitude_model: bytes
) -> None:
    await deploy("Attitude/1.0", model=attitude_model)
    path = node.core.blobs.path(hashlib.sha256(attitude_model).hexdigest())
    for harm in (lambda: path.unlink(), lambda: path.write_bytes(b"blob" + bytes(500))):
        path.chmod(0o600)
        harm()
        await node.core.realtime.retire(node.core.routes.find("Attitude", "1.0").key)
        reply = await http("POST", "api/Attitude/1.0", ROW)
        assert (reply.status, reply.json["exceptionType"]) == (500, "BundleCorrupt")
        assert "Attitude" in reply.json["message"]
        again = await deploy("Attitude/1.0", model=attitude_model)
        assert (again.status, again.json["unchanged"]) == (200, True)
        assert await rated(http) > 0


class TestCollection:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"blob_grace": 0.0}

    async def test_models_stay_while_a_version_needs_them(
        self, http: Any, deploy: Any, node: Any, attitude_model: bytes, higher_model: bytes
    ) -> None:
        await deploy("A/1", model=attitude_model)
        await deploy("A/1", "PATCH", model=higher_model)
        await deploy("B/1", model=attitude_model)
        digests = {hashlib.sha256(data).hexdigest() for data in (attitude_model, higher_model)}
        for name, left in (("A", {hashlib.sha256(attitude_model).hexdigest()}), ("B", set())):
            assert {path.name for path in blobs(node)} == digests
            await http("DELETE", f"services/{name}/1")
            while node.running:
                await http("GET", "services")
            digests = left
        assert blobs(node) == []


class TestLimits:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"max_model_size": 2000, "storage_quota": 4000}

    async def test_sizes_are_limited_before_during_and_after(
        self, http: Any, deploy: Any, raw: Any, node: Any, attitude_model: bytes
    ) -> None:
        assert len(attitude_model) < 2000
        assert (await deploy("A/1", model=attitude_model)).status == 201
        connection = await raw()
        lines = [f"Content-Type: {FORM['Content-Type']}", f"Content-Length: {2**40}"]
        await connection.send("POST", "realtime-services/A/2", *lines)
        status, _, body = await connection.answer()
        assert (status, json.loads(body)["exceptionType"]) == (413, "TooLarge")
        assert "max_model_size" in json.loads(body)["message"]
        # A chunked one that does not end.
        connection = await raw()
        lines = [f"Content-Type: {FORM['Content-Type']}", "Transfer-Encoding: chunked"]
        await connection.send("POST", "realtime-services/A/2", *lines)
        piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"

        async def send_on() -> None:
            while True:
                connection.write(piece)
                await connection.writer.drain()

        sending = asyncio.ensure_future(send_on())
        status, _, body = await connection.answer()
        assert (status, json.loads(body)["exceptionType"]) == (413, "TooLarge")
        sending.cancel()
        large = large_model(attitude_model, 3000)
        reply = await deploy("A/2", model=large)
        assert (reply.status, reply.json["exceptionType"]) == (413, "TooLarge")
        assert reply.json["fields"] == "model"
        # Many small ones.
        for number in range(3):
            reply = await deploy("A/2", model=large_model(attitude_model, 1900 + number))
        assert (reply.status, reply.json["exceptionType"]) == (507, "OutOfSpace")
        assert node.held == 0
        assert list((node.settings.data_dir / "blobs" / "incoming").iterdir()) == []


def large_model(container: bytes, size: int) -> bytes:
    """A valid container, with ``size`` bytes that are no model."""
    from jupyter_mlserve.contract.realtime import pack

    header = {key: value for key, value in unpack(container).header.items() if key != "sha256"}
    return pack(header, bytes(size))


class TestMemory:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"max_pending": 1_000_000}

    async def test_uploads_on_their_way_are_counted(
        self, raw: Any, deploy: Any, node: Any, attitude_model: bytes
    ) -> None:
        first = await raw()
        lines = [f"Content-Type: {FORM['Content-Type']}", "Content-Length: 800000"]
        await first.send("POST", "realtime-services/A/1", *lines)
        while not node.held:
            await asyncio.sleep(0.01)
        second = await raw()
        await second.send("POST", "realtime-services/A/1", *lines)
        status, headers, body = await second.answer()
        assert (status, json.loads(body)["exceptionType"]) == (429, "TooBusy")
        assert headers["retry-after"] == "1"
        first.writer.transport.abort()
        while node.held:
            await asyncio.sleep(0.01)
        assert (await deploy("A/1", model=attitude_model)).status == 201
