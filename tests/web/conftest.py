"""A Jupyter server with the extension, its compute node and real workers, in the test's loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.bodies import definition
from support.forms import multipart
from tornado.httpclient import HTTPResponse

Json = dict[str, Any]
CHILDREN = pytest.StashKey[set[int]]()
SCORING = re.compile(r"api/[^/]+(/[^/]+)?$")
EXECUTING = re.compile(r"sessions/[^/]+/execute$")
ERROR_KEYS = {"code", "message", "exceptionType", "fields", "link"}
RESULT_KEYS = {
    "success",
    "errorMessage",
    "consoleOutput",
    "changedFiles",
    "outputFiles",
    "outputParameters",
}


@pytest.fixture
def mlserve_config() -> Json:
    """Traits of MLServeApp; tests override it."""
    return {}


@pytest.fixture
def jp_server_config(mlserve_config: Json, tmp_path: Path) -> Json:
    return {
        "ServerApp": {
            "jpserver_extensions": {"jupyter_mlserve": True, "jupyter_server_terminals": False},
            "reraise_server_extension_failures": True,
            "allow_unauthenticated_access": False,
        },
        "MLServeApp": {"data_dir": str(tmp_path / "mlserve"), **mlserve_config},
    }


@dataclass
class Reply:
    """An HTTP answer: ``json`` is its parsed body (None when it is empty)."""

    status: int
    headers: Any
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content) if self.content else None


def checked(response: HTTPResponse, scoring: bool, executing: bool = False) -> Reply:
    """Every failure, wherever it comes from, has the one JSON shape."""
    reply = Reply(response.code, response.headers, response.body or b"")
    if reply.status >= 400 and response.request.method != "HEAD":
        assert reply.headers["Content-Type"].startswith("application/json"), reply
        error = reply.json
        expected = ERROR_KEYS | (RESULT_KEYS if scoring or executing else set())
        expected -= {"outputFiles"} if executing else set()
        assert set(error) - {"details"} == expected, error
        assert error["code"] == reply.status
        assert error["message"]
        assert isinstance(error["fields"], str)
        if scoring:
            assert error["success"] is False
            assert error["errorMessage"] == error["message"]
            assert error["outputParameters"] == {}
        if executing:
            assert (error["success"], error["outputParameters"]) == (False, [])
            assert error["errorMessage"] == error["message"]
    return reply


Call = Callable[..., Awaitable[Reply]]


@pytest.fixture
def http(
    jp_serverapp: Any, http_server_client: Any, jp_base_url: str, jp_auth_header: Json
) -> Call:
    """``await http("POST", "api/N/1.0", {"x": 1})``: one request below ``mlserve/``.

    ``token``: None for none, else another than the server's. A dict or list is sent as JSON.
    """

    async def request(
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: Json | None = None,
        **options: Any,
    ) -> Reply:
        sent = dict(headers or {})
        if token == "":
            sent.setdefault("Authorization", jp_auth_header["Authorization"])
        elif token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        response = await http_server_client.fetch(
            f"{jp_base_url}mlserve/{path}",
            method=method,
            body=body,
            headers=sent,
            raise_error=False,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            request_timeout=60,
            **options,
        )
        posted = method == "POST"
        return checked(
            response, posted and bool(SCORING.match(path)), posted and bool(EXECUTING.match(path))
        )

    return request


class Raw:
    """One connection, and requests on it written by hand."""

    def __init__(self, reader: Any, writer: Any, prefix: str, token: str) -> None:
        self.reader, self.writer, self.prefix, self.token = reader, writer, prefix, token

    async def send(
        self, method: str, path: str, *lines: str, token: str | None = None, pause: float = 0
    ) -> None:
        """The headers; after ``pause`` seconds the body may follow."""
        head = [f"{method} {self.prefix}{path} HTTP/1.1", "Host: localhost"]
        head += [f"Authorization: token {token or self.token}", *lines]
        self.writer.write("\r\n".join([*head, "", ""]).encode())
        await self.writer.drain()
        await asyncio.sleep(pause)

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode("latin-1")
        start, *lines = head.strip().split("\r\n")
        headers = {line.split(":")[0].lower(): line.split(":", 1)[1].strip() for line in lines}
        body = await asyncio.wait_for(
            self.reader.readexactly(int(headers.get("content-length", 0))), 20
        )
        return int(start.split()[1]), headers, body

    async def ended(self) -> bool:
        """Whether the server closes the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 20) == b""
        except ConnectionError:
            return True


@pytest.fixture
def raw(
    jp_serverapp: Any, jp_http_port: int, jp_base_url: str, http: Call, jp_asyncio_loop: Any
) -> Any:
    """``await raw()``: a connection of its own to the server."""
    opened: list[Raw] = []

    async def connect() -> Raw:
        reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
        token = jp_serverapp.identity_provider.token
        opened.append(Raw(reader, writer, f"{jp_base_url}mlserve/", token))
        return opened[-1]

    async def close() -> None:
        for connection in opened:
            connection.writer.close()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()

    yield connect
    jp_asyncio_loop.run_until_complete(close())


@pytest.fixture
def publish(http: Call) -> Call:
    """Publish and expect success; returns the representation."""

    async def run(
        name: str = "AddOne", version: str = "1.0", code: str = "y = x + 1", **more: Any
    ) -> Reply:
        reply = await http(
            "POST",
            f"services/{name}/{version}",
            definition(code, **more),
            headers={"Prefer": "return=representation"},
        )
        assert reply.status in (200, 201), reply.json
        return reply

    return run


@pytest.fixture(scope="session")
def attitude_model() -> bytes:
    """A compiled linear regression of the attitude data, response "rating" in front."""
    from support import attitude

    from jupyter_mlserve.notebook.compile import serialize_model

    return serialize_model(attitude.model(), attitude.attitude(), "rating")


@pytest.fixture(scope="session")
def higher_model() -> bytes:
    """The same, but everybody is rated 1000 higher."""
    from support import attitude

    from jupyter_mlserve.notebook.compile import serialize_model

    model = attitude.model()
    model.intercept_ += 1000.0
    return serialize_model(model, attitude.attitude(), "rating")


@pytest.fixture
def deploy(http: Call) -> Call:
    """``await deploy("Attitude/1.0", model=..., description=...)``; any answer is returned."""

    async def run(path: str, method: str = "POST", token: str | None = "", **parts: Any) -> Reply:
        body, headers = multipart(**parts)
        headers["Prefer"] = "return=representation"
        return await http(method, f"realtime-services/{path}", body, headers=headers, token=token)

    return run


@pytest.fixture
def node(jp_serverapp: Any) -> Any:
    """The web node of the server under test."""
    return jp_serverapp.web_app.settings["jupyter_mlserve_node"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.stash[CHILDREN] = children()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """After a test with a server: no child process, so no compute node and no worker, is left."""
    yield
    if "jp_serverapp" in getattr(item, "fixturenames", ()):
        assert children() - item.stash[CHILDREN] == set()


def children() -> set[int]:
    own = os.getpid()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == own:
                found.add(int(entry.name))
    return found
