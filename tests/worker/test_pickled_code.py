"""Code that another Python packed is refused before it is loaded, and no other."""

from __future__ import annotations

import io
import json
import opcode
import os
import pickle
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import dill
import pytest
from support.foreign_pickles import FOREIGN, minor
from support.odd_code import SOURCES, odd_object
from support.worker_process import MAIN, blob

from jupyter_mlserve.worker import bytecode, objects
from jupyter_mlserve.worker.failures import LoadFailure

from .conftest import StartWorker
from .test_interpreters import interpreters

OWN = sys.version_info[:2]
OWN_TEXT = "{}.{}".format(*OWN)


def check(content: bytes, name: str = "m") -> None:
    """Raises what a worker raises that is to load it."""
    objects.refuse_foreign_code(io.BytesIO(content), name)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """What dill takes for ``__main__``."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setattr("dill._dill._main_module", module)
    return module


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_model_of_the_notebook_runs_under_its_own_python_only(
    start: StartWorker, tmp_path: Path, origin: str
) -> None:
    content = FOREIGN[origin]["model"]
    version = minor(origin)
    spec = {"objects": [blob(tmp_path, "model", content)]}
    code = "def f(x): return model.predict([x, 1])"
    if version == OWN and "0.3.5" not in origin:
        assert start(code, **spec).output({"x": 3}) == 8
        return
    loaded = start(code, ok=version == OWN, **spec).loaded
    if version == OWN:
        return
    assert (loaded["status"], loaded["kind"]) == (400, "TrialFailed")
    older = " or older" if version == (3, 7) else ""
    writers = loaded["message"].split(" was packed under Python ")[1].split(", and is to run")[0]
    assert "{}.{}".format(*version) + older in [*writers.split(" or "), writers]
    assert f"is to run under Python {OWN_TEXT} ({sys.executable})" in loaded["message"]
    assert "The object 'model'" in loaded["message"]
    assert "'__init__'" in loaded["message"] or "'predict'" in loaded["message"]
    assert f"Publish from Python {OWN_TEXT}" in loaded["message"]


# Read by each interpreter of the machine: what it refuses, and what it says of its own.
READ = """
import io, json, sys, types
folder, data = sys.argv[1:]
package = types.ModuleType("w")
package.__path__ = [folder]
sys.modules["w"] = package
from w import bytecode, objects
from w.failures import LoadFailure
said = {}
objects.refuse_foreign_code(io.BytesIO(b"no code"), "x")
said["read"] = "w.pickled_code" in sys.modules
for origin, packed in json.load(open(data)).items():
    for name, text in packed.items():
        try:
            objects.refuse_foreign_code(io.BytesIO(bytes.fromhex(text)), name)
        except LoadFailure as exc:
            said[origin + " " + name] = exc.message
