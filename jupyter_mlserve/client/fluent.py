"""The fluent forms: a definition that is put together call by call, and then sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .misuse import WrongCall
from .realtime import check_container

if TYPE_CHECKING:
    from .deploy import DeployClient
    from .service import Service


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

    def exclude(self, names: Sequence[str]) -> ServiceDefinition:
        """Names that the code reads and can do without: they stay here."""
        return self._set(exclude=list(names))

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

    def batchable(self, batchable: bool = True) -> ServiceDefinition:
        """The function takes a frame of any number of rows and answers each row by itself, so
        that batches may hand it the rows of many records at once. Proven with a ``sample``."""
        return self._set(batchable=batchable)

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


@dataclass
class RealtimeDefinition:
    """The fluent form of a realtime service: a compiled model and its labels, nothing else."""

    _client: DeployClient = field(repr=False)
    _name: str
    _version: str | None = None
    _parts: dict[str, Any] = field(default_factory=dict, repr=False)

    def version(self, version: str) -> RealtimeDefinition:
        """The version; without one, ``deploy`` gets a GUID and ``redeploy`` takes the newest."""
        self._version = version
        return self

    def description(self, description: str) -> RealtimeDefinition:
        """Free text for those who will call it."""
        self._parts["description"] = description
        return self

    def alias(self, alias: str) -> RealtimeDefinition:
        """The name of the call in clients. Default: ``consume``."""
        self._parts["alias"] = alias
        return self

    def serialized_model(self, model: bytes) -> RealtimeDefinition:
        """The bytes of ``jupyter_mlserve.serialize_model(model, sample)``; one model only."""
        if "serialized_model" in self._parts:
            raise WrongCall(
                "A realtime service has exactly one model, and serialized_model was called before."
            )
        check_container(model)
        self._parts["serialized_model"] = model
        return self

    def deploy(self, *, update: bool = False) -> Service:
        """Publish."""
        return self._client.deploy_realtime(
            self._name, version=self._version, update=update, **self._parts
        )

    def redeploy(self, version: str | None = None) -> Service:
        """Update the version; what was not given keeps what it is."""
        return self._client.redeploy_realtime(
            self._name, version=version or self._version, **self._parts
        )

    def __getattr__(self, name: str) -> Any:
        if name in STANDARD_ONLY:
            raise WrongCall(
                f"A realtime service has no {name}: it is its compiled model, and declares "
                "nothing. For code and other parts publish a standard service: "
                f"client.service({self._name!r})."
            )
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


# Calls of the other definition, which a realtime service has no use for.
STANDARD_ONLY = frozenset(
    name for name in vars(ServiceDefinition) if not name.startswith("_")
) - frozenset(vars(RealtimeDefinition))
