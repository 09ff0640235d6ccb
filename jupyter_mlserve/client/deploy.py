"""The Python client: publish, find, call, update and delete services.

The forms are those of Machine Learning Server's published client, so that a program written for
it needs only another import; beyond them there are ``sample``, ``files``, ``rollback`` and
``history``, a redeploy that keeps what it is not given, and clear errors.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from ..contract.errors import BadRequest, InvalidDefinition, ServiceNotFound
from .discovery import find_server
from .fluent import RealtimeDefinition, ServiceDefinition
from .http import Connection, path_of
from .login import Login
from .lookup import looking_for
from .misuse import WrongCall
from .packaging import Parts, package, package_update
from .publishing import PUBLISH_SECONDS, REPRESENTATION, Progress, Published, Report, publish
from .realtime import publish_realtime
from .service import Service, is_realtime, service_object
from .wording import in_arguments


class MLServer:
    """Stands where programs for the published client say ``use=MLServer``."""


class DeployClient:
    """A client of one server.

    ``DeployClient()`` finds the server of this kernel (see ``client.discovery``);
    ``DeployClient(url, auth=token)`` names it, and so does ``DeployClient(url, auth=(name,
    password))`` with an account of the server (``jupyter mlserve user add NAME``), whose access
    token is then renewed as it must be; ``close`` logs out. ``url`` is the root of the Jupyter
    server, or its ``/mlserve``. ``use`` is accepted for programs written for the published client.
    ``verify_tls=False`` accepts any certificate; a path names a file of certificates to trust.

    Raises ``ServerNotFound`` with everything that was tried, and ``NotAuthenticated`` when the
    server that is named refuses the token or the password.
    """

    def __init__(
        self,
        url: str | None = None,
        use: Any = None,
        auth: str | tuple[str, str] | None = None,
        *,
        verify_tls: bool | str = True,
    ) -> None:
        if use is not None and getattr(use, "__name__", str(use)).rpartition(".")[2] != "MLServer":
            raise WrongCall(f"use={use!r}: this client knows MLServer only; leave `use` out.")
        login = None
        if isinstance(auth, tuple) and list(map(type, auth)) == [str, str]:
            login = Login(*auth)
        elif auth is not None and not isinstance(auth, str):
            raise WrongCall(
                f"auth is a {type(auth).__name__}, and must be a token of the Jupyter server (a "
                "str: `jupyter server list` shows it), or the name and password of an account (a "
                "tuple of two str)."
            )
        token = auth if isinstance(auth, str) else None
        self.address = find_server(url, token, login=login, verify_tls=verify_tls)
        self.connection = Connection(self.address)

    def close(self) -> None:
        self.connection.log_out()
        self.connection.close()

    def __enter__(self) -> DeployClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<DeployClient of {self.address} ({self.address.how})>"

    # Publishing -----------------------------------------------------------------------------

    def service(self, name: str) -> ServiceDefinition:
        """Start the definition of a service: ``client.service("N").version("1.0")...deploy()``."""
        return ServiceDefinition(self, name)

    def deploy_service(
        self,
        name: str,
        version: str | None = None,
        *,
        update: bool = False,
        progress: Progress | None = None,
        **parts: Any,
    ) -> Service:
        """Publish a version and return its service object.

        Parts: ``code_fn`` (a function) with ``init_fn``, or ``code_str`` with ``init_str``;
        ``inputs`` and ``outputs`` (name to type, or text such as ``"hp: float, wt: float"``);
        ``objects`` and ``models`` (name to value; the same thing); ``artifacts`` (names of files
        the code writes); ``files`` (paths of files the code reads); ``exclude`` (names that the
        code reads and can do without); ``alias``; ``description``;
        ``sample`` (inputs for a trial call); ``pool`` (``{"initial": 1, "max": 4}`` workers);
        ``batchable`` (True: it takes a frame of any number of rows and answers each row by
        itself, so that batches may hand it many records at once; a sample of rows proves it).
        What a function uses of its notebook (helpers, imports, models) travels with it.

        ``version=None``: the server gives a GUID. A version that is there already raises
        ``VersionExists``, unless ``update=True`` replaces it.
        """
        with in_arguments():
            made = package(Parts.of(parts))
            return self._object(publish(self.connection, name, version, made, update, progress))

    def redeploy_service(
        self,
        name: str,
        version: str | None = None,
        *,
        progress: Progress | None = None,
        **parts: Any,
    ) -> Service:
        """Update a version (default: the newest). Parts as in ``deploy_service``; those that are
        left out keep what they are, an empty one (``inputs={}``) becomes empty."""
        current = self._definition(name, version)
        given = Parts.of(parts)
        if is_realtime(current):
            changed = [key for key in parts if key not in ("alias", "description")]
            if changed:
                raise InvalidDefinition(
                    f"{name} {current['version']} is a realtime service: it is its compiled model, "
                    f"and has no {changed[0]}. Update the model with redeploy_realtime.",
                    field=changed[0],
                )
        with in_arguments():
            published = publish(
                self.connection,
                name,
                current["version"],
                package_update(given, current),
                update=True,
                progress=progress,
                must_exist=True,
            )
        return self._object(published)

    update = redeploy_service

    def realtime_service(self, name: str) -> RealtimeDefinition:
        """Start the definition of a realtime service:
        ``client.realtime_service("N").version("1.0").serialized_model(bytes).deploy()``."""
        return RealtimeDefinition(self, name)

    def deploy_realtime(
        self,
        name: str,
        version: str | None = None,
        *,
        serialized_model: bytes | None = None,
        description: str | None = None,
        alias: str | None = None,
        update: bool = False,
        progress: Progress | None = None,
    ) -> Service:
        """Publish a version of a realtime service and return its service object.

        ``serialized_model`` are the bytes of ``jupyter_mlserve.serialize_model(model, sample)``.
        The server tries the model before it answers. ``version=None``: the server gives a GUID.
        A version that is there already raises ``VersionExists``, unless ``update=True`` replaces
        its model.
        """
        if serialized_model is None:
            raise WrongCall(
                "There is no model: give serialized_model, the bytes of "
                "jupyter_mlserve.serialize_model(model, sample)."
            )
        with in_arguments():
            published = publish_realtime(
                self.connection,
                name,
                version,
                serialized_model,
                description=description,
                alias=alias,
                update=update,
                progress=progress,
            )
        return self._object(published)

    def redeploy_realtime(
        self,
        name: str,
        version: str | None = None,
        *,
        serialized_model: bytes | None = None,
        description: str | None = None,
        alias: str | None = None,
        progress: Progress | None = None,
    ) -> Service:
        """Update a version (default: the newest) of a realtime service; what is left out keeps
        what it is, ``description=""`` and ``alias=""`` take theirs away."""
        current = self._definition(name, version)
        if not is_realtime(current):
            raise WrongCall(
                f"{name} {current['version']} is a standard service, without a compiled model. "
                "Update it with redeploy_service, or publish the model under another name or "
                "version with deploy_realtime."
            )
        with in_arguments():
            published = publish_realtime(
                self.connection,
                name,
                str(current["version"]),
                serialized_model,
                description=description,
                alias=alias,
                update=True,
                progress=progress,
                must_exist=True,
            )
        return self._object(published)

    def _object(self, published: Published) -> Service:
        return service_object(self.connection, published.service)

    # Finding --------------------------------------------------------------------------------

    def list_services(
        self, name: str | None = None, version: str | None = None
    ) -> list[dict[str, Any]]:
        """Services as the contract's WebService objects, oldest version first: all, those of a
        name, or the one version (which then must exist)."""
        if name is None and version is not None:
            raise BadRequest("A version is of a service: give its name, too.", field="name")
        parts = [part for part in (name, version) if part is not None]
        with self._looking_for(name, version):
            found = self.connection.request("GET", path_of("services", *parts))
        return found if isinstance(found, list) else [found]

    def get_service(self, name: str, version: str | None = None) -> Service:
        """The service object of a version, or of the newest."""
        return service_object(self.connection, self._definition(name, version))

    def _definition(self, name: str, version: str | None) -> dict[str, Any]:
        found = self.list_services(name, version)
        if not found:
            with self._looking_for(name, version):
                raise ServiceNotFound(f"There is no service {name!r}.")
        return found[-1]

    def _looking_for(self, name: str | None, version: str | None) -> AbstractContextManager[None]:
        """Errors about what is not there name what is."""
        if name is None:
            return nullcontext()
        return looking_for(self.list_services, name, version, str(self.address))

    # Managing -------------------------------------------------------------------------------

    def delete_service(self, name: str, version: str) -> bool:
        """Delete a version. Calls of it answer 410 afterwards. True."""
        with self._looking_for(name, version):
            self.connection.request("DELETE", path_of("services", name, version))
        Report(name, version).deleted()
        return True

    def rollback_service(self, name: str, version: str, state: int | None = None) -> Service:
        """Make an earlier state of a version current again (default: the one before)."""
        with self._looking_for(name, version):
            answer = self.connection.request(
                "POST",
                path_of("services", name, version, "rollback"),
                json={"state": state},
                headers=REPRESENTATION,
                timeout=PUBLISH_SECONDS,
            )
        return service_object(self.connection, answer["service"])

    rollback = rollback_service

    def create_or_update_service_pool(
        self, name: str, version: str, initial_pool_size: int = 0, max_pool_size: int = 0
    ) -> None:
        """Give a version workers of its own, or change how many.

        ``initial_pool_size`` are started at once and wait for calls; there are at most
        ``max_pool_size`` (0: as many as the server allows a version). The version then takes no
        worker of the common ones, and others take none of its. :meth:`get_service_pool_status`
        says when they are warm.
        """
        sizes = {"InitialPoolSize": initial_pool_size, "MaxPoolSize": max_pool_size}
        with self._looking_for(name, version):
            self.connection.request("POST", path_of("services", name, version, "pool"), json=sizes)

    def get_service_pool_status(self, name: str, version: str) -> list[dict[str, str]]:
        """How the pool is on each compute node. Keys: computeNodeEndpoint, status ("Pending",
        "Success": its first workers are warm, "NotFound": there is none)."""
        with self._looking_for(name, version):
            found = self.connection.request("GET", path_of("services", name, version, "pool"))
        return [{key: node[key] for key in ("computeNodeEndpoint", "status")} for node in found]

    def delete_service_pool(self, name: str, version: str) -> bool:
        """Let a version share workers with the others again; no call is disturbed. True."""
        with self._looking_for(name, version):
            self.connection.request("DELETE", path_of("services", name, version, "pool"))
        return True

    def history(self, name: str, version: str | None = None) -> list[dict[str, Any]]:
        """What happened to a service or a version, oldest first. Keys: at (UTC), who, action
        ("publish", "update", "rollback", "delete", "pool"), name, version, state
        ({"id", "number"})."""
        parts = [part for part in (name, version) if part is not None]
        with self._looking_for(name, version):
            answer = self.connection.request("GET", path_of("services", *parts, "history"))
        return list(answer["history"])