json.dump(said, sys.stdout)
"""


@pytest.mark.parametrize("interpreter", interpreters(), ids=lambda path: Path(path).parts[-3])
def test_every_python_tells_its_own_from_all_others(tmp_path: Path, interpreter: str) -> None:
    data = tmp_path / "data.json"
    packed = {o: {n: c.hex() for n, c in named.items()} for o, named in FOREIGN.items()}
    data.write_text(json.dumps(packed))
    command = [interpreter, "-c", READ, str(MAIN.parent), str(data)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    said = json.loads(out)
    assert said.pop("read") is False
    ask = [interpreter, "-c", "import sys; print(sys.version_info[1])"]
    own = (3, int(subprocess.run(ask, capture_output=True, text=True, check=True).stdout))
    # No instruction of these differs between the two versions.
    alike = [{(3, 8), (3, 9)}, {(3, 11), (3, 12)}]
    for origin in FOREIGN:
        version = minor(origin)
        refused = {name for name in ("model", "twice", "at_most_3") if f"{origin} {name}" in said}
        if version == own:
            # 3.9 could have written where this jumps, and 3.9 means another place by it.
            assert refused == ({"at_most_3"} if "0.3.5" in origin else set()), origin
        elif {version, own} == {(3, 8), (3, 9)}:
            assert refused <= {"model"}, origin
        elif {version, own} in alike:
            assert refused == {"model", "at_most_3"}, origin
        elif own == (3, 10) and version in ((3, 8), (3, 9)):
            assert {"at_most_3"} <= refused <= {"model", "at_most_3"}, origin
        elif "0.3.5" in origin and own in ((3, 8), (3, 9)):
            assert refused <= {"model"}, origin
        else:
            assert refused == {"model", "twice", "at_most_3"}, origin
    for key, message in said.items():
        older = " or older" if key.startswith("3.7/") else ""
        writers = message.split(" was packed under Python ")[1].split(", and is to run")[0]
        if minor(key.split()[0]) != own:
            assert key.split("/")[0] + older in [*writers.split(" or "), writers]
        assert "is to run under Python {}.{} (".format(*own) in message


SETTINGS = [{}, {"recurse": True}, {"byref": True}, {"protocol": 2}, {"protocol": 0}]


# What is packed by reference cannot be found again: dill says so.
@pytest.mark.filterwarnings("ignore:Cannot locate reference")
@pytest.mark.parametrize("kind", SOURCES)
def test_what_this_python_packs_it_may_load(main: types.ModuleType, kind: str) -> None:
    value = odd_object(SOURCES[kind], main)
    for settings in SETTINGS:
        content = dill.dumps(value, **settings)
        if not settings:
            assert objects._CODE_MARK in content
        check(content)


def codes_of(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


@pytest.mark.skipif(OWN not in bytecode.KNOWN, reason="this Python came after the table")
def test_all_code_of_the_standard_library_is_known_as_this_pythons() -> None:
    seen = foreign = 0
    for path in sorted(Path(os.__file__).parent.glob("[a-c]*.py")):
        for code in codes_of(compile(path.read_bytes(), str(path), "exec", dont_inherit=True)):
            assert bytecode.fits(OWN, code.co_code, code.co_flags), (path, code)
            seen += 1
            foreign += bytecode.fits((3, 10), code.co_code, code.co_flags)
            if OWN == (3, 11):
                assert bytecode.balanced(OWN, code.co_code, code.co_flags), (path, code)
    assert seen > 500
    if OWN > (3, 10):
        assert foreign == 0


@pytest.mark.skipif(OWN not in bytecode.KNOWN, reason="this Python came after the table")
def test_the_table_is_that_of_the_interpreter() -> None:
    entries = getattr(opcode, "_inline_cache_entries", {})
    by_name = isinstance(entries, dict)
    numbers = {}
    for name, number in opcode.opmap.items():
        if 0 < number < 234 and name != "RESERVED" and not name.startswith("INSTRUMENTED"):
            slots = entries.get(name, 0) if by_name else entries[number]
            numbers[number] = 2 + 2 * slots
    widths = bytecode._widths_of(OWN)
    assert {number: width for number, width in enumerate(widths) if width} == numbers


def test_a_python_that_came_after_the_table_refuses_what_has_the_layout_of_others(
    monkeypatch: pytest.MonkeyPatch, main: types.ModuleType
) -> None:
    monkeypatch.setattr(bytecode, "KNOWN", [v for v in bytecode.KNOWN if v != OWN])
    check(dill.dumps(odd_object(SOURCES["loops"], main)))
    with pytest.raises(LoadFailure, match=r"was packed under Python 3\.7 or older"):
        check(FOREIGN["3.7/0.3.7"]["twice"])


def test_nothing_is_run_and_nothing_hostile_helps(tmp_path: Path) -> None:
    target = tmp_path / "made"

    class Evil:
        def __reduce__(self) -> object:
            return os.mkdir, (str(target),)

    mark = pickle.dumps("_create_code")
    foreign = FOREIGN["3.7/0.3.7"]["twice"]
    check(pickle.dumps([Evil(), "_create_code"]))
    assert not target.exists()
    # Whatever comes after it or is broken behind it, code is found.
    for content in (foreign[:-1], foreign[:-1] + b"\xff" * 100):
        with pytest.raises(LoadFailure):
            check(content)
    # What cannot be read is left to the load.
    for content in (
        b"",
        b"_create_code",
        mark[:-1],
        b"(" * 1_000_000 + b"_create_code",
        b"cdill._dill\n_create_code\n)R.",
        b"cdill._dill\n_create_code\n(I1\nNNNNNNNNNNNNNNNtR.",
        b"cdill._dill\n_create_code\n(" + b"I1\n" * 16 + b"tR.",
        b"P1\n._create_code",
        b"\x80\x05\x97._create_code",
        b"cdill._dill\n_create_code\n" + b"\x85" * 200_000 + b".",
    ):
        check(content)
    # Much code is not looked at for ever: most of this is not.
    huge = b"\x01\x00" * 5_000_000
    args = (0, 0, 0, 0, 1, 0, huge, (), (), (), "f", "f", 1, b"", (), ())

    class Code:
        def __reduce__(self) -> object:
            return dill._dill._create_code, args

    started = time.perf_counter()
    check(pickle.dumps(Code(), 4))
    assert time.perf_counter() - started < 5


def test_the_mark_of_code_is_found_across_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    content = FOREIGN["3.7/0.3.7"]["twice"]
    for size in (1, 5, 12, 13, 64):
        monkeypatch.setattr(objects, "CHUNK", size)
        assert objects._has_code(io.BytesIO(content))
        assert not objects._has_code(io.BytesIO(content.replace(b"_code", b"_Code")))


def test_a_name_of_any_length_is_shown_in_part() -> None:
    content = FOREIGN["3.7/0.3.7"]["twice"]
    assert b"X\x05\x00\x00\x00twice" in content
    long = content.replace(b"X\x05\x00\x00\x00twice", b"X\x10\x27\x00\x00" + b"t" * 10_000)
    with pytest.raises(LoadFailure) as caught:
        check(long)
    assert "'" + "t" * 80 + "...'" in caught.value.message
    assert len(caught.value.message) < 1000
