"""The connection itself, against small servers that misbehave in one way each."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.small_server import OK, recorder, reply

from jupyter_mlserve.client.address import ServerAddress
from jupyter_mlserve.client.http import Connection, path_of
from jupyter_mlserve.contract.errors import (
    ConnectionFailed,
    Gone,
    InvalidInput,
    NotAuthenticated,
    TooBusy,
    Unavailable,
)


@contextmanager
def connected(url: str, token: str = "secret") -> Iterator[Connection]:
    with Connection(ServerAddress(url, token), timeout=5) as connection:
        yield connection


def test_requests_carry_the_token_and_who_asks_and_reuse_their_connection() -> None:
    with recorder(lambda n, r: OK) as there, connected(there.url + "base/") as connection:
        connection.request("GET", "services")
        connection.request("POST", path_of("api", "N", "1 0"), json={"x": 1})
        connection.request("GET", "/api/status")
    first, second, third = there.requests
    assert there.connections == 1
    assert first.startswith(b"GET /base/mlserve/services HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in first
    assert b"\r\nUser-Agent: jupyter_mlserve/" in first
    assert second.startswith(b"POST /base/mlserve/api/N/1%200 ")
    assert second.endswith(b'\r\n\r\n{"x":1}')
    assert third.startswith(b"GET /base/api/status ")


def test_without_a_token_the_cross_site_token_is_sent_twice_as_jupyter_wants_it() -> None:
    with recorder(lambda n, r: OK) as there, connected(there.url, token="") as connection:
        connection.request("POST", "x", json={})
    lines = dict(
        line.split(": ", 1) for line in there.requests[0].decode().split("\r\n")[1:] if ": " in line
    )
    assert "Authorization" not in lines
    assert lines["Cookie"] == f"_xsrf={lines['X-XSRFToken']}"


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_safe_request_on_a_dead_kept_connection_is_sent_again(method: str) -> None:
    with (
        recorder(lambda n, r: None if n == 2 else OK) as there,
        connected(there.url) as connection,
    ):
        connection.request("GET", "status")
        content = (lambda: iter([b"ab", b"c"])) if method == "PUT" else None
        headers = {"Content-Length": "3"} if method == "PUT" else {}
        assert connection.request(method, "x", content=content, headers=headers) == {}
    assert there.connections == 2
    assert there.requests[1] == there.requests[2]


def test_a_safe_request_is_not_sent_for_ever() -> None:
    with (
        recorder(lambda n, r: None) as there,
        connected(there.url) as connection,
        pytest.raises(ConnectionFailed, match="broke during GET status"),
    ):
        connection.request("GET", "status")
    assert len(there.requests) == 2


def test_a_call_is_sent_once_and_its_fate_is_said_to_be_unknown() -> None:
    with (
        recorder(lambda n, r: None) as there,
        connected(there.url) as connection,
        pytest.raises(ConnectionFailed, match="may have done it or not"),
    ):
        connection.request("POST", "api/N/1", json={})
    assert len(there.requests) == 1


def test_a_redirect_to_another_host_never_gets_the_token() -> None:
    with recorder(lambda n, r: OK) as thief:
        move = reply("302 Found", b"", f"Location: {thief.url}mlserve/status")
        with (
            recorder(lambda n, r: move) as there,
            connected(there.url) as connection,
            pytest.raises(ConnectionFailed, match="Redirects are not followed"),
        ):
            connection.request("GET", "status")
        assert thief.requests == []


def test_a_login_page_means_a_bad_token() -> None:
    move = reply("302 Found", b"", "Location: /login?next=%2Fmlserve%2Fstatus")
    with (
        recorder(lambda n, r: move) as there,
        connected(there.url) as connection,
        pytest.raises(NotAuthenticated, match="token is missing or wrong"),
    ):
        connection.request("GET", "status")


def test_proxies_and_netrc_are_not_used_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with recorder(lambda n, r: OK) as proxy, recorder(lambda n, r: OK) as there:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        with connected(there.url) as connection:
            connection.request("GET", "status")
        assert proxy.requests == []
        assert b"Authorization: Bearer secret\r\n" in there.requests[0]


def test_a_proxy_is_used_for_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    with recorder(lambda n, r: OK) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        with connected("http://server.invalid/") as connection:
            connection.request("GET", "status")
        assert proxy.requests[0].startswith(b"GET http://server.invalid/mlserve/status ")


def test_cookies_of_the_server_are_not_kept() -> None:
    cookie = reply("200 OK", b"{}", "Set-Cookie: username-x=anonymous; Path=/")
    with recorder(lambda n, r: cookie) as there, connected(there.url) as connection:
        connection.request("GET", "status")
        connection.request("GET", "status")
    assert b"ookie" not in there.requests[1]


def test_errors_become_the_exceptions_their_body_names() -> None:
    body = json.dumps(
        {
            "code": 400,
            "message": "hp: expected a number, got text",
            "exceptionType": "InvalidInput",
            "fields": "hp",
            "link": "",
            "details": {"field": "hp", "expected": "a number", "got": "text"},
        }
    ).encode()
    with (
        recorder(lambda n, r: reply("400 Bad Request", body)) as there,
        connected(there.url) as connection,
        pytest.raises(InvalidInput, match="expected a number") as caught,
    ):
        connection.request("POST", "api/N/1", json={})
    assert caught.value.field == "hp"
    assert caught.value.details["expected"] == "a number"


@pytest.mark.parametrize(
    ("answer", "expected", "text"),
    [
        (reply("410 Gone", b""), Gone, "status 410"),
        (reply("502 Bad Gateway", b"<html>nginx</html>"), Unavailable, "status 502[.]$"),
        (reply("429 Too Many Requests", b"slow down", "Retry-After: 3"), TooBusy, "slow down"),
    ],
)
def test_answers_of_others_become_errors_too(
    answer: bytes, expected: type[Exception], text: str
) -> None:
    with (
        recorder(lambda n, r: answer) as there,
        connected(there.url) as connection,
        pytest.raises(expected, match=text) as caught,
    ):
        connection.request("GET", "status")
    if expected is TooBusy:
        assert caught.value.retry_after == 3.0  # type: ignore[attr-defined]


def test_success_without_json_is_an_error() -> None:
    page = reply("200 OK", b"<html>hello</html>")
    with (
        recorder(lambda n, r: page) as there,
        connected(there.url) as connection,
        pytest.raises(ConnectionFailed, match="not with JSON"),
    ):
        connection.request("GET", "status")


def test_an_empty_success_is_none() -> None:
    with recorder(lambda n, r: reply("200 OK", b"")) as there, connected(there.url) as connection:
        assert connection.request("DELETE", "services/N/1") is None


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with connected(url) as connection, pytest.raises(ConnectionFailed, match="Nothing answers at"):
        connection.request("GET", "status")


def test_a_server_that_hangs() -> None:
    wait = threading.Event()

    def hang(n: int, request: bytes) -> None:
        wait.wait(10)

    with (
        recorder(hang) as there,
        connected(there.url) as connection,
        pytest.raises(ConnectionFailed, match=r"did not answer GET status within 0\.2 s"),
    ):
        connection.request("GET", "status", timeout=0.2)
    wait.set()


def test_a_forked_child_opens_its_own_connection() -> None:
    with recorder(lambda n, r: OK) as there, connected(there.url) as connection:
        connection.request("GET", "one")
        child = os.fork()
        if child == 0:
            os._exit(0 if connection.request("GET", "two") == {} else 1)
        assert os.waitpid(child, 0)[1] == 0
        connection.request("GET", "three")
    assert there.connections == 2
    assert sorted(request.split()[1] for request in there.requests) == [
        b"/mlserve/one",
        b"/mlserve/three",
        b"/mlserve/two",
    ]
