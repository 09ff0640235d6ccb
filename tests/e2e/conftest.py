"""A real server for the tests that neither kill nor configure it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.running_server import RunningServer, start_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One for all; each test has services of its own."""
    running = start_server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()
