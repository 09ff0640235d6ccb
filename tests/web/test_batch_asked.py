"""What requests about batches ask for, read from their queries and headers."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.httputil import HTTPHeaders

from jupyter_mlserve.contract.batch import FORMATS, MEDIA
from jupyter_mlserve.contract.errors import InvalidInput, NotFound, UnsupportedMedia
from jupyter_mlserve.web.batch.asked import (
    download_format,
    idempotency_key,
    page,
    parallel_count,
    partial,
    record_index,
    upload_format,
)
from jupyter_mlserve.web.sending import attachment

ARROW, CSV, JSON, PARQUET = MEDIA["arrow"], MEDIA["csv"], MEDIA["json"], MEDIA["parquet"]


@pytest.mark.parametrize("media", FORMATS)
def test_every_format_is_known_by_all_its_names(media: str) -> None:
    for given in (media, media.upper(), f"{media}; charset=UTF-8", f' {media} ;charset="utf-8"'):
        assert upload_format({"Content-Type": given}) == FORMATS[media]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "application/jsonlines+zip"},
        {"Content-Type": CSV, "Content-Encoding": "br"},
        {"Content-Type": ARROW, "Content-Encoding": "gzip, identity"},
        {"Content-Type": "text/csv; charset=utf-16"},
        {"Content-Type": "\u00e9" * 500},
    ],
)
def test_other_uploads_are_refused_with_what_is_read(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMedia, match="application/x-ndjson") as error:
        upload_format(headers)
    assert len(error.value.message) < 600


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/*", "json"),
        ("text/html", "json"),
        (CSV, "csv"),
        (f"{CSV};q=0", "json"),
        (f"{CSV};q=0.5, {PARQUET};q=0.9, {JSON};q=0.1", "parquet"),
        (f"{ARROW};q=high", "arrow"),
        (f"{ARROW};q=nan, {CSV}", "arrow"),
        (f"{JSON}, {CSV}", "json"),
        (f"{CSV.upper()};q=.5,*/*;q=0.1", "csv"),
        (",;q=;;,=", "json"),
    ],
)
def test_which_download_is_meant(accept: str, format: str) -> None:
    assert download_format({}, accept) == format
    assert download_format({"format": [b"lines"]}, accept) == "lines"


def test_pages_and_counts() -> None:
    assert (page({}, "json").limit, page({}, "csv").limit) == (1_000, None)
    assert page({"limit": [b"99999999"]}, "json").limit == 10_000
    assert page({"limit": [b"9" * 5_000]}, "csv").limit == 10**18
    assert parallel_count({}, 64) == 10
    assert parallel_count({}, 4) == 4
    assert partial({"showPartialResult": [b"0"], "showPartialResults": [b"TRUE"]})
    for wrong in (b"", b"0", b"-1", b"+1", b" 1", b"1_0", b"0x1", "\u0663".encode(), b"\xff"):
        with pytest.raises(InvalidInput):
            parallel_count({"parallelCount": [wrong]}, 4)


def test_positions_of_records() -> None:
    assert [record_index(text, 11) for text in ("0", "9", "10")] == [0, 9, 10]
    for wrong in ("11", "-1", "01", "\u0661", "\u00b2", "1.0", "", " 1", "1\n", "9" * 5_000):
        with pytest.raises(NotFound):
            record_index(wrong, 11)


def test_keys() -> None:
    def of(*keys: str) -> Any:
        headers = HTTPHeaders()
        for key in keys:
            headers.add("Idempotency-Key", key)
        return idempotency_key(headers)

    assert of() is None
    assert of("!~" + "x" * 253) == "!~" + "x" * 253
    for wrong in ((("x" * 256),), ("a b",), ("\u00e9",), ("",), ("a", "a")):
        with pytest.raises(InvalidInput, match="Idempotency-Key"):
            of(*wrong)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.csv", 'attachment; filename="a.csv"'),
        ('a"b\\c%.txt', "attachment; filename=\"a_b_c_.txt\"; filename*=UTF-8''a%22b%5Cc%25.txt"),
        ("\u00e9.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A9.txt"),
        (
            "a\r\nX-Evil: 1",
            "attachment; filename=\"a__X-Evil: 1\"; filename*=UTF-8''a%0D%0AX-Evil%3A%201",
        ),
        ("\udcff", "attachment; filename=\"_\"; filename*=UTF-8''%3F"),
    ],
)
def test_names_of_downloads_stay_names(name: str, header: str) -> None:
    assert attachment(name) == header
