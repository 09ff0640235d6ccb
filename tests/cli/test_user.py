"""``jupyter mlserve user``: beside a running server, without one, and on a real terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from support.running_server import RunningServer

from jupyter_mlserve.cli.main import main, parser

from .conftest import COMMAND

PASSWORD = "correct horse battery"
User = Callable[..., int]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """``user("add", "ann", password=...)`` in Jupyter folders of its own."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, password: str | None = None) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO(password or ""))
        more = [] if password is None else ["--password-stdin"]
        return main(["user", *arguments, *more])

    return run


def test_the_life_of_an_account(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    assert user("list") == 1
    assert "There is no database" in capsys.readouterr().err
    assert user("add", "ann", password=f"{PASSWORD}\n") == 0
    said = capsys.readouterr().out
    assert said.startswith("Added the administrator 'ann' to ")
    assert "first account" in said
    assert user("add", "bob", password=f"{PASSWORD}\r\n") == 0
    assert capsys.readouterr().out.startswith("Added the user 'bob' to ")
    assert user("add", "eve", "--administrator", password=PASSWORD) == 0
    capsys.readouterr()

    assert user("list") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines[1:]] == [
        ["ann", "administrator"],
        ["bob", "user"],
        ["eve", "administrator"],
    ]
    assert [line[-1] for line in lines[1:]] == ["0", "0", "0"]
    assert user("password", "bob", password="another password") == 0
    assert capsys.readouterr().out == ("Changed the password of 'bob'; it was logged in nowhere.\n")
    for name in ("ann", "eve"):
        assert user("remove", name) == 0
    said = capsys.readouterr().out
    assert said.startswith("Removed the account 'ann'; ")
    assert said.endswith("`jupyter mlserve user add NAME --administrator` makes one.\n")
    assert user("remove", "bob") == 0
    assert user("list") == 0
    assert "Add one: jupyter mlserve user add NAME" in capsys.readouterr().err


