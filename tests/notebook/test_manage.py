"""The line magics in a real shell against a real server."""

from __future__ import annotations

import uuid

import pytest
from support.notebook import Notebook
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient


@pytest.fixture(scope="module")
def tx(server: RunningServer) -> str:
    """A service of two versions, published without the magics. Not to be changed by tests."""
    name = "Tx" + uuid.uuid4().hex[:6]
    with DeployClient(server.url, auth=server.token) as client:
        for version, factor in (("1.0", 1), ("1.1", 2)):
            client.deploy_service(
                name,
                version=version,
                code_str=f"y = {factor} * x + n\nprint('given', x)",
                inputs="x: float, n: int = 0",
                outputs="y: float",
                description=f"factor {factor}",
                sample={"x": 1.0},
            )
        client.deploy_service(
            name + "Frame",
            version="1.0",
            code_str="total = df[['a']] * 2\nwords = 'é'",
            inputs="df: DataFrame[a: float]",
            outputs="total: DataFrame, words: str",
        )
    return name


@pytest.fixture
def mine(server: RunningServer) -> str:
    """A service with one version that a test may change."""
    name = "Mine" + uuid.uuid4().hex[:6]
    with DeployClient(server.url, auth=server.token) as client:
        client.deploy_service(
            name, version="1.0", code_str="y = x", inputs="x: float", outputs="y: float",
            description="first",
        )  # fmt: skip
    return name


def text_of(notebook: Notebook, thing: object) -> str:
    found = notebook.shell.display_formatter.format(thing)[0]
    assert "text/html" in found
    return str(found["text/plain"])


def test_listing(connected: Notebook, tx: str) -> None:
    found = connected("%list_services")
    assert {one["name"] for one in found} >= {tx, tx + "Frame"}
    versions = connected(f"%list_services {tx}")
    assert [one["version"] for one in versions] == ["1.0", "1.1"]
    lines = text_of(connected, versions).splitlines()
    assert lines[0].startswith(f"{tx}: 2 versions on ")
    assert lines[2].split()[:2] == [tx, "1.1"]
    assert "factor 1" in lines[3]


def test_showing_gives_the_service_itself(connected: Notebook, tx: str) -> None:
    connected(f"svc = %show_service {tx} --version 1.0")
    assert connected("svc.consume(x=2).output('y')") == 2.0
    assert connected("svc.consume(x=2, n=1).output('y')") == 3.0
    newest = connected(f"%show_service {tx}")
    assert newest.version == "1.1"
    text = text_of(connected, newest)
    assert "factor 2" in text
    assert "x: float, n: int = 0" in text
    assert "y = 2 * x + n" not in text
    with_code = connected(f"%show_service {tx} --code --history")
    assert "y = 2 * x + n" in text_of(connected, with_code)
    assert "publish" in text_of(connected, with_code)


def test_a_service_of_the_python_client_is_shown_as_a_card_too(
    connected: Notebook, tx: str
) -> None:
    connected("from jupyter_mlserve import DeployClient\nclient = DeployClient()")
    service = connected(f"client.get_service('{tx}', '1.0')")
    assert "curl" in text_of(connected, service)
    reply = connected(f"client.get_service('{tx}', '1.0').consume(2)")
    assert "given 2.0" in text_of(connected, reply)
    connected("client.close()")


def test_consuming(connected: Notebook, tx: str) -> None:
    connected("value = 3.5\ninputs = {'x': 1, 'n': 2}")
    reply = connected(f"%consume_service {tx} --version 1.0 x=value n=1")
    assert reply.output("y") == 4.5
    text = text_of(connected, reply)
    assert "4.5" in text
    assert "given 3.5" in text
    assert connected(f"%consume_service {tx} x=1").output("y") == 2.0
    assert connected(f"%consume_service {tx} -v 1.0 --input inputs").output("y") == 3.0
    assert connected(f"%consume_service {tx} -v 1.0 --input inputs x=5,").output("y") == 7.0
    connected(f"%consume_service {tx} -v 1.0 x=-2 --into answer")
    assert connected("answer") == -2.0


