"""Arrow streams to the frame of a service and back, for functions that take any number of rows.

pyarrow is that of the author's environment, imported with the first stream. The frame is the one
that the same rows give as JSON: the same columns of the same types in the same order. Whatever has
no such form is refused, and may be sent as JSON instead.
"""

from __future__ import annotations

import sys

from .alike import alike, settle
from .columns import cells_of, table_of
from .describe import EXPECTED, InputError, type_name, with_article
from .inputs import INT_MAX
from .program import call_failure, input_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

    from .program import Program
    from .serve import Worker

    Param = Mapping[str, Any]
    Reply = Tuple[Dict[str, Any], Any]

_EXACT = 2**53  # integers beyond are not all doubles
_NONE = type(None)


def score(worker: Worker, program: Program, body: Any) -> Reply:
    """One call with all rows of the stream; the answer has as many, or it is an error."""
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ImportError as exc:
        return _unsupported(
            f"The interpreter {sys.executable}, under which {program.label} runs, has no pyarrow "
            f"({exc})."
        )
    inputs: List[Param] = list(program.spec.get("inputs") or ())
    outputs: List[Param] = list(program.spec.get("outputs") or ())
    if not (
        len(inputs) == len(outputs) == 1
        and inputs[0]["type"] == "data.frame"
        and outputs[0]["type"] in ("data.frame", "vector")
    ):
        return _unsupported(f"{program.label} does not take one frame and answer with one.")
    if program.apart:
        return _unsupported(f"{program.label} does not answer each row by itself.")
    try:
        table = _read(pa, body)
        rows = table.num_rows
        values = {str(inputs[0]["name"]): _frame(pa, inputs[0], table)}
    except Exception as exc:
        return input_failure(exc), b""
    first = table.slice(0, 1) if rows > 1 and program.prove else None
    del table
    name = str(outputs[0]["name"])
    stray = worker.stray()

    def run(values: Dict[str, Any]) -> Any:
        return program.outputs_of(values)[name]

    error, retire, found, _, _, text = worker.execute(run, values)
    result: Any = b""
    if error is None:
        try:
            result = _write(pa, outputs[0], found, rows)
        except Exception as exc:
            error = call_failure(exc)[0]
        else:
            if first is not None:
                said = settle(program, _alone(pa, worker, program, run, first, result))
                if said:
                    return _unsupported(said)
            if len(result) > worker.result_limit:
                from .serve import too_large

                error, result = too_large(len(result), worker.result_limit), b""
    header = error or {"status": 200, "done": rows, "failed": 0}
    if retire:
        header["retire"] = True
    if stray:
        header["stray"] = stray
    if text:
        header["console"] = text
    return header, result


def _alone(
    pa: Any, worker: Worker, program: Program, run: Any, first: Any, together: bytes
) -> bool:
    """Whether the first row is answered alone as it was together with the others."""
    given, wanted = program.spec["inputs"][0], program.spec["outputs"][0]
    values = {str(given["name"]): _frame(pa, given, first)}
    error, _, found, _, _, _ = worker.execute(run, values)
    if error is not None:
        return False
    try:
        alone = _write(pa, wanted, found, 1)
    except Exception:
        return False
    one, other = (pa.ipc.open_stream(each).read_all().slice(0, 1) for each in (alone, together))
    return alike(one.to_pydict(), other.to_pydict())


def _unsupported(message: str) -> Reply:
    return {"status": 415, "kind": "UnsupportedMedia", "message": message}, b""


# In


def _read(pa: Any, body: Any) -> Any:
    options = pa.ipc.IpcReadOptions(use_threads=False)
    try:
        table = pa.ipc.open_stream(pa.py_buffer(body), options=options).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as exc:
        why = " ".join(str(exc).split())[:200]
        raise InputError("", "an Arrow IPC stream", f"bytes that are not ({why})") from None
    if not table.num_rows:
        raise InputError("", "rows", "none")
    return table


def _frame(pa: Any, param: Param, table: Any) -> Any:
    import pandas as pd

    name, declared = str(param["name"]), param.get("columns")
    names = list(table.column_names)
    if len(set(names)) != len(names):
        raise InputError(name, "columns that differ in name", "two of one name")
    data: Dict[str, Any] = {}
    if declared is None:
        for column in names:
            data[column] = _guess(pa, f"{name}.{column}", table.column(column))
        return pd.DataFrame(data, copy=False)
    wanted = [str(column["name"]) for column in declared]
    if names != wanted:
        expected = f"the columns {', '.join(wanted)[:500]} in this order"
        raise InputError(name, expected, ", ".join(names)[:500] or "none")
    for column in declared:
        field = f"{name}.{column['name']}"
        cells = table.column(str(column["name"]))
        data[str(column["name"])] = _column(
            pa, field, cells, str(column["type"]), bool(column.get("nullable"))
        )
    return pd.DataFrame(data, copy=False)


