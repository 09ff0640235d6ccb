"""Service objects: a published version as a Python object that is called like the function it was.

Every version gets a class of its own, ``<Name>Service``, with one method named by its alias whose
signature has the declared names, types and defaults, so that completion, ``help`` and mistakes
behave as with a local function.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from ..contract.errors import InvalidInput, MLServeError
from ..contract.types import type_text
from .batch_service import Batches
from .docs import call_doc, class_doc
from .http import Connection, path_of
from .misuse import WrongCall
from .response import NEEDS, ServiceResponse, decode_output, describe_params, html_table

# The server ends a call by its own limits; this only ends the wait for a server that hangs.
CONSUME_SECONDS = 600.0
# Characters of a type in a signature.
LONGEST_TYPE = 200


class TypeName(str):
    """An annotation that names a type without importing it, and shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Service(Batches):
    """A published version of a service. Made by ``DeployClient.get_service`` and ``deploy``."""

    # Set in the class that service_object makes for each version.
    _signature: inspect.Signature
    _call_name = "consume"

    def __init__(self, connection: Connection, definition: Mapping[str, Any]) -> None:
        self._connection = connection
        self._definition = dict(definition)

    @property
    def name(self) -> str:
        return str(self._definition["name"])

    @property
    def version(self) -> str:
        return str(self._definition["version"])

    @property
    def api(self) -> str:
        """The address of the version, relative to the server's ``mlserve/``: ``/api/N/V``."""
        return "/" + path_of("api", self.name, self.version)

    @property
    def url(self) -> str:
        """The address to POST inputs to."""
        return self._connection.url("api", self.name, self.version)

    @property
    def definition(self) -> dict[str, Any]:
        """The version as the server describes it (the contract's WebService object)."""
        return dict(self._definition)

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The declared inputs, in order: name, type (as on the wire), columns, default."""
        return list(self._definition.get("inputParameterDefinitions") or ())

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The declared outputs, in order."""
        return list(self._definition.get("outputParameterDefinitions") or ())

    def consume(self, /, *args: Any, **inputs: Any) -> ServiceResponse:
        """Call the service with inputs in declared order or by name."""
        given = bind(self._signature, self._call_name, args, inputs)
        params = {param["name"]: param for param in self.inputs}
        answer = self._connection.request(
            "POST",
            path_of("api", self.name, self.version),
            json={name: encode_input(value, params[name]) for name, value in given.items()},
            timeout=CONSUME_SECONDS,
        )
        return ServiceResponse(self.api, answer, self.outputs, self._outputs_now)

    def _outputs_now(self) -> list[dict[str, Any]]:
        """The outputs that the version declares now: it may have been updated."""
        path = path_of("services", self.name, self.version)
        (found,) = self._connection.request("GET", path)
        return list(found.get("outputParameterDefinitions") or ())

    __call__ = consume

    def capabilities(self) -> dict[str, Any]:
        """What the service is and takes, as one dict with the keys of the published client."""
        found = self._definition
        call, names = self._call_name, ", ".join(self._signature.parameters)
        return {
            "api": self.api,
            "name": self.name,
            "version": self.version,
            "published_by": found.get("versionPublishedBy"),
            "runtime": found.get("runtimeType"),
            "description": found.get("description"),
            "creation_time": found.get("creationTime"),
            "snapshot_id": found.get("snapshotId"),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "inputs_encoded": encoded(self.inputs),
            "outputs_encoded": encoded(self.outputs),
            "artifacts": list(found.get("outputFileNames") or ()),
            "operation_id": found.get("operationId") or "consume",
            "swagger": self.url + "/swagger.json",
            "public-functions": {
                call: f"{call}({names})",
                "consume": f"consume({names})",
                "capabilities": "capabilities()",
                "swagger": "swagger()",
                "openapi": "openapi()",
                "batch": "batch(records, parallel_count=10)",
                "get_batch": "get_batch(execution_id)",
                "list_batch_executions": "list_batch_executions()",
            },
        }

    def swagger(self) -> str:
        """The text of the service's ``swagger.json`` (Swagger 2.0), to generate clients from."""
        return self._document("swagger.json")

    def openapi(self) -> str:
        """The text of the service's ``openapi.json`` (OpenAPI 3.1)."""
        return self._document("openapi.json")

    def _document(self, kind: str) -> str:
        found = self._connection.request("GET", path_of("api", self.name, self.version, kind))
        return json.dumps(found, indent=2)

    def __repr__(self) -> str:
        lines = [f"<{type(self).__name__}> {self.name} {self.version}"]
        if self._definition.get("description"):
            lines.append(f"  {self._definition['description']}")
        lines.append(f"  .{self._call_name}{signature_text(self._signature)}")
        lines.append(f"  outputs: {describe_params(self.outputs)}")
        if self._definition.get("outputFileNames"):
            lines.append(f"  artifacts: {', '.join(self._definition['outputFileNames'])}")
        lines.append(f"  POST {self.url}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        call = escape(f"{self._call_name}({', '.join(self._signature.parameters)})")
        rows = [
            ("call", f"<code>.{call}</code>"),
            ("inputs", f"<code>{escape(describe_params(self.inputs))}</code>"),
            ("outputs", f"<code>{escape(describe_params(self.outputs))}</code>"),
        ]
        if self._definition.get("outputFileNames"):
            rows.append(("artifacts", escape(", ".join(self._definition["outputFileNames"]))))
        rows.append(("POST", f"<code>{escape(self.url)}</code>"))
        caption = f"<b>{escape(self.name)}</b> {escape(self.version)}"
        if self._definition.get("description"):
            caption += f"<br>{escape(str(self._definition['description']))}"
        return html_table(caption, rows)


def service_object(connection: Connection, definition: Mapping[str, Any]) -> Service:
    """The object for one version, of a class made for it."""
    alias = str(definition.get("operationId") or "consume")
    # An alias that would hide a method of every service gives way; `consume` is always there.
    base = kind_of(definition)
    call_name = "consume" if hasattr(base, alias) else alias
    signature = make_signature(list(definition.get("inputParameterDefinitions") or ()))
    call = call_method(base, call_name, signature, definition)
    members: dict[str, Any] = {
        "__doc__": class_doc(call_name, definition),
        "__module__": base.__module__,
        "_call_name": call_name,
        "_signature": signature,
        "consume": call,
        "__call__": call,
        call_name: call,
    }
    made = type(camel_case(str(definition["name"])) + "Service", (base,), members)
    found: Service = made(connection, definition)
    return found


def is_realtime(definition: Mapping[str, Any]) -> bool:
    return definition.get("runtimeType") == "Realtime"


def kind_of(definition: Mapping[str, Any]) -> type[Service]:
    if is_realtime(definition):
        from .realtime_service import RealtimeService

        return RealtimeService
    return Service


def call_method(
    base: type[Service], name: str, signature: inspect.Signature, definition: Mapping[str, Any]
) -> Callable[..., ServiceResponse]:
    """The method that consumes the service, with the signature that its inputs make."""

    def call(service: Service, /, *args: Any, **inputs: Any) -> ServiceResponse:
        with told_of(service):
            return base.consume(service, *args, **inputs)

    own = "self" if "self" not in signature.parameters else "service"
    first = inspect.Parameter(own, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [first, *signature.parameters.values()]
    call.__name__ = call.__qualname__ = name
    call.__doc__ = call_doc(definition)
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {"return": ServiceResponse} | {
        key: parameter.annotation for key, parameter in signature.parameters.items()
    }
    return call


@contextmanager
def told_of(service: Service) -> Iterator[None]:
    """Let errors of a call leave with the name of the service that was called."""
    try:
        yield
    except MLServeError as error:
        called = f"{service.name} {service.version}"
        if isinstance(error, WrongCall) or called in error.message or service.api in error.message:
            raise
        error.message = f"{called}: {error.message}"
        error.args = (error.message,)
        raise


def make_signature(params: Sequence[Mapping[str, Any]]) -> inspect.Signature:
    """``(hp: float, wt: float = 2.5) -> ServiceResponse``.

    Python wants inputs with defaults last; one without that follows is by name only.
    """
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    made: list[inspect.Parameter] = []
    for param in params:
        optional = bool(param.get("optional"))
        if not optional and made and made[-1].default is not inspect.Parameter.empty:
            kind = inspect.Parameter.KEYWORD_ONLY
        made.append(
            inspect.Parameter(
                str(param["name"]),
                kind,
                annotation=annotation_of(param),
                default=default_of(param) if optional else inspect.Parameter.empty,
            )
        )
    return inspect.Signature(made, return_annotation=ServiceResponse)


def bind(
    signature: inspect.Signature, name: str, args: Sequence[Any], inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """The inputs that were given, by name. What was left out is left to the server's defaults."""
    try:
        return dict(signature.bind(*args, **inputs).arguments)
    except TypeError as error:
        raise WrongCall(f"{name}{signature_text(signature)}: {error}.") from None


def signature_text(signature: inspect.Signature) -> str:
    return str(signature.replace(return_annotation=inspect.Signature.empty))


def annotation_of(param: Mapping[str, Any]) -> Any:
    simple = {"numeric": float, "integer": int, "logical": bool, "character": str}
    simple |= {"bytes": bytes, "list": list, "dict": dict}
    found = simple.get(str(param["type"]))
    if found is None:
        text = type_text(param)
        # A wide frame would fill a page; the help of the call lists its columns.
        return TypeName(text if len(text) <= LONGEST_TYPE else text.partition("[")[0])
    nullable = param.get("optional") and param.get("default") is None
    return TypeName(f"{found.__name__} | None") if nullable else found


def default_of(param: Mapping[str, Any]) -> Any:
    """The default as a Python value where that is cheap; frames and arrays stay JSON."""
    default = param.get("default")
    return default if str(param["type"]) in NEEDS else decode_output(default, param)


def encode_input(value: Any, param: Mapping[str, Any]) -> Any:
    """The JSON of an input. Raises InvalidInput, naming it, before anything is sent."""
    from ..worker.values import InputError, encode_value

    try:
        return encode_value(value, param)
    except InputError as error:
        # The field may be a column of it, or a cell: "df.wt[3]".
        field = error.field or str(param["name"])
        raise InvalidInput(field=field, expected=error.expected, got=error.got) from None


def encoded(params: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Names and Python types, in the published client's spelling."""
    return [
        {
            "name": param["name"],
            "type": "pandas.DataFrame" if param["type"] == "data.frame" else type_text(param),
        }
        for param in params
    ]


def camel_case(name: str) -> str:
    """``tx-service_2`` -> ``TxService2``; letters that are capital stay so."""
    words = [word for word in re.split(r"[^0-9A-Za-z]+", name) if word]
    made = "".join(word[0].upper() + word[1:] for word in words)
    return made if made[:1].isalpha() else "_" + made
