from __future__ import annotations

import pytest

from jupyter_mlserve.access import KernelToken, Principal

ANN = Principal("ann", "Ann", "server")


def test_every_server_has_another_secret_of_256_bits() -> None:
    values = {KernelToken(ANN).value for _ in range(20)}
    assert len(values) == 20
    assert all(len(bytes.fromhex(value)) == 32 for value in values)


def test_only_the_whole_token_matches() -> None:
    token = KernelToken(ANN)
    assert token.matches(token.value)
    wrong = [
        None,
        "",
        token.value[:-1],
        token.value + "0",
        token.value.upper() + " ",
        "é",
        "\ud800",
    ]
    assert not any(token.matches(one) for one in wrong)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "token", "Token"])
def test_the_header_is_read_as_jupyter_reads_it(scheme: str) -> None:
    token = KernelToken(ANN)
    assert token.authenticate(f"{scheme} {token.value}") == ANN
    assert token.authenticate(f"{scheme}   {token.value} ") == ANN
    assert token.authenticate(f"{scheme} {token.value}x") is None
    assert token.authenticate(f"{scheme}") is None


def test_other_headers_are_nobody() -> None:
    token = KernelToken(ANN)
    for header in (None, "", token.value, f"Basic {token.value}", f"Bearer{token.value}"):
        assert token.authenticate(header) is None


def test_the_secret_does_not_show() -> None:
    token = KernelToken(ANN)
    assert token.value not in repr(token)
    assert "ann" in repr(token)
