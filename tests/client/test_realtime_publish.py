"""The publish request of a realtime service, and the fluent form, by a server that records."""

from __future__ import annotations

import email
import email.policy
import json
from pathlib import Path
from typing import Any

import pytest
from support.small_server import recorder, reply

from jupyter_mlserve import DeployClient
from jupyter_mlserve.client.address import ServerAddress
from jupyter_mlserve.client.fluent import RealtimeDefinition
from jupyter_mlserve.client.http import Connection
from jupyter_mlserve.client.publishing import Published
from jupyter_mlserve.client.realtime import publish_realtime
from jupyter_mlserve.contract.errors import InvalidDefinition, ServiceNotFound, VersionExists

BLOB = b"blobMLS1" + bytes(range(256)) * 1200
WEB_SERVICE = {"name": "N", "version": "1", "runtimeType": "Realtime"}
TRIAL = {"load_seconds": 0.1, "call_seconds": 0.001, "console": "", "result": {}}
ANSWER = {"service": WEB_SERVICE, "urls": {"api": "/mlserve/api/N/1"}, "trial": TRIAL}
CREATED = reply("201 Created", json.dumps(ANSWER).encode())
UPDATED = reply("200 OK", json.dumps({**ANSWER, "unchanged": False}).encode())
MISSING = reply("404 Not Found", b'{"exceptionType": "ServiceNotFound", "message": "none"}')
EXISTS = reply("409 Conflict", b'{"exceptionType": "VersionExists", "message": "there"}')
FOUND = reply("200 OK", json.dumps([WEB_SERVICE]).encode())


def publish(answers: list[bytes], **options: Any) -> tuple[Published, list[bytes]]:
    with (
        recorder(lambda n, r: answers[n - 1]) as there,
        Connection(ServerAddress(there.url, "t"), timeout=5) as connection,
    ):
        options = {"version": "1", "container": BLOB, **options}
        made = publish_realtime(connection, "N", **options)
    return made, there.requests


def fields(request: bytes) -> dict[str, tuple[str | None, bytes]]:
    """The parts of a multipart body: file name and content by name."""
    head, _, body = request.partition(b"\r\n\r\n")
    kind = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-type:"))
    message = email.message_from_bytes(kind + b"\r\n\r\n" + body, policy=email.policy.HTTP)
    found = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        assert name not in found
        found[name] = (part.get_filename(), part.get_payload(decode=True))
    return found


def verbs(requests: list[bytes]) -> list[str]:
    return [request.partition(b" HTTP")[0].decode() for request in requests]


def test_the_request_is_the_published_contracts() -> None:
    told: list[tuple[str, int, int]] = []
    made, requests = publish(
        [CREATED],
        description="Größe: a real-time model.",
        alias="rate",
        progress=lambda *step: told.append(step),
    )
    assert verbs(requests) == ["POST /mlserve/realtime-services/N/1"]
    assert fields(requests[0]) == {
        "description": (None, "Größe: a real-time model.".encode()),
        "operationId": (None, b"rate"),
        "model": ("model", BLOB),
    }
    head = requests[0].partition(b"\r\n\r\n")[0].lower()
    assert b"prefer: return=representation" in head
    assert b"authorization: bearer t" in head
    assert b"transfer-encoding" not in head
    assert (made.action, made.name, made.version) == ("published", "N", "1")
    assert made.url.endswith("/mlserve/api/N/1")
    assert made.trial == TRIAL
    assert made.sent_bytes == len(BLOB)
    assert set(made.timings) == {"upload", "publish", "total"}
    assert made.timings["total"] >= made.timings["upload"] > 0
    uploads = [step[1:] for step in told if step[0] == "upload"]
    assert uploads[-1] == (len(BLOB), len(BLOB))
    assert len(uploads) > 2
    assert told[-1] == ("publish", 0, 0)


def test_what_is_not_given_is_not_sent() -> None:
    _, requests = publish([CREATED])
    assert list(fields(requests[0])) == ["model"]
    _, requests = publish([CREATED], version=None)
    assert verbs(requests) == ["POST /mlserve/realtime-services/N"]
    made, requests = publish(
        [UPDATED], container=None, description="", update=True, must_exist=True
    )
    assert verbs(requests) == ["PATCH /mlserve/realtime-services/N/1"]
    assert fields(requests[0]) == {"description": (None, b"")}
    assert made.action == "updated"
    assert made.sent_bytes == 0


