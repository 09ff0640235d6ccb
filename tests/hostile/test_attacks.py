"""What an attacker sends, and the status it must get."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(
        tmp_path_factory.mktemp("hostile"),
        extra=[
            "--MLServeApp.load_timeout=6",
            "--MLServeApp.worker_memory=700000000",
            "--MLServeApp.call_timeout=20",
        ],
    )
    DeployClient(running.url, auth=running.token).deploy_service(
        "AddOne",
        version="1.0",
        code_str="y = x + 1",
        inputs={"x": float},
        outputs={"y": float},
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"token {server.token}"}
    base = f"{server.url.rstrip('/')}/mlserve/"
    with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
        yield client


def still_serves(http: httpx.Client) -> bool:
    return http.post("api/AddOne/1.0", json={"x": 1}).json()["outputParameters"] == {"y": 2.0}


@pytest.mark.parametrize("opening", [b"[", b'{"x":', b'{"x":['])
def test_json_nested_200_000_deep_is_a_400(http: httpx.Client, opening: bytes) -> None:
    reply = http.post("api/AddOne/1.0", content=opening * 200_000)
    assert reply.status_code == 400
    assert reply.json()["exceptionType"] == "InvalidInput"
    assert still_serves(http)


def raw_request(server: RunningServer, head: str, chunks: Iterator[bytes]) -> tuple[int, int]:
    """Send a request on a socket of our own; the status and the bytes we could send."""
    parts = urlsplit(server.url)
    sent = 0
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(head.encode())
        answer = b""
        try:
            for chunk in chunks:
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        try:
            while b"\r\n" not in answer:
                piece = connection.recv(4096)
                if not piece:
                    break
                answer += piece
        except OSError:
            pass
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer.split()[1]), sent


def head(server: RunningServer, path: str, *lines: str, method: str = "POST") -> str:
    parts = urlsplit(server.url)
    return "\r\n".join(
        [
            f"{method} {parts.path.rstrip('/')}/mlserve/{path} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Authorization: token {server.token}",
            "Content-Type: application/json",
            *lines,
            "\r\n",
        ]
    )


def test_a_body_of_one_gigabyte_is_refused_before_it_is_read(
    server: RunningServer, http: httpx.Client
) -> None:
    head_text = head(server, "api/AddOne/1.0", f"Content-Length: {2**30}")
    status, sent = raw_request(server, head_text, iter(()))
    assert (status, sent) == (413, 0)
    assert still_serves(http)


def test_an_endless_chunked_body_is_cut_at_the_limit(
    server: RunningServer, http: httpx.Client
) -> None:
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    head_text = head(server, "api/AddOne/1.0", "Transfer-Encoding: chunked")
    status, sent = raw_request(server, head_text, (piece for _ in range(1024)))
    assert status == 413
    assert sent < 200 * 2**20
    assert still_serves(http)


def publish_object(http: httpx.Client, payload: bytes, name: str = "Bad") -> httpx.Response:
    digest = hashlib.sha256(payload).hexdigest()
    assert http.put(f"blobs/{digest}", content=payload).status_code in (200, 201)
    body: dict[str, Any] = {
        "code": "y = x",
        "runtimeType": "Python",
        "inputParameterDefinitions": [{"name": "x", "type": "numeric"}],
        "outputParameterDefinitions": [{"name": "y", "type": "numeric"}],
        "mlserve": {
            "form": "script",
            "objects": [
                {"name": "model", "sha256": digest, "size": len(payload), "type": "object"}
            ],
        },
    }
    return http.post(f"services/{name}/1.0", json=body)


class Runs:
    """Unpickling this calls a function: what a hostile pickle does."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


POISONED = {
    "memory bomb": pickle.dumps(Runs(bytearray, 40 * 2**30)),
    "endless loop": pickle.dumps(Runs(eval, "[None for _ in iter(int, 1)]")),
    "exit": pickle.dumps(Runs(os._exit, 0)),
    "crash": pickle.dumps(Runs(os.abort)),
    "not a pickle": b"PK\x03\x04" + os.urandom(64),
    "cut short": pickle.dumps(list(range(1000)))[:50],
    "empty": b"",
}


