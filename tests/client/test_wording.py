"""Errors speak of the arguments of the call, not of a magic's options or the keys of the wire."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlserve import DeployClient
from jupyter_mlserve.client import wording
from jupyter_mlserve.client.wording import as_arguments
from jupyter_mlserve.contract.errors import InvalidDefinition, VersionExists


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The definition's mlserve.sample is not valid: x.", "sample is not valid: x."),
        ("The definition's mlserve.pool.max is not valid: x.", "pool['max'] is not valid: x."),
        ("The definition's operationId is not valid: x.", "alias is not valid: x."),
        ("The definition's outputFileNames is not valid.", "artifacts is not valid."),
        ("send it on purpose: --object key.", "send it on purpose: objects={'key': key}."),
        ("Name them with --object.", "Name them in objects={...}."),
        ("Send it along: --file sub/mine.py", "Send it along: files=['sub/mine.py']"),
        ("Send the file with --file PATH and open", "Send the file with files=['PATH'] and open"),
        ("If the code can do without: --exclude x.", "If the code can do without: exclude=['x']."),
        (
            'Declare the inputs, as in -i "x: float", or',
            'Declare the inputs, inputs="x: float", or',
        ),
        ("(%%publish_service --update, redeploy(), PATCH)", "(redeploy, or update=True)"),
        ("at X (%publish_realtime --update, redeploy_realtime)", "at X (redeploy_realtime)"),
        ("publish it elsewhere (%%publish_service).", "publish it elsewhere (deploy_service)."),
        ("nothing to translate", "nothing to translate"),
    ],
)
def test_options_and_keys_become_arguments(text: str, wanted: str) -> None:
    assert as_arguments(text) == wanted


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(wording).failed == 0


def failure(client: DeployClient, **parts: Any) -> InvalidDefinition:
    with pytest.raises(InvalidDefinition) as caught:
        client.deploy_service("Wording", "1", **parts)
    error = caught.value
    for word in ("--", "mlserve.", "ParameterDefinitions", "operationId", "outputFileNames"):
        assert word not in error.message
        assert word not in error.field
    return error


def test_what_the_server_refuses(client: DeployClient) -> None:
    parts: dict[str, Any] = {"code_str": "y = x", "inputs": {"x": float}, "outputs": {"y": float}}
    error = failure(client, **parts, sample={"x": "text"})
    assert error.message.startswith("sample['x'] is not valid: expected a number, got")
    assert error.field == "sample['x']"
    assert "sample" in failure(client, **parts, sample={"x": 1.0, "z": 2}).message
    assert failure(client, **parts, pool={"initial": 3, "max": 1}).message.startswith("pool['ini")


def test_a_version_that_is_there(client: DeployClient) -> None:
    parts: dict[str, Any] = {"inputs": {"x": int}, "outputs": {"y": int}}
    client.deploy_service("WordingTwice", "1", code_str="y = x", **parts)
    with pytest.raises(VersionExists, match=r"update it \(redeploy, or update=True\)") as caught:
        client.deploy_service("WordingTwice", "1", code_str="y = -x", **parts)
    assert caught.value.details["identical"] is False


def test_what_cannot_travel(client: DeployClient, tmp_path: Path) -> None:
    error = failure(client, code_str="y = unknown_name + 1", outputs={"y": float})
    assert "unknown_name" in error.message
    assert "inputs=" in error.message
    error = failure(
        client, code_str="y = unknown_name + 1", inputs={"x": float}, outputs={"y": float}
    )
    assert "exclude=['unknown_name']" in error.message
    with (tmp_path / "data.txt").open("w") as handle:
        error = failure(client, code_str="y = handle", objects={"handle": handle}, outputs="y: str")
    assert "files=['PATH']" in error.message


def test_a_name_the_code_can_do_without_is_left_here(client: DeployClient) -> None:
    code = "try:\n    y = extra\nexcept NameError:\n    y = 'without'"
    service: Any = (
        client.service("WordingExclude")
        .version("1")
        .code_str(code)
        .objects(extra="with")
        .exclude(["extra"])
        .inputs()
        .outputs(y=str)
        .deploy()
    )
    assert service.consume().output("y") == "without"
