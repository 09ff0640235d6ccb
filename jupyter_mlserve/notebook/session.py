"""What the magics know about this kernel: its server, its notebook, the cell that runs."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..client.deploy import DeployClient

# Their import takes longer than everything else in a publish.
LARGE = frozenset({"lightgbm", "numpy", "pandas", "scipy", "sklearn", "statsmodels", "xgboost"})


class Session:
    """The magics' memory in one kernel.

    ``client`` is made at the first need and kept; ``connect`` replaces it, ``disconnect`` forgets
    it so that the next magic looks for the server again.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.cell_id: str | None = None
        self.changes = 0
        self._prepared: frozenset[str] = frozenset()
        self._client: DeployClient | None = None
        self._lock = threading.Lock()  # completion asks from a thread of its own

    # The cell -----------------------------------------------------------------------------

    def before_cell(self, info: Any) -> None:
        """IPython's ``pre_run_cell``: remember which cell of the notebook runs.

        Cells that run inside a cell (the publish magic runs its own) have no id of their own.
        """
        cell_id = getattr(info, "cell_id", None)
        if cell_id is not None or getattr(info, "store_history", False):
            self.cell_id = cell_id

    def after_cell(self, result: Any) -> None:
        """IPython's ``post_run_cell``: when the notebook has imported another large library, tell
        the server that a version with it may come. The first publish is then as fast as the rest.
        """
        loaded = LARGE.intersection(sys.modules)
        if loaded and not loaded <= self._prepared:
            self._prepared = loaded
            threading.Thread(target=self._prepare, args=(loaded,), daemon=True).start()

    def _prepare(self, libraries: frozenset[str]) -> None:
        """A hint: without a server, or with one that does not listen, nothing is lost."""
        imports = [
            name
            for name in list(sys.modules)
            if name.partition(".")[0] in libraries and name.count(".") <= 1 and "._" not in name
        ]
        with contextlib.suppress(Exception):
            where = {
                "executable": sys.executable,
                "version": platform.python_version(),
                "implementation": platform.python_implementation(),
            }
            body = {"interpreter": where, "imports": [*imports[:1000], "dill"]}
            from ..client.http import Connection

            # Its own connection: the magics may close theirs at any moment.
            with Connection(self.client.address) as connection:
                connection.request("POST", "prepare", json=body, timeout=10)

    def notebook(self) -> str | None:
        """Path of the notebook, as far as the front end tells it; None in a plain shell.

        VS Code sets ``__vsc_ipynb_file__``; Jupyter Server sets ``__session__`` and, in the
        environment, ``JPY_SESSION_NAME`` (the name of a console has no ending).
        """
        names = self.shell.user_ns
        for found in (
            names.get("__vsc_ipynb_file__"),
            names.get("__session__"),
            os.environ.get("JPY_SESSION_NAME"),
        ):
            if isinstance(found, str) and Path(found).suffix:
                return found
        return None

    def own_variables(self) -> dict[str, Any]:
        """The notebook's variables without those that IPython put there in a builtin's place.

        IPython wraps ``open`` to keep notebooks from closing its own files; the wrapper is bound
        to this shell, and a service wants the builtin.
        """
        names, hidden = self.shell.user_ns, self.shell.user_ns_hidden
        covered = {"open", "exit", "quit"}
        return {
            name: value
            for name, value in names.items()
            if not (name in covered and hidden.get(name) is value)
        }

    def folder(self) -> Path:
        """The notebook's folder, where its own modules and files are; else the current one."""
        notebook = self.notebook()
        if notebook is not None and os.path.isabs(notebook):
            parent = Path(notebook).parent
            if parent.is_dir():
                return parent
        return Path.cwd()

    # The server ---------------------------------------------------------------------------

    @property
    def client(self) -> DeployClient:
        """The client for the server of this kernel. Raises ServerNotFound with what was tried."""
        with self._lock:
            if self._client is None:
                from ..client.deploy import DeployClient

                self._client = DeployClient()
            return self._client

    def changed(self) -> None:
        """Say that the services of the server, or the server, are not what they were."""
        self.changes += 1

    def connect(self, url: str | None, token: str | None, verify_tls: bool = True) -> None:
        """Use this server from now on (default: the one that is found by itself)."""
        from ..client.deploy import DeployClient

        client = DeployClient(url, auth=token, verify_tls=verify_tls)
        self.disconnect()
        self._client = client

    def disconnect(self) -> None:
        """Forget the server."""
        if self._client is not None:
            self._client.close()
        self._client = None
        self.changed()