@pytest.mark.parametrize("kind", sorted(POISONED))
def test_a_poisoned_object_is_refused_at_publish(http: httpx.Client, kind: str) -> None:
    reply = publish_object(http, POISONED[kind])
    assert reply.status_code == 400, reply.text
    error = reply.json()
    assert error["exceptionType"] in ("TrialFailed", "InvalidDefinition")
    assert "Bad" in error["message"]
    assert http.get("services/Bad/1.0").status_code == 404
    assert still_serves(http)


def test_a_pickle_never_runs_in_the_web_node(http: httpx.Client, tmp_path: Any) -> None:
    """The object writes its process's id and parent: it must not be the Jupyter server's."""
    mark = tmp_path / "pid"
    payload = pickle.dumps(
        Runs(exec, f"import os; open({str(mark)!r}, 'w').write(str(os.getpid()))")
    )
    assert publish_object(http, payload, "Marks").status_code == 201
    web_pid = http.get("status").json()["components"]["web"]["pid"]
    assert int(mark.read_text()) != web_pid


@pytest.mark.parametrize(
    "path",
    [
        "services/..%2f..%2fetc/1.0",
        "services/%2e%2e/1.0",
        "services/a%00b/1.0",
        "services/" + "n" * 10_000 + "/1.0",
        "services/Name/..%2f1.0",
        "services/N%C3%A4me/1.0",
        "services/Name/1.0%0d%0aX-Evil:%201",
        "services/Name/swagger.json",
        "services/-Name/1.0",
    ],
)
def test_path_tricks_in_names_and_versions_are_refused(http: httpx.Client, path: str) -> None:
    reply = http.post(path, json={"code": "y = 1", "outputParameterDefinitions": []})
    assert reply.status_code in (400, 404, 414), reply.text
    assert "X-Evil" not in reply.headers
    assert still_serves(http)


@pytest.mark.parametrize(
    "file_name", ["../up.csv", "/etc/passwd", "a/b.csv", "..", ".", "", "a\x00b", "x" * 5000]
)
@pytest.mark.parametrize("where", ["outputFileNames", "files"])
def test_path_tricks_in_file_names_are_refused(
    http: httpx.Client, file_name: str, where: str
) -> None:
    digest = hashlib.sha256(b"data").hexdigest()
    http.put(f"blobs/{digest}", content=b"data")
    body: dict[str, Any] = {"code": "y = 1", "mlserve": {"form": "script"}}
    if where == "files":
        body["mlserve"]["files"] = [{"name": file_name, "sha256": digest, "size": 4}]
    else:
        body["outputFileNames"] = [file_name]
    reply = http.post("services/Files/1.0", json=body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["exceptionType"] in ("InvalidDefinition", "InvalidName")


@pytest.mark.parametrize("digest", ["..%2f..%2fcatalog.sqlite", "0" * 63, "Z" * 64, "0" * 65])
def test_blob_names_are_digests_and_nothing_else(http: httpx.Client, digest: str) -> None:
    assert http.put(f"blobs/{digest}", content=b"x").status_code in (400, 404)


def test_a_blob_with_another_content_than_its_digest_is_refused(http: httpx.Client) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    assert http.put(f"blobs/{digest}", content=b"wrong").status_code == 400
    missing = http.post("blobs/missing", json={"sha256": [digest]}).json()
    assert missing == {"missing": [digest]}


@pytest.mark.parametrize("token", [None, "wrong", "", "a" * 10_000, "ütf"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "PUT"])
def test_nobody_gets_in_without_the_token(
    server: RunningServer, token: str | None, method: str
) -> None:
    headers = {} if token is None else {"Authorization": f"token {token}".strip().encode()}
    for path in (
        "services",
        "services/AddOne/1.0",
        "api/AddOne/1.0",
        "status",
        "blobs/" + "0" * 64,
    ):
        url = f"{server.url.rstrip('/')}/mlserve/{path}"
        reply = httpx.request(method, url, headers=headers, json={"x": 1})
        assert reply.status_code in (401, 405), (method, path, reply.status_code)
        assert reply.headers["Content-Type"].startswith("application/json")
        assert reply.json()["code"] == reply.status_code
