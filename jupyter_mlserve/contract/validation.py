"""Every rule a definition must keep, whoever sent it.

:func:`clean` takes the JSON object of a definition from an untrusted source and returns it
normalised: all keys there, in one order, with nothing unknown left. It raises InvalidDefinition
(or InvalidName, for the service's own name and version) whose ``field`` is the path of the part
at fault, such as ``mlserve.objects[0].sha256``.

Nothing here parses or runs code: the text may be for another Python than this one. Whether the
code loads is found out by the trial, in a worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from . import limits, names
from .batch import batchable
from .checks import array, fail, mapping, named, one_of, optional_text, text, unique, whole
from .errors import InvalidDefinition
from .realtime_definition import REALTIME, REALTIME_KEYS
from .realtime_definition import clean as clean_realtime
from .types import COLUMN_TYPES, WIRE_TYPES
from .values import describe, json_problem, misfit

Json = dict[str, Any]

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PYTHON_VERSION = re.compile(r"\d{1,3}\.\d{1,3}(\.\d{1,3}[\w.+-]{0,40})?\Z")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]|\\\\")
_SNAPSHOT_ID = re.compile(r"[0-9a-f-]{36}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

RUNTIMES = ("Python",)
DEFINITION_KEYS = (
    "name",
    "version",
    "runtimeType",
    "description",
    "operationId",
    "code",
    "initCode",
    "inputParameterDefinitions",
    "outputParameterDefinitions",
    "outputFileNames",
    "snapshotId",
    "mlserve",
)
MLSERVE_KEYS = (
    "form",
    "function",
    "prelude",
    "objects",
    "files",
    "sample",
    "interpreter",
    "packages",
    "source",
    "notebook",
    "cellId",
    "pool",
    "batchable",
    *REALTIME_KEYS,
)


def clean(body: object) -> Json:
    """The definition ``body`` normalised, or InvalidDefinition / InvalidName."""
    top = mapping(body, "definition", DEFINITION_KEYS)
    own = mapping(top.get("mlserve") or {}, "mlserve", MLSERVE_KEYS)
    runtime = top.get("runtimeType", "Python")
    if runtime == REALTIME:
        return clean_realtime(top, own)
    if runtime not in RUNTIMES:
        fail("runtimeType", f"expected {' or '.join(RUNTIMES)}, got {describe(runtime)}")
    inputs = params(top.get("inputParameterDefinitions"), "inputParameterDefinitions")
    outputs = params(top.get("outputParameterDefinitions"), "outputParameterDefinitions", True)
    files = _file_names(top.get("outputFileNames"))
    if top.get("code") is None:
        raise InvalidDefinition(
            "The definition's code is missing; a service needs code to run.", field="code"
        )
    code = text(top["code"], "code", limits.MAX_CODE)
    if not code.strip():
        fail("code", "it is empty; a service needs code to run")
    alias = top.get("operationId")
    if alias is not None:
        named(names.check_alias, alias, "operationId")
    snapshot = top.get("snapshotId")
    if snapshot is not None and not (isinstance(snapshot, str) and _SNAPSHOT_ID.match(snapshot)):
        fail("snapshotId", f"expected the GUID of a snapshot, got {describe(snapshot)}")
    return {
        "name": names.check_name(top.get("name")),
        "version": names.check_version(top.get("version")),
        "runtimeType": runtime,
        "description": optional_text(top.get("description"), "description", limits.MAX_DESCRIPTION),
        "operationId": alias,
        "code": code,
        "initCode": optional_text(top.get("initCode"), "initCode", limits.MAX_CODE),
        "inputParameterDefinitions": inputs,
        "outputParameterDefinitions": outputs,
        "outputFileNames": files,
        **({} if snapshot is None else {"snapshotId": snapshot}),
        "mlserve": _clean_own(own, inputs, batchable(own.get("batchable"), inputs, outputs, files)),
    }


def _clean_own(own: Mapping[str, Any], inputs: list[Json], grouped: bool) -> Json:
    for key in REALTIME_KEYS:
        if own.get(key) is not None:
            fail(f"mlserve.{key}", "only a realtime service has it")
    function = own.get("function")
    if function is not None:
        named(names.check_identifier, function, "mlserve.function")
    form = own.get("form", "script" if function is None else "function")
    if form not in ("script", "function"):
        fail("mlserve.form", f'expected "script" or "function", got {describe(form)}')
    if (form == "function") != (function is not None):
        fail("mlserve.function", f"it must be {'given' if function is None else 'null'} ({form})")
    objects = [
        blob(item, f"mlserve.objects[{number}]", names.check_variable, ("type",))
        for number, item in enumerate(
            array(own.get("objects"), "mlserve.objects", limits.MAX_OBJECTS)
        )
    ]
    unique(objects, "mlserve.objects")
    files = [
        blob(item, f"mlserve.files[{number}]", names.check_file_name)
        for number, item in enumerate(array(own.get("files"), "mlserve.files", limits.MAX_FILES))
    ]
    unique(files, "mlserve.files")
    cleaned: Json = {
        "form": form,
        "function": function,
        "prelude": prelude(own.get("prelude"), {item["name"] for item in objects}),
        "objects": objects,
        "files": files,
        "sample": sample(own.get("sample"), inputs),
        "interpreter": interpreter(own.get("interpreter")),
        "packages": packages(own.get("packages")),
        "source": optional_text(own.get("source"), "mlserve.source", limits.MAX_CODE),
        "notebook": optional_text(own.get("notebook"), "mlserve.notebook", limits.MAX_PATH),
        "cellId": optional_text(own.get("cellId"), "mlserve.cellId", limits.MAX_SHORT_TEXT),
    }
    if own.get("pool") is not None:
        cleaned["pool"] = pool(own["pool"])
    if grouped:
        cleaned["batchable"] = True
    return cleaned


def params(value: object, field: str, output: bool = False) -> list[Json]:
    """Input or output definitions: ``[{"name", "type", "columns"?, "optional"?, "default"?}]``."""
    longest = limits.MAX_OUTPUTS if output else limits.MAX_INPUTS
    allowed = ("name", "type", "columns") + (() if output else ("optional", "default"))
    found: list[Json] = []
    for number, item in enumerate(array(value, field, longest)):
        where = f"{field}[{number}]"
        given = mapping(item, where, allowed)
        param: Json = {
            "name": named(names.check_identifier, given.get("name"), f"{where}.name"),
            "type": one_of(given.get("type"), WIRE_TYPES, f"{where}.type"),
        }
        if given.get("columns") is not None:
            if param["type"] != "data.frame":
                fail(f"{where}.columns", "only a data.frame has columns")
            param["columns"] = _columns(given["columns"], f"{where}.columns")
        optional = given.get("optional", "default" in given)
        if not isinstance(optional, bool):
            fail(f"{where}.optional", f"expected true or false, got {describe(optional)}")
        if "default" in given and not optional:
            fail(f"{where}.default", "only an optional input has a default")
        if optional:
            default = given.get("default")
            problem = json_problem(default) or misfit(default, param)
            if problem:
                fail(f"{where}.default", problem)
            param["optional"] = True
            param["default"] = default
        found.append(param)
    unique(found, field)
    return found


def _columns(value: object, field: str) -> list[Json]:
    found: list[Json] = []
    for number, item in enumerate(array(value, field, limits.MAX_COLUMNS)):
        where = f"{field}[{number}]"
        given = mapping(item, where, ("name", "type", "nullable"))
        column: Json = {
            "name": named(names.check_column, given.get("name"), f"{where}.name"),
            "type": one_of(given.get("type"), COLUMN_TYPES, f"{where}.type"),
        }
        nullable = given.get("nullable", False)
        if not isinstance(nullable, bool):
            fail(f"{where}.nullable", f"expected true or false, got {describe(nullable)}")
        # The other types can always be missing (NaN, None, NaT): the word would say nothing.
        if nullable and column["type"] in ("integer", "logical"):
            column["nullable"] = True
        found.append(column)
    if not found:
        fail(field, "it is empty; leave it out for a frame with any columns")
    unique(found, field)
    return found


def _file_names(value: object) -> list[str]:
    found = [
        named(names.check_file_name, item, f"outputFileNames[{number}]")
        for number, item in enumerate(array(value, "outputFileNames", limits.MAX_FILES))
    ]
    for number, name in enumerate(found):
        if name in found[:number]:
            fail(f"outputFileNames[{number}]", f"{name!r} is there twice")
    return found


def blob(
    value: object,
    field: str,
    check: Callable[[object, str], str],
    more: tuple[str, ...] = (),
) -> Json:
    """One object or file of the bundle: ``{"name", "sha256", "size"[, "type"]}``."""
    given = mapping(value, field, ("name", "sha256", "size", *more))
    name = named(check, given.get("name"), f"{field}.name")
    digest, size = given.get("sha256"), given.get("size")
    if not (isinstance(digest, str) and _SHA256.match(digest)):
        fail(f"{field}.sha256", f"expected 64 lower-case hex digits, got {describe(digest)}")
    found: Json = {
        "name": name,
        "sha256": digest,
        "size": whole(size, f"{field}.size", 0, limits.MAX_SIZE),
    }
    for key in more:
        found[key] = text(given.get(key, ""), f"{field}.{key}", limits.MAX_SHORT_TEXT)
    return found


def prelude(value: object, objects: set[str]) -> list[Json]:
    """The ordered steps before ``initCode``: sources (with the names they define) and objects."""
    found: list[Json] = []
    placed: set[str] = set()
    defined: set[str] = set()
    characters = 0
    for number, item in enumerate(array(value, "mlserve.prelude", limits.MAX_PRELUDE)):
        where = f"mlserve.prelude[{number}]"
        given = mapping(item, where, ("object", "source", "names"))
        if "object" in given:
            if len(given) != 1:
                fail(where, 'an object step holds the key "object" alone')
            name = named(names.check_variable, given["object"], f"{where}.object")
            if name not in objects:
                fail(f"{where}.object", f"{name!r} is not in mlserve.objects; send both together")
            if name in placed:
                fail(f"{where}.object", f"{name!r} was loaded by an earlier step")
            placed.add(name)
            found.append({"object": name})
            continue
        source = text(given.get("source"), f"{where}.source", limits.MAX_CODE)
        characters += len(source)
        if characters > limits.MAX_CODE:
            fail(where, f"the sources together have more than {limits.MAX_CODE:,} characters")
        defines = [
            named(names.check_variable, name, f"{where}.names[{position}]")
            for position, name in enumerate(
                array(given.get("names"), f"{where}.names", limits.MAX_PRELUDE)
            )
        ]
        defined.update(defines)
        found.append({"source": source, "names": defines})
    both = sorted(defined & objects)
    if both:
        fail("mlserve.prelude", f"{both[0]!r} is both an object and defined by a source")
    return found


def sample(value: object, inputs: list[Json]) -> Json | None:
    """An example call: JSON by input name, all required inputs there, all values fitting."""
    if value is None:
        return None
    field = "mlserve.sample"
    if not isinstance(value, Mapping):
        fail(field, f"expected an object of inputs, got {describe(value)}")
    given = dict(value)
    problem = json_problem(given)
    if problem:
        fail(field, problem)
    by_name = {param["name"]: param for param in inputs}
    for name in given:
        if name not in by_name:
            fail(field, f"{name!r} is not an input; the inputs are {', '.join(by_name) or 'none'}")
    for name, param in by_name.items():
        if name not in given:
            if not param.get("optional"):
                fail(f"{field}.{name}", "the input is required and missing")
            continue
        problem = misfit(given[name], param)
        if problem:
            fail(f"{field}.{name}", problem)
    return given


def interpreter(value: object) -> Json | None:
    """Where the version runs: ``{"executable", "version", "implementation", "dill"}``."""
    if value is None:
        return None
    field = "mlserve.interpreter"
    given = mapping(value, field, ("executable", "version", "implementation", "dill"))
    executable = text(given.get("executable"), f"{field}.executable", limits.MAX_PATH)
    if not _ABSOLUTE.match(executable) or _CONTROL.search(executable):
        fail(f"{field}.executable", f"expected an absolute path, got {describe(executable)}")
    version = text(given.get("version"), f"{field}.version", limits.MAX_SHORT_TEXT)
    if not _PYTHON_VERSION.match(version):
        fail(f"{field}.version", f"expected one such as 3.11.7, got {describe(version)}")
    return {
        "executable": executable,
        "version": version,
        "implementation": text(
            given.get("implementation", "CPython"),
            f"{field}.implementation",
            limits.MAX_SHORT_TEXT,
        ),
        "dill": optional_text(given.get("dill"), f"{field}.dill", limits.MAX_SHORT_TEXT),
    }


def packages(value: object) -> dict[str, str]:
    """Versions of the packages the code imports, by distribution name, sorted."""
    field = "mlserve.packages"
    if not value:
        value = {}
    if not isinstance(value, Mapping):
        fail(field, f"expected an object of versions, got {describe(value)}")
    if len(value) > limits.MAX_PACKAGES:
        fail(field, f"it has {len(value)} entries, more than {limits.MAX_PACKAGES}")
    found: dict[str, str] = {}
    for name, version in value.items():
        key = text(name, f"{field} (a name)", limits.MAX_SHORT_TEXT)
        found[key] = text(version, f"{field}.{key}", limits.MAX_SHORT_TEXT)
    return dict(sorted(found.items()))


def pool(value: object) -> Json:
    """Workers to hold for the version: ``{"initial": >= 0, "max": >= 1 and >= initial}``."""
    given = mapping(value, "mlserve.pool", ("initial", "max"))
    initial = whole(given.get("initial", 0), "mlserve.pool.initial", 0, limits.MAX_POOL)
    highest = whole(given.get("max"), "mlserve.pool.max", 1, limits.MAX_POOL)
    if initial > highest:
        fail("mlserve.pool.initial", f"it is {initial}, more than max, which is {highest}")
    return {"initial": initial, "max": highest}
