"""Service objects of realtime versions: a frame in, a frame out.

Large frames travel as an Arrow stream by themselves where pyarrow is installed on both sides;
what comes back is the same frame either way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from html import escape
from importlib.util import find_spec
from typing import Any

from ..contract.errors import UnsupportedMedia
from ..contract.realtime_words import about_output
from .frames import INPUT, Schema, arrow_stream, columns_of, json_columns, length
from .http import Connection, error_of, path_of
from .misuse import WrongCall
from .response import ServiceResponse
from .service import CONSUME_SECONDS, Service, bind

ARROW = "application/vnd.apache.arrow.stream"
# Below this number of rows JSON is as fast, and the reply carries all that a reply can.
ARROW_ROWS = 10_000
OUTPUT = "outputData"


class RealtimeService(Service):
    """A published version of a realtime service: it scores the rows of a frame."""

    def __init__(self, connection: Connection, definition: Mapping[str, Any]) -> None:
        super().__init__(connection, definition)
        # A server may be without pyarrow; it is asked once.
        self._arrow = find_spec("pyarrow") is not None

    @cached_property
    def _schema(self) -> Schema:
        return Schema.of(self._definition)

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The one input, ``inputData``. A column whose values the model knows has them as
        ``known``, if they are few."""
        known = (self._definition.get("mlserve") or {}).get("known") or {}
        return [
            _annotated(param, lambda name: {"known": list(known[name])} if name in known else {})
            for param in super().inputs
        ]

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The one output, ``outputData``. A column of which more is known than its type has a
        ``description``: whose probability it is."""
        own = self._definition.get("mlserve") or {}

        def told(name: str) -> dict[str, Any]:
            about = about_output(name, own)
            return {"description": about} if about else {}

        return [_annotated(param, told) for param in super().outputs]

    @property
    def proof(self) -> dict[str, Any]:
        """How the compiled model was proven equal to the fitted one: rows tried, largest
        difference, the candidate that passed, the libraries that made it."""
        return dict((self._definition.get("mlserve") or {}).get("proof") or {})

    def consume(self, /, *args: Any, **inputs: Any) -> ServiceResponse:
        """Score the rows of a frame.

        It is a pandas (or polars, Arrow) table, a dict of columns, a list of records, or one
        record, with the columns of the training frame in their order and types. The response
        column may be among them, where the training frame had it.
        """
        try:
            (given,) = bind(self._signature, self._call_name, args, inputs).values()
        except WrongCall as error:
            raise WrongCall(
                f"{error.message} It takes one frame, for example {self._call_name}"
                f"({self._example()})."
            ) from None
        table = columns_of(given, self._schema)
        if self._arrow and length(next(iter(table.values()), ())) >= ARROW_ROWS:
            body = arrow_stream(table, self._schema)
            reply = None if body is None else self._ask_arrow(body)
            if reply is not None:
                return reply
        answer = self._connection.request(
            "POST",
            path_of("api", self.name, self.version),
            json={INPUT: json_columns(table, self._schema)},
            timeout=CONSUME_SECONDS,
        )
        return ServiceResponse(self.api, answer, self.outputs, self._outputs_now)

    def _ask_arrow(self, body: bytes) -> ServiceResponse | None:
        """None: this server reads no Arrow."""
        response = self._connection.send(
            "POST",
            path_of("api", self.name, self.version),
            content=body,
            headers={"Content-Type": ARROW, "Accept": f"{ARROW}, application/json;q=0.5"},
            timeout=CONSUME_SECONDS,
        )
        if response.status_code >= 300:
            error = error_of(response, self._connection.address)
            if isinstance(error, UnsupportedMedia):
                self._arrow = False
                return None
            raise error
        if response.headers.get("Content-Type", "").startswith(ARROW):
            return ArrowResponse(self.api, response.content, self.outputs)
        answer = json.loads(response.content)
        return ServiceResponse(self.api, answer, self.outputs, self._outputs_now)

    def _example(self, columns: int = 8) -> str:
        """The typical row of the version as a dict of columns, cut to a few."""
        known = (self._definition.get("mlserve") or {}).get("example") or {}
        shown = [f"{name!r}: [{_shown(known.get(name))}]" for name in self._schema.names[:columns]]
        if len(self._schema.columns) > columns:
            shown.append("…")
        return "{" + ", ".join(shown) + "}"

    def _facts(self) -> list[tuple[str, str]]:
        own, proof = self._definition.get("mlserve") or {}, self.proof
        facts = [("model", f"{own.get('modelName') or 'compiled'} ({own.get('kind')})")]
        if proof:
            facts.append(
                (
                    "proven on",
                    f"{proof.get('rows'):,} rows, largest difference "
                    f"{proof.get('largest_difference'):.2g} ({proof.get('candidate')})",
                )
            )
        return facts

    def __repr__(self) -> str:
        first, *rest = super().__repr__().splitlines()
        return "\n".join([first, *(f"  {key}: {text}" for key, text in self._facts()), *rest])

    def _repr_html_(self) -> str:
        head, end, tail = super()._repr_html_().partition("<tbody>")
        rows = "".join(
            f'<tr><th style="text-align:left">{escape(key)}</th>'
            f'<td style="text-align:left">{escape(text)}</td></tr>'
            for key, text in self._facts()
        )
        return head + end + rows + tail


def _annotated(param: dict[str, Any], more: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The frame ``param`` with what ``more`` says of its columns, by name."""
    columns = [{**column, **more(str(column["name"]))} for column in param.get("columns") or ()]
    return {**param, "columns": columns}


def _shown(value: Any, longest: int = 40) -> str:
    """A value of the example; an image is long."""
    if isinstance(value, str) and len(value) > longest:
        value = value[:longest] + "…"
    return repr(value)


class ArrowResponse(ServiceResponse):
    """A reply that came as an Arrow stream; ``raw_outputs`` are made when they are asked for."""

    def __init__(self, api: str, data: bytes, outputs: list[dict[str, Any]]) -> None:
        super().__init__(api, {}, outputs)
        import pyarrow as pa

        with pa.ipc.open_stream(data) as reader:
            self._table = reader.read_all()

    @property
    def raw_outputs(self) -> dict[str, Any]:
        if not self._raw:
            columns = {
                name: self._table.column(name).to_pylist() for name in self._table.schema.names
            }
            self._raw[OUTPUT] = {
                name: [None if cell != cell else cell for cell in cells]
                for name, cells in columns.items()
            }
        return self._raw

    @property
    def _names(self) -> list[str]:
        return [OUTPUT]

    def _decode(self, name: str) -> Any:
        if name != OUTPUT or find_spec("pandas") is None:
            return super()._decode(name)
        return frame_of(self._table)


def frame_of(table: Any) -> Any:
    """The pandas DataFrame of an Arrow table, with the types that JSON would have given."""
    import pandas as pd
    import pyarrow as pa

    # A missing integer or boolean stays one; pandas would make floats or objects of them.
    whole = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    columns = {}
    for name in table.schema.names:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):  # labels
            column = column.cast(column.type.value_type)
        columns[name] = column.to_pandas(types_mapper=whole.get if column.null_count else None)
    return pd.DataFrame(columns)
