"""Things that exist only in the running kernel, by what they are, each with what to do instead."""

from __future__ import annotations

import io
import types
from collections.abc import Mapping
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """Why something cannot travel, and what the author can do."""

    reason: str
    advice: str


class CannotTravel(Exception):
    """Ends a pickling. ``trail``: classes of the objects on the way in, innermost first."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why.reason)
        self.why = why
        self.trail: list[str] = []


_IN_INIT = "Make it where it is used, or in an init function, so that every worker has its own."
_FILE = Refusal(
    "an open file exists only in this kernel",
    "Send the file with --file PATH and open it in the code.",
)
_LOCK = Refusal("a lock guards this kernel's threads", _IN_INIT)
_TASK = Refusal(
    "it belongs to this kernel's event loop", "Start it in the code, or await its result first."
)
_DATABASE = Refusal(
    "a database connection cannot leave this kernel",
    "Connect in the code or in an init function, and take the address and password from the "
    "environment.",
)
_NETWORK = Refusal("a network connection cannot leave this kernel", _IN_INIT)
_THREAD = Refusal("a thread or process runs only here", _IN_INIT)
_GENERATOR = Refusal(
    "a generator cannot be pickled",
    "Make it where it is used, or keep its values: list(...).",
)
_SHELL = Refusal(
    "it is a part of IPython, which a worker does not have",
    "Remove it: a service has no magics, no shell commands and no notebook output. "
    "What it prints is returned as console output.",
)
_HISTORY = Refusal(
    "it is IPython's history of inputs and outputs", "Give the value a name of its own."
)
_WIDGET = Refusal(
    "a widget lives in the notebook page", "Use its value: give widget.value a name of its own."
)
_ENVIRONMENT = Refusal(
    "it holds all environment variables of this kernel, secrets included",
    "Read os.environ in the code, or keep only what you need of it.",
)
_TEMPORARY = Refusal(
    "a temporary file or folder is deleted with this kernel",
    "Make it in the code; each call has a working directory of its own.",
)

# Base classes by full name, looked up in the class's ancestors: nothing has to be imported here.
_CLASSES: dict[str, Refusal] = {
    "_thread.lock": _LOCK,
    "_thread.RLock": _LOCK,
    "_io._IOBase": _FILE,
    "threading.Condition": _LOCK,
    "threading.Event": _LOCK,
    "threading.Semaphore": _LOCK,
    "threading.Barrier": _LOCK,
    "threading._RLock": _LOCK,
    "multiprocessing.synchronize.SemLock": _LOCK,
    "asyncio.locks._LoopBoundMixin": _TASK,
    "asyncio.mixins._LoopBoundMixin": _TASK,
    "asyncio.events.AbstractEventLoop": _TASK,
    "_asyncio.Future": _TASK,
    "asyncio.futures.Future": _TASK,
    "threading.Thread": _THREAD,
    "threading._local": _THREAD,
    "_thread._local": _THREAD,
    "subprocess.Popen": _THREAD,
    "multiprocessing.process.BaseProcess": _THREAD,
    "multiprocessing.pool.Pool": _THREAD,
    "concurrent.futures._base.Executor": _THREAD,
    "concurrent.futures._base.Future": _THREAD,
    "queue.Queue": _THREAD,
    "_queue.SimpleQueue": _THREAD,
    "_socket.socket": _NETWORK,
    "_ssl._SSLContext": _NETWORK,
    "ssl.SSLSocket": _NETWORK,
    "httpx._client.BaseClient": _NETWORK,
    "aiohttp.client.ClientSession": _NETWORK,
    "grpc.Channel": _NETWORK,
    "redis.client.Redis": _NETWORK,
    "paramiko.client.SSHClient": _NETWORK,
    "botocore.client.BaseClient": _NETWORK,
    "sqlite3.Connection": _DATABASE,
    "sqlite3.Cursor": _DATABASE,
    "sqlalchemy.engine.base.Engine": _DATABASE,
    "sqlalchemy.engine.base.Connection": _DATABASE,
    "sqlalchemy.engine.cursor.CursorResult": _DATABASE,
    "sqlalchemy.ext.asyncio.engine.AsyncEngine": _DATABASE,
    "sqlalchemy.orm.session.Session": _DATABASE,
    "sqlalchemy.orm.session.sessionmaker": _DATABASE,
    "duckdb.duckdb.DuckDBPyConnection": _DATABASE,
    "_duckdb.DuckDBPyConnection": _DATABASE,
    "psycopg2.extensions.connection": _DATABASE,
    "psycopg2.extensions.cursor": _DATABASE,
    "psycopg.Connection": _DATABASE,
    "psycopg.Cursor": _DATABASE,
    "pymysql.connections.Connection": _DATABASE,
    "pyodbc.Connection": _DATABASE,
    "pymongo.mongo_client.MongoClient": _DATABASE,
    "pymongo.synchronous.mongo_client.MongoClient": _DATABASE,
    "pyspark.sql.session.SparkSession": _DATABASE,
    "tempfile._TemporaryFileWrapper": _TEMPORARY,
    "tempfile.TemporaryDirectory": _TEMPORARY,
    "ipywidgets.widgets.widget.Widget": _WIDGET,
    "IPython.core.interactiveshell.InteractiveShell": _SHELL,
    "IPython.core.displayhook.DisplayHook": _SHELL,
    "IPython.core.display_functions.DisplayHandle": _SHELL,
    "IPython.core.autocall.IPyAutocall": _SHELL,
    "mmap.mmap": _FILE,
    "os.DirEntry": _FILE,
    "os._Environ": _ENVIRONMENT,
}
_EXACT: dict[type, Refusal] = {
    types.GeneratorType: _GENERATOR,
    types.AsyncGeneratorType: _GENERATOR,
    types.CoroutineType: _TASK._replace(reason="a coroutine cannot be pickled"),
    types.FrameType: Refusal("a stack frame exists only here", "Keep the values you need."),
    types.TracebackType: Refusal("a traceback exists only here", "Keep its text."),
    memoryview: Refusal("it is a window on memory of this kernel", "Use bytes(...)."),
}
_SHELL_NAMES = frozenset(("get_ipython", "display", "exit", "quit"))
_HISTORY_NAMES = frozenset(("In", "Out", "_ih", "_oh", "_dh", "_i", "_ii", "_iii"))


def refusal_of(value: object) -> Refusal | None:
    """Why ``value`` itself cannot travel; None when nothing speaks against trying.

    Closed files and io.StringIO or io.BytesIO, which are values, may travel.
    """
    cls = type(value)
    found = _EXACT.get(cls)
    if found is not None:
        return found
    if isinstance(value, io.StringIO | io.BytesIO):
        return None
    for base in cls.__mro__:
        found = _CLASSES.get(f"{base.__module__}.{base.__qualname__}")
        if found is not None:
            return found
    return None


def refusal_of_name(name: str, namespace: Mapping[str, Any]) -> Refusal | None:
    """Why IPython's own names cannot travel; an author's variable of that name can."""
    if name in _SHELL_NAMES:
        if name not in namespace:  # IPython puts these among the builtins
            return _SHELL if name in ("get_ipython", "display") else None
        value = namespace[name]
        module = str(getattr(value, "__module__", None) or type(value).__module__)
        return _SHELL if module.startswith(("IPython", "ipykernel")) else None
    history = namespace.get("_oh")
    if not isinstance(history, dict) or "_ih" not in namespace:
        return None
    if name in ("_", "__", "___"):  # a function _ is the author's: gettext, or a throw-away
        return None if callable(namespace.get(name)) else _HISTORY
    numbered = name.removeprefix("_i").isdigit() or name.removeprefix("_").isdigit()
    return _HISTORY if name in _HISTORY_NAMES or numbered else None


def inside(value: object) -> Refusal | None:
    """Why ``value`` cannot travel inside another object.

    An unlocked lock in an object is made again in the worker (dill does), since it guards the
    object itself; a locked one would never be released there.
    """
    found = refusal_of(value)
    if found is _LOCK:
        name = f"{type(value).__module__}.{type(value).__name__}"
        if name == "_thread.RLock":
            return found if "owner=0" not in repr(value) else None
        if name == "_thread.lock":
            return found if value.locked() else None  # type: ignore[attr-defined]
        return None  # made of locks, which are looked at in turn
    return found