def _column(pa: Any, field: str, column: Any, kind: str, nullable: bool) -> Any:
    """A column as the array that :func:`.tables.column_of` makes of the same cells.

    What it gives may be written to, unlike arrays that share their memory with the stream.
    """
    types = pa.types
    found = column.type
    if types.is_null(found):
        found = _plain_type(pa, kind)
        column = column.cast(found)
    nulls = column.null_count
    if nulls and not nullable and kind in ("integer", "logical"):
        raise InputError(field, EXPECTED[kind], "null")
    if kind == "numeric" and (types.is_integer(found) or types.is_floating(found)):
        return _floats(pa, field, column)
    if kind == "integer" and (types.is_integer(found) or types.is_floating(found)):
        return _integers(pa, field, column, nullable)
    if kind == "logical" and types.is_boolean(found):
        return _booleans(column, nullable)
    if kind == "character" and (types.is_string(found) or types.is_large_string(found)):
        return _texts(column)
    if kind == "datetime" and (types.is_timestamp(found) or types.is_date(found)):
        return _dates(pa, field, column)
    raise InputError(field, EXPECTED[kind], f"a column of {str(found)[:100]}")


def _plain_type(pa: Any, kind: str) -> Any:
    return {
        "numeric": pa.float64(),
        "integer": pa.int64(),
        "logical": pa.bool_(),
        "datetime": pa.timestamp("us"),
    }.get(kind, pa.string())


def _floats(pa: Any, field: str, column: Any) -> Any:
    """float64, NaN for null."""
    import numpy as np

    if not pa.types.is_float64(column.type):
        column = column.cast(pa.float64(), safe=False)
    values = np.array(column.to_numpy())
    if np.isinf(values).any():
        raise InputError(field, "numbers that JSON can say", "an infinite one")
    return values


def _integers(pa: Any, field: str, column: Any, nullable: bool) -> Any:
    """int64, or Int64 of pandas where null is allowed; safe casts refuse 3.5 and 2**63."""
    import numpy as np
    import pandas as pd

    missing = np.array(column.is_null().to_numpy())
    try:
        whole = column.cast(pa.int64())
    except pa.ArrowInvalid:
        raise InputError(field, "integers of at most 64 bits", "others") from None
    values = np.array(whole.fill_null(0).to_numpy())
    return pd.arrays.IntegerArray(values, missing) if nullable else values


def _booleans(column: Any, nullable: bool) -> Any:
    import numpy as np
    import pandas as pd

    missing = np.array(column.is_null().to_numpy())
    values = np.array(column.fill_null(False).to_numpy())
    return pd.arrays.BooleanArray(values, missing) if nullable else values


def _texts(column: Any) -> Any:
    """What this pandas makes of strings, see :mod:`.tables`."""
    import pandas as pd

    from . import tables

    if int(pd.__version__.split(".", 1)[0]) >= 3:
        dtype: Any = pd.api.types.pandas_dtype("str")
        return dtype.__from_arrow__(column)
    return tables.text_column(column.to_pylist())


def _dates(pa: Any, field: str, column: Any) -> Any:
    """In the unit that pandas chooses for text: as coarse as seconds, microseconds allow."""
    import numpy as np
    import pandas as pd

    zoned = getattr(column.type, "tz", None) is not None
    if not pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us"))
    values = np.array(column.to_numpy())
    there = values[~np.isnat(values)]
    years = there.astype("datetime64[Y]").astype(np.int64) + 1970
    nanoseconds = int(pd.__version__.split(".", 1)[0]) < 3
    first, last = (1678, 2261) if nanoseconds else (1, 9999)
    if len(there) and (years.min() < first or years.max() > last):
        raise InputError(field, f"dates of the years {first} to {last}", "one out of them")
    if nanoseconds:
        unit = "ns"
    elif not len(there):
        unit = "s"
    else:
        unit = "us" if (there == there.astype("datetime64[us]")).all() else "ns"
    index = pd.DatetimeIndex(values.astype(f"datetime64[{unit}]"))
    return index.tz_localize("UTC") if zoned else index


