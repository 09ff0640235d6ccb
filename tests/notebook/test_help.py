"""Every magic explains itself: each option has a text, and there is a Python equivalent."""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Any

import pytest

from jupyter_mlserve.client.batch import Batch
from jupyter_mlserve.client.batch_response import BatchResponse
from jupyter_mlserve.client.deploy import DeployClient
from jupyter_mlserve.client.response import ServiceResponse
from jupyter_mlserve.client.service import Service
from jupyter_mlserve.notebook.batch_magic import BatchMagics
from jupyter_mlserve.notebook.magics import MLServeMagics

OWNERS = {
    name: owner
    for owner in (MLServeMagics, BatchMagics)
    for kind in owner.magics.values()  # type: ignore[attr-defined]
    for name in kind
}
NAMES = sorted(OWNERS)
# What a method returns, where the next one is called on that.
CHAINED = {"batch": Batch, "wait": Batch, "results": BatchResponse, "execution": ServiceResponse}


def magic(name: str) -> Any:
    return getattr(OWNERS[name], name)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_help_text(name: str) -> None:
    help_text = " ".join(magic(name).__doc__.split())
    for action in magic(name).parser._actions:
        assert action.help, f"{name} {action.option_strings or action.dest} has no help"
        assert " ".join(action.help.split()) in help_text
        for option in action.option_strings:
            assert option in help_text


@pytest.mark.parametrize("name", NAMES)
def test_every_magic_shows_how_to_do_the_same_in_python(name: str) -> None:
    """The code is valid, and every method it calls on our objects exists."""
    _, found, code = magic(name).__doc__.partition("In Python:\n")
    assert found, f"{name} has no Python equivalent"
    tree = ast.parse(textwrap.dedent(code))
    owners = {
        "client": DeployClient,
        "svc": Service,
        "reply": ServiceResponse,
        "batch": Batch,
    }
    called = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            target = node.func.value
            if isinstance(target, ast.Name):
                owner = owners[target.id]
            elif isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute):
                owner = CHAINED[target.func.attr]  # svc.batch(...).start()
            else:
                owner = DeployClient  # DeployClient().method()
            assert hasattr(owner, node.func.attr), f"{owner.__name__}.{node.func.attr}"
            called += 1
    assert called or "DeployClient(" in code


@pytest.mark.parametrize("name", NAMES)
def test_the_example_in_the_help_is_a_line_that_parses(name: str) -> None:
    from jupyter_mlserve.notebook.arguments import parse

    examples = re.findall(rf"^(?:\w+ = )?%%?{name}(.*)$", magic(name).__doc__, re.MULTILINE)
    for example in examples:
        parse(magic(name), example, gather=name == "consume_service")
    assert examples


def test_the_notebook_shows_the_help(notebook: Any) -> None:
    shown = notebook.run("%%publish_service?").text
    assert "--dry-run" in shown
    assert "%%publish_service [-v V]" in shown
    assert "In Python:" in shown
    shown = notebook.run("%publish_realtime?").text
    assert "  %publish_realtime [" in shown
    assert "%%publish_realtime" not in shown
