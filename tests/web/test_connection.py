"""The connection file: there when the server runs, true, private, and gone afterwards."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_mlserve import __version__
from jupyter_mlserve.web.connection import VARIABLE, ConnectionFile, server_url


async def test_a_kernel_finds_everything_in_the_file(
    http: Any, node: Any, jp_serverapp: Any, jp_http_port: int
) -> None:
    await http("GET", "status")
    path = Path(os.environ[VARIABLE])
    assert path == Path(jp_serverapp.runtime_dir) / f"mlserve-{os.getpid()}.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    info = json.loads(path.read_text())
    # The test server is bound by the fixture; Jupyter takes "localhost" for its address.
    assert info == {
        "url": f"http://localhost:{jp_http_port}/a%40b/",
        "base_url": "/a%40b/",
        "hostname": "localhost",
        "sock": "",
        "token": node.kernel_token.value,
        "pid": os.getpid(),
        "version": __version__,
    }
    assert (await http("GET", "status", token=info["token"])).status == 200
    assert jp_serverapp.identity_provider.token not in path.read_text()
    assert [p.name for p in path.parent.glob("mlserve-*")] == [path.name]

    await jp_serverapp.cleanup_extensions()
    assert not path.exists()
    assert VARIABLE not in os.environ


class TestSilent:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"announce_to_kernels": False}

    async def test_an_administrator_can_forbid_it(self, http: Any, jp_serverapp: Any) -> None:
        assert (await http("GET", "status")).status == 200
        assert VARIABLE not in os.environ
        assert list(Path(jp_serverapp.runtime_dir).glob("mlserve-*")) == []


def server(tmp_path: Path, **more: Any) -> Any:
    about = {"ip": "127.0.0.1", "port": 8888, "sock": "", "certfile": "", "base_url": "/"}
    about.update(runtime_dir=str(tmp_path), connection_url="http://127.0.0.1:8888/", **more)
    return SimpleNamespace(**about)


@pytest.mark.parametrize(
    ("about", "url"),
    [
        ({}, "http://127.0.0.1:8888/"),
        ({"ip": "", "base_url": "/x/"}, "http://127.0.0.1:8888/x/"),
        ({"ip": "0.0.0.0", "certfile": "c.pem"}, "https://127.0.0.1:8888/"),
        ({"ip": "::", "base_url": "/a%40b/"}, "http://127.0.0.1:8888/a%40b/"),
    ],
)
def test_the_address_is_one_that_this_machine_can_reach(
    tmp_path: Path, about: dict[str, Any], url: str
) -> None:
    assert server_url(server(tmp_path, **about)) == url


def test_the_file_of_a_dead_server_is_replaced_and_another_ones_variable_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "/of/the/server/around")
    file = ConnectionFile(server(tmp_path), "token")
    file.path.write_text("left by a process that had our number")
    file.path.chmod(0o644)
    dead, living = tmp_path / "mlserve-999999999.json", tmp_path / f"mlserve-{os.getppid()}.json"
    other = tmp_path / "mlserve-notes.json"
    for path in (dead, living, other):
        path.touch()
    file.announce()
    file.announce()
    file.write()
    assert json.loads(file.path.read_text())["token"] == "token"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == sorted([file.path, living, other])
    file.remove()
    file.remove()
    assert os.environ[VARIABLE] == "/of/the/server/around"
