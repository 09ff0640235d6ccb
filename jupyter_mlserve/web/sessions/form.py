"""The one file in a body of ``multipart/form-data``, taken out while the body comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from ...contract.errors import InvalidInput
from ...contract.names import check_file_name

if TYPE_CHECKING:
    from .incoming import Incoming

FIELD = "file"
_MAX_HEADER = 8 * 1024  # bytes of all headers of the part


class FileForm:
    """Feed the body to :meth:`write`; what the part ``file`` holds goes to ``incoming``.

    ``name`` is that of the file, once its header has come. Raises InvalidInput when the body is
    malformed, or has another part or a second one, and InvalidName for the name.
    """

    def __init__(self, boundary: bytes, incoming: Incoming) -> None:
        self.name: str | None = None
        self._incoming = incoming
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )
        self._field = self._value = self._disposition = b""
        self._header_bytes = 0
        self._whole = False

    def write(self, data: bytes) -> None:
        """The next bytes of the body."""
        try:
            self._parser.write(data)
        except FormParserError as exc:
            raise InvalidInput(f"The body is no valid multipart/form-data: {exc}.") from None

    def finish(self) -> str:
        """The body has ended: the name of the file."""
        if not self._whole or self.name is None:
            raise InvalidInput(
                "The body is no valid multipart/form-data: it was cut off, or has no part "
                f"{FIELD!r}.",
                field=FIELD,
            )
        return self.name

    def _begin(self) -> None:
        if self.name is not None:
            raise InvalidInput(
                f"The body has more than one part; send one file, as the part {FIELD!r}.",
                field=FIELD,
            )

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER:
            raise InvalidInput("The header of a part is too long.", field=FIELD)

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        part = options.get(b"name", b"").decode("utf-8", "replace")
        name = options.get(b"filename")
        if kind != b"form-data" or part != FIELD or not name:
            raise InvalidInput(
                f"Send the file as the part {FIELD!r}, with its file name; this one is "
                f"{part[:80]!r}{'' if name else ', without a file name'}.",
                field=FIELD,
            )
        self.name = check_file_name(name.decode("utf-8", "replace"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._incoming.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._whole = True
