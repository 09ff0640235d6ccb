"""Which server does this kernel, script or notebook run talk to?

Sources, in order; the first that answers ``GET mlserve/status`` is taken:

1. the URL given by the caller (``%mlserve connect URL``, ``DeployClient(URL)``, ``--server URL``);
2. ``JUPYTER_MLSERVE_URL`` and ``JUPYTER_MLSERVE_TOKEN``;
3. JupyterHub's variables: this user's own server;
4. the connection file of the server that started this kernel (``JUPYTER_MLSERVE_SERVER_INFO``);
5. Jupyter's own file of the process that started this kernel (``jpserver-$JPY_PARENT_PID.json``);
6. the running servers of this user, if exactly one of them answers.

1 and 2 are decisions: if that server does not answer, no other is tried, lest a notebook publish
to a server its author did not mean. Nor is an account exchanged for another: where a server of
this machine refuses the token of the environment, its own is taken instead, with a warning, but
not when the refused one is the access token of an account.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..contract.errors import (
    ConnectionFailed,
    MLServeError,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    ServerNotFound,
)
from .address import ServerAddress, is_loopback, parse_url
from .http import Connection
from .login import Login

PROBE_SECONDS = 10.0
ANY_HOST = ("", "0.0.0.0", "::", "*", "localhost")


def find_server(
    url: str | None = None,
    token: str | None = None,
    *,
    login: Login | None = None,
    verify_tls: bool | str = True,
) -> ServerAddress:
    """The server to talk to, verified with one GET. See the module for the order.

    ``login``: of an account of that server, which must be named then, here or by the environment.
    ``verify_tls``: False, a file of certificates to trust, or True: what the variable
    ``JUPYTER_MLSERVE_VERIFY_TLS`` says (0 or a file), else those that are trusted here.
    Raises ``ServerNotFound``: its text lists what was tried, why not, and what to do;
    ``NotAuthenticated`` when the server that is named answers, but refuses the token. With a
    login also what the server says of it: ``NotAuthenticated``, ``TooBusy``.
    """
    search = Search(tls_setting() if verify_tls is True else verify_tls)
    decided = explicit_addresses(url, token)
    if login is not None:
        # A password is sent to the server it is meant for only, so nothing is searched.
        if not decided:
            raise ServerNotFound(
                "A user name and a password are for a certain server: give its address as well."
            )
        found = search.first(log_in(replace(decided[0], token="", login=login), search.verify_tls))
    elif decided:
        found = search.first(decided)
        if found is not None and found.token != decided[0].token:
            # Three levels up is who asked the client for it.
            warnings.warn(
                f"{found} refuses the token in JUPYTER_MLSERVE_TOKEN; its own is used instead. "
                "Correct or remove that variable.",
                stacklevel=3,
            )
    else:
        found = (
            search.first(hub_addresses(search))
            or search.first(connection_file_addresses(search))
            or search.first(parent_addresses(search))
            or only_running_server(search)
        )
    if found is None and decided:
        raise search.failure_of_the_named()
    if found is None:
        raise ServerNotFound(search.text(), tried=search.tried)
    return found


class Search:
    """Tries addresses and keeps the reasons why they were not the one."""

    def __init__(self, verify_tls: bool | str) -> None:
        self.verify_tls = verify_tls
        self.tried: list[str] = []
        self.failed: dict[tuple[str, str, str | None], str] = {}
        self.refusal = ""  # the first, in words

    def first(self, addresses: Iterable[ServerAddress]) -> ServerAddress | None:
        for address in addresses:
            found = self.check(address)
            if found is not None:
                return found
        return None

    def check(self, address: ServerAddress) -> ServerAddress | None:
        if address.verify_tls is True:
            address = replace(address, verify_tls=self.verify_tls)
        key = (address.url, address.token, address.socket)
        if key not in self.failed:
            reason = why_not(address)
            if reason is None:
                return address
            self.failed[key] = reason
            self.tried.append(f"{address.how}: {address}: {reason}")
            if "(401)" in reason and not self.refusal:
                self.refusal = self.tried[-1]
        return None

    def skip(self, what: str) -> None:
        self.tried.append(what)

    def failure_of_the_named(self) -> MLServeError:
        """The error when the address that the caller or the environment names is of no use."""
        if not self.refusal:
            return ServerNotFound(self.text(named=True), tried=self.tried)
        return NotAuthenticated(
            f"{self.refusal}\nWhat to do: give the name and the password of an account, "
            "`DeployClient(URL, auth=(NAME, PASSWORD))`, or the token that `jupyter mlserve token` "
            "prints on the machine of the server: `DeployClient(URL, auth=TOKEN)`, `--token TOKEN`,"
            " or JUPYTER_MLSERVE_TOKEN in the environment.",
            tried=self.tried,
        )

    def text(self, named: bool = False) -> str:
        """What was tried and what to do. ``named``: it was one certain address."""
        lines = ["No Jupyter server with jupyter_mlserve was found. Tried:"]
        lines += [f"  - {line}" for line in self.tried]
        lines.append("What to do:")
        reasons = " ".join(self.failed.values())
        if "(404)" in reasons:
            lines.append(
                "  - install jupyter_mlserve in the environment of that Jupyter server, start it "
                "again, and look at `jupyter server extension list`; or"
            )
        if "(401)" in reasons:
            lines.append("  - give the right token (`jupyter server list` shows it); or")
        if named:
            lines.append(
                "  - check the address, and that its server runs (`jupyter server list`, on the "
                "machine of the server)."
            )
            return "\n".join(lines)
        lines.append(
            "  - start one (`jupyter lab`) and use its kernels, or name the server and its token: "
            "`%mlserve connect URL --token TOKEN` in a notebook, `DeployClient(URL, auth=TOKEN)` "
            "in Python, JUPYTER_MLSERVE_URL and JUPYTER_MLSERVE_TOKEN in the environment."
        )
        return "\n".join(lines)


def log_in(address: ServerAddress, verify_tls: bool | str) -> list[ServerAddress]:
    """The address, in a list, after its login: a wrong password is no reason to look further."""
    if address.verify_tls is True:
        address = replace(address, verify_tls=verify_tls)
    # What is no server of ours has a better explanation later.
    with suppress(ConnectionFailed, NotFound), Connection(address) as connection:
        connection.log_in()
    return [address]


def why_not(address: ServerAddress) -> str | None:
    """None if the address is a server of ours that accepts the token, else the reason."""
    with Connection(address, timeout=PROBE_SECONDS) as connection:
        try:
            status = connection.request("GET", "status")
        except ConnectionFailed as error:
            return str(error)
        except (NotAuthenticated, NotAllowed) as error:
            what = "the token is refused" if address.token else "it wants a token"
            return f"{what} (401): {error}"
        except NotFound:
            return "a server answers, but without jupyter_mlserve (404)"
        except MLServeError as error:
            return f"it answers with an error: {error}"
    if not isinstance(status, dict) or status.get("name") != "jupyter_mlserve":
        return "something answers, but it is not jupyter_mlserve"
    return None


def explicit_addresses(url: str | None, token: str | None) -> list[ServerAddress]:
    """The address that the caller or the environment names, with the tokens it may have."""
    env_url = os.environ.get("JUPYTER_MLSERVE_URL", "").strip()
    env_token = os.environ.get("JUPYTER_MLSERVE_TOKEN", "").strip()
    if not (url or env_url):
        return []
    how = "the given address" if url else "JUPYTER_MLSERVE_URL"
    try:
        root, in_url, socket = parse_url(url or env_url)
    except ValueError as error:
        raise ServerNotFound(str(error), tried=[f"{how}: {error}"]) from None
    tokens = [token or in_url]
    if not tokens[0]:
        # A token of the environment belongs to the URL of the environment, to no other server.
        tokens = [env_token] if not env_url or same_server(root, env_url) else [""]
        if (socket or is_loopback(root)) and not of_account(tokens[0]):
            # It may be of an earlier run of the server; the server's own file is always right.
            # Not so that of an account: who used it must not become the owner unawares.
            tokens.append(token_on_file(root, socket))
        tokens = [found for found in dict.fromkeys(tokens) if found] or [""]
    return [ServerAddress(root, found, how, socket) for found in tokens]


def of_account(token: str) -> bool:
    """Whether it has the form of the tokens of a login, which are JSON Web Tokens."""
    return token.startswith("ey") and token.count(".") == 2


def same_server(root: str, other: str) -> bool:
    try:
        return parse_url(other)[0] == root
    except ValueError:
        return False


def token_on_file(root: str, socket: str | None) -> str:
    """The token of this user's own running server at this address, if its file is here."""
    for infos in running_infos().values():
        for info, how in infos:
            for address in addresses_of(info, how):
                if (address.url, address.socket) == (root, socket) or (
                    socket is None
                    and is_loopback(address.url)
                    and port_and_path(address.url) == port_and_path(root)
                ):
                    return address.token
    return ""