@pytest.mark.parametrize(
    ("answers", "wanted", "action"),
    [
        ([MISSING, CREATED], ["GET", "POST"], "published"),
        ([FOUND, UPDATED], ["GET", "PATCH"], "updated"),
        ([MISSING, EXISTS, UPDATED], ["GET", "POST", "PATCH"], "updated"),
    ],
)
def test_an_update_replaces_or_publishes(
    answers: list[bytes], wanted: list[str], action: str
) -> None:
    made, requests = publish(answers, update=True)
    assert [verb.split()[0] for verb in verbs(requests)] == wanted
    assert made.action == action
    assert fields(requests[-1])["model"] == ("model", BLOB)


def test_what_is_no_compiled_model_is_not_sent() -> None:
    with Connection(ServerAddress("http://127.0.0.1:1/", "t")) as connection:
        with pytest.raises(ValueError, match=r"do not begin with blob\): make them with"):
            publish_realtime(connection, "N", "1", b"ONNX")
        with pytest.raises(TypeError, match="the bytes of a compiled model, not a str"):
            publish_realtime(connection, "N", "1", "blob")  # type: ignore[arg-type]
        with pytest.raises(InvalidDefinition, match="There is no model"):
            publish_realtime(connection, "N", "1", None, update=True)
        with pytest.raises(InvalidDefinition, match="Nothing to update was given"):
            publish_realtime(connection, "N", "1", None, update=True, must_exist=True)
        with pytest.raises(VersionExists, match="needs the version"):
            publish_realtime(connection, "N", None, BLOB, update=True)


def test_the_publish_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.jsonl"
    monkeypatch.setenv("JUPYTER_MLSERVE_REPORT", str(path))
    publish([CREATED])
    with pytest.raises(VersionExists):
        publish([EXISTS])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["service"], line["action"]) for line in lines] == [
        ("N", "published"),
        ("N", "failed"),
    ]


def fluent(answers: list[bytes], use: Any) -> tuple[Any, list[bytes]]:
    """``use(client)`` of a client whose server gives these answers, after the client's probe."""
    probe = json.dumps({"name": "jupyter_mlserve", "statusCode": "pass"}).encode()
    seen: list[bytes] = []

    def script(number: int, request: bytes) -> bytes:
        if b"mlserve/status " in request:
            return reply("200 OK", probe)
        seen.append(request)
        return answers[len(seen) - 1]

    with recorder(script) as there, DeployClient(there.url, auth="t") as client:
        return use(client), seen


DEFINED = {
    **WEB_SERVICE,
    "inputParameterDefinitions": [{"name": "inputData", "type": "data.frame", "columns": []}],
    "outputParameterDefinitions": [{"name": "outputData", "type": "data.frame", "columns": []}],
}
MADE = reply("201 Created", json.dumps({**ANSWER, "service": DEFINED}).encode())
NEWEST = reply("200 OK", json.dumps([{**DEFINED, "version": "0"}, DEFINED]).encode())


def test_the_fluent_form_and_the_other_send_the_same() -> None:
    def chained(client: DeployClient) -> Any:
        definition = client.realtime_service("N").version("1").description("d").alias("rate")
        return definition.serialized_model(BLOB).deploy()

    def at_once(client: DeployClient) -> Any:
        return client.deploy_realtime(
            "N", version="1", serialized_model=BLOB, description="d", alias="rate"
        )

    sent = []
    for use in (chained, at_once):
        service, requests = fluent([MADE], use)
        assert (service.name, service.version) == ("N", "1")
        assert verbs(requests) == ["POST /mlserve/realtime-services/N/1"]
        sent.append(fields(requests[0]))
    assert sent[0] == sent[1]
    assert sent[0]["operationId"] == (None, b"rate")


def test_redeploy_takes_the_newest_version_and_what_is_given() -> None:
    def use(client: DeployClient) -> Any:
        return client.realtime_service("N").alias("rate").redeploy()

    _, requests = fluent([NEWEST, MADE], use)
    assert verbs(requests) == ["GET /mlserve/services/N", "PATCH /mlserve/realtime-services/N/1"]
    assert fields(requests[1]) == {"operationId": (None, b"rate")}

    def with_model(client: DeployClient) -> Any:
        return client.redeploy_realtime("N", "0", serialized_model=BLOB)

    _, requests = fluent([FOUND, MADE], with_model)
    assert fields(requests[1]) == {"model": ("model", BLOB)}


