"""Passwords of local accounts: what they must be, and their argon2id hashes."""

from __future__ import annotations

import secrets
from functools import cached_property
from typing import TYPE_CHECKING

from ..contract.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_CHARACTERS = 8
MAX_BYTES = 1024


def check_password(password: str) -> None:
    """Raises InvalidInput for what cannot become a password. It never repeats what was given."""
    problem = ""
    if len(password) < MIN_CHARACTERS:
        problem = f"has {len(password)} characters, and needs at least {MIN_CHARACTERS}"
    elif not _fits(password):
        problem = f"is longer than {MAX_BYTES} bytes, or is no text that UTF-8 can hold"
    elif password.isspace():
        problem = "is nothing but blanks"
    if problem:
        raise InvalidInput(f"The password {problem}. Choose another one.", field="password")


def _fits(password: str) -> bool:
    try:
        return len(password.encode()) <= MAX_BYTES
    except UnicodeEncodeError:
        return False


class Passwords:
    """Makes and verifies hashes. Each takes about 0.1 s and 64 MiB, so: in a thread, few at a time.

    ``hasher``: other than argon2-cffi's defaults, which follow RFC 9106 and may be raised by a
    later version of it; then ``outdated`` tells which hashes to make anew.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._given = hasher

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher  # not before somebody logs in

        return self._given or PasswordHasher()

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_hex(16))

    def hash(self, password: str) -> str:
        """A hash to store. Raises InvalidInput (see ``check_password``)."""
        check_password(password)
        return self._hasher.hash(password)

    def verify(self, known: str | None, password: str) -> bool:
        """Whether ``password`` has the hash ``known``.

        None (there is no such account) takes the same time and is False, so that nobody learns
        which accounts there are. Raises Unavailable when there is no memory for it.
        """
        from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

        nobodys = self._nobodys
        if not _fits(password):
            return False
        try:
            self._hasher.verify(known or nobodys, password)
        except (VerifyMismatchError, InvalidHashError):
            return False
        except VerificationError as exc:
            raise Unavailable(
                f"The server could not verify the password ({exc}). Try again in a moment.",
                retry_after=5.0,
            ) from exc
        return known is not None

    def outdated(self, known: str) -> bool:
        """Whether a hash was made with other parameters than new ones are."""
        return self._hasher.check_needs_rehash(known)
