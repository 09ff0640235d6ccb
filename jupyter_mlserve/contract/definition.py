"""The definition: all of a version but its binary part, as one immutable value.

The web node builds it from what a publisher sent, the catalog stores its JSON, swagger documents
are functions of it, and a worker is loaded from it. Whatever made it, it has passed
:mod:`.validation`.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal, Protocol

from . import realtime_definition, validation
from .checks import fail, mapping
from .errors import InvalidDefinition
from .names import RESERVED_ALIASES
from .realtime_definition import REALTIME, Realtime
from .types import MISSING, Param
from .validation import Json
from .values import describe

Permission = Literal["read/write", "read only"]

# Sent back by clients that read a service, change a part and send it: what the server decides.
_READ_ONLY = ("versionPublishedBy", "creationTime", "myPermissionOnService", "owner")
_OWN_READ_ONLY = ("state", "contentHash")
# Facts about the act of publishing. Two versions that differ in nothing else are identical.
_NOT_CONTENT = ("source", "notebook", "cellId")
# What consumers may see of the "mlserve" part: nothing of the code or of the author's machine.
_PUBLIC = (
    *("form", "sample", "batchable"),
    *("kind", "modelName", "response", "classes", "known", "example", "proof"),
)


class StateLike(Protocol):
    """What a catalog knows of a state beside its definition. Times are aware, or naive UTC."""

    @property
    def id(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def author(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def state_author(self) -> str: ...
    @property
    def state_created_at(self) -> datetime: ...
    @property
    def content_hash(self) -> str: ...


@dataclass(frozen=True)
class Definition:
    """A valid definition. Treat the lists and dicts inside as read-only; ``to_json`` copies."""

    name: str
    version: str
    runtime_type: str
    description: str | None
    operation_id: str | None
    code: str
    init_code: str | None
    inputs: tuple[Param, ...]
    outputs: tuple[Param, ...]
    output_files: tuple[str, ...]
    form: Literal["script", "function", "realtime"]
    function: str | None
    prelude: tuple[Json, ...]
    objects: tuple[Json, ...]
    files: tuple[Json, ...]
    sample: Json | None
    interpreter: Json | None
    packages: Json
    source: str | None
    notebook: str | None
    cell_id: str | None
    pool: Json | None
    batchable: bool = False  # its frame may have any rows, and each is answered by itself
    snapshot_id: str | None = None  # what objects and files were published from
    realtime: Realtime | None = None  # set exactly when runtime_type is "Realtime"

    @classmethod
    def from_json(cls, body: object) -> Definition:
        """Read a whole definition (the catalog's form), validating every part.

        Raises InvalidDefinition naming the field, or InvalidName for name and version.
        """
        clean = copy.deepcopy(validation.clean(body))
        own = clean["mlserve"]
        return cls(
            name=clean["name"],
            version=clean["version"],
            runtime_type=clean["runtimeType"],
            description=clean["description"],
            operation_id=clean["operationId"],
            code=clean["code"],
            init_code=clean["initCode"],
            inputs=tuple(clean["inputParameterDefinitions"]),
            outputs=tuple(clean["outputParameterDefinitions"]),
            output_files=tuple(clean["outputFileNames"]),
            form=own["form"],
            function=own["function"],
            prelude=tuple(own["prelude"]),
            objects=tuple(own["objects"]),
            files=tuple(own["files"]),
            sample=own["sample"],
            interpreter=own["interpreter"],
            packages=own["packages"],
            source=own["source"],
            notebook=own["notebook"],
            cell_id=own["cellId"],
            pool=own.get("pool"),
            batchable=own.get("batchable", False),
            snapshot_id=clean.get("snapshotId"),
            realtime=Realtime.from_own(own) if clean["runtimeType"] == REALTIME else None,
        )

    @classmethod
    def from_publish(cls, name: str, version: str, body: object) -> Definition:
        """The definition that the body of ``POST .../services/{name}/{version}`` declares.

        Keys are the published contract's (PublishWebServiceRequest) and ``mlserve``; what is
        omitted is void. ``snapshotId`` is only noted: what it stands for, the caller has put into
        ``mlserve``. Raises like :meth:`from_json`, and InvalidDefinition for a realtime
        version, which JSON cannot carry.
        """
        realtime_definition.refuse(name, version, body)
        return cls.from_json(_overlay({"name": name, "version": version, "mlserve": {}}, body))

    @classmethod
    def from_container(
        cls,
        name: str,
        version: str,
        header: Mapping[str, Any],
        model: Mapping[str, Any],
        description: str | None = None,
        operation_id: str | None = None,
    ) -> Definition:
        """The realtime version that a container with this (checked) ``header`` is.

        ``model`` is the blob of the whole container: ``{"sha256": hex, "size": bytes}``.
        Empty texts are none. Raises like :meth:`from_json`.
        """
        return cls.from_json(
            realtime_definition.body_of(
                name, version, header, model, description or None, operation_id or None
            )
        )

    def merged_container(
        self,
        header: Mapping[str, Any] | None = None,
        model: Mapping[str, Any] | None = None,
        *,
        description: str | object | None = MISSING,
        operation_id: str | object | None = MISSING,
    ) -> Definition:
        """This realtime version with another model, another description or another alias.

        With a model (``header`` and ``model`` as for :meth:`from_container`) the schema, example
        and proof are replaced. A text that is left out stays; None and "" clear it. Raises
        InvalidDefinition for a standard version.
        """
        if self.realtime is None:
            realtime_definition.refuse_container(self.name, self.version)
        body = self.to_json()
        if header is not None and model is not None:
            body = realtime_definition.body_of(
                self.name, self.version, header, model, self.description, self.operation_id
            )
        for key, value in (("description", description), ("operationId", operation_id)):
            if value is not MISSING:
                body[key] = value or None
        return Definition.from_json(body)

    def merged(self, patch: object) -> Definition:
        """This definition with the parts that ``patch`` gives (the body of a PATCH).

        Omitted parts stay; [], {} and null make a part void, the parts of ``mlserve`` one by one.
        A recorded sample must fit changed inputs, or a new one come with them: without it the
        update could not be tried. With new code it is dropped, as part of what the code replaces.
        Of a realtime version only description and alias can be changed like this.
        """
        if self.realtime is not None and isinstance(patch, Mapping):
            read_only = (*_READ_ONLY, *_OWN_READ_ONLY)
            return Definition.from_json(
                realtime_definition.described(self.to_json(), patch, read_only)
            )
        realtime_definition.refuse(self.name, self.version, patch, exists=True)
        merged = _overlay(self.to_json(), patch)
        given = _mapping(patch)
        if "inputParameterDefinitions" in given and "sample" not in _mapping(given.get("mlserve")):
            inputs = validation.params(
                merged["inputParameterDefinitions"], "inputParameterDefinitions"
            )
            try:
                validation.sample(self.sample, inputs)
            except InvalidDefinition as error:
                if "code" not in given:
                    raise InvalidDefinition(
                        f"The sample that was recorded for {self.name} {self.version} does not fit "
                        f"the new inputs ({error.message.rstrip('.')}). Send a sample with them "
                        "(--sample, sample=), so that the update can be tried.",
                        field="mlserve.sample",
                    ) from None
                merged["mlserve"]["sample"] = None
        return Definition.from_json(merged)

    def to_json(self) -> Json:
        """The definition as JSON: what is stored. Equal definitions give equal JSON."""
        own: Json = {
            "form": self.form,
            "function": self.function,
            "prelude": list(self.prelude),
            "objects": list(self.objects),
            "files": list(self.files),
            "sample": self.sample,
            "interpreter": self.interpreter,
            "packages": self.packages,
            "source": self.source,
            "notebook": self.notebook,
            "cellId": self.cell_id,
        }
        if self.pool is not None:
            own["pool"] = self.pool
        if self.batchable:
            own["batchable"] = True
        if self.realtime is not None:
            own.update(self.realtime.to_json())
        body: Json = {
            "name": self.name,
            "version": self.version,
            "runtimeType": self.runtime_type,
            "description": self.description,
            "operationId": self.operation_id,
            "code": self.code,
            "initCode": self.init_code,
            "inputParameterDefinitions": list(self.inputs),
            "outputParameterDefinitions": list(self.outputs),
            "outputFileNames": list(self.output_files),
        }
        if self.snapshot_id is not None:
            body["snapshotId"] = self.snapshot_id
        body["mlserve"] = own
        return copy.deepcopy(body)

    def content_hash(self) -> str:
        """SHA-256 (hex) of all that matters to consumers and to the code.

        Not part of it: name, version, and where the definition was written (source text, notebook,
        cell) or its objects came from (snapshot). Objects count by their digest, so two bundles
        are equal when their bytes are. Void parts do not count either, so that a part added by a
        later release, and not used, leaves the hashes of what was published before as they are.
        """
        content = self.to_json()
        del content["name"], content["version"]
        content.pop("snapshotId", None)
        own = content.pop("mlserve")
        for key in _NOT_CONTENT:
            del own[key]
        canonical = json.dumps(
            {**_given(content), "mlserve": _given(own)},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def operation(self) -> str:
        """What clients call the operation: the alias, else the function's name, else consume."""
        if self.operation_id is None and self.function in RESERVED_ALIASES:
            return "consume"
        return self.operation_id or self.function or "consume"

    @property
    def documented_operation(self) -> str:
        """The operation's name in documents: the published contract's realtime services without
        an alias have another one there than in its clients."""
        if self.realtime is not None and self.operation_id is None:
            return "ConsumeWebService"
        return self.operation

    @property
    def blobs(self) -> tuple[str, ...]:
        """SHA-256 of every blob the version needs, each once, in order of first use."""
        if self.realtime is not None:
            return (self.realtime.model["sha256"],)
        return tuple(dict.fromkeys(item["sha256"] for item in (*self.objects, *self.files)))

    def web_service(self, state: StateLike, *, may_see_code: bool, permission: Permission) -> Json:
        """The published contract's WebService object, with our part under ``mlserve``.

        Without ``may_see_code``, code, init code and everything that tells of the author's machine
        is withheld (the keys of the contract stay, as null).
        """
        body = self.to_json()
        own = body.pop("mlserve")
        if self.operation != "consume":
            # The published contract's clients name the call by it: a function's name counts.
            body["operationId"] = self.operation
        if self.realtime is not None:
            body["code"] = None
        if not may_see_code:
            body["code"] = body["initCode"] = None
            own = {key: own[key] for key in _PUBLIC if key in own}
            if self.realtime is not None:
                # Not its digest: who knows that could name the blob as a file of their own.
                own["model"] = {"size": self.realtime.model["size"]}
        own["state"] = {
            "id": state.id,
            "number": state.number,
            "author": state.state_author,
            "creationTime": contract_time(state.state_created_at),
        }
        own["contentHash"] = state.content_hash
        return {
            "name": body.pop("name"),
            "version": body.pop("version"),
            "versionPublishedBy": state.author,
            "creationTime": contract_time(state.created_at),
            "snapshotId": body.pop("snapshotId", None),
            **body,
            "myPermissionOnService": permission,
            "mlserve": own,
        }


def contract_time(moment: datetime) -> str:
    """UTC without a zone and with seven fractional digits, as the published contract prints it."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0"


def _given(parts: Json) -> Json:
    """The parts that are not void."""
    return {key: value for key, value in parts.items() if value not in (None, [], {})}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _overlay(base: Json, body: object) -> Json:
    """``base`` with every part that ``body`` gives. Validation comes after."""
    if not isinstance(body, Mapping):
        fail("body", f"expected a JSON object, got {describe(body)}")
    merged = dict(base)
    own = dict(base["mlserve"])
    for key, value in body.items():
        if key in _READ_ONLY:
            continue
        if key == "snapshotId":
            if value:
                merged[key] = value
        elif key in ("name", "version"):
            if value != base[key]:
                fail(key, f"the address says {base[key]!r}, the body {value!r}")
        elif key == "runtimeType" and value is None:
            continue
        elif key == "mlserve":
            sent = mapping(value or {}, "mlserve", (*validation.MLSERVE_KEYS, *_OWN_READ_ONLY))
            own.update((k, v) for k, v in sent.items() if k not in _OWN_READ_ONLY)
            # The two say one thing; a patch may give either.
            if "function" in sent and "form" not in sent:
                own["form"] = "script" if sent["function"] is None else "function"
            elif sent.get("form") == "script" and "function" not in sent:
                own["function"] = None
        else:
            merged[key] = value
    if own.get("form", "") is None:
        del own["form"]
    merged["mlserve"] = own
    return merged
