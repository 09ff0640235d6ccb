"""Finding the server: every source by a real server, and a text that says why none was found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.kernels import run_in_kernel
from support.running_server import RunningServer, start_server
from support.small_server import OK, recorder

from jupyter_mlserve import DeployClient
from jupyter_mlserve.client.discovery import Search, addresses_of, find_server, hub_addresses
from jupyter_mlserve.contract.errors import NotAuthenticated, ServerNotFound


def runtime_of(server: RunningServer) -> Path:
    return Path(server.env["JUPYTER_RUNTIME_DIR"])


def connection_file(server: RunningServer) -> Path:
    return runtime_of(server) / f"mlserve-{server.pid}.json"


@pytest.fixture(scope="module")
def password_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with a self-signed certificate that lets people in by password only."""
    folder = tmp_path_factory.mktemp("password")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {key} -out {cert}"
    subprocess.run(command.split(), check=True, capture_output=True)
    tls = [f"--ServerApp.certfile={cert}", f"--ServerApp.keyfile={key}"]
    running = start_server(folder, token="", password="open sesame", extra=tls, scheme="https")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def open_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server on a unix socket that lets everybody in."""
    folder = tmp_path_factory.mktemp("socket")
    running = start_server(folder, token="", sock=folder / "s", base_url="/b/")
    yield running
    running.stop()


def works(url: str | None = None, token: str | None = None, **more: bool | str) -> str:
    """Find, and do something that reads and something that writes. How it was found."""
    client = DeployClient(url, auth=token, **more)  # type: ignore[arg-type]
    with client:
        assert client.connection.request("GET", "status")["name"] == "jupyter_mlserve"
        asked = {"sha256": ["0" * 64]}
        assert client.connection.request("POST", "blobs/missing", json=asked) == {
            "missing": ["0" * 64]
        }
        return client.address.how


def why_none(url: str | None = None, token: str | None = None, **more: bool | str) -> str:
    with pytest.raises(ServerNotFound) as caught:
        find_server(url, token, **more)  # type: ignore[arg-type]
    assert caught.value.tried
    for line in caught.value.tried:
        assert line in caught.value.message
    return caught.value.message


def why_refused(url: str | None = None, token: str | None = None) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        find_server(url, token)
    for word in ("auth=(NAME, PASSWORD)", "`jupyter mlserve token`"):
        assert word in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("page", ["", "mlserve", "mlserve/", "lab/tree/x.ipynb", "lab?a=b"])
def test_a_given_address_in_the_forms_people_have(server: RunningServer, page: str) -> None:
    assert works(server.url + page, server.token) == "the given address"


def test_a_link_with_the_token_in_it(server: RunningServer) -> None:
    assert works(f"{server.url}lab?token={server.token}") == "the given address"


def test_a_given_address_is_a_decision(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server that would answer is not taken instead."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime_of(server)))
    message = why_refused(server.url, "wrong")
    assert message.startswith(f"the given address: {server.url}: the token is refused (401): ")
    message = why_none("http://127.0.0.1:9/", "x")
    assert "Nothing answers at http://127.0.0.1:9/" in message
    assert "check the address, and that its server runs" in message
    assert "name the server" not in message
    assert server.url not in message
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", "http://127.0.0.1:9/")
    assert "JUPYTER_MLSERVE_URL: http://127.0.0.1:9/" in why_none()


def test_a_local_address_alone_takes_the_token_from_the_servers_file(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime_of(server)))
    assert works(server.url) == "the given address"
    assert works(server.url.replace("127.0.0.1", "localhost")) == "the given address"
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", "of an earlier run")
    with pytest.warns(UserWarning, match="refuses the token in JUPYTER_MLSERVE_TOKEN") as warned:
        assert works(server.url) == "the given address"
    assert [warning.filename for warning in warned] == [__file__]
    assert "the token is refused (401)" in why_refused(server.url, "wrong")
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    assert works(server.url) == "the given address"


def test_the_environment_names_it(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    assert "JUPYTER_MLSERVE_URL: " in why_refused()
    assert "it wants a token (401)" in why_refused()
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    assert works() == "JUPYTER_MLSERVE_URL"
    assert works(server.url) == "the given address"


def test_a_token_of_the_environment_goes_to_no_other_server(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    with recorder(lambda n, r: OK) as other:
        why_none(other.url)
        assert len(other.requests) == 1
        assert server.token.encode() not in other.requests[0]


def test_jupyterhub(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    port = urlsplit(server.url).port
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ann/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", server.token)
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", f"http://0.0.0.0:{port}/user/ann/")
    assert works() == "JupyterHub's variables"
    monkeypatch.delenv("JUPYTERHUB_SERVICE_URL")
    monkeypatch.setenv("JUPYTERHUB_PUBLIC_URL", server.url)
    assert works() == "JupyterHub's variables"


@pytest.mark.parametrize(
    ("variable", "value", "url"),
    [
        ("SERVICE_URL", "http://0.0.0.0:8888/user/ann/", "http://127.0.0.1:8888/user/ann/"),
        ("SERVICE_URL", "http://[::]:8888/", "http://127.0.0.1:8888/user/ann/"),
        ("SERVICE_URL", "http://[fe80::1]:8888/user/ann/", "http://[fe80::1]:8888/user/ann/"),
        ("PUBLIC_URL", "https://hub.example.org/user/ann/", "https://hub.example.org/user/ann/"),
        ("HOST", "https://ann.hub.example.org", "https://ann.hub.example.org/user/ann/"),
    ],
)
def test_where_jupyterhub_says_the_server_is(
    variable: str, value: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ann/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "t")
    monkeypatch.setenv(f"JUPYTERHUB_{variable}", value)
    assert [address.url for address in hub_addresses(Search(True))] == [url]


def test_the_connection_file_of_the_kernels_server(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_MLSERVE_SERVER_INFO", str(connection_file(server)))
    assert "connection file" in works()


def test_jupyters_own_file_of_the_process_that_started_the_kernel(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = f"jpserver-{server.pid}.json"
    shutil.copy(runtime_of(server) / name, tmp_path / name)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JPY_PARENT_PID", str(server.pid))
    assert f"JPY_PARENT_PID={server.pid}" in works()


def test_a_stale_connection_file_does_not_end_the_search(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stale = tmp_path / "stale.json"
    stale.write_text(json.dumps({"url": "http://127.0.0.1:9/", "token": "old"}))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime_of(server)))
    monkeypatch.setenv("JPY_PARENT_PID", str(server.pid))
    for path in (stale, tmp_path / "gone.json"):
        monkeypatch.setenv("JUPYTER_MLSERVE_SERVER_INFO", str(path))
        assert f"JPY_PARENT_PID={server.pid}" in works()


def test_a_script_takes_the_one_server_that_runs(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in runtime_of(server).glob("*server*.json"):
        shutil.copy(path, tmp_path / path.name)
    dead = tmp_path / "jpserver-999999999.json"
    dead.write_text(json.dumps({"url": "http://127.0.0.1:9/", "token": ""}))
    (tmp_path / f"jpserver-{os.getpid()}.json").write_text("{half a file")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    assert works().startswith("running server, ")


def test_several_running_servers_are_a_question(
    server: RunningServer,
    open_socket: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for running in (server, open_socket):
        for path in runtime_of(running).glob(f"*-{running.pid}.json"):
            shutil.copy(path, tmp_path / path.name)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    message = why_none()
    assert "running servers: 2 answer" in message
    assert server.url in message
    assert "unix socket" in message


def test_password_only_server_by_its_connection_file(
    password_only: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no token of Jupyter's and a certificate nobody vouches for: the file is enough."""
    assert password_only.info["token"] == ""
    monkeypatch.setenv("JUPYTER_MLSERVE_SERVER_INFO", str(connection_file(password_only)))
    assert "connection file" in works()


