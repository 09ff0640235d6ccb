"""Dedicated pools, as scripts ask for them."""

from __future__ import annotations

import time

import pytest
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient
from jupyter_mlserve.contract.errors import InvalidInput, ServiceNotFound


def test_a_service_is_given_workers_of_its_own(server: RunningServer) -> None:
    client = DeployClient(server.url, auth=server.token)
    client.deploy_service(
        "Held", "1.0", code_str="y = x + 1", inputs="x: float", outputs="y: float"
    )
    (node,) = client.get_service_pool_status("Held", "1.0")
    assert node["status"] == "NotFound"
    assert node["computeNodeEndpoint"].endswith("/mlserve/")
    client.create_or_update_service_pool("Held", "1.0", initial_pool_size=1, max_pool_size=2)
    end = time.monotonic() + 30
    while client.get_service_pool_status("Held", "1.0") != [{**node, "status": "Success"}]:
        assert time.monotonic() < end
        time.sleep(0.05)
    client.create_or_update_service_pool("Held", "1.0")
    assert client.history("Held", "1.0")[-1]["action"] == "pool"
    assert client.delete_service_pool("Held", "1.0")
    assert client.get_service_pool_status("Held", "1.0") == [node]
    with pytest.raises(InvalidInput, match="MaxPoolSize, which is 1"):
        client.create_or_update_service_pool("Held", "1.0", 2, 1)
    with pytest.raises(ServiceNotFound, match=r"no version '2\.0'"):
        client.get_service_pool_status("Held", "2.0")
