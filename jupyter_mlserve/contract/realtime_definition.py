"""The definition of a realtime version: what its container says of itself, and nothing else.

A standard version is declared by its author. A realtime version declares nothing: its columns,
example and proof are read from the header of the uploaded container, so that the definition and
the model can never disagree. Only the description and the alias are the author's words.

``mlserve.model`` is the blob of the whole container (``sha256``, ``size`` in bytes), not of the
ONNX bytes inside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from . import limits, names
from .checks import fail, mapping, named, one_of, optional_text, text, unknown_key, whole
from .errors import InvalidDefinition
from .header_checks import MAX_TEXT, array, distinct, flag, keys
from .realtime import input_definitions, output_definitions
from .realtime_example import example
from .realtime_header import COLUMN_TYPES, KINDS, proof, response
from .realtime_words import check_classes, check_known, classes_of, known_of
from .values import describe

Json = dict[str, Any]

REALTIME = "Realtime"
# What a realtime version has in its "mlserve" part, and no standard one.
REALTIME_KEYS = (
    *("model", "kind", "modelName", "response", "classes", "known", "example", "proof"),
)
# What a standard version has there: void, so that readers find every key.
_VOID: Json = {
    "function": None,
    "prelude": [],
    "objects": [],
    "files": [],
    "sample": None,
    "interpreter": None,
    "source": None,
    "notebook": None,
    "cellId": None,
}
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FREE = ("description", "operationId")


@dataclass(frozen=True)
class Realtime:
    """The part of a definition that only realtime versions have. Treat it as read-only."""

    model: Json  # {"sha256", "size"} of the container
    kind: str  # regression, classification, outlier, clustering, transform
    model_name: str  # "Pipeline(StandardScaler, Ridge)"
    response: Json | None  # {"name", "type", "position"}
    classes: list[Any] | None  # the labels of a classifier, if they are not very many
    known: Json  # the values that a column may have, by column, where they are few
    example: Json  # one typical row: a value for every column
    proof: Json  # rows tried, largest difference, candidate, libraries

    def to_json(self) -> Json:
        """The keys of ``mlserve``."""
        return {
            "model": self.model,
            "kind": self.kind,
            "modelName": self.model_name,
            "response": self.response,
            "classes": self.classes,
            "known": self.known,
            "example": self.example,
            "proof": self.proof,
        }

    @classmethod
    def from_own(cls, own: Mapping[str, Any]) -> Realtime:
        """From a (clean) ``mlserve`` part."""
        return cls(
            model=own["model"],
            kind=own["kind"],
            model_name=own["modelName"],
            response=own["response"],
            classes=own["classes"],
            known=own["known"],
            example=own["example"],
            proof=own["proof"],
        )


def body_of(
    name: str,
    version: str,
    header: Mapping[str, Any],
    model: Mapping[str, Any],
    description: str | None,
    operation_id: str | None,
) -> Json:
    """The JSON of the definition that the (checked) ``header`` of a container means."""
    return {
        "name": name,
        "version": version,
        "runtimeType": REALTIME,
        "description": description,
        "operationId": operation_id,
        "code": "",
        "initCode": None,
        "inputParameterDefinitions": input_definitions(header),
        "outputParameterDefinitions": output_definitions(header),
        "outputFileNames": [],
        "mlserve": {
            "form": "realtime",
            "model": {"sha256": model["sha256"], "size": model["size"]},
            "kind": header["kind"],
            "modelName": header["model"],
            "response": header["response"],
            "classes": classes_of(header),
            "known": known_of(header),
            "example": header["example"],
            "proof": header["proof"],
        },
    }


def clean(top: Mapping[str, Any], own: Mapping[str, Any]) -> Json:
    """A realtime definition normalised, or InvalidDefinition / InvalidName.

    ``top`` and ``own`` (its ``mlserve``) have no unknown keys.
    """
    for key in ("code", "initCode", "outputFileNames"):
        _void(top.get(key), key)
    one_of(own.get("form"), ("realtime",), "mlserve.form")
    for key in (*_VOID, "pool"):
        _void(own.get(key), f"mlserve.{key}")
    if own.get("batchable"):
        fail("mlserve.batchable", "the records of a realtime service are always taken together")
    inputs = _frame(top, "inputParameterDefinitions", "inputData", True)
    outputs = _frame(top, "outputParameterDefinitions", "outputData", False)
    columns = inputs[0]["columns"]
    column_names = [column["name"] for column in columns]
    known = check_known(own.get("known"), columns, "mlserve.known")
    typical = [
        {**column, "known": known[name]} if name in known else column
        for name, column in zip(column_names, columns, strict=True)
    ]
    proven = proof(own.get("proof"), "mlserve.proof")
    alias = top.get("operationId")
    if alias is not None:
        named(names.check_alias, alias, "operationId")
    return {
        "name": names.check_name(top.get("name")),
        "version": names.check_version(top.get("version")),
        "runtimeType": REALTIME,
        "description": optional_text(top.get("description"), "description", limits.MAX_DESCRIPTION),
        "operationId": alias,
        "code": "",
        "initCode": None,
        "inputParameterDefinitions": inputs,
        "outputParameterDefinitions": outputs,
        "outputFileNames": [],
        "mlserve": {
            "form": "realtime",
            **_VOID,
            "packages": dict(sorted(proven["libraries"].items())),
            "model": _model(own.get("model")),
            "kind": one_of(own.get("kind"), KINDS, "mlserve.kind"),
            "modelName": text(own.get("modelName"), "mlserve.modelName", 2000),
            "response": response(own.get("response"), column_names, "mlserve.response"),
            "classes": check_classes(own.get("classes"), outputs[0]["columns"], "mlserve.classes"),
            "known": known,
            "example": example(own.get("example"), typical, set(), None, "mlserve.example"),
            "proof": proven,
        },
    }


def described(current: Json, patch: Mapping[str, Any], read_only: tuple[str, ...]) -> Json:
    """``current`` (a realtime definition) with the description and alias that ``patch`` gives.

    Clients read a service, change a part and send all of it: other parts may be there if they say
    what is so. Raises InvalidDefinition for a part that would change.
    """
    name, version = current["name"], current["version"]
    code = bool(patch.get("code"))
    for key, value in patch.items():
        if key in _FREE or key in read_only or (key == "runtimeType" and value is None):
            continue
        if key == "snapshotId":
            if value:
                _only_a_model(name, version, key, code)
        elif key == "mlserve":
            own = mapping(
                value or {}, "mlserve", (*current["mlserve"], "pool", "batchable", *read_only)
            )
            for part, given in own.items():
                if part not in read_only and not _same(given, current["mlserve"].get(part)):
                    _only_a_model(name, version, f"mlserve.{part}", code)
        elif key not in current:
            unknown_key(key, "definition", current)
        elif key in ("name", "version"):
            if value != current[key]:
                fail(key, f"the address says {current[key]!r}, the body {describe(value)}")
        elif not _same(value, current[key]):
            _only_a_model(name, version, key, code)
    return {**current, **{key: patch[key] for key in _FREE if key in patch}}


def refuse(name: str, version: str, body: object, exists: bool = False) -> None:
    """Raise InvalidDefinition if ``body``, sent for a standard version, would be a realtime one."""
    if not isinstance(body, Mapping):
        return
    own = body.get("mlserve")
    own = own if isinstance(own, Mapping) else {}
    runtime = body.get("runtimeType")
    field = None
    if isinstance(runtime, str) and runtime.lower() == REALTIME.lower():
        field = "runtimeType"
    elif own.get("form") == "realtime":
        field = "mlserve.form"
    else:
        field = next((f"mlserve.{key}" for key in REALTIME_KEYS if own.get(key) is not None), None)
    if field is None:
        return
    if exists:
        raise InvalidDefinition(
            f"{name} {version} is a standard service and stays one. Publish the compiled model as "
            f"a version of its own: realtime-services/{name}/VERSION (%publish_realtime, "
            "deploy_realtime).",
            field=field,
        )
    raise InvalidDefinition(
        "A realtime service is a compiled model, and JSON cannot carry it. Send the bytes of "
        f"serialize_model(model, sample) to realtime-services/{name}/{version} "
        "(%publish_realtime, deploy_realtime).",
        field=field,
    )


def refuse_container(name: str, version: str) -> NoReturn:
    """Raise InvalidDefinition: a compiled model was sent for a standard version."""
    raise InvalidDefinition(
        f"{name} {version} is a standard service, which runs code and not a compiled model. Update "
        f"it at services/{name}/{version} (%%publish_service --update, redeploy_service), or "
        "publish the model as another version.",
        field="runtimeType",
    )


def _only_a_model(name: str, version: str, field: str, code: bool) -> NoReturn:
    """``code``: what was sent has code, so it was to be a standard service."""
    another = f"realtime-services/{name}/{version} (%publish_realtime --update, redeploy_realtime)"
    if code or field == "runtimeType":
        raise InvalidDefinition(
            f"{name} {version} is a realtime service: a compiled model, which runs no code. "
            f"Publish the code as another version of {name}, or another model as this one: "
            f"{another}.",
            field=field,
        )
    raise InvalidDefinition(
        f"{name} {version} is a realtime service: a compiled model, whose inputs, outputs and "
        f"example are the model's own, so {field} does not change without it. Publish another "
        f"model: {another}; only its description and alias are changed by themselves.",
        field=field,
    )


def _same(given: Any, current: Any) -> bool:
    void: tuple[Any, ...] = (None, "", [], {}, False)
    return given == current or (given in void and current in void)


def _void(value: object, field: str) -> None:
    if not _same(value, None):
        fail(field, "a realtime service has none")


def _model(value: object) -> Json:
    given = mapping(value, "mlserve.model", ("sha256", "size"))
    digest = given.get("sha256")
    if not (isinstance(digest, str) and _SHA256.match(digest)):
        fail("mlserve.model.sha256", f"expected 64 lower-case hex digits, got {describe(digest)}")
    size = whole(given.get("size"), "mlserve.model.size", 1, limits.MAX_SIZE)
    return {"sha256": digest, "size": size}


def _frame(top: Mapping[str, Any], field: str, name: str, nullable: bool) -> list[Json]:
    """The one parameter that a realtime service has on this side."""

    def param(item: object, where: str) -> Json:
        raw = keys(item, where, ("name", "type", "columns"))
        one_of(raw["name"], (name,), f"{where}.name")
        one_of(raw["type"], ("data.frame",), f"{where}.type")
        columns = array(raw["columns"], f"{where}.columns", 1, limits.MAX_COLUMNS, column)
        distinct([item["name"] for item in columns], f"{where}.columns")
        return {"name": name, "type": "data.frame", "columns": columns}

    def column(item: object, where: str) -> Json:
        raw = keys(item, where, ("name", "type", "nullable") if nullable else ("name", "type"))
        # The outputs of a classifier are named after its classes, which may be long.
        longest = limits.MAX_COLUMN_NAME if nullable else MAX_TEXT + 64
        called = text(raw["name"], f"{where}.name", longest)
        if not called or not called.isprintable():
            fail(f"{where}.name", "expected printable text")
        made = {"name": called, "type": one_of(raw["type"], COLUMN_TYPES, f"{where}.type")}
        return {**made, "nullable": flag(raw["nullable"], where)} if nullable else made

    return array(top.get(field), field, 1, 1, param)
