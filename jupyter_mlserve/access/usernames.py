"""What the name of a local account may be."""

from __future__ import annotations

import re

from ..contract.errors import InvalidName

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)


def check_username(name: str) -> str:
    """The name itself. Raises InvalidName.

    ASCII only: services belong to a name, so two of them must not look alike.
    """
    if not _NAME.fullmatch(name):
        long = len(name) > 80
        shown = f"{name[:40] + '…'!r} ({len(name):,} characters)" if long else repr(name)
        raise InvalidName(
            f"{shown} cannot be the name of an account. A name has 1 to 64 letters (without "
            "accents), digits and any of . _ @ + - and begins with a letter or digit.",
            field="username",
        )
    return name
