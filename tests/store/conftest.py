"""Catalogs and blobs in fresh folders; and the same catalog tests on PostgreSQL, where wished.

Set JUPYTER_MLSERVE_TEST_DATABASE to the URL of an empty database (postgresql+psycopg://…) to run
every test that uses ``db_url`` on it as well; each test gets a schema of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jupyter_mlserve.store import Blobs, Catalog

SHARED_DATABASE = os.environ.get("JUPYTER_MLSERVE_TEST_DATABASE", "")
CHILDREN = Path(__file__).with_name("children.py")


@pytest.fixture(params=["sqlite", "postgresql"] if SHARED_DATABASE else ["sqlite"])
def db_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/data/catalog.sqlite3"
        return
    from sqlalchemy import create_engine, make_url

    engine = create_engine(SHARED_DATABASE)
    schema = f"test_{uuid4().hex}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    url = make_url(SHARED_DATABASE).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
    engine.dispose()


@pytest.fixture
def catalog(db_url: str) -> Iterator[Catalog]:
    with Catalog(db_url) as opened:
        yield opened


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "data" / "blobs")


Define = Callable[..., dict[str, Any]]


@pytest.fixture
def define() -> Define:
    """A definition with a name, a version, blobs and whatever else a test wants to see again."""

    def make(
        name: str = "Tx", version: str = "1.0", *, blobs: list[str] | None = None, **more: Any
    ) -> dict[str, Any]:
        objects = [{"name": f"o{i}", "sha256": sha} for i, sha in enumerate(blobs or [])]
        return {"name": name, "version": version, "mlserve": {"objects": objects}, **more}

    return make


@pytest.fixture
def put() -> Callable[[Blobs, bytes], str]:
    def write(blobs: Blobs, content: bytes) -> str:
        sha = hashlib.sha256(content).hexdigest()
        with blobs.writer(sha) as writer:
            writer.write(content)
        return sha

    return write


class Child:
    """A process that runs one function of children.py and reports in JSON."""

    def __init__(self, what: str, *arguments: object, before: tuple[str, ...] = ()) -> None:
        command = [*before, sys.executable, str(CHILDREN), what, *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == "ready\n", line + self.process.communicate()[1]

    def go(self, line: str = "go") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def result(self, timeout: float = 90.0) -> Any:
        out, err = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, err
        return json.loads(out.splitlines()[-1])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    started: list[Child] = []

    def start(what: str, *arguments: object, before: tuple[str, ...] = ()) -> Child:
        started.append(Child(what, *arguments, before=before))
        return started[-1]

    yield start
    for one in started:
        one.close()