def test_certificates_are_checked_unless_told_otherwise(
    password_only: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = password_only.url.replace("127.0.0.1", "localhost")
    token = json.loads(connection_file(password_only).read_text())["token"]
    assert "certificate of https://localhost" in why_none(url, token)
    assert works(url, token, verify_tls=False)
    cert = str(runtime_of(password_only).parent / "cert.pem")
    assert works(url, token, verify_tls=cert)
    monkeypatch.setenv("JUPYTER_MLSERVE_VERIFY_TLS", cert)
    assert works(url, token)
    monkeypatch.setenv("JUPYTER_MLSERVE_VERIFY_TLS", "0")
    assert works(url, token)


def test_unix_socket_server_without_authentication(
    open_socket: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert works(open_socket.info["url"]) == "the given address"
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime_of(open_socket)))
    assert works().startswith("running server, ")
    monkeypatch.setenv("JPY_PARENT_PID", str(open_socket.pid))
    assert "JPY_PARENT_PID" in works()


def test_a_server_without_the_extension_is_told_from_none(tmp_path: Path) -> None:
    bare = start_server(
        tmp_path, extra=["--ServerApp.jpserver_extensions={'jupyter_mlserve': False}"]
    )
    try:
        message = why_none(bare.url, bare.token)
    finally:
        bare.stop()
    assert "a server answers, but without jupyter_mlserve (404)" in message
    assert "install jupyter_mlserve in the environment of that Jupyter server" in message


