"""The Python client: publish, find, call, update and delete services.

The forms are those of Machine Learning Server's published client, so that a program written for
it needs only another import; beyond them there are ``sample``, ``files``, ``rollback`` and
``history``, a redeploy that keeps what it is not given, and clear errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ..contract.errors import BadRequest, ServiceNotFound
from .discovery import find_server
from .http import Connection, path_of
from .misuse import WrongCall
from .packaging import Parts, package, package_update
from .publishing import PUBLISH_SECONDS, REPRESENTATION, Progress, Published, publish
from .service import Service, service_object


class MLServer:
    """Stands where programs for the published client say ``use=MLServer``."""


class DeployClient:
    """A client of one server.

    ``DeployClient()`` finds the server of this kernel (see ``client.discovery``);
    ``DeployClient(url, auth=token)`` names it. ``url`` is the root of the Jupyter server, or its
    ``/mlserve``. ``use`` is accepted for programs written for the published client.
    ``verify_tls=False`` accepts any certificate; a path names a file of certificates to trust.

    Raises ``ServerNotFound`` with everything that was tried.
    """

    def __init__(
        self,
        url: str | None = None,
        use: Any = None,
        auth: str | None = None,
        *,
        verify_tls: bool | str = True,
    ) -> None:
        if use is not None and getattr(use, "__name__", str(use)).rpartition(".")[2] != "MLServer":
            raise WrongCall(f"use={use!r}: this client knows MLServer only; leave `use` out.")
        if auth is not None and not isinstance(auth, str):
            raise WrongCall(
                f"auth is a {type(auth).__name__}, and must be the token of the Jupyter server "
                "(a str): `jupyter server list` shows it."
            )
        self.address = find_server(url, auth, verify_tls=verify_tls)
        self.connection = Connection(self.address)

    def close(self) -> None:
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
        the code writes); ``files`` (paths of files the code reads); ``alias``; ``description``;
        ``sample`` (inputs for a trial call); ``pool`` (``{"initial": 1, "max": 4}`` workers).
        What a function uses of its notebook (helpers, imports, models) travels with it.

        ``version=None``: the server gives a GUID. A version that is there already raises
        ``VersionExists``, unless ``update=True`` replaces it.
        """
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
        made = package_update(Parts.of(parts), current)
        published = publish(
            self.connection,
            name,
            current["version"],
            made,
            update=True,
            progress=progress,
            must_exist=True,
        )
        return self._object(published)

    update = redeploy_service

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
        found = self.connection.request("GET", path_of("services", *parts))
        return found if isinstance(found, list) else [found]

    def get_service(self, name: str, version: str | None = None) -> Service:
        """The service object of a version, or of the newest."""
        return service_object(self.connection, self._definition(name, version))

    def _definition(self, name: str, version: str | None) -> dict[str, Any]:
        found = self.list_services(name, version)
        if not found:
            raise ServiceNotFound(f"There is no service {name!r}. list_services() shows all.")
        return found[-1]

    # Managing -------------------------------------------------------------------------------

    def delete_service(self, name: str, version: str) -> bool:
        """Delete a version. Calls of it answer 410 afterwards. True."""
        self.connection.request("DELETE", path_of("services", name, version))
        return True

    def rollback_service(self, name: str, version: str, state: int | None = None) -> Service:
        """Make an earlier state of a version current again (default: the one before)."""
        answer = self.connection.request(
            "POST",
            path_of("services", name, version, "rollback"),
            json={"state": state},
            headers=REPRESENTATION,
            timeout=PUBLISH_SECONDS,
        )
        return service_object(self.connection, answer["service"])

    rollback = rollback_service

    def history(self, name: str, version: str | None = None) -> list[dict[str, Any]]:
        """What happened to a service or a version, oldest first. Keys: at (UTC), who, action
        ("publish", "update", "rollback", "delete"), name, version, state ({"id", "number"})."""
        parts = [part for part in (name, version) if part is not None]
        answer = self.connection.request("GET", path_of("services", *parts, "history"))
        return list(answer["history"])


@dataclass
class ServiceDefinition:
    """The fluent form. Every method returns the definition itself; ``deploy`` and ``redeploy``
    send it and return the service object."""

    _client: DeployClient = field(repr=False)
    _name: str
    _version: str | None = None
    _parts: dict[str, Any] = field(default_factory=dict)

    def version(self, version: str) -> ServiceDefinition:
        """The version; without one, ``deploy`` gets a GUID and ``redeploy`` takes the newest."""
        self._version = version
        return self

    def description(self, description: str) -> ServiceDefinition:
        """Free text for those who will call it."""
        return self._set(description=description)

    def alias(self, alias: str) -> ServiceDefinition:
        """The name of the call in clients. Default: the function's name, else ``consume``."""
        return self._set(alias=alias)

    def code_fn(
        self, code_fn: Callable[..., Any], init_fn: Callable[[], Any] | None = None
    ) -> ServiceDefinition:
        """A function to publish, and one that is run once in each worker before it."""
        self._parts.pop("code_str", None)
        self._parts.pop("init_str", None)
        return self._set(code_fn=code_fn, **({"init_fn": init_fn} if init_fn else {}))

    def code_str(self, code_str: str, init_str: str | None = None) -> ServiceDefinition:
        """Code as text: inputs are its variables, outputs the variables it assigns."""
        self._parts.pop("code_fn", None)
        self._parts.pop("init_fn", None)
        return self._set(code_str=code_str, **({"init_str": init_str} if init_str else {}))

    def inputs(self, **inputs: Any) -> ServiceDefinition:
        """Names and types, in order: ``inputs(hp=float, data=pandas.DataFrame)``."""
        return self._set(inputs=inputs)

    def outputs(self, **outputs: Any) -> ServiceDefinition:
        """Names and types of what the code gives back."""
        return self._set(outputs=outputs)

    def models(self, **models: Any) -> ServiceDefinition:
        """Objects the code uses, by name."""
        return self._set(models={**self._parts.get("models", {}), **models})

    def objects(self, **objects: Any) -> ServiceDefinition:
        """The same as ``models``."""
        return self._set(objects={**self._parts.get("objects", {}), **objects})

    def artifacts(self, artifacts: Sequence[str]) -> ServiceDefinition:
        """Names of files that the code writes; each reply carries them."""
        return self._set(artifacts=list(artifacts))

    def artifact(self, artifact: str) -> ServiceDefinition:
        """One more name of a file that the code writes."""
        return self._set(artifacts=[*self._parts.get("artifacts", []), artifact])

    def files(self, files: Sequence[str | Path] | Mapping[str, str | Path]) -> ServiceDefinition:
        """Files that the code reads: they lie in each call's working directory."""
        return self._set(files=files)

    def sample(self, **sample: Any) -> ServiceDefinition:
        """Inputs for a trial call before the version is published."""
        return self._set(sample=sample)

    def pool(self, initial: int | None = None, max: int | None = None) -> ServiceDefinition:
        """Workers (processes) of this version: how many from the start, and at most."""
        pool = {"initial": initial, "max": max}
        return self._set(pool={key: value for key, value in pool.items() if value is not None})

    def deploy(self, *, update: bool = False) -> Service:
        """Publish."""
        return self._client.deploy_service(
            self._name, version=self._version, update=update, **self._parts
        )

    def redeploy(self, version: str | None = None) -> Service:
        """Update the version; what was not given keeps what it is."""
        return self._client.redeploy_service(
            self._name, version=version or self._version, **self._parts
        )

    def _set(self, **parts: Any) -> ServiceDefinition:
        self._parts.update(parts)
        return self
