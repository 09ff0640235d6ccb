"""What people give as "the server" is understood."""

from __future__ import annotations

import pytest

from jupyter_mlserve.client.address import ServerAddress, is_loopback, parse_url


@pytest.mark.parametrize(
    ("given", "url", "token"),
    [
        ("http://127.0.0.1:8888", "http://127.0.0.1:8888/", ""),
        ("127.0.0.1:8888", "http://127.0.0.1:8888/", ""),
        ("  https://host/base ", "https://host/base/", ""),
        ("http://h:1/mlserve", "http://h:1/", ""),
        ("http://h:1/user/ann/mlserve/", "http://h:1/user/ann/", ""),
        ("http://h:1/user/ann/mlserve/api/N/1", "http://h:1/user/ann/", ""),
        ("http://h:1/lab?token=abc", "http://h:1/", "abc"),
        ("http://h:1/user/ann/lab/tree/a%20b.ipynb", "http://h:1/user/ann/", ""),
        ("http://h:1/tree#x", "http://h:1/", ""),
        ("http://h:1/a%40b/", "http://h:1/a%40b/", ""),
        ("http://h:1/a b/", "http://h:1/a%20b/", ""),
        ("http://me:secret@h:1/", "http://h:1/", ""),
        ("http://h:1/collaboratory/", "http://h:1/collaboratory/", ""),
    ],
)
def test_roots_and_tokens(given: str, url: str, token: str) -> None:
    assert parse_url(given) == (url, token, None)


def test_unix_sockets_there_and_back() -> None:
    url, token, socket = parse_url("http+unix://%2Ftmp%2Fa%20b.sock/base/?token=t")
    assert (url, token, socket) == ("http://localhost/base/", "t", "/tmp/a b.sock")
    address = ServerAddress(url, token, socket=socket)
    assert parse_url(address.link)[::2] == (url, socket)
    assert str(address) == "unix socket /tmp/a b.sock"


@pytest.mark.parametrize("given", ["", "ftp://host/", "http://", "file:///tmp/x"])
def test_what_is_no_address_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ValueError, match="http://host:8888/base/"):
        parse_url(given)


def test_the_token_is_never_shown() -> None:
    address = ServerAddress("http://h/", "secret-token")
    assert "secret-token" not in f"{address!r} {address}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1/", True),
        ("http://127.8.9.1:1/", True),
        ("http://localhost/", True),
        ("http://[::1]:80/", True),
        ("http://127.0.0.1.example.org/", False),
        ("http://localhost.example.org/", False),
        ("http://10.0.0.1/", False),
    ],
)
def test_loopback(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
    assert ServerAddress(url).is_local is expected


def test_urls_of_the_server_whole_or_as_a_path() -> None:
    address = ServerAddress("http://h:1/base/")
    assert address.prefix == "http://h:1/base/mlserve/"
    assert address.absolute("/base/mlserve/api/N/1") == "http://h:1/base/mlserve/api/N/1"
    assert address.absolute("http://x/y") == "http://x/y"
