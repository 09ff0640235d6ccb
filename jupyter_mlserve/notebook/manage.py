"""What the line magics do: list, show, call, update, roll back, delete, connect."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ..contract.errors import BadRequest, ServiceFailed, ServiceNotFound, VersionDeleted
from ..contract.learn import to_json
from ..contract.names import check_alias, check_file_name, check_name, check_version
from ..contract.types import params_of
from . import card as cards
from .arguments import assignments, did_you_mean, value
from .displays import shown_as, urls_of
from .document import Card
from .session import Session

if TYPE_CHECKING:
    from ..client.deploy import DeployClient
    from ..client.response import ServiceResponse
    from ..client.service import Service


class ServiceList(list[dict[str, Any]]):
    """The services of ``%list_services``: the server's answer, shown as ``card``."""

    def __init__(self, services: list[dict[str, Any]], card: Card) -> None:
        super().__init__(services)
        self.card = card


def list_services(session: Session, name: str | None) -> ServiceList:
    if name is not None:
        check_name(name)
    client = session.client
    found = client.list_services(name)
    if name is not None and not found:
        raise _no_service(client, name)
    return ServiceList(found, cards.list_card(found, str(client.address), name))


def show_service(session: Session, options: argparse.Namespace) -> Service | Card:
    client = session.client
    try:
        service = find_service(client, options.name, options.version)
    except (ServiceNotFound, VersionDeleted):
        # What is deleted still has a history.
        events = client.history(options.name, options.version) if options.history else []
        if not events:
            raise
        return cards.history_card(options.name, events)
    history = client.history(service.name, options.version) if options.history else None
    card = cards.service_card(
        service.definition, urls_of(service), code=options.code, history=history
    )
    return shown_as(service, card)


def consume_service(session: Session, options: argparse.Namespace) -> ServiceResponse:
    variables = session.shell.user_ns
    inputs = {name: value(text, variables, name) for name, text in options.given.items()}
    if options.into is not None and not options.into.isidentifier():
        raise UsageError(f"--into takes the name of a variable, and {options.into!r} is none.")
    service = find_service(session.client, options.name, options.version)
    if options.input is not None:
        inputs = {**_from_variable(service, options.input, variables), **inputs}
    _check_inputs(service, inputs)
    started = time.perf_counter()
    try:
        reply = service.consume(**inputs)
    except BadRequest as error:
        raise named(service, error) from None
    seconds = time.perf_counter() - started
    if options.into is not None:
        outputs = reply.outputs
        session.shell.user_ns[options.into] = (
            next(iter(outputs.values())) if len(outputs) == 1 else outputs
        )
    return shown_as(reply, cards.reply_card(reply, service.definition, seconds))


def update_service(session: Session, options: argparse.Namespace) -> Service:
    from ..client.publishing import Package, publish
    from ..client.service import service_object

    body = _update_body(options, session.shell.user_ns)
    client = session.client
    started = time.perf_counter()
    published = publish(
        client.connection,
        check_name(options.name),
        check_version(options.version),
        Package(body),
        update=True,
        must_exist=True,
    )
    session.changed()
    card = cards.published_card(published, None, seconds=time.perf_counter() - started)
    return shown_as(service_object(client.connection, published.service), card)


def rollback_service(session: Session, options: argparse.Namespace) -> Service:
    client = session.client
    service = client.rollback_service(
        check_name(options.name), check_version(options.version), options.to
    )
    session.changed()
    history = client.history(service.name, service.version)
    return shown_as(service, cards.rolled_back_card(service.definition, urls_of(service), history))


def delete_service(session: Session, options: argparse.Namespace) -> Card:
    client = session.client
    client.delete_service(check_name(options.name), check_version(options.version))
    session.changed()
    left = [str(one["version"]) for one in client.list_services(options.name)]
    return cards.deleted_card(options.name, options.version, left)


def mlserve(session: Session, options: argparse.Namespace) -> Card:
    if options.action != "connect" and (options.url or options.token or options.ask):
        raise UsageError("An address or a token is for: %mlserve connect URL")
    if options.action == "disconnect":
        session.disconnect()
        return Card(
            title="Jupyter server",
            state="forgotten: the next magic looks for a server again",
            tone="info",
        )
    if options.action == "connect":
        token = options.token
        if options.ask:
            from getpass import getpass

            token = getpass("Token: ")
        session.connect(options.url, token, verify_tls=not options.insecure)
    client = session.client
    started = time.perf_counter()
    status = client.connection.request("GET", "status")
    seconds = time.perf_counter() - started
    return cards.status_card(status, str(client.address), client.address.how, seconds)