def test_consuming_with_frames(connected: Notebook, tx: str) -> None:
    connected("import pandas as pd\nframe = pd.DataFrame({'a': range(12)})")
    for given in ("df=frame", "--input frame", "df={'a': [1.0]}"):
        connected(f"reply = %consume_service {tx}Frame {given}")
        assert connected("float(reply.output('total')['a'].iloc[-1])") in (22.0, 2.0)
    shown = connected(f"%consume_service {tx}Frame df=frame --into found")
    assert "12 rows in all" in text_of(connected, shown)
    assert "é" in text_of(connected, shown)
    assert sorted(connected("found")) == ["total", "words"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("%consume_service {tx} x=oops", "oops is no variable of this notebook"),
        ("%consume_service {tx} y=1", "has no input y"),
        ("%consume_service {tx} n=1", "also needs: x"),
        ("%consume_service {tx} x=1 x=2", "given twice"),
        ("%consume_service {tx} x='text'", "InvalidInput: {tx} 1.1: x: expected a number"),
        ("%consume_service {tx} --input nothing", "nothing is no variable"),
        ("%consume_service {tx} --input number", "put them in a dict"),
        ("%consume_service {tx} x=1 --into a.b", "--into takes the name of a variable"),
        ("%consume_service {tx} -v 9.9 x=1", "no version 9.9"),
        ("%consume_service {tx}s x=1", "Did you mean {tx}?"),
        ("%consume_service {tx} 120", "does not know what to do with '120'"),
        ("%show_service", "required: NAME"),
        ("%show_service {tx} --hist", "Did you mean --history?"),
        ("%show_service Nothing-like-it", "There is no service Nothing-like-it"),
        ("%list_services Nothing-like-it", "There is no service Nothing-like-it"),
        ("%list_services a b", "does not know what to do with 'b'"),
        ("%update_service {tx}", "required: -v/--version"),
        ("%update_service {tx} -v 1.0", "Nothing to update is named"),
        ("%update_service {tx} -v 9.9 -d x", "9.9"),
        ("%rollback_service {tx} -v 1.0", "no earlier state"),
        ("%rollback_service {tx} -v 1.0 --to 7", "no state 7"),
        ("%rollback_service {tx} -v 1.0 --to one", "invalid int value"),
        ("%delete_service {tx}", "required: -v/--version"),
        ("%delete_service {tx} -v 9.9", "9.9"),
        ("%mlserve restart", "invalid choice: 'restart'"),
        ("%mlserve status http://x/", "%mlserve connect URL"),
    ],
)
def test_mistakes_are_one_line_without_a_traceback(
    connected: Notebook, tx: str, line: str, complaint: str
) -> None:
    connected("number = 1")
    seen = connected.fails(line.format(tx=tx))
    assert complaint.format(tx=tx) in seen
    assert len(seen.splitlines()) == 1
    assert "Traceback" not in seen


def test_a_service_that_fails_shows_its_owner_their_own_traceback(
    connected: Notebook, mine: str, server: RunningServer
) -> None:
    with DeployClient(server.url, auth=server.token) as client:
        client.deploy_service(
            mine, version="2.0", code_str="y = 1 / x  # here", inputs="x: float", outputs="y: float"
        )
    seen = connected.fails(f"%consume_service {mine} x=0")
    assert "The service's code failed" in seen
    assert "# here" in seen
    assert "jupyter_mlserve/" not in seen
    last = seen.splitlines()[-1]
    assert last.startswith("ServiceFailed: ")
    assert "ZeroDivisionError: float division by zero" in last


def test_update_rollback_and_delete(connected: Notebook, mine: str) -> None:
    updated = connected(f'%update_service {mine} -v 1.0 -d "second" --alias run')
    assert updated.definition["description"] == "second"
    assert updated.run(x=2).output("y") == 2.0
    assert updated.definition["code"] == "y = x"
    assert "updated in" in text_of(connected, updated)
    third = connected(f'%update_service {mine} -v 1.0 -i "x: float = 7" -s "x=1" --pool-max 1')
    assert third.run().output("y") == 7.0
    assert third.definition["mlserve"]["sample"] == {"x": 1}
    assert third.definition["mlserve"]["pool"]["max"] == 1

    back = connected(f"%rollback_service {mine} --version 1.0 --to 1")
    assert back.definition["description"] == "first"
    text = text_of(connected, back)
    assert "rolled back to state 1" in text
    assert "rollback" in text

    gone = connected(f"%delete_service {mine} --version 1.0")
    assert "410" in text_of(connected, gone)
    assert "No version is left" in text_of(connected, gone)
    assert "VersionDeleted" in connected.fails(f"%show_service {mine} -v 1.0")
    events = text_of(connected, connected(f"%show_service {mine} -v 1.0 --history"))
    for action in ("publish", "update", "rollback", "delete"):
        assert action in events


def test_deleting_one_version_leaves_the_others(connected: Notebook, mine: str) -> None:
    connected(f'%%publish_service {mine} -v 2.0 -i "x: float" -o "y: float"\ny = 2 * x\n')
    gone = connected(f"%delete_service {mine} -v 1.0")
    assert "Still there: 2.0." in text_of(connected, gone)
    assert connected(f"%consume_service {mine} x=1").output("y") == 2.0


def test_choosing_the_server(
    notebook: Notebook, server: RunningServer, tx: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ServerNotFound" in notebook.fails("%mlserve")
    seen = notebook.fails(f"%mlserve connect {server.url} --token wrong")
    assert "Traceback" not in seen
    status = notebook(f"%mlserve connect {server.url} --token {server.token}")
    text = text_of(notebook, status)
    assert server.url in text
    assert "pass" in text.splitlines()[0]
    assert server.token not in text
    assert notebook(f"%consume_service {tx} x=1").output("y") == 2.0
    assert server.url in text_of(notebook, notebook("%mlserve status"))
    monkeypatch.setattr("getpass.getpass", lambda prompt: server.token)
    assert server.url in text_of(notebook, notebook(f"%mlserve connect {server.url} --ask"))
    notebook("%mlserve disconnect")
    assert "ServerNotFound" in notebook.fails("%list_services")


def test_after_unloading_a_service_shows_itself_as_without_the_extension(
    connected: Notebook, tx: str
) -> None:
    service = connected(f"%show_service {tx}")
    assert "curl" in text_of(connected, service)
    connected.shell.run_line_magic("unload_ext", "jupyter_mlserve")
    assert text_of(connected, service) == repr(service)
