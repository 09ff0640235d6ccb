"""How to call a service from elsewhere: text to paste into a shell, a program, a notebook.

No snippet holds a token: it would stay in the saved notebook. They read it from the environment
variable ``JUPYTER_MLSERVE_TOKEN``, and ``TOKEN_HINT`` says how to set it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pprint import pformat
from typing import Any

Param = Mapping[str, Any]

TOKEN_VARIABLE = "JUPYTER_MLSERVE_TOKEN"
TOKEN_COMMAND = f"export {TOKEN_VARIABLE}=$(jupyter mlserve token)"
TOKEN_HINT = f"Needs the token of the server once per shell: {TOKEN_COMMAND}"

# One plausible value for each type, for services published without a sample.
_EXAMPLES: dict[str, Any] = {
    "logical": True,
    "integer": 1,
    "numeric": 1.0,
    "character": "text",
    "vector": [1.0, 2.0],
    "matrix": [[1.0, 2.0], [3.0, 4.0]],
    "datetime": "2024-01-31T12:00:00",
    "bytes": "aGVsbG8=",
    "list": [],
    "dict": {},
}


def example_inputs(params: Iterable[Param], sample: Mapping[str, Any] | None) -> dict[str, Any]:
    """Inputs as JSON values: the sample, completed where it names no value.

    Of a frame the first rows are enough. An optional input that the sample leaves out is left
    out.
    """
    inputs: dict[str, Any] = dict(sample or {})
    for param in params:
        if param["name"] not in inputs and not param.get("optional"):
            inputs[param["name"]] = _example(param)
        elif param["type"] == "data.frame" and param["name"] in inputs:
            inputs[param["name"]] = _first_rows(inputs[param["name"]])
    return inputs


def example_of(service: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs to show for a version: its sample, a realtime version's one example row."""
    ours = service.get("mlserve") or {}
    params = list(service.get("inputParameterDefinitions") or ())
    sample, row = ours.get("sample"), ours.get("example")
    if row and len(params) == 1:
        sample = {str(params[0]["name"]): {name: [value] for name, value in row.items()}}
    return example_inputs(params, sample)


def _first_rows(frame: Any, most: int = 2) -> Any:
    """The first rows of a frame in either of its JSON forms: columns, or records."""
    if isinstance(frame, Mapping):
        return {name: column[:most] for name, column in frame.items()}
    return frame[:most] if isinstance(frame, list) else frame


def _example(param: Param) -> Any:
    if param["type"] == "data.frame":
        columns = param.get("columns") or ({"name": "column", "type": "numeric"},)
        return {column["name"]: [_EXAMPLES.get(column["type"])] for column in columns}
    return _EXAMPLES.get(param["type"])


def curl(url: str, inputs: Mapping[str, Any]) -> str:
    """One shell line that calls the service."""
    body = shlex.quote(json.dumps(inputs, ensure_ascii=False))
    return (
        f"curl -sS -X POST {shlex.quote(url)}"
        f' -H "Authorization: Bearer ${TOKEN_VARIABLE}"'
        f" -H 'Content-Type: application/json' -d {body}"
    )


def client(
    name: str,
    version: str,
    operation: str,
    params: Iterable[Param],
    inputs: Mapping[str, Any],
    outputs: Iterable[Param],
) -> str:
    """Python with our client."""
    types = {param["name"]: param["type"] for param in params}
    frames = any(types.get(given) == "data.frame" for given in inputs)
    arguments = ", ".join(f"{n}={_python(v, types.get(n))}" for n, v in inputs.items())
    lines = ["import pandas as pd"] if frames else []
    lines += [
        "from jupyter_mlserve import DeployClient",
        "",
        f"svc = DeployClient().get_service({name!r}, version={version!r})",
        f"reply = svc.{operation}({arguments})",
    ]
    lines += [f"reply.output({output['name']!r})" for output in outputs]
    return "\n".join(lines)


def _python(value: Any, kind: str | None) -> str:
    text = pformat(value, width=10_000, sort_dicts=False)
    return f"pd.DataFrame({text})" if kind == "data.frame" and value is not None else text


def standard_library(url: str, inputs: Mapping[str, Any]) -> str:
    """Python with nothing installed."""
    literal = pformat(dict(inputs), width=10_000, sort_dicts=False)
    return "\n".join(
        [
            "import json, os, urllib.request",
            "",
            "request = urllib.request.Request(",
            f"    {url!r},",
            f"    data=json.dumps({literal}).encode(),",
            "    headers={",
            f'        "Authorization": "Bearer " + os.environ["{TOKEN_VARIABLE}"],',
            '        "Content-Type": "application/json",',
            "    },",
            ")",
            "with urllib.request.urlopen(request) as reply:",
            '    print(json.load(reply)["outputParameters"])',
        ]
    )
