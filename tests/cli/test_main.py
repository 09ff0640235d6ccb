"""The command line itself, ``list`` and ``token``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient, __version__
from jupyter_mlserve.cli.main import main, parser

from .conftest import Run


def test_the_installed_command_is_a_subcommand_of_jupyter() -> None:
    jupyter = Path(sys.executable).with_name("jupyter")
    out = subprocess.run(
        [str(jupyter), "mlserve", "--version"], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == f"jupyter_mlserve {__version__}"


@pytest.mark.parametrize("command", ["demo", "publish", "list", "token", "settings"])
def test_every_command_and_option_has_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert command in capsys.readouterr().out
    for action in parser()._subparsers._group_actions[0].choices[command]._actions:  # type: ignore[union-attr,index]
        assert action.help or action.dest == "notebook"


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["publish"], ["demo", "--port", "x"]])
def test_a_wrong_command_line_is_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: jupyter mlserve" in capsys.readouterr().err


def test_without_a_server_the_text_says_what_was_tried(run: Run) -> None:
    done = run("list")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("jupyter mlserve: No Jupyter server with jupyter_mlserve")
    assert "Traceback" not in done.stderr


def test_settings_lists_every_trait_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    from jupyter_mlserve.web.app import MLServeApp

    assert main(["settings"]) == 0
    shown = capsys.readouterr().out
    for name, trait in MLServeApp.class_own_traits(config=True).items():
        assert f"c.MLServeApp.{name} = " in shown
        assert trait.help
    assert "c.MLServeApp.call_timeout = 60.0\n    " in shown


def test_list(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    client = DeployClient(server.url, auth=server.token)
    for version in ("1.0", "2.0"):
        client.deploy_service(
            "CliList", version, code_str="y = x", inputs="x: int = 3", outputs={"y": int}
        )
    where = ["--server", server.url, "--token", server.token]
    assert main(["list", "CliList", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    columns = ["service", "version", "kind", "created", "(UTC)", "by", "inputs", "outputs"]
    assert lines[0].split() == columns
    assert [line.split()[:3] for line in lines[1:]] == [
        ["CliList", "2.0", "standard"],  # the newest first
        ["CliList", "1.0", "standard"],
    ]
    assert "x: int = 3" in lines[1]
    assert main(["list", "--json", *where]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"1.0", "2.0"} <= {one["version"] for one in found if one["name"] == "CliList"}
    assert main(["list", "Nobody", *where]) == 1
    assert "no service named 'Nobody'" in capsys.readouterr().err
    assert main(["list", "clilist", *where]) == 1
    assert "Did you mean 'CliList'?" in capsys.readouterr().err


def test_token_opens_the_services(
    server: RunningServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", server.env["JUPYTER_RUNTIME_DIR"])
    assert main(["token"]) == 0
    token = capsys.readouterr().out.strip()
    answer = httpx.get(server.prefix + "services", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
