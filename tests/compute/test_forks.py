"""Fork servers: they make workers fast, and never make anything fail that works without them.

Most tests use a made-up library under the name of a safe one, so that they need no real imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import dill
import pytest
from support.worker_process import blob, load_spec

from jupyter_mlserve.compute.imports import safe_imports

from .conftest import Driver, MakeNode, alive, body_of

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
USES = [{"source": "import patsy\n", "names": ["patsy"]}]
WHERE = """
import os
def f(x):
    print("hello")
    return [os.getpid(), patsy.PID, os.getppid(), os.getpgrp()]
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A slow library that remembers which process imported it; its source may be changed."""
    path = tmp_path / "lib" / "patsy.py"
    path.parent.mkdir()
    path.write_text("import os, time\ntime.sleep(0.3)\nPID = os.getpid()\n")
    monkeypatch.setenv("PYTHONPATH", str(path.parent))
    return path


@pytest.fixture
def node(make_node: MakeNode, library: Path) -> Driver:
    driver = make_node(pool_max=2, call_timeout=10.0)
    driver.spec("s", WHERE, outputs="y: list", prelude=USES)
    return driver


def server_pid(node: Driver) -> int:
    (server,) = node.status()["fork_servers"]
    return int(server["pid"])


def forked(node: Driver, state: str = "s") -> bool:
    pid, imported, *_ = node.output(state, x=1)
    return bool(pid != imported)


@linux
def test_workers_are_forked_from_a_process_that_has_imported_the_libraries(node: Driver) -> None:
    reply = node.trial(sample={"x": 1})
    assert reply.status == 200, reply
    pid, imported, parent, group = body_of(reply)["outputParameters"]["y"]
    assert body_of(reply)["consoleOutput"] == "hello\n"
    assert imported == server_pid(node) != pid
    # It is a child of the node like any other, and leads its own group.
    assert parent == node.node.pid
    assert group == pid
    start = time.monotonic()
    assert node.trial(sample={"x": 1}).status == 200
    assert time.monotonic() - start < 0.28
    assert node.pool()["workers"] == 2


@linux
def test_a_service_without_such_libraries_has_no_fork_server(node: Driver) -> None:
    node.spec("plain", "import json\ndef f(x): return x")
    assert node.output("plain", x=1) == 1
    assert node.status()["fork_servers"] == []


@linux
def test_the_setting_turns_them_off(make_node: MakeNode, library: Path) -> None:
    node = make_node(fork_server=False)
    node.spec("s", WHERE, outputs="y: list", prelude=USES)
    assert not forked(node)
    assert node.status()["fork_servers"] == []


@linux
def test_prepared_libraries_are_there_when_the_trial_comes(node: Driver) -> None:
    node.run(node.node.prepare(sys.executable, ["patsy"]))
    node.until(lambda: node.status()["fork_servers"])
    node.run(asyncio.sleep(1.0))
    start = time.monotonic()
    assert node.trial(sample={"x": 1}).status == 200
    assert time.monotonic() - start < 0.28
    # Nothing to gain: nothing is started.
    node.run(node.node.prepare(sys.executable, ["json", "some-unknown-package"]))
    node.run(node.node.prepare("/no/such/python", ["patsy"]))
    assert len(node.status()["fork_servers"]) == 1


@linux
def test_forked_workers_are_watched_and_killed_like_others(
    make_node: MakeNode, library: Path
) -> None:
    node = make_node(call_timeout=0.5, worker_memory=300 * 1024**2)
    code = """
def f(x):
    while x == 1: pass
    if x == 2: __import__("os")._exit(3)
    if x == 3: bytearray(10**9)
    if x == 4: __import__("subprocess").Popen(["sleep", "1000"], start_new_session=True)
    return patsy.PID != __import__("os").getpid()