def test_mistakes_are_told_in_one_line() -> None:
    def use(client: DeployClient) -> list[str]:
        definition = client.realtime_service("N").serialized_model(BLOB)
        assert isinstance(definition, RealtimeDefinition)
        said = []
        for wrong in (
            lambda: definition.serialized_model(BLOB),
            lambda: client.realtime_service("N").serialized_model(b"pickle"),
            lambda: client.realtime_service("N").deploy(),
            lambda: definition.code_fn(len),
            lambda: client.realtime_service("N").redeploy("1"),
        ):
            with pytest.raises(ValueError) as caught:  # noqa: PT011
                wrong()  # type: ignore[no-untyped-call]
            said.append(str(caught.value))
        return said

    standard = json.dumps([{**DEFINED, "runtimeType": "Python"}]).encode()
    said, _ = fluent([reply("200 OK", standard)], use)
    assert "exactly one model" in said[0]
    assert "begin with blob" in said[1]
    assert "There is no model: give serialized_model" in said[2]
    assert "A realtime service has no code_fn" in said[3]
    assert "client.service('N')" in said[3]
    assert "N 1 is a standard service" in said[4]
    assert not any("\n" in text for text in said)
    with pytest.raises(AttributeError, match="no attribute 'cod_fn'"):
        fluent([], lambda client: client.realtime_service("N").cod_fn)


def test_code_for_a_realtime_version_is_refused_before_it_is_packed() -> None:
    with pytest.raises(
        InvalidDefinition, match=r"N 1 is a realtime service.* no code_str.*redeploy_re"
    ):
        fluent([NEWEST], lambda client: client.redeploy_service("N", code_str="y = 1"))
    said = fluent([NEWEST, MADE], lambda c: c.redeploy_service("N", description="new"))[1]
    assert verbs(said)[1] == "PATCH /mlserve/services/N/1"


def listing(*services: tuple[str, str]) -> bytes:
    found = [{**DEFINED, "name": name, "version": version} for name, version in services]
    return reply("200 OK", json.dumps(found).encode())


THERE = (("TxService", "1.0"), ("TxService", "1.1"), ("Other", "1"))
EMPTY = reply("200 OK", b"[]")


@pytest.mark.parametrize(
    ("use", "first", "said"),
    [
        (lambda c: c.get_service("txservice"), EMPTY, "Did you mean 'TxService'?"),
        (lambda c: c.get_service("Nothing like it"), EMPTY, "list_services() shows all."),
        (lambda c: c.get_service("TxService", "1.00"), MISSING, "Did you mean '1.0'"),
        (lambda c: c.get_service("TxService", "9"), MISSING, "Its versions: 1.0, 1.1."),
        (lambda c: c.list_services("TxService", "9"), MISSING, "Its versions: 1.0, 1.1."),
        (lambda c: c.delete_service("TxServis", "1.0"), MISSING, "Did you mean 'TxService'?"),
        (lambda c: c.rollback("TxService", "9"), MISSING, "Its versions: 1.0, 1.1."),
        (lambda c: c.history("Othr"), MISSING, "Did you mean 'Other'?"),
        (lambda c: c.redeploy_realtime("TxServices", alias="a"), EMPTY, "Did you mean 'TxService'"),
        (lambda c: c.redeploy_service("TxService", "9"), MISSING, "Its versions: 1.0, 1.1."),
    ],
)
def test_what_is_not_there_is_told_with_what_is(use: Any, first: bytes, said: str) -> None:
    with pytest.raises(ServiceNotFound) as caught:
        fluent([first, listing(*THERE)], use)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_another_thing_that_is_missing_keeps_its_own_words() -> None:
    no_state = reply(
        "404 Not Found", b'{"exceptionType": "ServiceNotFound", "message": "no state 9"}'
    )
    with pytest.raises(ServiceNotFound, match="no state 9"):
        fluent([no_state, listing(*THERE)], lambda c: c.rollback("TxService", "1.0", state=9))


def test_many_versions_are_cut_to_the_newest() -> None:
    many = [("TxService", str(number)) for number in range(40)]
    with pytest.raises(ServiceNotFound) as caught:
        fluent([MISSING, listing(*many)], lambda c: c.get_service("TxService", "x"))
    assert "30, 31, 32, 33, 34, 35, 36, 37, 38, 39 (the newest of 40)." in caught.value.message