def port_and_path(url: str) -> tuple[int | None, str]:
    parts = urlsplit(url)
    return parts.port, parts.path


def hub_addresses(search: Search) -> Iterator[ServerAddress]:
    """This user's own server on a JupyterHub (variables: jupyterhub.spawner.Spawner.get_env)."""
    env = os.environ
    token, prefix = env.get("JUPYTERHUB_API_TOKEN"), env.get("JUPYTERHUB_SERVICE_PREFIX")
    if not (token and prefix):
        search.skip("JupyterHub (JUPYTERHUB_SERVICE_PREFIX and JUPYTERHUB_API_TOKEN): not set")
        return
    how = "JupyterHub's variables"
    bind = env.get("JUPYTERHUB_SERVICE_URL", "")
    if bind:
        at = home(bind) if (urlsplit(bind).hostname or "") in ANY_HOST else bind
        yield local(ServerAddress(urljoin(at, prefix), token, how))
    for public in (env.get("JUPYTERHUB_PUBLIC_URL"), env.get("JUPYTERHUB_HOST")):
        if public:
            yield ServerAddress(urljoin(public, prefix), token, how)


def connection_file_addresses(search: Search) -> Iterator[ServerAddress]:
    path = os.environ.get("JUPYTER_MLSERVE_SERVER_INFO")
    if not path:
        search.skip(
            "connection file of this kernel's server (JUPYTER_MLSERVE_SERVER_INFO): not set"
        )
        return
    how = "the connection file of this kernel's server"
    info = read_info(Path(path))
    if info is None:
        search.skip(f"{how}: {path} is not there or not readable (has the server stopped?)")
        return
    yield from addresses_of(info, how)