def test_none_at_all_says_what_was_tried_and_what_to_do() -> None:
    message = why_none()
    for word in (
        "JUPYTERHUB_SERVICE_PREFIX",
        "JUPYTER_MLSERVE_SERVER_INFO",
        "JPY_PARENT_PID",
        "running servers",
        "%mlserve connect URL --token TOKEN",
        "DeployClient(URL, auth=TOKEN)",
        "JUPYTER_MLSERVE_URL and JUPYTER_MLSERVE_TOKEN",
    ):
        assert word in message


def test_what_is_no_address_is_said() -> None:
    with pytest.raises(ServerNotFound, match="'ftp://x' is not the address of a Jupyter server"):
        find_server("ftp://x")


@pytest.mark.parametrize(
    ("info", "urls"),
    [
        (
            {"url": "http://box.lan:8888/b/", "hostname": "0.0.0.0"},
            ["http://127.0.0.1:8888/b/", "http://box.lan:8888/b/"],
        ),
        ({"url": "http://box.lan:80/"}, ["http://127.0.0.1:80/", "http://box.lan:80/"]),
        ({"url": "http://10.0.0.5:8888/", "hostname": "10.0.0.5"}, ["http://10.0.0.5:8888/"]),
        ({"url": "http://localhost:8888/", "hostname": "localhost"}, ["http://localhost:8888/"]),
        ({"url": "nonsense://"}, []),
        ({}, []),
    ],
)
def test_a_server_that_listens_everywhere_is_asked_at_home_first(
    info: dict[str, str], urls: list[str]
) -> None:
    assert [address.url for address in addresses_of(info, "x")] == urls


def test_a_kernel_of_the_server_finds_it(server: RunningServer) -> None:
    """A real kernel, started as JupyterLab starts one."""
    code = "from jupyter_mlserve.client.discovery import find_server as f; print(f(), f().how)"
    out = run_in_kernel(server, code)
    assert out == f"{server.url} the connection file of this kernel's server\n"


def test_a_kernel_of_a_password_only_server_finds_it(password_only: RunningServer) -> None:
    token = json.loads(connection_file(password_only).read_text())["token"]
    assert token
    code = "from jupyter_mlserve import DeployClient; print(DeployClient().list_services())"
    assert run_in_kernel(password_only, code) == "[]\n"


def test_importing_the_client_imports_no_server_code_and_no_pandas() -> None:
    code = (
        "import sys, jupyter_mlserve as j; j.DeployClient, j.Service, j.ServiceResponse;"
        "import jupyter_mlserve.client.publishing;"
        "heavy = {'jupyter_server', 'tornado', 'sqlalchemy', 'pandas', 'numpy', 'IPython', 'dill',"
        " 'alembic', 'fsspec', 'sklearn', 'zmq'};"
        "rooms = {m.split('.')[1] for m in sys.modules if m.startswith('jupyter_mlserve.')};"
        "print(sorted(heavy & {m.split('.')[0] for m in sys.modules}), sorted(rooms))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[] ['_version', 'client', 'contract']"
