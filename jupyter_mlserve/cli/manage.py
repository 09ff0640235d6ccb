"""``jupyter mlserve list``."""

from __future__ import annotations

import json
import sys
from typing import Any

from ..client.deploy import DeployClient
from ..contract.types import params_to_text


def list_services(client: DeployClient, name: str | None, *, as_json: bool = False) -> int:
    found = client.list_services(name)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    if not found:
        where = f" named {name!r}" if name else ""
        print(f"There is no service{where} at {client.address}.", file=sys.stderr)
        return 1 if name else 0
    from ..notebook.text import align, plain

    rows = [["service", "version", "created", "by", "inputs", "outputs"], *map(row, found)]
    print("\n".join(align([[plain(text) for text in line] for line in rows], "")))
    return 0


def row(service: dict[str, Any]) -> list[str]:
    return [
        str(service["name"]),
        str(service["version"]),
        str(service.get("creationTime") or "")[:19].replace("T", " "),
        str(service.get("versionPublishedBy") or ""),
        params_to_text(service.get("inputParameterDefinitions") or []),
        params_to_text(service.get("outputParameterDefinitions") or []),
    ]