"""
    node.spec("s", code, "x: integer", "y: logical", prelude=USES)
    assert node.output(x=0) is True
    stuck = node.call(x=1)
    assert stuck.status == 504
    assert 'File "<Svc 1.0: code>", line 3 in f' in stuck.header["traceback"]
    assert node.output(x=0) is True
    assert "exited with status 3" in body_of(node.call(x=2))["message"]
    assert node.output(x=0) is True
    assert "300 MiB (worker_memory)" in body_of(node.call(x=3))["message"]
    assert node.output(x=4) is True
    (pid,) = node.pool()["pids"]
    os.kill(pid, signal.SIGKILL)
    node.until(lambda: not alive(pid))
    node.until(lambda: not sleeping())


def sleeping() -> bool:
    found = [
        path for path in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x001000" in read(path)
    ]
    return bool(found)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@linux
def test_a_killed_fork_server_takes_no_worker_with_it(node: Driver) -> None:
    assert forked(node)
    (pid,) = node.pool()["pids"]
    server = server_pid(node)
    os.kill(server, signal.SIGKILL)
    node.until(lambda: node.status()["fork_servers"] == [])
    assert node.output(x=1)[0] == pid
    # It is started again once; when that dies too, the libraries are left to the workers.
    assert node.trial(sample={"x": 1}).status == 200
    os.kill(server_pid(node), signal.SIGKILL)
    node.until(lambda: node.status()["fork_servers"] == [])
    assert node.trial(sample={"x": 1}).status == 200
    assert node.status()["fork_servers"] == []


@linux
@pytest.mark.parametrize(
    "trouble", ["import os; os._exit(1)", "raise SystemExit", "import ctypes; ctypes.string_at(0)"]
)
def test_a_library_that_breaks_the_fork_server(node: Driver, library: Path, trouble: str) -> None:
    library.write_text(f"import os, sys\nif 'fork' in sys.argv: {trouble}\nPID = os.getpid()\n")
    assert not forked(node)
    assert not forked(node)


@linux
def test_a_library_that_hangs_in_the_fork_server(make_node: MakeNode, library: Path) -> None:
    library.write_text(
        "import os, sys, time\nif 'fork' in sys.argv: time.sleep(60)\nPID = os.getpid()\n"
    )
    node = make_node(load_timeout=1.0)
    node.spec("s", WHERE, outputs="y: list", prelude=USES)
    assert not forked(node)


@linux
@pytest.mark.parametrize("trial", [True, False])
def test_a_library_that_does_not_bear_the_fork_while_loading(node: Driver, trial: bool) -> None:
    check = "import os\nif patsy.PID != os.getpid(): os._exit(1)"
    node.spec("s", WHERE, outputs="y: list", prelude=USES, initCode=check)
    if trial:
        assert node.trial(sample={"x": 1}).status == 200
    assert not forked(node)
    node.run(node.node.retire("s"))
    assert not forked(node)


@linux
def test_an_error_of_the_code_is_no_fault_of_the_fork(
    node: Driver, library: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran = library.parent / "ran"
    init = f"open({str(ran)!r}, 'a').write('x')\n1 / 0"
    node.spec("s", WHERE, outputs="y: list", prelude=USES, initCode=init)
    assert "ZeroDivisionError" in body_of(node.trial(sample={"x": 1}))["message"]
    node.until(lambda: node.status()["workers"] == 0)
    assert ran.read_text() == "x"
    assert "started afresh" not in caplog.text


@linux
def test_a_library_that_does_not_bear_the_fork_in_a_call(
    make_node: MakeNode, library: Path
) -> None:
    node = make_node(call_timeout=0.5)
    code = """
import os
def f(x):
    while patsy.PID != os.getpid(): pass
    return [os.getpid(), patsy.PID]
"""
    node.spec("s", code, outputs="y: list", prelude=USES)
    assert node.call(x=1).status == 504
    assert not forked(node)


@linux
def test_unused_fork_servers_go(make_node: MakeNode, library: Path) -> None:
    node = make_node(idle_timeout=1.5)
    node.spec("s", WHERE, outputs="y: list", prelude=USES)
    assert forked(node)
    server = server_pid(node)
    node.until(lambda: not alive(server))
    assert node.status()["fork_servers"] == []


@linux
def test_modules_that_a_worker_needed_are_imported_for_the_next(
    node: Driver, library: Path
) -> None:
    library.unlink()
    package = library.with_suffix("")
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "deep.py").write_text("import os\nPID = os.getpid()\n")
    code = "import os\ndef f(x):\n    return [os.getpid(), deep.PID]"
    # Only when it runs is it known what is imported.
    init = "import importlib\ndeep = importlib.import_module('patsy.' + 'deep')"
    node.spec("s", code, outputs="y: list", prelude=USES, initCode=init)
    assert not forked(node)
    node.run(asyncio.sleep(0.3))
    node.run(node.node.retire("s"))
    assert forked(node)


@linux
def test_random_numbers_of_forked_workers_differ(make_node: MakeNode) -> None:
    node = make_node(pool_max=3, pool_initial=3)
    code = """
