"""The life of a service over HTTP: publish, call, list, update, roll back, delete."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from support.bodies import definition

from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.store.catalog import Catalog

PREFER = {"Prefer": "return=representation"}


async def test_the_life_of_a_service(http: Any, publish: Any, node: Any) -> None:
    # Publish
    reply = await http("POST", "services/AddOne/1.0", definition(description="Adds one."))
    assert (reply.status, reply.json) == (201, "/services/AddOne/1.0")
    assert reply.headers["Location"] == "/a%40b/mlserve/services/AddOne/1.0"
    called = await http("POST", "api/AddOne/1.0", {"x": 41})
    assert called.status == 200
    assert called.json == {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {},
        "outputParameters": {"y": 42.0},
    }

    # The same again
    again = await http("POST", "services/AddOne/1.0", definition(description="Adds one."))
    assert (again.status, again.json["details"]["identical"]) == (409, True)
    assert "this very content" in again.json["message"]
    again = await http(
        "POST", "services/AddOne/1.0", definition(description="Adds one."), headers=PREFER
    )
    assert (again.status, again.json["unchanged"]) == (200, True)
    other = await http("POST", "services/AddOne/1.0", definition("y = x + 2"))
    assert (other.status, other.json["exceptionType"]) == (409, "VersionExists")
    assert "update" in other.json["message"]
    assert "another version" in other.json["message"]

    # Beside it
    await publish(version="2.0", code="y = x + 2")
    assert (await http("POST", "api/AddOne", {"x": 1})).json["outputParameters"] == {"y": 3.0}
    listed = (await http("GET", "services/AddOne")).json
    assert [service["version"] for service in listed] == ["1.0", "2.0"]
    one = (await http("GET", "services/AddOne/1.0")).json
    assert one == listed[:1]
    assert one[0]["myPermissionOnService"] == "read/write"
    assert one[0]["code"] == "y = x + 1"
    assert one[0]["creationTime"][19] == "."
    assert one[0]["snapshotId"] is None
    assert one[0]["runtimeType"] == "Python"
    assert one[0]["versionPublishedBy"] == node.kernel_token.principal.username

    # Update: what is omitted stays
    changed = await http("PATCH", "services/AddOne/1.0", {"code": "y = x * 10"}, headers=PREFER)
    assert changed.status == 200
    assert changed.json["unchanged"] is False
    assert changed.json["service"]["description"] == "Adds one."
    assert changed.json["service"]["mlserve"]["state"]["number"] == 2
    assert (await http("POST", "api/AddOne/1.0", {"x": 4})).json["outputParameters"] == {"y": 40.0}

    # Back, and forth
    states = (await http("GET", "services/AddOne/1.0/states")).json
    assert [state["mlserve"]["state"]["number"] for state in states] == [1, 2]
    back = await http("POST", "services/AddOne/1.0/rollback", {"state": None})
    assert (back.status, back.json) == (200, "/services/AddOne/1.0")
    assert (await http("POST", "api/AddOne/1.0", {"x": 4})).json["outputParameters"] == {"y": 5.0}
    forth = await http("POST", "services/AddOne/1.0/rollback", {"state": 2})
    assert forth.status == 200
    assert (await http("POST", "api/AddOne/1.0", {"x": 4})).json["outputParameters"] == {"y": 40.0}

    # Delete
    gone = await http("DELETE", "services/AddOne/1.0")
    assert (gone.status, gone.json) == (200, "Service AddOne version 1.0 deleted.")
    assert (await http("POST", "api/AddOne/1.0", {"x": 4})).status == 410
    assert (await http("GET", "services/AddOne/1.0")).status == 410
    assert (await http("POST", "api/AddOne/2.0", {"x": 4})).status == 200
    events = (await http("GET", "services/AddOne/1.0/history")).json["history"]
    assert [(event["action"], event["state"]["number"]) for event in events] == [
        ("publish", 1),
        ("update", 2),
        ("rollback", 1),
        ("rollback", 2),
        ("delete", 2),
    ]
    assert len((await http("GET", "services/AddOne/history")).json["history"]) == 6


async def test_a_publish_without_a_version_gets_a_guid(http: Any) -> None:
    reply = await http("POST", "services/AddOne", definition())
    assert reply.status == 201
    version = reply.json.removeprefix("/services/AddOne/")
    assert str(uuid.UUID(version)) == version
    assert (await http("POST", f"api/AddOne/{version}", {"x": 1})).status == 200


async def test_the_representation_says_all_there_is_to_say(publish: Any, http: Any) -> None:
    sample = {"x": 1.0}
    reply = await publish(code="print('hi')\ny = x + 1", mlserve={"sample": sample})
    assert reply.headers["Preference-Applied"] == "return=representation"
    answer = reply.json
    assert answer["unchanged"] is False
    assert answer["service"]["name"] == "AddOne"
    assert answer["service"]["mlserve"]["sample"] == sample
    assert answer["urls"]["api"].startswith("http://127.0.0.1:")
    assert answer["urls"]["api"].endswith("/a%40b/mlserve/api/AddOne/1.0")
    assert answer["trial"]["result"]["outputParameters"] == {"y": 2.0}
    assert answer["trial"]["console"] == "hi\n"
    assert 0 < answer["trial"]["load_seconds"] < 30
    assert 0 < answer["trial"]["call_seconds"] < 30
    again = await publish(code="print('hi')\ny = x + 1", mlserve={"sample": sample})
    assert (again.status, again.json["unchanged"], again.json["trial"]) == (200, True, None)


FAILING = [
    ("y = = x", None, "load", "SyntaxError"),
    ("y = 1 / (x - 1)", {"x": 1.0}, "call", "ZeroDivisionError"),
    ("y = 'text'", {"x": 1.0}, "call", "declared float"),
]


async def test_what_fails_in_its_trial_is_not_published(http: Any) -> None:
    for code, sample, stage, said in FAILING:
        reply = await http("POST", "services/Bad/1.0", definition(code, mlserve={"sample": sample}))
        assert (reply.status, reply.json["exceptionType"]) == (400, "TrialFailed")
        assert said in reply.json["message"]
        assert "'Bad'" in reply.json["message"]
        assert "nothing was published" in reply.json["message"]
        assert reply.json["details"]["stage"] == stage
        assert (await http("GET", "services/Bad/1.0")).status == 404
        assert (await http("GET", "services/Bad")).json == []
        assert (await http("POST", "api/Bad/1.0", {"x": 1})).status == 404
        while (await http("GET", "status")).json["components"]["compute"]["workers"]:
            await asyncio.sleep(0.01)


async def test_the_author_sees_the_traceback_of_a_failed_trial(http: Any) -> None:
    code = "def half(n):\n    return n / 0\nprint('before')\ny = half(x)\n"
    reply = await http("POST", "services/Bad/1.0", definition(code, mlserve={"sample": {"x": 1}}))
    details = reply.json["details"]
    assert "return n / 0" in details["traceback"]
    assert "jupyter_mlserve" not in details["traceback"]
    assert details["console"] == "before\n"


async def test_a_definition_that_is_not_valid_is_refused_with_its_field(http: Any) -> None:
    body = definition()
    body["inputParameterDefinitions"][0]["type"] = "float128"
    reply = await http("POST", "services/Bad/1.0", body)
    assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidDefinition")
    assert reply.json["fields"] == "inputParameterDefinitions[0].type"


async def test_an_interpreter_that_is_not_there_is_named(http: Any) -> None:
    own = {"executable": "/no/such/python", "version": "3.11.7"}
    reply = await http("POST", "services/Bad/1.0", definition(mlserve={"interpreter": own}))
    assert (reply.status, reply.json["exceptionType"]) == (400, "TrialFailed")
    assert "/no/such/python" in reply.json["message"]


async def test_a_change_of_words_keeps_the_workers(http: Any, publish: Any) -> None:
    await publish(
        code="y = x + first",
        initCode="import os\nfirst = os.getpid()",
        outputs={"y": "integer"},
        inputs={"x": "integer"},
    )
    pid = (await http("POST", "api/AddOne/1.0", {"x": 0})).json["outputParameters"]["y"]
    changed = await http(
        "PATCH",
        "services/AddOne/1.0",
        {"description": "Other words.", "operationId": "addOne"},
        headers=PREFER,
    )
    assert changed.json["trial"] is None
    assert changed.json["service"]["description"] == "Other words."
    after = (await http("POST", "api/AddOne/1.0", {"x": 0})).json["outputParameters"]["y"]
    assert after == pid
    pools = (await http("GET", "status")).json["components"]["compute"]["pools"]
    assert len(pools) == 1


async def test_updates_that_say_nothing_new_change_nothing(http: Any, publish: Any) -> None:
    await publish(description="Adds.")
    reply = await http("PATCH", "services/AddOne/1.0", {"description": "Adds."}, headers=PREFER)
    assert reply.json["unchanged"] is True
    assert reply.json["service"]["mlserve"]["state"]["number"] == 1


async def test_an_update_that_fails_leaves_what_was(http: Any, publish: Any) -> None:
    await publish()
    reply = await http("PATCH", "services/AddOne/1.0", {"code": "y = ="})
    assert reply.json["exceptionType"] == "TrialFailed"
    assert (await http("POST", "api/AddOne/1.0", {"x": 1})).json["outputParameters"] == {"y": 2.0}
    assert len((await http("GET", "services/AddOne/1.0/states")).json) == 1


async def test_an_update_of_the_inputs_alone_cannot_break_a_service(
    http: Any, publish: Any
) -> None:
    await publish(mlserve={"form": "script", "sample": {"x": 1}})
    other = [{"name": "z", "type": "numeric"}]
    reply = await http("PATCH", "services/AddOne/1.0", {"inputParameterDefinitions": other})
    assert (reply.status, reply.json["fields"]) == (400, "mlserve.sample")
    patch = {"inputParameterDefinitions": other, "mlserve": {"sample": {"z": 1}}}
    reply = await http("PATCH", "services/AddOne/1.0", patch)
    assert (reply.status, reply.json["exceptionType"]) == (400, "TrialFailed")
    assert "so it stays as it was" in reply.json["message"]
    assert (await http("POST", "api/AddOne/1.0", {"x": 1})).json["outputParameters"] == {"y": 2.0}


async def test_rollback_needs_something_to_go_back_to(http: Any, publish: Any) -> None:
    await publish()
    reply = await http("POST", "services/AddOne/1.0/rollback", {})
    assert (reply.status, reply.json["exceptionType"]) == (409, "Conflict")
    reply = await http("POST", "services/AddOne/1.0/rollback", {"state": 7})
    assert reply.status == 404
    for wrong in ({"state": "1"}, {"state": True}, {"stat": 1}, [1]):
        reply = await http("POST", "services/AddOne/1.0/rollback", wrong)
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput"), wrong
    # A deleted life is not gone back to.
    await http("DELETE", "services/AddOne/1.0")
    await publish(code="y = x + 2")
    reply = await http("POST", "services/AddOne/1.0/rollback", {})
    assert reply.status == 409


async def test_changes_of_what_is_not_there(http: Any, publish: Any) -> None:
    for method, path in [
        ("PATCH", "services/None/1.0"),
        ("DELETE", "services/None/1.0"),
        ("POST", "services/None/1.0/rollback"),
        ("GET", "services/None/1.0/states"),
        ("GET", "services/None/1.0/history"),
        ("GET", "services/None/1.0"),
    ]:
        reply = await http(method, path, {} if method in ("PATCH", "POST") else None)
        assert (reply.status, reply.json["exceptionType"]) == (404, "ServiceNotFound"), path
    await publish()
    reply = await http("PATCH", "services/AddOne/9.9", {})
    assert reply.status == 404
    assert "1.0" in reply.json["message"]


async def test_concurrent_updates_of_different_parts_are_all_kept(http: Any, publish: Any) -> None:
    await publish()
    for number in range(3):
        replies = await asyncio.gather(
            http("PATCH", "services/AddOne/1.0", {"description": f"text {number}"}),
            http("PATCH", "services/AddOne/1.0", {"code": f"y = x + {number} + 10"}),
            http("PATCH", "services/AddOne/1.0", {"operationId": f"alias{number}"}),
        )
        assert [reply.status for reply in replies] == [200, 200, 200]
        service = (await http("GET", "services/AddOne/1.0")).json[0]
        assert service["description"] == f"text {number}"
        assert service["code"] == f"y = x + {number} + 10"
        assert service["operationId"] == f"alias{number}"


async def test_of_two_who_publish_the_same_version_one_wins(http: Any) -> None:
    replies = await asyncio.gather(
        *[http("POST", "services/Race/1.0", definition(f"y = x + {n}")) for n in range(4)]
    )
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409]
    winner = next(n for n, reply in enumerate(replies) if reply.status == 201)
    called = await http("POST", "api/Race/1.0", {"x": 0})
    assert called.json["outputParameters"] == {"y": float(winner)}


async def test_a_call_in_flight_finishes_on_the_state_it_met(
    http: Any, publish: Any, tmp_path: Any
) -> None:
    gate = tmp_path / "gate"
    wait = f"import os, time\nwhile wait and not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
    kinds = {"inputs": {"wait": "logical"}, "outputs": {"y": "character"}}
    await publish(code=wait + "y = 'old'", **kinds)
    call = asyncio.ensure_future(http("POST", "api/AddOne/1.0", {"wait": True}))
    await asyncio.sleep(0.3)
    reply = await http("PATCH", "services/AddOne/1.0", {"code": wait + "y = 'new'"})
    assert reply.status == 200
    during = await http("POST", "api/AddOne/1.0", {"wait": False})
    assert during.json["outputParameters"] == {"y": "new"}
    assert not call.done()
    gate.touch()
    assert (await call).json["outputParameters"] == {"y": "old"}


async def test_a_deleted_version_can_be_published_again(http: Any, publish: Any) -> None:
    await publish()
    await http("DELETE", "services/AddOne/1.0")
    reply = await publish(code="y = x + 5")
    assert reply.status == 201
    assert (await http("POST", "api/AddOne/1.0", {"x": 1})).json["outputParameters"] == {"y": 6.0}


async def test_the_body_of_a_get_can_be_sent_back(http: Any, publish: Any) -> None:
    await publish(description="Adds.")
    service = (await http("GET", "services/AddOne/1.0")).json[0]
    service["description"] = "Adds one."
    reply = await http("PATCH", "services/AddOne/1.0", service)
    assert reply.status == 200, reply.json
    text = json.dumps((await http("GET", "services/AddOne/1.0")).json)
    assert "Adds one." in text


async def test_a_new_sample_is_tried_beside_the_running_workers(http: Any, publish: Any) -> None:
    own = {"initCode": "import os\nfirst = os.getpid()", "outputs": {"y": "integer"}}
    await publish(code="y = first if x else 1 / x", mlserve={"sample": {"x": 1}}, **own)
    pid = (await http("POST", "api/AddOne/1.0", {"x": 1})).json["outputParameters"]["y"]
    failed = await http("PATCH", "services/AddOne/1.0", {"mlserve": {"sample": {"x": 0}}})
    assert failed.json["exceptionType"] == "TrialFailed"
    changed = await http(
        "PATCH", "services/AddOne/1.0", {"mlserve": {"sample": {"x": 2}}}, headers=PREFER
    )
    assert changed.json["trial"]["result"]["outputParameters"]["y"] != pid
    assert changed.json["service"]["mlserve"]["sample"] == {"x": 2}
    after = (await http("POST", "api/AddOne/1.0", {"x": 1})).json["outputParameters"]["y"]
    assert after == pid


async def test_another_process_can_be_faster(http: Any, node: Any) -> None:
    """Between our look at the catalog and our change, while the trial runs."""
    slow = definition(initCode="import time\ntime.sleep(0.4)")
    publishing = asyncio.ensure_future(http("POST", "services/Race/1.0", slow))
    await asyncio.sleep(0.2)
    with Catalog(node.settings.database) as other:
        body = Definition.from_publish("Race", "1.0", definition("y = 0.0"))
        who = node.kernel_token.principal.username
        first = other.publish("theirs", body.to_json(), body.content_hash(), who)
        reply = await publishing
        assert (reply.status, reply.json["exceptionType"]) == (409, "VersionExists")
        assert (await http("POST", "api/Race/1.0", {"x": 1})).json["outputParameters"] == {"y": 0.0}

        updating = asyncio.ensure_future(
            http("PATCH", "services/Race/1.0", {"initCode": slow["initCode"]})
        )
        await asyncio.sleep(0.2)
        theirs = body.merged({"description": "Theirs."})
        other.update("again", "Race", "1.0", theirs.to_json(), theirs.content_hash(), who, first.id)
        assert (await updating).status == 200
    service = (await http("GET", "services/Race/1.0")).json[0]
    assert service["description"] == "Theirs."
    assert service["initCode"] == slow["initCode"]
