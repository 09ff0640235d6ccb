"""Secrets stay in the notebook unless the author names them."""

from __future__ import annotations

import pytest
from support.capturing import Kernel, item, prelude, status

from jupyter_mlserve.notebook.capture.credentials import secret_name, secret_value

NUMBER = {"inputs": [], "outputs": "y: float"}


@pytest.mark.parametrize(
    "name",
    [
        *("API_TOKEN", "api_token", "token", "SECRET", "my_secret_thing", "DB_PASSWORD"),
        *("passwords", "AWS_KEY", "apikey", "API_KEY", "credentials", "GoogleCredentials"),
        *("db_pwd", "passphrase"),
    ],
)
def test_names_of_secrets(name: str, kernel: Kernel) -> None:
    assert secret_name(name)
    kernel(f"{name} = 'hunter2'\n")
    capture = kernel.capture(f"y = len({name})\n", **NUMBER)
    assert status(capture) == {name: "refused"}
    assert f"--object {name}" in item(capture, name).advice
    assert "hunter2" not in str(capture.body) + str(capture.report) + str(capture.warnings)
    assert capture.blobs == {}


@pytest.mark.parametrize("name", ["tokens", "n_tokens", "keyboard", "key", "monkey", "tokenizer"])
def test_names_of_other_things(name: str) -> None:
    assert not secret_name(name)


def test_a_secret_that_is_named_travels(kernel: Kernel) -> None:
    kernel("API_TOKEN = 'abc'\ndef helper():\n    return API_TOKEN\n")
    capture = kernel.capture("y = len(helper())\n", objects={"API_TOKEN"}, **NUMBER)
    assert kernel.call(capture, {}) == [{"y": 3.0}]
    assert "API_TOKEN" in prelude(capture)  # as an object, not as text
    refused = kernel.capture("y = len(helper())\n", **NUMBER).refused
    assert [each.name for each in refused] == ["API_TOKEN"]
    assert "used by helper" in refused[0].reason


def test_code_may_be_called_a_key(kernel: Kernel) -> None:
    kernel("def sort_key(v):\n    return v\nuse_token = None\nhas_secret = False\n")
    capture = kernel.capture("y = float(not (sort_key(use_token) or has_secret))\n", **NUMBER)
    assert kernel.call(capture, {}) == [{"y": 1.0}]


SECRETS = {
    "an AWS access key": "AKIA" + "ABCDEFGHIJKLMNOP",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE",
    "a GitHub token": "ghp_" + "a1B2c3D4" * 5,
    "a Slack token": "xoxb-" + "1234567890-abcdef",
    "a signed token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NSJ9.sig",
    "a password in an address": "postgresql://me:hunter2" + "@host/db",
    "a bearer token": "Bearer " + "abcdef0123456789",
    "an API key": "sk-" + "proj-a1b2c3d4e5f6g7h8i9",
    "a long random token": "Zk3" + "wQ9xLpR7tYv2BnM5cJ8sDf4GhK6jHaEuTiOo1PqXw",
}


@pytest.mark.parametrize("what", SECRETS)
def test_values_that_look_secret_are_refused_wherever_they_lie(what: str, kernel: Kernel) -> None:
    value = SECRETS[what]
    assert secret_value(value) == what
    assert secret_value(value.encode()) == what
    kernel(
        f"plain = {value!r}\nnested = {{'a': [1, ({value!r},)]}}\n"
        f"class Client:\n    def __init__(self):\n        self.link = {{'x': plain}}\n"
        "client = Client()\n"
        f"def make(held):\n    return lambda: held\nclosure = make(plain)\n"
    )
    capture = kernel.capture("y = len(plain), nested, client, closure\n", **NUMBER)
    assert [each.name for each in capture.refused] == ["plain", "nested", "client", "closure"]
    assert what in item(capture, "nested").reason
    assert "['a'][1][0]" in item(capture, "nested").reason
    assert "link['x']" in item(capture, "client").reason
    assert "held" in item(capture, "closure").reason
    names = {"plain", "nested", "client", "closure"}
    capture = kernel.capture("y = len(plain), nested, client, closure\n", objects=names, **NUMBER)
    assert capture.refused == []


@pytest.mark.parametrize(
    "value",
    [
        "a sentence of ordinary words that is rather long, with 12 numbers 34",
        "/home/me/data/2024/models/churn_model_final_v2.pkl",
        "https://example.com/api/v1/predict?x=1",
        "d41d8cd98f00b204e9800998ecf8427e" * 2,
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "customer_identifier_column_name_that_is_quite_long",
        "RandomForestClassifierWithCalibratedProbabilities2024",
        "0123456789" * 6,
        "",
    ],
)
def test_values_that_only_look_odd_travel(value: str) -> None:
    assert secret_value(value) is None


def test_secrets_in_the_text_are_a_warning(kernel: Kernel) -> None:
    key = SECRETS["an AWS access key"]
    kernel(f"def helper():\n    return {key!r}\n")
    capture = kernel.capture("password = 'hunter2'\ny = len(password + helper())\n", **NUMBER)
    assert capture.refused == []
    assert [text.partition(". ")[0] for text in capture.warnings] == [
        "Line 1 of the code holds what looks like a secret, by its name (password)",
        "Line 2 of helper holds what looks like an AWS access key",
    ]
