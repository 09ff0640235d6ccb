"""What an uploaded model must be before any runtime sees it.

ONNX Runtime is no sandbox: measured attacks read files of the server (external data with a
relative name), hang it while loading (nested functions), take gigabytes (constants of computed
shape) or crash it (an empty input name). So a model may hold only what our own compiler emits:
one flat graph of known operators with known attributes, constants inside, inputs and outputs as
the schema declares them. Everything else is refused, harmless or not.

Needs the ``onnx`` package (for its protobuf classes and its checker). What passes still belongs
into a process with limits on memory and time, at first into one that can be thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ...contract.errors import InvalidDefinition, TooLarge
from ...contract.realtime import Container, unpack
from ...contract.realtime_operators import DOMAINS, OPERATORS
from . import inference, rules

# onnx.TensorProto.DataType -> bytes of an element. Half floats, complex and 4-bit types are never
# emitted.
_SIZES = {1: 4, 2: 1, 6: 4, 7: 8, 8: 0, 9: 1, 11: 8}
_STRING = 8
_FIELDS = {
    1: "float_data",
    2: "int32_data",
    6: "int32_data",
    7: "int64_data",
    8: "string_data",
    9: "int32_data",
    11: "double_data",
}
_WORDS = {"double": 11, "float": 1, "int64": 7, "string": 8}
# onnx.AttributeProto.AttributeType: FLOAT, INT, STRING, TENSOR, FLOATS, INTS, STRINGS.
_ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
_MAX_RANK = 4
_MICROSOFT = {"Tokenizer": 1, "MurmurHash3": 1, "CDist": 2}  # inputs


@dataclass(frozen=True)
class Limits:
    """How large a model may be. Sizes in bytes, the rest counts."""

    model: int = 64 * 1024 * 1024
    nodes: int = 5000
    initializers: int = 20_000
    tensor: int = 64 * 1024 * 1024
    elements: int = 16_000_000
    list: int = 16_000_000  # numbers in one attribute
    strings: int = 2_000_000  # texts in all
    text: int = 64 * 1024  # bytes of one text
    names: int = 512  # characters of one name


def validate_upload(data: bytes, limits: Limits | None = None) -> Container:
    """The container in ``data``, if it and the model in it are acceptable.

    Raises InvalidDefinition with ``field="model"`` (or the part of the header at fault), or
    TooLarge. Opens no session: that is for the trial, in a process of its own.
    """
    limits = limits or Limits()
    container = unpack(data, limits.model)
    validate_model(container.model, container.header, limits)
    return container


def validate_model(model: bytes, header: Mapping[str, Any], limits: Limits | None = None) -> None:
    """Check ONNX bytes against the rules above and the (checked) ``header``."""
    import onnx
    from google.protobuf.message import DecodeError

    limits = limits or Limits()
    if len(model) > limits.model:
        _too_large(f"the compiled model has {len(model):,} bytes", limits.model)
    parsed = onnx.ModelProto()
    try:
        parsed.ParseFromString(model)
    except (DecodeError, RecursionError, ValueError) as exc:
        fail(f"it is not an ONNX model ({' '.join(str(exc).split())[:120]})")
    _Check(limits).model(parsed, header)
    try:
        onnx.checker.check_model(parsed, full_check=False)
    except Exception as exc:  # the checker's errors come from C++ and have no common class
        fail(f"ONNX's own checker refuses it ({' '.join(str(exc).split())[:200]})")


def fail(problem: str) -> NoReturn:
    """Raise InvalidDefinition about the model."""
    raise InvalidDefinition(
        f"The compiled model is refused: {problem}. Make it with serialize_model(model, sample); "
        "models made otherwise can be served by a standard service.",
        field="model",
    )


def _too_large(what: str, limit: int) -> NoReturn:
    raise TooLarge(f"{what[0].upper()}{what[1:]}; at most {limit:,}.", limit=limit, field="model")


class _Check:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.strings = 0
        self.tensor_bytes = 0

    def model(self, model: Any, header: Mapping[str, Any]) -> None:
        if model.functions:
            fail("it holds functions")
        if model.training_info:
            fail("it holds training graphs")
        if getattr(model, "configuration", None):
            fail("it holds device configurations")
        if len(model.metadata_props) > 20:
            fail("it holds too many notes")
        if not 3 <= model.ir_version <= 13:
            fail(f"its format version {model.ir_version} is not known")
        self.unknown(model, "model")
        opsets: dict[str, int] = {}
        for item in model.opset_import:
            if item.domain in opsets:
                fail("it names an operator set twice")
            if item.domain not in DOMAINS or not 1 <= item.version <= DOMAINS[item.domain]:
                fail(f"it needs operator set {item.domain!r} version {item.version}")
            opsets[item.domain] = item.version
        self.graph(model.graph, header, opsets)
        types = inference.infer(model.graph, opsets, model.ir_version)
        for item in model.graph.output:
            if not inference.agree(types[item.name], item.type):
                fail(f"its output {item.name!r} is not of the type and width it states")

    def unknown(self, message: Any, what: str) -> None:
        """Bytes that our protobuf does not know, and the runtime's may."""
        held = getattr(message, "UnknownFields", None)
        try:
            count = len(held()) if held is not None else 0
        except NotImplementedError:  # protobuf's C implementation has moved them elsewhere
            from google.protobuf.unknown_fields import UnknownFieldSet

            count = len(UnknownFieldSet(message))
        if count:
            fail(f"its {what} holds fields that are not known")

    def graph(self, graph: Any, header: Mapping[str, Any], opsets: Mapping[str, int]) -> None:
        if graph.sparse_initializer or graph.quantization_annotation:
            fail("it holds sparse or quantized constants")
        if len(graph.node) > self.limits.nodes:
            _too_large(f"the compiled model has {len(graph.node):,} nodes", self.limits.nodes)
        if len(graph.initializer) > self.limits.initializers:
            _too_large("the compiled model has too many constants", self.limits.initializers)
        self.unknown(graph, "graph")
        self.interface(graph, header)
        known = {item.name for item in graph.input}
        constants: dict[str, Any] = {}
        for tensor in graph.initializer:
            self.name(tensor.name)
            if tensor.name in known or tensor.name in constants:
                fail("it defines a value twice")
            self.tensor(tensor, f"constant {tensor.name!r}")
            constants[tensor.name] = tensor
        known |= set(constants)
        makers: dict[str, Any] = {}
        for node in graph.node:
            self.node(node, known, opsets)
            rules.check(node, rules.Around(constants, makers))
            for name in node.output:
                if name:
                    if name in known:
                        fail("it defines a value twice")
                    known.add(name)
                    makers[name] = node
        for item in graph.output:
            if item.name not in makers:
                fail(f"nothing gives the output {item.name!r}")
        for item in graph.value_info:
            self.name(item.name)
            self.type(item, item.name)

    def interface(self, graph: Any, header: Mapping[str, Any]) -> None:
        """Inputs and outputs are those of the schema, by name, order, type and width."""
        wanted = [
            (item["name"], _WORDS[item["type"]], item.get("width", len(item["columns"])))
            for item in header["inputs"]
        ]
        self.same(graph.input, wanted, "input")
        wanted = [(t["name"], _WORDS[t["type"]], t["width"]) for t in header["tensors"]]
        self.same(graph.output, wanted, "output")

    def same(self, items: Any, wanted: list[tuple[str, int, int]], what: str) -> None:
        found = []
        for item in items:
            self.name(item.name)
            dims = self.type(item, item.name)
            if len(dims) != 2 or dims[0] is not None:
                fail(f"its {what} {item.name!r} is not a table of any number of rows")
            found.append((item.name, item.type.tensor_type.elem_type, dims[1]))
        if found != wanted:
            fail(f"its {what}s are not those of the schema: expected {wanted}, got {found}"[:600])

    def type(self, item: Any, name: str) -> list[int | None]:
        """The dimensions of a value; None for an open one."""
        if item.type.WhichOneof("value") != "tensor_type":
            fail(f"the value {name[:60]!r} is no tensor")
        kind = item.type.tensor_type
        if kind.elem_type not in _SIZES:
            fail(f"the value {name[:60]!r} has elements of a type that is not emitted")
        if not kind.HasField("shape"):
            return []
        dims: list[int | None] = []
        for dim in kind.shape.dim:
            if dim.HasField("dim_value"):
                if not 0 <= dim.dim_value <= self.limits.elements:
                    fail(f"the value {name[:60]!r} has an impossible shape")
                dims.append(dim.dim_value)
            else:
                dims.append(None)
        return dims

    def name(self, name: str) -> None:
        if not name or len(name) > self.limits.names:
            fail("a value has no name, or a very long one")

    def node(self, node: Any, known: set[str], opsets: Mapping[str, int]) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        allowed = OPERATORS.get(domain, {}).get(node.op_type)
        if allowed is None or domain not in opsets:
            fail(f"the operator {f'{domain}.' if domain else ''}{node.op_type[:60]} is not allowed")
        if getattr(node, "overload", "") or getattr(node, "device_configurations", None):
            fail("a node names an overload or a device")
        if not node.input or not node.output:
            fail(f"a {node.op_type} has no input or no output")
        self.arity(node, opsets[domain])
        self.unknown(node, "node")
        for position, name in enumerate(node.input):
            if not name:
                # An empty name means "left out"; where an operator cannot do without, ONNX
                # Runtime has crashed. Our compiler leaves nothing out.
                fail(f"input {position} of a {node.op_type} has no name")
            if name not in known:
                fail(f"a {node.op_type} reads {name[:60]!r}, which nothing before it gives")
        for name in node.output:
            self.name(name)
        seen = set()
        for attribute in node.attribute:
            if attribute.name not in allowed or attribute.name in seen:
                fail(f"the attribute {attribute.name[:60]!r} of a {node.op_type} is not allowed")
            seen.add(attribute.name)
            self.attribute(attribute, node.op_type)

    def arity(self, node: Any, version: int) -> None:
        """As many inputs and outputs as the operator takes, and its attributes all there."""
        import onnx

        if node.domain == "com.microsoft":  # ONNX has no schema of these
            if len(node.input) != _MICROSOFT[node.op_type] or len(node.output) != 1:
                fail(f"a {node.op_type} has too few or too many inputs")
            return
        domain = "" if node.domain == "ai.onnx" else node.domain
        try:
            schema = onnx.defs.get_schema(node.op_type, version, domain)
        except Exception:  # of C++, without a class of its own
            fail(f"its operator set has no {node.op_type}")
        if schema.deprecated:
            fail(f"its operator set has no {node.op_type} any more")
        inside = schema.min_input <= len(node.input) <= schema.max_input
        if not inside or not schema.min_output <= len(node.output) <= schema.max_output:
            fail(f"a {node.op_type} has too few or too many inputs or outputs")
        given = {attribute.name: attribute.type for attribute in node.attribute}
        formals: dict[str, Any] = dict(schema.attributes)
        for name, formal in formals.items():
            if formal.required and name not in given:
                fail(f"a {node.op_type} lacks its attribute {name!r}")
            if name in given and given[name] != formal.type.value:
                fail(f"the attribute {name!r} of a {node.op_type} is of another type")

    def attribute(self, attribute: Any, operator: str) -> None:
        where = f"attribute {attribute.name!r} of a {operator}"
        if attribute.ref_attr_name or attribute.type not in _ATTRIBUTES:
            fail(f"the {where} holds a graph, a reference or the like")
        self.unknown(attribute, "attribute")
        used = _ATTRIBUTES[attribute.type]
        held = ("g", "graphs", "sparse_tensor", "sparse_tensors", "tp", "type_protos", "tensors")
        others = [*held, *(name for name in _ATTRIBUTES.values() if name != used)]
        for name in others:
            value = getattr(attribute, name)
            repeated = hasattr(value, "__len__") and not isinstance(value, bytes | str)
            if len(value) if repeated else _is_set(attribute, name):
                fail(f"the {where} holds two values")
        value = getattr(attribute, used)
        if used == "t":
            self.tensor(value, where)
        elif used == "s":
            self.texts([value], where)
        elif used == "strings":
            self.texts(value, where)
        elif used in ("floats", "ints") and len(value) > self.limits.list:
            _too_large(f"the {where} has {len(value):,} values", self.limits.list)
        if used in ("f", "floats"):
            numbers = [value] if used == "f" else value
            if any(math.isnan(number) for number in numbers):
                fail(f"the {where} holds NaN")

    def tensor(self, tensor: Any, where: str) -> None:
        """A constant whose numbers are all there, inside, and as many as its shape says."""
        if tensor.data_location != 0 or tensor.external_data:
            fail(f"the {where} is outside the model")
        if tensor.HasField("segment") or tensor.data_type not in _SIZES:
            fail(f"the {where} is of a type that is not emitted")
        self.unknown(tensor, "constants")
        if len(tensor.dims) > _MAX_RANK or any(dim < 0 for dim in tensor.dims):
            fail(f"the {where} has an impossible shape")
        count = math.prod(tensor.dims)
        size = count * (_SIZES[tensor.data_type] or 8)
        self.tensor_bytes += size
        if count > self.limits.elements or self.tensor_bytes > self.limits.tensor:
            _too_large("the constants of the compiled model are too large", self.limits.tensor)
        fields = set(_FIELDS.values()) | {"uint64_data"}
        filled = [name for name in fields if len(getattr(tensor, name))]
        if tensor.data_type == _STRING:
            if tensor.raw_data or filled not in ([], ["string_data"]):
                fail(f"the {where} holds text in the wrong place")
            if len(tensor.string_data) != count:
                fail(f"the {where} has not as many texts as its shape says")
            self.texts(tensor.string_data, where)
            return
        if tensor.HasField("raw_data"):
            if filled or len(tensor.raw_data) != size:
                fail(f"the {where} has not as many bytes as its shape says")
            return
        field = _FIELDS[tensor.data_type]
        if filled not in ([], [field]) or len(getattr(tensor, field)) != count:
            fail(f"the {where} has not as many numbers as its shape says")

    def texts(self, values: Iterable[bytes], where: str) -> None:
        for value in values:
            self.strings += 1
            if self.strings > self.limits.strings or len(value) > self.limits.text:
                _too_large("the texts of the compiled model are too many", self.limits.strings)
            try:
                value.decode("utf-8")
            except UnicodeDecodeError:
                fail(f"the {where} holds text that is not UTF-8")


def _is_set(attribute: Any, name: str) -> bool:
    try:
        return bool(attribute.HasField(name)) and bool(getattr(attribute, name))
    except ValueError:  # no presence for this field
        return bool(getattr(attribute, name))
