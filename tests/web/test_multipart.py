"""Forms taken apart byte for byte, whoever wrote them and whatever they meant to do."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_mlserve.contract.errors import InvalidInput
from jupyter_mlserve.web.multipart import boundary_of, parts_of, text_of

KNOWN = ("description", "operationId", "model")
DISPOSITION = b"Content-Disposition: form-data; name="


def part(head: bytes, content: bytes, boundary: bytes = b"b") -> bytes:
    return b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes, boundary: bytes = b"b") -> bytes:
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


def model(content: bytes, boundary: bytes = b"b", name: bytes = b'"model"') -> bytes:
    head = DISPOSITION + name + b'; filename="model"'
    return form(part(head, content, boundary), boundary=boundary)


EXACT = [
    b"",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\r\nblob\r\n",
    b"blob\r\n\r\nblob",
    b"--",
    b"--b-",
    b"\r\n--",
    b"\r\n--c--\r\n",
    b"\r\n--B\r\nContent-Disposition: form-data; name=x\r\n\r\n1",
    b"\x00\xff\xfe" * 7,
    bytes(range(256)) * 3,
]


@pytest.mark.parametrize("content", EXACT)
def test_content_comes_out_as_it_went_in(content: bytes) -> None:
    assert parts_of(model(content), b"b", KNOWN) == {"model": content}


def test_random_bytes_come_out_as_they_went_in() -> None:
    made = random.Random(4)
    for _ in range(200):
        # Of few different bytes, so that line ends and dashes meet in every way.
        alphabet = b"\r\n-b" if made.random() < 0.5 else bytes(range(256))
        content = bytes(made.choices(alphabet, k=made.randrange(300)))
        boundary = b"%032x" % made.getrandbits(128)
        assert parts_of(model(content, boundary), boundary, KNOWN) == {"model": content}


def test_eight_megabytes_are_exact() -> None:
    content = random.Random(5).randbytes(8 * 1024**2) + b"\r\n"
    assert parts_of(model(content), b"b", KNOWN)["model"] == content


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'Content-Disposition: form-data; name="model"; filename="model"', "model"),
        (b"content-disposition:form-data;name=model", "model"),
        (b"CONTENT-DISPOSITION: form-data; NAME=model; FILENAME=m.onnx", "model"),
        (b"Content-Disposition: form-data; name=model; filename*=utf-8''m%C3%A4.onnx", "model"),
        (b"Content-Disposition: form-data; name=model; filename*=klingon''%FF", "model"),
        (b'Content-Disposition: form-data; filename="a;b\\"c"; name="model"', "model"),
        ('Content-Disposition: form-data; name="model"; filename="mä"'.encode(), "model"),
        (
            b"Content-Type: application/octet-stream\r\nX-Other: 1\r\n" + DISPOSITION + b'"model"',
            "model",
        ),
        (DISPOSITION + b"description", "description"),
    ],
)
def test_headers_as_clients_write_them(head: bytes, name: str) -> None:
    assert parts_of(form(part(head, b"\x00\r\n")), b"b", KNOWN) == {name: b"\x00\r\n"}


def test_what_surrounds_the_parts_is_ignored() -> None:
    whole = model(b"content")
    for body in (b"\r\n" + whole, b"Preamble.\r\n" + whole, whole + b"Epilogue.\r\n", whole[:-2]):
        assert parts_of(body, b"b", KNOWN) == {"model": b"content"}


GOOD = part(DISPOSITION + b"model", b"content")
MALFORMED: list[tuple[bytes, str]] = [
    (b"", "final boundary"),
    (b"not at all", "final boundary"),
    (GOOD, "final boundary"),  # cut off
    (GOOD[:-5], "final boundary"),
    (form(GOOD)[:-4], "final boundary"),
    (form(GOOD).replace(b"--b", b"--c"), "final boundary"),
    (form(GOOD * 2), "two parts named 'model'"),
    (form(GOOD, part(DISPOSITION + b"x", b"")), "part named 'x'"),
    (form(part(DISPOSITION + b"Model", b"")), "part named 'Model'"),
    (form(part(DISPOSITION + b"model ; filename=a", b""), GOOD), "two parts"),
    (form(part(DISPOSITION + b'""', b"")), "no valid"),
    (form(part(b"Content-Disposition: form-data", b"")), "no valid"),
    (form(part(b"Content-Disposition: attachment; name=model", b"")), "no valid"),
    (form(part(b"Content-Type: text/plain", b"")), "no valid"),
    (form(part(b"\xff\xfe: \xff", b"")), "no valid"),
    (form(b"--b\r\n" + DISPOSITION + b"model\r\n"), "no valid"),  # no end of its header
    (form(part(DISPOSITION + b"model\r\nX: " + b"x" * 100_000, b"")), "too large"),
    (form(GOOD * 10_000), "too many parts"),
    (form(part(DISPOSITION + b"x" * 5000, b"")), "part named 'xxx"),
    # A boundary inside the content, as a client that chose it badly would send.
    (form(part(DISPOSITION + b"model", b"a--b\r\nb")), "no valid"),
]


@pytest.mark.parametrize(("body", "why"), MALFORMED)
def test_malformed_forms_are_refused_in_a_sentence(body: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        parts_of(body, b"b", KNOWN)
    assert len(caught.value.message) < 300


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from(
            [
                b"--b\r\n",
                b"\r\n--b--",
                b"\r\n\r\n",
                DISPOSITION + b"model",
                b"; filename*=",
                b"*0*=a''%",
                b'"',
                b"\\",
                b";",
                b"\r\n",
                b"model",
                b"\x00",
                b"filename*0=",
                b"filename*1*=utf-16''%ff",
            ]
        ),
        max_size=12,
    )
)
def test_fuzzed_forms_are_read_or_refused(pieces: list[bytes]) -> None:
    body = b"--b\r\n" + b"".join(pieces)
    try:
        found = parts_of(body, b"b", KNOWN)
    except InvalidInput:
        return
    assert set(found) <= set(KNOWN)


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ("Multipart/Form-Data; charset=utf-8; BOUNDARY=abc", b"abc"),
        ('multipart/form-data; boundary="a b:c=d"', b"a b:c=d"),
        ("multipart/form-data;boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW", None),
        ('multipart/form-data; boundary="----=_Part_1_2.3"', b"----=_Part_1_2.3"),
        ("multipart/form-data; boundary=" + "x" * 70, b"x" * 70),
    ],
)
def test_boundaries_as_clients_announce_them(header: str, boundary: bytes | None) -> None:
    found = boundary_of(header)
    assert found == (boundary or header.rpartition("=")[2].encode())
    content = b"\x00--" + found[:-1]
    assert parts_of(model(content, found), found, KNOWN) == {"model": content}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "application/json",
        "multipart/mixed; boundary=b",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="b "',
        'multipart/form-data; boundary="\r\n"',
        "multipart/form-data; boundary=b\xe4",
        "multipart/form-data; boundary*=utf-8''%00",
        "multipart/form-data; boundary=[b]",
    ],
)
def test_what_is_no_form_is_told_what_to_send(header: str) -> None:
    with pytest.raises(InvalidInput, match="multipart/form-data"):
        boundary_of(header)


def test_texts_are_utf8() -> None:
    parts: dict[str, Any] = {"description": "Größe".encode(), "operationId": b"\xff"}
    assert text_of(parts, "description") == "Größe"
    assert text_of(parts, "model") is None
    with pytest.raises(InvalidInput, match="operationId"):
        text_of(parts, "operationId")
