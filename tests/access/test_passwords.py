from __future__ import annotations

import argon2
import pytest

from jupyter_mlserve.access.passwords import MAX_BYTES, Passwords, check_password
from jupyter_mlserve.access.usernames import check_username
from jupyter_mlserve.contract.errors import InvalidInput, InvalidName, Unavailable

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@pytest.mark.parametrize(
    "password",
    ["", "1234567", " " * 20, "x" * (MAX_BYTES + 1), "é" * (MAX_BYTES // 2 + 1), "abcdefgh\ud800"],
)
def test_what_cannot_be_a_password(password: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Passwords(CHEAP).hash(password)
    assert refused.value.field == "password"
    assert not password.strip() or password not in refused.value.message


@pytest.mark.parametrize(
    "password", ["12345678", "é" * (MAX_BYTES // 2), "\0\n\t pass", "密码" * 4]
)
def test_what_can(password: str) -> None:
    passwords = Passwords(CHEAP)
    check_password(password)
    known = passwords.hash(password)
    assert passwords.verify(known, password)
    assert not passwords.verify(known, password + "x")
    assert not passwords.verify(known, password[:-1])
    assert known != passwords.hash(password)


def test_the_librarys_own_parameters_are_used() -> None:
    made = argon2.extract_parameters(Passwords().hash("correct horse"))
    assert made.type is argon2.Type.ID
    assert made == argon2.extract_parameters(argon2.PasswordHasher().hash("another one"))


def test_somebody_unknown_costs_one_verification_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Watched(argon2.PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            asked.append(str(hash))
            return super().verify(hash, password)

    passwords = Passwords(Watched(time_cost=1, memory_cost=64, parallelism=1))
    known = passwords.hash("correct horse")
    assert not passwords.verify(known, "wrong horse")
    assert not passwords.verify(None, "wrong horse")
    assert not passwords.verify(None, "correct horse")
    assert asked[0] == known
    assert len(asked) == 3
    assert len({str(argon2.extract_parameters(one)) for one in asked}) == 1


def test_what_is_no_hash_and_what_cannot_be_is_no_password() -> None:
    passwords = Passwords(CHEAP)
    for broken in ("", "argon2", "!", "plain text"):
        assert not passwords.verify(broken, "plain text")
    assert not passwords.verify(CHEAP.hash("x" * 2000), "x" * 2000)
    assert not passwords.verify(None, "\ud800" * 8)


def test_a_hash_is_made_anew_when_the_parameters_are_raised() -> None:
    raised = Passwords(argon2.PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    old = Passwords(CHEAP).hash("correct horse")
    assert raised.verify(old, "correct horse")
    assert raised.outdated(old)
    assert not raised.outdated(raised.hash("correct horse"))


def test_no_memory_is_not_a_wrong_password() -> None:
    huge = "$argon2id$v=19$m=4294967295,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
    damaged = "$argon2id$v=19$m=65536,t=3,p=4$x"
    for known in (huge, damaged):
        with pytest.raises(Unavailable) as refused:
            Passwords(CHEAP).verify(known, "correct horse")
        assert refused.value.retry_after


def test_names() -> None:
    for name in ("a", "Ann", "ann.b-c_d", "ann@example.org", "0", "a+b", "x" * 64):
        assert check_username(name) == name
    for name in ("", " ", "a b", ".a", "-a", "a/b", "a\n", "é", "a\0", "x" * 65, "а", "\ud800"):
        with pytest.raises(InvalidName):
            check_username(name)