import numpy as np, random, time
def f(x):
    time.sleep(0.2)
    return [np.random.rand(), random.random()]
"""
    node.spec("s", code, outputs="y: list")

    async def three() -> list[list[float]]:
        replies = await asyncio.gather(*[node.ask(x=1) for _ in range(3)])
        return [json.loads(reply.body)["outputParameters"]["y"] for reply in replies]

    node.call(x=1)
    found = node.run(three())
    assert len({first for first, _ in found}) == 3
    assert len({second for _, second in found}) == 3
    assert len(node.status()["fork_servers"]) == 1


@linux
def test_models_with_threads_work_in_forked_workers(make_node: MakeNode, tmp_path: Path) -> None:
    """OpenMP and joblib: they hang when the model was used before the fork; it never is."""
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    rng = np.random.default_rng(1)
    table, labels = rng.normal(size=(300, 4)), rng.integers(0, 2, 300)
    models = {
        "boosted": HistGradientBoostingClassifier(max_iter=5).fit(table, labels),
        "forest": RandomForestClassifier(5, n_jobs=2, random_state=1).fit(table, labels),
    }
    code = """
import numpy as np
def f(x):
    x = np.repeat(x, 50, axis=0)
    return [float(np.linalg.norm(x @ x.T)), *boosted.predict(x)[:2], *forest.predict(x)[:2]]
"""
    objects = [blob(tmp_path, name, dill.dumps(model)) for name, model in models.items()]
    node = make_node(pool_max=2, call_timeout=30.0)
    node.spec("s", code, "x: matrix", "y: list", objects=objects, imports=["scikit-learn"])
    sample = {"x": [[1.0, 2.0, 3.0, 4.0]]}
    first = node.trial(sample=sample)
    assert first.status == 200, first
    start = time.monotonic()
    second = node.trial(sample=sample)
    took = time.monotonic() - start
    assert second.body == first.body
    assert len(node.status()["fork_servers"]) == 1
    assert took < first.header["load_seconds"]
    expected = [float(models["boosted"].predict(table[:1])[0])]
    assert body_of(first)["outputParameters"]["y"][1] in (0, 1)
    assert expected[0] in (0, 1)


# Which libraries


def imports_of(code: str = "", **more: Any) -> list[str]:
    return safe_imports(load_spec(code, "x: numeric", "y: numeric", **more))


def test_imports_are_read_from_the_sources() -> None:
    code = "import numpy as np, json\ndef f(x):\n    from scipy.linalg import solve\n    return x"
    assert imports_of(code) == ["numpy", "scipy.linalg", "scipy.linalg.solve"]
    prelude = [{"source": "from sklearn import svm", "names": ["svm"]}, {"object": "m"}]
    assert imports_of("", prelude=prelude, initCode="import pandas.io") == [
        "sklearn",
        "sklearn.svm",
        "pandas.io",
    ]
    assert imports_of("import numpy as np\ndef f(:") == []


def test_imports_are_told_by_types_and_packages() -> None:
    assert safe_imports(load_spec("", "x: data.frame, m: matrix", "")) == ["pandas", "numpy"]
    assert imports_of(imports=["scikit-learn", "Pandas-unknown", "numpy"]) == ["sklearn", "numpy"]


def test_unknown_libraries_are_left_to_the_worker() -> None:
    assert imports_of("import torch, tensorflow, my_module") == []
    assert imports_of("import torch, numpy") == ["numpy"]


def test_dill_alone_is_not_worth_a_fork_server(tmp_path: Path) -> None:
    objects = [blob(tmp_path, "m", b"x")]
    assert imports_of(objects=objects) == []
    assert imports_of("import numpy", objects=objects) == ["dill", "numpy"]


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.environ['OMP_NUM_THREADS'] = '1'\nimport numpy",
        "import sys\nsys.path.insert(0, '/own')\nimport numpy",
    ],
)
def test_code_that_prepares_its_imports_is_not_forked(code: str) -> None:
    assert imports_of(code) == []


def test_a_file_of_the_version_hides_the_library(tmp_path: Path) -> None:
    files = [blob(tmp_path, "numpy.py", b"")]
    assert imports_of("import numpy, scipy", files=files) == ["scipy"]
