"""``computenodes``: one node, and sentences about further ones."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_mlserve.access.principal import Principal
from jupyter_mlserve.contract.errors import InvalidInput
from jupyter_mlserve.web.base import MLServeHandler
from jupyter_mlserve.web.computenodes import plain, read_entries


async def test_there_is_one_and_it_stays(http: Any, node: Any, monkeypatch: Any) -> None:
    nodes = {"computeNodes": [node.address]}
    assert (await http("GET", "computenodes")).json == nodes
    own = {"entries": [node.address, node.address.rstrip("/").upper()[:10] + node.address[10:]]}
    other = {"entries": [node.address, "http://10.0.0.1-2:12805"]}
    for method, body, status in (
        ("POST", own, 200),
        ("PUT", own, 200),
        ("PUT", {"entries": []}, 200),
        ("DELETE", {"entries": []}, 200),
        ("POST", other, 409),
        ("POST", {"entries": []}, 409),
        ("PUT", other, 409),
        ("DELETE", own, 409),
        ("DELETE", other, 409),
        ("DELETE", {"entries": ["http://10.0.0.1"]}, 400),
        ("PUT", {"entries": "http://10.0.0.1"}, 400),
    ):
        reply = await http(method, "computenodes", body)
        assert reply.status == status, (method, body, reply.json)
        if status == 200:
            assert reply.json == nodes
        elif status == 409:
            assert node.address in reply.json["message"]
    # Only who administers the server may even ask.
    someone = Principal("someone", "Someone", "jupyter")
    monkeypatch.setattr(MLServeHandler, "principal", someone)
    for method in ("GET", "POST", "PUT", "DELETE"):
        body = None if method == "GET" else own
        assert (await http(method, "computenodes", body)).status == 403
    status = (await http("GET", "status")).json
    assert status["user"] == "someone"
    assert status["components"]["web"] == {"statusCode": "pass", "details": {}}
    assert status["components"]["compute"] == {"statusCode": "pass", "details": {}}


def test_ranges_are_read_as_the_contract_writes_them() -> None:
    assert read_entries({"entries": []}) == set()
    assert read_entries({"entries": ["http://1.1.1.1", "HTTP://1.1.1.1:10-12/"]}) == {
        "http://1.1.1.1",
        "http://1.1.1.1:10",
        "http://1.1.1.1:11",
        "http://1.1.1.1:12",
    }
    assert len(read_entries({"entries": ["http://1.0.1-3.1-2:12805"]})) == 6
    assert read_entries({"entries": ["http://node1-2.example:1/a/"]}) == {
        "http://node1-2.example:1/a"
    }
    assert read_entries({"entries": ["https://[::1]:5"]}) == {plain("https://[::1]:5/")}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"entries": None},
        {"entries": [], "more": 1},
        {"entries": [7]},
        {"entries": [""]},
        {"entries": ["10.0.0.1"]},
        {"entries": ["http://"]},
        {"entries": ["http://user@host"]},
        {"entries": ["http://h:port"]},
        {"entries": ["http://h:9-1"]},
        {"entries": ["http://1.1.1-:1"]},
        {"entries": ["http://[::1"]},
        {"entries": ["http://h/?q"]},
        {"entries": ["http://" + "h" * 5000]},
        {"entries": ["http://h"] * 1001},
        {"entries": ["http://0-255.0-255.0-255.0-255:0-65535"]},
        {"entries": ["http://h:1-9999"] * 2},
    ],
)
def test_what_is_no_list_of_nodes_is_refused(body: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_entries(body)
    assert caught.value.details["field"] == "entries"