def parent_addresses(search: Search) -> Iterator[ServerAddress]:
    pid = os.environ.get("JPY_PARENT_PID")
    if not pid:
        search.skip("the process that started this kernel (JPY_PARENT_PID): not set")
        return
    how = f"the process that started this kernel (JPY_PARENT_PID={pid})"
    infos = running_infos().get(pid, [])
    if not infos:
        search.skip(f"{how}: it is not a Jupyter server of this user (no file jpserver-{pid}.json)")
    for info, _ in infos:
        yield from addresses_of(info, how)


def only_running_server(search: Search) -> ServerAddress | None:
    """The one running server that answers; several are a question that only the user can settle."""
    found: list[ServerAddress] = []
    servers = running_infos()
    for infos in servers.values():
        for info, how in infos:
            address = search.first(addresses_of(info, how))
            if address is not None:
                found.append(address)
                break
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(address) for address in found)
        search.skip(f"running servers: {len(found)} answer ({names}): say which one")
    elif not servers:
        search.skip(f"running servers: no file of one in {runtime_dir()}")
    return None


def running_infos() -> dict[str, list[tuple[dict[str, Any], str]]]:
    """By process id: the files that running servers of this user left. Our own file comes first:
    it has a token even when the server is open to passwords only."""
    found: dict[str, list[tuple[dict[str, Any], str]]] = {}
    folder = runtime_dir()
    for kind in ("mlserve", "jpserver"):
        try:
            paths = sorted(folder.glob(f"{kind}-*.json"))
        except OSError:
            continue
        for path in paths:
            pid = re.fullmatch(rf"{kind}-(\d+)\.json", path.name)
            info = read_info(path)
            if pid and info is not None and is_alive(int(pid[1])):
                found.setdefault(pid[1], []).append((info, f"running server, {path.name}"))
    return found


def addresses_of(info: Mapping[str, Any], how: str) -> Iterator[ServerAddress]:
    """Addresses under which to try the server that wrote this file.

    A server that listens everywhere names itself by its host name, which need not resolve here:
    127.0.0.1 comes first then. One that listens on a certain other address is asked there only.
    """
    url, token = str(info.get("url") or ""), str(info.get("token") or "")
    # A password-only server's own file has no token; then the user may have given one.
    token = token or os.environ.get("JUPYTER_MLSERVE_TOKEN", "")
    if info.get("sock"):
        base = str(info.get("base_url") or "/").strip("/")
        root = f"http://localhost/{base}/" if base else "http://localhost/"
        yield ServerAddress(root, token, how, socket=str(info["sock"]))
        return
    try:
        root, _, socket = parse_url(url)
    except ValueError:
        return
    if socket is not None:
        yield ServerAddress(root, token, how, socket=socket)
        return
    if not is_loopback(root) and str(info.get("hostname", "")) in ANY_HOST:
        yield local(ServerAddress(home(root), token, how))
    yield local(ServerAddress(root, token, how))


def home(url: str) -> str:
    """The same server, by this machine's own address."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://127.0.0.1{port}{parts.path}"


def local(address: ServerAddress) -> ServerAddress:
    """Loopback addresses from this user's own files: their certificate is self-signed or for
    another name, and checking it would add nothing to plain HTTP, which is accepted there."""
    return replace(address, verify_tls=False) if is_loopback(address.url) else address


def read_info(path: Path) -> dict[str, Any] | None:
    try:
        info = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return info if isinstance(info, dict) else None


def runtime_dir() -> Path:
    """Jupyter's runtime folder of this user (jupyter_core is there wherever a kernel is)."""
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:
        return Path(os.environ.get("JUPYTER_RUNTIME_DIR", "~/.local/share/jupyter/runtime"))
    return Path(jupyter_runtime_dir())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def tls_setting() -> bool | str:
    text = os.environ.get("JUPYTER_MLSERVE_VERIFY_TLS", "").strip()
    if text.lower() in ("0", "no", "false", "off"):
        return False
    return text if text and text.lower() not in ("1", "yes", "true", "on") else True
