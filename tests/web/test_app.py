"""The extension as Jupyter sees it: installed, configured, light, and gone without a trace."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from jupyter_core.paths import jupyter_config_path
from jupyter_server.extension.config import ExtensionConfigManager
from jupyter_server.extension.manager import ExtensionPackage
from support import attitude
from support.bodies import definition
from support.forms import multipart
from support.running_server import RunningServer, start_server
from traitlets import TraitError

from jupyter_mlserve import __version__
from jupyter_mlserve.compute.config import ComputeConfig
from jupyter_mlserve.compute.realtime.config import RealtimeConfig
from jupyter_mlserve.web.app import OWN_TRAITS, MLServeApp
from jupyter_mlserve.web.batch.settings import BatchSettings
from jupyter_mlserve.web.batch.traits import BatchTraits
from jupyter_mlserve.web.node import Settings
from jupyter_mlserve.web.sessions.settings import SessionSettings
from jupyter_mlserve.web.sessions.traits import SessionTraits

HEAVY = ("dill", "pandas", "numpy", "sklearn", "cloudpickle", "pyarrow", "PIL")
HEAVY += ("onnx", "onnxruntime", "skl2onnx", "google", "vaderSentiment")
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A real one, so that its modules are its own."""
    running = start_server(
        tmp_path_factory.mktemp("web"),
        base_url="/some/where/",
        extra=["--ServerApp.jpserver_extensions={'support.modules_reply': True}"],
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    yield running
    running.stop()


def ask(
    server: RunningServer, method: str, path: str, body: Any = None, headers: Any = None
) -> Any:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {**server.headers, **(headers or {})}
    request = urllib.request.Request(server.url + path, data, sent, method=method)
    with urllib.request.urlopen(request, timeout=60) as reply:
        if reply.headers["Content-Type"] == ARROW:
            return reply.read()
        return json.load(reply)


def test_the_web_node_loads_nothing_heavy(server: RunningServer, attitude_model: bytes) -> None:
    ask(server, "POST", "mlserve/services/AddOne/1.0", definition(mlserve={"sample": {"x": 1}}))
    for _ in range(3):
        result = ask(server, "POST", "mlserve/api/AddOne/1.0", {"x": 1})
        assert result["outputParameters"] == {"y": 2.0}
    ask(server, "GET", "mlserve/services")
    ask(server, "GET", "mlserve/api/AddOne/1.0/openapi.json")
    form, header = multipart(model=attitude_model, description="A model.")
    ask(server, "POST", "mlserve/realtime-services/Attitude/1.0", form, header)
    form, header = multipart(model=attitude_model, operationId="rate")
    ask(server, "PATCH", "mlserve/realtime-services/Attitude/1.0", form, header)
    row = {"inputData": attitude.attitude().iloc[:1].to_dict("list")}
    found = ask(server, "POST", "mlserve/api/Attitude/1.0", row)
    assert list(found["outputParameters"]["outputData"]) == ["rating_Pred"]
    stream = ask(server, "POST", "mlserve/api/Attitude/1.0", row, {"Accept": ARROW})
    ask(server, "GET", "mlserve/api/Attitude/1.0/openapi.json")
    ask(server, "GET", "mlserve/api/Attitude/1.0/swagger.json")
    for upload, kind in ((b'[{"x": 1}]', None), (b"x\n1\n", "text/csv")):
        sent = {"Content-Type": kind} if kind else {}
        started = ask(server, "POST", "mlserve/api/AddOne/1.0/batch", upload, sent)
        batch = f"mlserve/api/AddOne/1.0/batch/{started['batchExecutionId']}"
        while ask(server, "GET", batch)["state"] != "Complete":
            time.sleep(0.05)
        assert ask(server, "GET", f"{batch}/results")["count"] == 1
    session = f"mlserve/sessions/{ask(server, 'POST', 'mlserve/sessions', {})['sessionId']}"
    ask(server, "POST", f"{session}/workspace/x", pickle.dumps(1), {})
    assert ask(server, "POST", f"{session}/execute", {"code": "y = x"})["success"] is True
    ask(server, "POST", f"{session}/snapshot", {})
    ask(server, "GET", "mlserve/status")
    assert stream.startswith(b"\xff\xff\xff\xff")
    modules = ask(server, "GET", "modules")["modules"]
    assert "jupyter_mlserve.web.publishing" in modules
    loaded = {module.partition(".")[0] for module in modules}
    assert loaded & set(HEAVY) == set()
    rooms = {name.split(".")[1] for name in modules if name.startswith("jupyter_mlserve.")}
    assert rooms <= {"_version", "web", "contract", "store", "access", "compute", "worker"}
    ours = {name for name in modules if name.startswith("jupyter_mlserve.worker.")}
    assert ours <= {"jupyter_mlserve.worker.frames"}
    ours = {name for name in modules if name.startswith("jupyter_mlserve.compute.realtime.")}
    assert {name.rpartition(".")[2] for name in ours} <= {"client", "config", "flight"}


def test_the_extension_is_loaded_without_the_libraries_of_its_stores() -> None:
    """What needs them comes after the start: a server asked for no service need not wait."""
    late = {"sqlalchemy", "alembic", "fsspec", "jwt", "argon2"}
    code = f"import jupyter_mlserve.web.app, sys; sys.exit({late!r} & {{*sys.modules}} or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_server_speaks_of_no_trouble(server: RunningServer) -> None:
    log = server.read_log()
    assert "jupyter_mlserve | extension was successfully loaded." in log
    for word in ("Warning", "Traceback", "[E ", "[W "):
        assert word not in log, log


def test_installing_enables_the_extension() -> None:
    """What `jupyter server extension list` looks at, and says OK to."""
    package = ExtensionPackage(name="jupyter_mlserve", enabled=True)
    assert package.validate()
    assert package.version == __version__
    installed = ExtensionConfigManager(read_config_path=jupyter_config_path())
    assert installed.get_jpserver_extensions()["jupyter_mlserve"] is True


def test_every_trait_has_a_help_and_every_limit_a_trait() -> None:
    own = {
        name: trait
        for name, trait in MLServeApp.class_traits(config=True).items()
        if trait.this_class in (MLServeApp, BatchTraits, SessionTraits)
    }
    for name, trait in own.items():
        assert len(trait.help.split()) > 4, name
    wanted = {field.name for field in fields(ComputeConfig)}
    wanted |= {OWN_TRAITS.get(field.name, field.name) for field in fields(RealtimeConfig)}
    wanted |= {f"batch_{field.name}" for field in fields(BatchSettings)}
    wanted |= {field.name for field in fields(SessionSettings)}
    wanted |= {field.name for field in fields(Settings)} - {
        *("compute", "realtime", "batch", "session")
    }
    assert wanted | {"announce_to_kernels"} == set(own)
    defaults = MLServeApp().node_settings()
    assert defaults.compute == ComputeConfig()
    assert defaults.realtime == RealtimeConfig()
    assert defaults.batch == BatchSettings()
    assert defaults.session == SessionSettings()
    expected = Settings(defaults.data_dir)
    assert defaults == expected


def test_the_data_folder_is_in_jupyters_unless_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    assert MLServeApp().node_settings().data_dir == tmp_path / "mlserve"
    monkeypatch.chdir(tmp_path)
    relative = MLServeApp(data_dir="here").node_settings()
    assert relative.data_dir == tmp_path / "here"
    assert relative.database == str(tmp_path / "here" / "catalog.sqlite3")
    assert relative.blobs == str(tmp_path / "here" / "blobs")


@pytest.mark.parametrize(
    "wrong",
    [
        {"call_timeout": 0},
        {"max_workers": 0},
        {"max_body_size": 0},
        {"storage_quota": -1},
        {"max_model_size": 0},
        {"realtime_call_timeout": -1},
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TraitError, match=next(iter(wrong))):
        MLServeApp(**wrong)


async def test_the_end_leaves_nothing(
    http: Any, publish: Any, node: Any, jp_serverapp: Any
) -> None:
    await publish()
    compute = node.core.compute
    pid = compute.pid
    os.kill(pid, 0)
    await jp_serverapp.cleanup_extensions()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (node.running, node.opened, compute.pid) == (0, None, None)
    await jp_serverapp.cleanup_extensions()  # Jupyter may ask twice
    late = await http("GET", "services")
    assert (late.status, late.json["exceptionType"]) == (503, "Unavailable")
    assert node.opened is None


async def test_the_port_is_bound_before_the_stores_are_opened(http: Any, node: Any) -> None:
    assert node.opened is None
    await http("GET", "services")
    assert node.opened is not None
