"""What may have been meant by a name or version that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..contract.errors import MLServeError, ServiceNotFound

_SHOWN = 10


@contextmanager
def looking_for(
    services: Callable[[], list[dict[str, Any]]], name: str, version: str | None, where: str
) -> Iterator[None]:
    """Let ServiceNotFound leave with the names or versions there are. ``services`` lists all."""
    try:
        yield
    except ServiceNotFound as error:
        try:
            found = services()
        except MLServeError:
            raise error from None  # the first answer says more than that this one failed, too
        raise not_found(found, name, version, where) or error from None


def not_found(
    services: Iterable[Mapping[str, Any]], name: str, version: str | None, where: str
) -> ServiceNotFound | None:
    """The error for what is not among ``services``; None if it is there."""
    versions: dict[str, list[str]] = {}
    for service in services:
        versions.setdefault(str(service["name"]), []).append(str(service["version"]))
    if name not in versions:
        return ServiceNotFound(
            f"There is no service {name!r} on {where}."
            + (did_you_mean(name, versions) or " list_services() shows all."),
            field="name",
        )
    there = versions[name]
    if version is None or version in there:
        return None
    newest = there[: -_SHOWN - 1 : -1]
    more = f" (the newest of {len(there)})" if len(there) > _SHOWN else ""
    return ServiceNotFound(
        f"Service {name!r} has no version {version!r}."
        + did_you_mean(version, there)
        + f" Its versions: {', '.join(reversed(newest))}{more}.",
        field="version",
        versions=there,
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?``, or nothing when nothing is like it. Capitals do not count."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(by_lower[each]) for each in near)}?" if near else ""
