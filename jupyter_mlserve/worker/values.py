"""The declared types on the wire: decode what a caller sent, encode what the code gave.

The worker makes an :class:`Inputs` and an :class:`Outputs` once per service; the client uses the
functions, which make them for a single value. A parameter is a dict ``{"name", "type"}`` with
``columns`` (frames), ``optional`` and ``default`` where it has them.
"""

from __future__ import annotations

from .describe import InputError
from .inputs import Inputs, decoder, parse_json
from .outputs import Outputs, dump_json, encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Mapping, Sequence, Union

    Param = Mapping[str, Any]

__all__ = [
    "InputError",
    "Inputs",
    "Outputs",
    "decode_inputs",
    "decode_value",
    "dump_json",
    "encode_outputs",
    "encode_value",
    "parse_json",
]


def decode_inputs(body: Union[bytes, bytearray], params: Sequence[Param]) -> Dict[str, Any]:
    """The inputs of a call from its JSON body, by name. Raises InputError and nothing else."""
    return Inputs(params).decode(body)


def encode_outputs(values: Mapping[str, Any], params: Sequence[Param]) -> Dict[str, Any]:
    """The outputs of a call as JSON values, by name. Raises TypeError that names the output."""
    return Outputs(params).encode(values)


def decode_value(value: Any, param: Param) -> Any:
    """A JSON value (parsed) as the Python value of its declared type; null is None.

    Vectors and matrices become numpy arrays, frames pandas DataFrames. Raises InputError.
    """
    return None if value is None else decoder(param)(value)


def encode_value(value: Any, param: Param) -> Any:
    """A Python value as the JSON value of its declared type; None is null. Raises InputError."""
    return None if value is None else encoder(param)(value)
