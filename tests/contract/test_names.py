from __future__ import annotations

import os
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_mlserve.contract import names
from jupyter_mlserve.contract.errors import InvalidName

# Text near the edge of every rule: one of these characters is wrong somewhere.
near = st.text("aZ0_.-/\\ \n\0%~é٣+:", max_size=6) | st.text(max_size=6)


@pytest.mark.parametrize(
    "name", ["TxService", "a", "_x", "0", "my-service_1.2", "v.1", "x" * 128, "Batch"]
)
def test_good_service_names(name: str) -> None:
    assert names.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".x",
        "x.",
        "a..b",
        "-a",
        "a/b",
        "a\\b",
        "a b",
        "é",
        "a\n",
        "x" * 129,
        "a%2e",
        "a?b",
        "a#b",
        "a\x00b",
        "ａ",
        None,
        3,
        ["a"],
        b"a",
    ],
)
def test_bad_service_names_are_told_the_rule(name: object) -> None:
    with pytest.raises(InvalidName) as caught:
        names.check_name(name)
    assert names.NAME_RULE in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("version", ["1.0", "v1.0.0-alpha", "test-1", "2", "a" * 64, "1_0"])
def test_good_versions(version: str) -> None:
    assert names.check_version(version) == version


@pytest.mark.parametrize(
    "version", ["", ".", "..", "1.", "_1", "1/0", "1 0", "1..0", "a" * 65, 1.0, None, "1.0\n"]
)
def test_bad_versions_are_told_the_rule(version: object) -> None:
    with pytest.raises(InvalidName) as caught:
        names.check_version(version)
    assert names.VERSION_RULE in caught.value.message


@pytest.mark.parametrize(
    "version",
    [
        "batch",
        "swagger.json",
        "openapi.json",
        "history",
        "states",
        "rollback",
        "pool",
        "BATCH",
        "Swagger.JSON",
    ],
)
def test_words_that_addresses_use_are_no_versions(version: str) -> None:
    with pytest.raises(InvalidName, match="reserved"):
        names.check_version(version)


def test_new_versions_are_guids_and_valid() -> None:
    found = {names.new_version() for _ in range(50)}
    assert len(found) == 50
    for version in found:
        assert str(uuid.UUID(version)) == version
        assert names.check_version(version) == version


@pytest.mark.parametrize("name", ["hp", "_x", "x1", "match", "type", "input", "a" * 128, "__x"])
def test_good_identifiers(name: str) -> None:
    assert names.check_identifier(name, "input name") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1a",
        "a-b",
        "class",
        "None",
        "__builtins__",
        "__main__",
        "____",
        "é",
        "a" * 129,
        "a.b",
        "a ",
        None,
        1,
    ],
)
def test_bad_identifiers_name_what_they_are_for(name: object) -> None:
    with pytest.raises(InvalidName, match="input name"):
        names.check_identifier(name, "input name")


def test_objects_may_have_any_name_of_python_in_its_normal_form() -> None:
    assert names.check_variable("größe") == "größe"
    with pytest.raises(InvalidName):
        names.check_variable("ﬁt")  # the compiler looks this up as "fit"


def test_aliases_do_not_collide_with_operations_of_the_document() -> None:
    assert names.check_alias("manualTransmission") == "manualTransmission"
    with pytest.raises(InvalidName, match="reserved"):
        names.check_alias("StartBatchExecution")
    with pytest.raises(InvalidName, match="alias"):
        names.check_alias("not an identifier")


@pytest.mark.parametrize(
    "name", ["answer.csv", "plot 1.png", "a", "_x", "model(2).bin", "x" * 200, "a.tar.gz"]
)
def test_good_file_names(name: str) -> None:
    assert names.check_file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "/etc/passwd",
        "..\\x",
        "a\\b",
        "a..b",
        "a.",
        "a ",
        "~x",
        "a\x00b",
        "a\nb",
        "C:x",
        "x" * 201,
        "é.csv",
        "-rf",
        " a",
        "a:stream",
        "CON:",
        None,
        b"a",
    ],
)
def test_file_names_have_no_path_and_no_tricks(name: object) -> None:
    with pytest.raises(InvalidName, match="file name"):
        names.check_file_name(name)


def test_column_names_are_any_printable_text() -> None:
    assert names.check_column("petal length (cm) é%") == "petal length (cm) é%"
    for bad in ("", "a\nb", "\ud800", "x" * 257, 3, None):
        with pytest.raises(InvalidName):
            names.check_column(bad)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(near)
def test_an_accepted_name_needs_no_quoting_and_is_one_segment(text: str) -> None:
    for check in (names.check_name, names.check_version):
        try:
            check(text)
        except InvalidName:
            continue
        assert quote(text, safe="") == text
        assert os.path.normpath(text) == text
        assert text not in (".", "..")


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(near)
def test_an_accepted_file_name_stays_in_its_folder(text: str) -> None:
    try:
        names.check_file_name(text)
    except InvalidName:
        return
    folder = Path("/srv/call")
    assert Path(os.path.normpath(folder / text)).parent == folder
    assert Path(text).name == text


def test_a_long_name_is_cut_and_its_length_told() -> None:
    with pytest.raises(InvalidName) as caught:
        names.check_name("A" * 300)
    shown = "'" + "A" * 40 + "…' (300 characters)"
    assert caught.value.message.startswith(f"{shown} is not a valid service name: it must be 1 to")
