"""``jupyter mlserve list``."""

from __future__ import annotations

import json
import sys
from typing import Any

from ..client.deploy import DeployClient
from ..client.lookup import did_you_mean
from ..client.service import is_realtime
from ..contract.types import params_to_text
from .notebook_run import short

# Characters of the inputs, and of the outputs: a wide frame would fill pages.
WIDTH = 60


def list_services(client: DeployClient, name: str | None, *, as_json: bool = False) -> int:
    found = client.list_services(name)
    found.sort(key=lambda service: str(service.get("creationTime") or ""), reverse=True)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    if not found:
        if name is None:
            print(f"There is no service at {client.address}.", file=sys.stderr)
            return 0
        names = [str(service["name"]) for service in client.list_services()]
        print(
            f"There is no service named {name!r} at {client.address}.{did_you_mean(name, names)}",
            file=sys.stderr,
        )
        return 1
    from ..notebook.text import align, plain

    rows = [
        ["service", "version", "kind", "created (UTC)", "by", "inputs", "outputs"],
        *map(row, found),
    ]
    print("\n".join(align([[plain(text) for text in line] for line in rows], "")))
    return 0


def row(service: dict[str, Any]) -> list[str]:
    return [
        str(service["name"]),
        str(service["version"]),
        "realtime" if is_realtime(service) else "standard",
        str(service.get("creationTime") or "")[:19].replace("T", " "),
        str(service.get("versionPublishedBy") or ""),
        *(
            short(params_to_text(service.get(f"{key}ParameterDefinitions") or []), WIDTH)
            for key in ("input", "output")
        ),
    ]
