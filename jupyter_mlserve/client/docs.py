"""What ``help(service)`` says: the docstrings of a service object's class and of its call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract.realtime_words import about_output, listed
from ..contract.types import to_text, type_text

Json = Mapping[str, Any]

_PYTHON = {"numeric": "float", "integer": "int", "logical": "bool", "character": "str"}


def call_doc(definition: Json) -> str:
    """The docstring of the method that consumes the service."""
    lines = [f"Consume the service {definition['name']}, version {definition['version']}.", ""]
    if definition.get("description"):
        lines += [str(definition["description"]), ""]
    realtime = definition.get("runtimeType") == "Realtime"
    lines += _realtime_frames(definition) if realtime else _parameters(definition)
    lines += ["", "Raises InvalidInput for a wrong input (before it is sent, where that can be"]
    lines.append(
        "told)." if realtime else "told), and ServiceFailed when the service's code fails."
    )
    return "\n".join(lines)


def class_doc(call_name: str, definition: Json) -> str:
    """The docstring of the class."""
    text = str(definition.get("description") or f"The published service {definition['name']}.")
    by = f", published by {definition.get('versionPublishedBy')}"
    when = str(definition.get("creationTime") or "")[:19].replace("T", " ")
    lines = [
        text,
        "",
        f"Service {definition['name']}, version {definition['version']}"
        f"{by if definition.get('versionPublishedBy') else ''}{f', {when}' if when else ''}.",
    ]
    if definition.get("runtimeType") == "Realtime":
        own = definition.get("mlserve") or {}
        lines += [
            f"A realtime service: {own.get('modelName') or 'a model'}, compiled.",
            "",
            *_realtime_frames(definition),
            "",
        ]
    lines.append(f"Call it with .{call_name}(...), and with many records in the background with")
    lines.append(".batch(records).start(); .capabilities() and .swagger() describe it.")
    return "\n".join(lines)


def _parameters(definition: Json) -> list[str]:
    params = list(definition.get("inputParameterDefinitions") or ())
    lines = ["Inputs:"] if params else []
    lines += [f"    {to_text(param)}" for param in params]
    lines.append("Outputs, by name in the ServiceResponse:")
    for param in definition.get("outputParameterDefinitions") or ():
        lines.append(f"    {param['name']}: {type_text(param)}")
    for file in definition.get("outputFileNames") or ():
        lines.append(f"    {file} (a file: .artifact({str(file)!r}))")
    return lines


def _realtime_frames(definition: Json) -> list[str]:
    (taken,) = definition["inputParameterDefinitions"]
    (given,) = definition["outputParameterDefinitions"]
    own = definition.get("mlserve") or {}
    known = own.get("known") or {}
    columns = [
        _column(
            column, f"one of {listed(known[column['name']])}" if column["name"] in known else ""
        )
        for column in taken.get("columns") or ()
    ]
    response = own.get("response") or {}
    if response.get("position") is not None:
        columns.insert(
            response["position"], f"    {response['name']} (the response: may be left out, ignored)"
        )
    return [
        f"{taken['name']}: a DataFrame, a dict of columns or a list of records, with the columns",
        *columns,
        f'.output("{given["name"]}") of the reply: a DataFrame with the columns',
        *(
            _column(column, about_output(str(column["name"]), own))
            for column in given.get("columns") or ()
        ),
    ]


def _column(column: Json, about: str) -> str:
    missing = " (may be missing)" if column.get("nullable") else ""
    line = f"    {column['name']}: {_PYTHON.get(str(column['type']), column['type'])}{missing}"
    return f"{line}, {about[:1].lower()}{about[1:].rstrip('.')}" if about else line