def test_what_is_refused(user: User, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert user("add", "ann", password=PASSWORD) == 0
    capsys.readouterr()
    for arguments, password, text in [
        (["add", "ann"], PASSWORD, "'ann' already"),
        (["add", "ann"], PASSWORD, "`jupyter mlserve user password ann`"),
        (["add", "ann"], PASSWORD, "`jupyter mlserve user remove ann`"),
        (["add", "a b"], PASSWORD, "'a b' cannot be the name of an account. A name has 1 to 64"),
        (["add", "a" * 300], PASSWORD, "aaa…' (300 characters) cannot be the name"),
        (["add", "bob"], "short", "needs at least 8"),
        (["add", "bob"], "", "needs at least 8"),
        (["add", "bob"], "x" * 5000, "longer than 1024 bytes"),
        (["add", "bob"], None, "--password-stdin"),
        (["password", "nobody"], PASSWORD, "There is no account 'nobody'"),
        (["remove", "nobody"], None, "There is no account 'nobody'"),
        (["list", "--data-dir", str(tmp_path / "none")], None, "There is no database"),
        (["list", "--db-url", "nonsense://x"], None, "The db_url cannot be used"),
    ]:
        assert user(*arguments, password=password) == 1, arguments
        said = capsys.readouterr()
        assert said.out == ""
        assert text in said.err
        assert said.err.count("\n") == 1
        assert not password or password not in said.err
    assert user("list") == 0
    assert "bob" not in capsys.readouterr().out


def test_the_server_owners_name_is_said_to_be_that(
    user: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "hubs")
    assert user("add", "hubs", password=PASSWORD) == 0
    assert "also the owner of this server" in capsys.readouterr().out
    assert user("add", "other", password=PASSWORD) == 0
    assert "also the owner" not in capsys.readouterr().out


def test_the_database_is_the_one_of_the_configuration(
    user: User, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.mkdir()

    def where(*options: str) -> str:
        name = f"user{where.calls}"  # type: ignore[attr-defined]
        where.calls += 1  # type: ignore[attr-defined]
        assert user("add", name, *options, password=PASSWORD) == 0
        first = capsys.readouterr().out.splitlines()[0]
        return first.partition(" to ")[2].rstrip(".")

    where.calls = 0  # type: ignore[attr-defined]
    assert where() == str(tmp_path / "data" / "mlserve" / "catalog.sqlite3")
    (config / "jupyter_mlserve_config.py").write_text(
        f"c.MLServeApp.data_dir = {str(tmp_path / 'one')!r}\n"
    )
    assert where() == str(tmp_path / "one" / "catalog.sqlite3")
    # The server's own files win, as they do in the server.
    (config / "jupyter_server_config.json").write_text(
        '{"MLServeApp": {"data_dir": "%s"}}' % (tmp_path / "two")
    )
    assert where() == str(tmp_path / "two" / "catalog.sqlite3")
    (config / "jupyter_server_config.py").write_text(
        f"c.MLServeApp.db_url = 'sqlite:///{tmp_path}/three.sqlite3'\n"
    )
    assert where() == str(tmp_path / "three.sqlite3")
    assert where("--data-dir", "four") == str(tmp_path / "four" / "catalog.sqlite3")
    assert where("--db-url", f"{tmp_path}/five.sqlite3") == str(tmp_path / "five.sqlite3")
    (tmp_path / "six.py").write_text("c.MLServeApp.db_url = ''\nc.MLServeApp.data_dir = 'six'\n")
    assert where("--config", "six.py") == str(tmp_path / "six" / "catalog.sqlite3")
    (config / "jupyter_server_config.py").write_text("c.MLServeApp.db_url = 3 +\n")
    assert user("list") == 1
    said = capsys.readouterr().err
    assert "SyntaxError" in said
    assert "--data-dir" in said
    assert where("--data-dir", "seven") == str(tmp_path / "seven" / "catalog.sqlite3")


@pytest.mark.parametrize("again", [PASSWORD, "something else"])
def test_a_terminal_is_asked_twice_and_shows_nothing(tmp_path: Path, again: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "user", "add", "ann", "--data-dir", str(tmp_path / "data")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "JUPYTER_DATA_DIR": str(tmp_path)},
        # So that it is the controlling terminal, as in a shell.
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )
    os.close(theirs)
    shown = b""
    try:
        for prompt, answer in ((b"Password of ann: ", PASSWORD), (b"The same again: ", again)):
            while prompt not in shown:
                shown += os.read(ours, 1000)
            os.write(ours, answer.encode() + b"\n")
        while True:
            try:
                piece = os.read(ours, 1000)
            except OSError:  # the other side has ended
                break
            shown += piece
        status = process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert PASSWORD.encode() not in shown
    assert again.encode() not in shown
    if again == PASSWORD:
        assert (status, b"Added the administrator 'ann'" in shown) == (0, True), shown
    else:
        assert (status, b"The two passwords differ" in shown) == (1, True), shown


def test_a_running_server_knows_it_at_once(
    server: RunningServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, server.env[name])

    def command(*arguments: str, password: str = "") -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(password))
        assert main(["user", *arguments, *(["--password-stdin"] if password else [])]) == 0

    def log_in(password: str) -> httpx.Response:
        body = {"username": "cli-user", "password": password}
        return httpx.post(server.prefix + "login", json=body, timeout=60)

    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(server.prefix + "services", headers=headers).status_code

    assert log_in(PASSWORD).status_code == 401
    command("add", "cli-user", password=PASSWORD)
    token = log_in(PASSWORD).json()["access_token"]
    assert status(token) == 200
    capsys.readouterr()
    command("password", "cli-user", password="another password")
    assert "its login has ended" in capsys.readouterr().out
    assert status(token) == 401
    assert log_in(PASSWORD).status_code == 401
    token = log_in("another password").json()["access_token"]
    command("remove", "cli-user")
    assert status(token) == 401
    for secret in (PASSWORD, "another password", token):
        assert secret not in server.read_log()


def test_every_command_and_option_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    commands = parser()._subparsers._group_actions[0].choices["user"]  # type: ignore[union-attr,index]
    actions = commands._subparsers._group_actions[0].choices
    assert set(actions) == {"add", "list", "password", "remove"}
    for name, command in actions.items():
        with pytest.raises(SystemExit) as ended:
            main(["user", name, "--help"])
        assert ended.value.code == 0
        assert name in capsys.readouterr().out
        assert all(action.help for action in command._actions)