def _guess(pa: Any, field: str, column: Any) -> Any:
    """A column without a declared type, as :func:`.tables.frame_decoder` makes it of its cells."""
    from .arrays import objects

    types, found = pa.types, column.type
    nulls = column.null_count
    if types.is_floating(found) and nulls < len(column):
        values = _floats(pa, field, column)
        if not (values != values).all():
            return values
        return objects([None] * len(column))
    if types.is_null(found) or nulls == len(column):
        return objects([None] * len(column))
    if types.is_integer(found):
        if nulls:
            return _floats(pa, field, column)
        return _integers(pa, field, column, False)
    if types.is_boolean(found):
        return objects(column.to_pylist()) if nulls else _booleans(column, False)
    if types.is_string(found) or types.is_large_string(found):
        return _texts(column)
    raise InputError(field, "a number, string, boolean or null", f"a column of {str(found)[:100]}")


# Out


def _write(pa: Any, param: Param, value: Any, rows: int) -> Any:
    """The answer as a stream of one batch. Raises InputError or TypeError if it has none."""
    name, declared = str(param["name"]), param.get("columns")
    if param["type"] == "vector":
        if getattr(value, "ndim", 1) != 1 or isinstance(value, dict):
            raise _unfit(name, "a 1-d numpy array or a list", value)
        table = {name: value}
    elif value is None:
        raise _unfit(name, "a frame", value)
    else:
        table = table_of(name, value)
    arrays = {column: _array(pa, f"{name}.{column}", cells) for column, cells in table.items()}
    if not arrays or {len(array) for array in arrays.values()} != {rows}:
        raise TypeError(f"the output {name!r} does not have {rows} rows, as the input has")
    if declared is not None and param["type"] == "data.frame":
        arrays = _declared(pa, name, arrays, declared)
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return memoryview(sink.getvalue())


def _array(pa: Any, field: str, column: Any) -> Any:
    """A column of numbers or booleans; text for what is text in JSON, null for what is null."""
    import numpy as np

    dtype: Any = getattr(column, "dtype", None)
    if type(dtype).__module__.split(".", 1)[0] == "numpy" and getattr(column, "ndim", 0) == 1:
        kind = dtype.kind
        values = column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)
        if kind == "u" and values.size and int(values.max()) > INT_MAX:
            kind, values = "f", values.astype(np.float64)
        if kind in "iu":
            return pa.array(np.ascontiguousarray(values, dtype=np.int64))
        if kind == "f":
            values = np.ascontiguousarray(values, dtype=np.float64)
            finite = np.isfinite(values)
            return pa.array(values, mask=None if finite.all() else ~finite)
        if kind == "b":
            return pa.array(np.ascontiguousarray(values))
    cells = cells_of(field, column)
    kinds = set(map(type, cells)) - {_NONE}
    if kinds == {int, float} and not any(type(c) is int and abs(c) > _EXACT for c in cells):
        kinds = {float}
    if len(kinds) > 1:
        raise InputError(field, "values of one type in the column", "several")
    arrow_type = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return pa.array(cells, type=arrow_type[kinds.pop()] if kinds else pa.null())


def _declared(
    pa: Any, name: str, arrays: Dict[str, Any], columns: Sequence[Mapping[str, Any]]
) -> Dict[str, Any]:
    """The same columns with their declared types."""
    names = [str(column["name"]) for column in columns]
    if list(arrays) != names:
        got = ", ".join(arrays) or "none"
        raise InputError(name, f"the columns {', '.join(names)} in this order", got)
    done: Dict[str, Any] = {}
    for column in columns:
        key, kind = str(column["name"]), str(column["type"])
        done[key] = array = _typed(pa, arrays[key], "character" if kind == "datetime" else kind)
        if array is None:
            raise InputError(f"{name}.{key}", f"a column of {kind}", str(arrays[key].type))
    return done


def _typed(pa: Any, array: Any, kind: str) -> Optional[Any]:
    wanted, found = _plain_type(pa, kind), array.type
    if found == wanted or (kind == "numeric" and found == pa.int64()):
        return array
    if pa.types.is_null(found) or (kind == "integer" and found == pa.float64()):
        return array.cast(wanted)  # raises for what is not whole
    return None


def _unfit(name: str, expected: str, value: Any) -> InputError:
    return InputError(name, expected, with_article(type_name(value)))