# Helpers ---------------------------------------------------------------------------------------


def named(service: Service, error: BadRequest) -> BadRequest:
    """The error with the service in its sentence: a notebook calls many."""
    if isinstance(error, ServiceFailed) or service.name in error.message:
        return error
    return type(error)(f"{service.name} {service.version}: {error.message}", **error.details)


def find_service(client: DeployClient, name: str, version: str | None) -> Service:
    """The version; if it is not there, the error says what may have been meant."""
    check_name(name)
    if version is not None:
        check_version(version)
    try:
        return client.get_service(name, version)
    except ServiceNotFound as error:
        raise _no_service(client, name, version, error) from None


def _no_service(
    client: DeployClient, name: str, version: str | None = None, error: Exception | None = None
) -> ServiceNotFound:
    """The error for a service that is not there, with what may have been meant."""
    found = client.list_services()
    versions = [str(one["version"]) for one in found if one["name"] == name]
    if versions:
        return ServiceNotFound(
            f"{name} has no version {version}."
            + did_you_mean(str(version), versions, "Its versions: ")
        )
    names = list(dict.fromkeys(str(one["name"]) for one in found))
    return ServiceNotFound(
        f"There is no service {name} on {client.address}."
        + (did_you_mean(name, names) or " See %list_services.")
    )


def _from_variable(service: Service, name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    held = value(name, variables, "--input")
    names = [str(param["name"]) for param in service.inputs]
    if isinstance(held, Mapping) and (len(names) != 1 or set(held) == set(names)):
        return {str(key): item for key, item in held.items()}
    if len(names) == 1:
        return {names[0]: held}
    raise UsageError(
        f"--input {name} is a {type(held).__name__}, and {service.name} takes"
        f" {len(names)} inputs ({', '.join(names)}): put them in a dict by name."
    )


def _check_inputs(service: Service, inputs: Mapping[str, Any]) -> None:
    """Wrong names are told here, in the words of the magic; values by the client and server."""
    params = {str(param["name"]): param for param in service.inputs}
    for name in inputs:
        if name not in params:
            raise UsageError(
                f"{service.name} {service.version} has no input {name}."
                + did_you_mean(name, params, "Its inputs: ")
            )
    missing = [
        name for name, param in params.items() if name not in inputs and not param.get("optional")
    ]
    if missing:
        example = " ".join(f"{name}=..." for name in missing)
        raise UsageError(
            f"{service.name} {service.version} also needs: {', '.join(missing)}."
            f" Give {'it' if len(missing) == 1 else 'them'} as {example}"
        )


def pool_of(options: argparse.Namespace) -> dict[str, int]:
    """The ``pool`` of a definition, from ``--pool-initial`` and ``--pool-max``."""
    given = {"initial": options.pool_initial, "max": options.pool_max}
    return {key: number for key, number in given.items() if number is not None}


def _update_body(options: argparse.Namespace, variables: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if options.description is not None:
        body["description"] = options.description
    if options.alias is not None:
        body["operationId"] = check_alias(options.alias)
    if options.inputs is not None:
        body["inputParameterDefinitions"] = params_of(options.inputs)
    if options.outputs is not None:
        body["outputParameterDefinitions"] = params_of(options.outputs, output=True)
    if options.artifact is not None:
        body["outputFileNames"] = [check_file_name(name) for name in options.artifact]
    ours: dict[str, Any] = {}
    if options.sample is not None:
        sample = assignments(options.sample, variables)
        ours["sample"] = {name: to_json(item) for name, item in sample.items()}
    pool = pool_of(options)
    if pool:
        ours["pool"] = pool
    if options.batchable is not None:
        ours["batchable"] = options.batchable
    if ours:
        body["mlserve"] = ours
    if not body:
        raise UsageError(
            "Nothing to update is named. For example: -d TEXT, --alias A, --sample INPUTS;"
            " %update_service? lists all."
        )
    return body
