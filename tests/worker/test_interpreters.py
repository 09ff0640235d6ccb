"""The worker under other Pythons than ours, which have only dill, or not even that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dill
import pytest
from support.worker_process import blob, dill_only

import jupyter_mlserve

from .conftest import StartWorker

PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"


def interpreters() -> list[str]:
    """Every Python of this machine that the worker supports, the oldest patch of each minor."""
    found = {}
    for minor in range(8, 15):
        for path in sorted(PYENV.glob(f"3.{minor}.*/bin/python")):
            found.setdefault(minor, str(path))
    return list(found.values()) or [sys.executable]


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": dill_only(folder)}


@pytest.mark.parametrize("interpreter", interpreters(), ids=lambda path: Path(path).parts[-3])
def test_a_service_runs_under_every_supported_python(
    start: StartWorker, tmp_path: Path, interpreter: str
) -> None:
    env = environment(tmp_path)
    pack = "import dill, sys; sys.stdout.buffer.write(dill.dumps({'k': 10, 'f': lambda x: x * 2}))"
    packed = subprocess.run(
        [interpreter, "-c", pack], env=env, capture_output=True, check=True
    ).stdout
    code = """
import os, sys
def f(x, s, when, raw, more, n=5):
    print("hello", when.isoformat())
    open("out.txt", "w").write(s)
    if x == 0:
        raise ValueError(s)
    global leak
    leak = x
    y = box["f"](x) + box["k"] + n
    return {"y": y, "s": s + raw.decode(), "more": more, "v": list(sys.version_info[:2])}
"""
    inputs = [
        {"name": "x", "type": "integer"},
        {"name": "s", "type": "character"},
        {"name": "when", "type": "datetime"},
        {"name": "raw", "type": "bytes"},
        {"name": "more", "type": "dict"},
        {"name": "n", "type": "integer", "optional": True, "default": 1},
    ]
    worker = start(
        code,
        inputs,
        "y: integer, s: character, more: dict, v: list",
        objects=[blob(tmp_path, "box", packed)],
        files_out=["out.txt"],
        interpreter=interpreter,
        env=env,
    )
    body = {
        "x": 1,
        "s": "é",
        "when": "2024-05-31T12:00:00Z",
        "raw": "aGk=",
        "more": {"a": [None, 1.5]},
    }
    header, result = worker.call(body)
    assert header["status"] == 200, header
    assert result["consoleOutput"] == "hello 2024-05-31T12:00:00+00:00\n"
    assert result["outputFiles"] == {"out.txt": "w6k="}
    outputs = result["outputParameters"]
    assert (outputs["y"], outputs["s"], outputs["more"]) == (13, "éhi", body["more"])
    assert worker.loaded["python"].startswith("{}.{}.".format(*outputs["v"]))
    assert f"/{worker.loaded['python']}/" in interpreter or interpreter == sys.executable
    failed, _ = worker.call({**body, "x": 0})
    assert failed["message"] == "ValueError: é"
    assert 'File "<Svc 1.0: code>", line 7, in f' in failed["traceback"]
    assert "raise ValueError(s)" in failed["traceback"]
    assert worker.call({**body, "x": "1"})[0]["kind"] == "InvalidInput"
    assert worker.call(b"[" * 100_000)[0]["kind"] == "InvalidInput"
    assert worker.call(b'{"x": ' + b"9" * 100_000 + b"}")[0]["kind"] == "InvalidInput"
    assert worker.call(body)[1] == result


def test_async_services_on_the_oldest_and_newest_python(start: StartWorker, tmp_path: Path) -> None:
    for interpreter in (interpreters()[0], interpreters()[-1]):
        code = "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x + 1"
        worker = start(code, interpreter=interpreter, env=environment(tmp_path))
        assert worker.output({"x": 1}) == 2


def test_without_dill_the_message_says_what_to_install(start: StartWorker, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": ""}
    interpreter = next((p for p in interpreters() if not has_dill(p, env)), None)
    if interpreter is None:
        pytest.skip("every interpreter of this machine has dill")
    # A version without objects needs none.
    assert start(interpreter=interpreter, env=env).output({"x": 1}) == 2
    objects = [blob(tmp_path, "m", dill.dumps(1))]
    loaded = start(objects=objects, interpreter=interpreter, env=env, ok=False).loaded
    assert f"{interpreter} -m pip install dill" in loaded["message"]


def test_without_numpy_or_pandas_the_declared_type_says_so(
    start: StartWorker, tmp_path: Path
) -> None:
    env = environment(tmp_path)
    interpreter = interpreters()[0]
    probe = subprocess.run([interpreter, "-c", "import pandas"], env=env, capture_output=True)
    if probe.returncode == 0:
        pytest.skip("every interpreter of this machine has pandas")
    for kind, module in (("vector", "numpy"), ("data.frame", "pandas")):
        loaded = start(inputs=f"x: {kind}", interpreter=interpreter, env=env, ok=False).loaded
        assert f"no module '{'numpy' if kind == 'vector' else module}'" in loaded["message"] or (
            "numpy" in loaded["message"]
        )
    # Frames can be returned as plain columns.
    worker = start(
        "def f(): return {'a': [1]}", "", "y: data.frame", interpreter=interpreter, env=env
    )
    assert worker.output({}) == {"a": [1]}


def has_dill(interpreter: str, env: dict[str, str]) -> bool:
    found = subprocess.run([interpreter, "-c", "import dill"], env=env, capture_output=True)
    return found.returncode == 0


def test_the_worker_package_imports_nothing_heavy() -> None:
    """A worker of a plain service starts without numpy, dill, asyncio and the package itself."""
    main = Path(jupyter_mlserve.__file__).parent / "worker" / "__main__.py"
    code = (
        f"ns = {{'__name__': 'started', '__file__': {str(main)!r}}};"
        f"exec(open({str(main)!r}).read(), ns); ns['load_package']();"
        "import sys, _mlserve_worker.serve; print(sorted(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(out.stdout))
    heavy = {"numpy", "pandas", "dill", "asyncio", "typing", "jupyter_mlserve", "shutil", "hashlib"}
    assert loaded & heavy == set()
