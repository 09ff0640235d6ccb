"""The upload validator: every measured attack is refused, everything we compile is accepted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from jupyter_mlserve.compute.realtime.validate import Limits, validate_model, validate_upload
from jupyter_mlserve.contract.errors import InvalidDefinition, TooLarge
from jupyter_mlserve.contract.realtime import Container, pack, unpack
from jupyter_mlserve.contract.realtime_operators import DOMAINS, OPERATORS
from jupyter_mlserve.notebook.compile import serialize_model

D, I64, S = TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING
HEADER: dict[str, Any] = {
    "inputs": [{"name": "numbers", "type": "double", "columns": [0, 1]}],
    "tensors": [{"name": "value", "type": "double", "width": 1}],
}
WEIGHTS = numpy_helper.from_array(np.array([[1.0], [2.0]]), "w")


def model_of(
    nodes: list[Any],
    initializers: list[Any] | None = None,
    *,
    opsets: dict[str, int] | None = None,
    functions: list[Any] | None = None,
) -> Any:
    """A model with the inputs and outputs of HEADER around ``nodes``."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("numbers", D, [None, 2])],
        [helper.make_tensor_value_info("value", D, [None, 1])],
        initializer=[WEIGHTS] if initializers is None else initializers,
    )
    wanted = opsets or {"": 22, "ai.onnx.ml": 5, "com.microsoft": 1}
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(name, n) for name, n in wanted.items()],
        functions=functions or [],
    )
    made.ir_version = 10
    return made


def linear() -> Any:
    return model_of([helper.make_node("MatMul", ["numbers", "w"], ["value"])])


def check(model: Any) -> None:
    validate_model(model.SerializeToString(), HEADER)


def refused(model: Any, match: str = "The compiled model is refused") -> None:
    with pytest.raises((InvalidDefinition, TooLarge), match=match) as caught:
        check(model)
    assert caught.value.field == "model"


@pytest.fixture(scope="module")
def containers() -> list[bytes]:
    """Real models: trees, text and mixed columns."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=60),
            "c": rng.choice(["u", "v"], 60),
            "t": rng.choice(["red fox", "blue dog", "the fox"], 60),
        }
    )
    y = (frame.a > 0).astype(int)
    mixed = make_pipeline(
        ColumnTransformer(
            [
                ("s", StandardScaler(), ["a"]),
                ("o", OneHotEncoder(handle_unknown="ignore"), ["c"]),
                ("t", TfidfVectorizer(), "t"),
            ]
        ),
        LogisticRegression(),
    ).fit(frame, y)
    x = rng.normal(size=(60, 3))
    forest = RandomForestClassifier(3, random_state=0).fit(x, x[:, 0] > 0)
    return [serialize_model(mixed, frame), serialize_model(forest, x)]


def test_a_plain_model_passes() -> None:
    check(linear())


def test_what_we_compile_passes(containers: list[bytes]) -> None:
    for data in containers:
        assert validate_upload(data).header == unpack(data).header


def test_the_list_holds_nothing_dangerous() -> None:
    """It is generated: so what must never get into it is said here."""
    table = OPERATORS
    assert set(table) == set(DOMAINS)
    names = {name for held in table.values() for name in held}
    never = {"Loop", "If", "Scan", "SequenceMap", "RandomNormal", "RandomUniform", "Bernoulli"}
    never |= {"Multinomial", "Expand", "Tile", "Range", "Resize", "ImageDecoder", "Optional"}
    assert not names & never
    assert set(table["com.microsoft"]) <= {"Tokenizer", "MurmurHash3", "CDist"}
    for held in table.values():
        for attributes in held.values():
            assert not attributes & {"body", "then_branch", "else_branch"}


def test_garbage_is_refused() -> None:
    for data in (b"", b"not a model", b"\x08\x0a" * 1000, b"\xff" * 100):
        with pytest.raises(InvalidDefinition):
            validate_model(data, HEADER)


def test_deep_nesting_is_refused() -> None:
    inner = linear().graph
    for _ in range(60):
        node = helper.make_node("If", ["numbers"], ["value"], then_branch=inner, else_branch=inner)
        if node.ByteSize() > 1_000_000:
            break
        inner = helper.make_graph([node], "n", [], [])
    refused(model_of([helper.make_node("If", ["numbers"], ["value"], then_branch=inner)]))


def external(location: str) -> Any:
    tensor = TensorProto(name="w", data_type=D, dims=[2, 1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


@pytest.mark.parametrize("location", ["secret.bin", "/etc/passwd", "../secret", ""])
def test_data_outside_the_model_is_refused(location: str) -> None:
    refused(model_of(linear().graph.node, [external(location)]), "outside the model")
    hidden = helper.make_node(
        "LabelEncoder",
        ["numbers"],
        ["value"],
        domain="ai.onnx.ml",
        keys_tensor=external(location),
        values_tensor=external(location),
    )
    refused(model_of([hidden]), "outside the model")


def node(op: str, inputs: list[str], domain: str = "", **attributes: Any) -> Any:
    return helper.make_node(op, inputs, ["value"], domain=domain, **attributes)


BODY = helper.make_graph([], "b", [], [])
ATTACKS: dict[str, tuple[Callable[[], Any], str]] = {
    "loop": (lambda: model_of([node("Loop", ["numbers"], body=BODY)]), "not allowed"),
    "scan": (lambda: model_of([node("Scan", ["numbers"], body=BODY, num_scan_inputs=1)]), "not al"),
    "random": (lambda: model_of([node("RandomNormal", ["numbers"], shape=[9])]), "not allowed"),
    "unknown domain": (lambda: model_of([node("MatMul", ["numbers", "w"], "evil")]), "not allowed"),
    "unknown operator set": (
        lambda: model_of(linear().graph.node, opsets={"": 22, "evil": 1}),
        "operator set",
    ),
    "newer operator set": (lambda: model_of(linear().graph.node, opsets={"": 99}), "operator set"),
    "image decoder": (lambda: model_of([node("ImageDecoder", ["numbers"])]), "not allowed"),
    "empty input name": (lambda: model_of([node("Sum", ["numbers", ""])]), "no name"),
    "no inputs": (lambda: model_of([node("Sum", [])]), "no input"),
    "unknown value": (lambda: model_of([node("Abs", ["other"])]), "nothing before it"),
    "cycle": (lambda: model_of([node("Abs", ["value"])]), "nothing before it"),
    "second definition": (
        lambda: model_of([*linear().graph.node, *linear().graph.node]),
        "twice",
    ),
    "constant over an input": (
        lambda: model_of(
            linear().graph.node, [WEIGHTS, numpy_helper.from_array(np.ones((1, 2)), "numbers")]
        ),
        "twice",
    ),
    "graph in an attribute": (
        lambda: model_of([node("MatMul", ["numbers", "w"], axis=BODY)]),
        "attribute",
    ),
    "huge constant": (
        lambda: model_of(
            [
                helper.make_node("ConstantOfShape", ["s"], ["c"]),
                helper.make_node("MatMul", ["numbers", "w"], ["value"]),
            ],
            [WEIGHTS, numpy_helper.from_array(np.array([2**20, 2**10], np.int64), "s")],
        ),
        "too large",
    ),
    "constant as large as the data say": (
        lambda: model_of(
            [
                helper.make_node("Cast", ["numbers"], ["s"], to=I64),
                helper.make_node("ConstantOfShape", ["s"], ["value"]),
            ]
        ),
        "comes from the data|is computed",
    ),
    "constant of squared size": (
        lambda: model_of(
            [
                helper.make_node("Shape", ["numbers"], ["n"]),
                helper.make_node("Concat", ["n", "n"], ["s"], axis=0),
                helper.make_node("ConstantOfShape", ["s"], ["value"]),
            ]
        ),
        "is computed",
    ),
    "top of any number": (
        lambda: model_of(
            [
                helper.make_node("Shape", ["numbers"], ["n"]),
                helper.make_node("TopK", ["numbers", "n"], ["value", "i"]),
            ]
        ),
        "not constant",
    ),
    "pattern": (
        lambda: model_of(
            [node("Tokenizer", ["numbers"], "com.microsoft", tokenexp="(a+)+$", mincharnum=1)]
        ),
        "pattern",
    ),
    "n-grams far away": (
        lambda: model_of(
            [
                node(
                    "TfIdfVectorizer",
                    ["numbers"],
                    ngram_counts=[0],
                    ngram_indexes=[2**40],
                    pool_strings=["a"],
                    min_gram_length=1,
                    max_gram_length=1,
                    max_skip_count=0,
                    mode="TF",
                )
            ]
        ),
        "impossible places",
    ),
    "too few numbers": (
        lambda: model_of(
            linear().graph.node, [TensorProto(name="w", data_type=D, dims=[2, 1], raw_data=b"1")]
        ),
        "not as many bytes",
    ),
    "impossible shape": (
        lambda: model_of(
            linear().graph.node, [TensorProto(name="w", data_type=D, dims=[-2, 1], raw_data=b"")]
        ),
        "impossible shape",
    ),
    "shape bomb": (
        lambda: model_of(
            linear().graph.node, [TensorProto(name="w", data_type=D, dims=[2**40, 2**20])]
        ),
        "too large",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name: str) -> None:
    make, match = ATTACKS[name]
    refused(make(), match)


def test_functions_are_refused() -> None:
    """1.4 KB of functions that call each other twice keep a runtime busy for ever."""
    opset = [helper.make_opsetid("", 22), helper.make_opsetid("f", 1)]
    functions = []
    for depth in range(30):
        inner = f"f{depth + 1}" if depth < 29 else "Abs"
        domain = "f" if depth < 29 else ""
        body = [
            helper.make_node(inner, ["x"], ["y"], domain=domain),
            helper.make_node(inner, ["y"], ["z"], domain=domain),
        ]
        functions.append(helper.make_function("f", f"f{depth}", ["x"], ["z"], body, opset))
    refused(model_of(linear().graph.node, functions=functions), "functions")


def test_many_nodes_are_refused() -> None:
    names = ["numbers", *(f"v{i}" for i in range(5000)), "value"]
    nodes = [helper.make_node("Abs", [a], [b]) for a, b in pairwise(names)]
    refused(model_of(nodes), "nodes")


def test_large_models_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(TooLarge):
        validate_model(b"\x00" * 2000, HEADER, Limits(model=1000))
    with pytest.raises(TooLarge):
        validate_model(linear().SerializeToString(), HEADER, Limits(tensor=8))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("inputs", [{"name": "numbers", "type": "double", "columns": [0]}]),
        ("inputs", [{"name": "other", "type": "double", "columns": [0, 1]}]),
        ("inputs", [{"name": "numbers", "type": "string", "columns": [0, 1]}]),
        ("inputs", []),
        ("tensors", [{"name": "value", "type": "int64", "width": 1}]),
        ("tensors", [{"name": "value", "type": "double", "width": 2}]),
        ("tensors", []),
    ],
)
def test_inputs_and_outputs_are_those_of_the_schema(part: str, value: Any) -> None:
    with pytest.raises(InvalidDefinition, match="not those of the schema"):
        validate_model(linear().SerializeToString(), {**HEADER, part: value})


def test_fixed_numbers_of_rows_are_refused() -> None:
    model = linear()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    refused(model, "any number of rows")


def tree(**changes: Any) -> Any:
    """A TreeEnsemble of two nodes and three leaves, with some attributes changed."""
    attributes: dict[str, Any] = {
        "aggregate_function": 1,
        "post_transform": 0,
        "n_targets": 1,
        "nodes_featureids": [0, 1],
        "nodes_modes": numpy_helper.from_array(np.array([0, 0], np.uint8)),
        "nodes_splits": numpy_helper.from_array(np.array([0.5, 0.25])),
        "nodes_truenodeids": [1, 0],
        "nodes_falsenodeids": [0, 1],
        "nodes_trueleafs": [0, 1],
        "nodes_falseleafs": [1, 1],
        "nodes_missing_value_tracks_true": [0, 0],
        "leaf_targetids": [0, 0],
        "leaf_weights": numpy_helper.from_array(np.array([1.0, 2.0])),
        "tree_roots": [0],
        **changes,
    }
    return model_of([node("TreeEnsemble", ["numbers"], "ai.onnx.ml", **attributes)])


def test_a_plain_tree_passes() -> None:
    check(tree())


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes_truenodeids": [0, 0], "nodes_trueleafs": [0, 1]},  # its own parent
        {"nodes_truenodeids": [1, 0], "nodes_trueleafs": [0, 0]},  # back to the root
        {"nodes_truenodeids": [7, 0]},
        {"nodes_truenodeids": [-1, 0]},
        {"nodes_falsenodeids": [0, 9]},
        {"nodes_falseleafs": [2, 1]},
        {"tree_roots": [0, 0]},
        {"tree_roots": [5]},
        {"nodes_featureids": [0]},
        {"nodes_featureids": [0, -1]},
        {"nodes_featureids": [0, 2**50]},
        {"leaf_targetids": [0, 1]},
        {"leaf_targetids": [0, -1]},
        {"leaf_targetids": [0]},
        {"n_targets": 2**40},
        {"n_targets": 0},
        {"nodes_splits": numpy_helper.from_array(np.array([0.5]))},
        {"nodes_modes": numpy_helper.from_array(np.array([0, 9], np.uint8))},
        {"nodes_modes": numpy_helper.from_array(np.array([0, 6], np.uint8))},  # no members
        {"membership_values": numpy_helper.from_array(np.array([1.0, 2.0]))},
        {"nodes_missing_value_tracks_true": [1]},
    ],
)
def test_trees_that_are_none_are_refused(changes: dict[str, Any]) -> None:
    refused(tree(**changes))


def test_fields_of_a_later_format_are_refused() -> None:
    data = linear().SerializeToString() + b"\xfa\x7f\x03abc"  # field 2047
    with pytest.raises(InvalidDefinition, match="fields that are not known"):
        validate_model(data, HEADER)


def test_a_model_changed_within_its_container_is_refused(containers: list[bytes]) -> None:
    held = unpack(containers[1])
    model = onnx.load_from_string(held.model)
    model.graph.node[0].op_type = "Loop"
    header = {key: value for key, value in held.header.items() if key != "sha256"}
    with pytest.raises(InvalidDefinition):
        validate_upload(pack(header, model.SerializeToString()))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_mutated_models_are_refused_or_whole(containers: list[bytes], data: st.DataObject) -> None:
    """No mutation raises anything but our two errors."""
    held: Container = unpack(data.draw(st.sampled_from(containers)))
    if data.draw(st.booleans()):
        damaged = bytearray(held.model)
        for _ in range(data.draw(st.integers(1, 6))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        mutated = bytes(damaged)
    else:
        mutated = _mutated(held.model, data)
    try:
        validate_model(mutated, held.header)
    except (InvalidDefinition, TooLarge):
        return
    onnx.load_from_string(mutated)


def _mutated(model: bytes, data: st.DataObject) -> bytes:
    """Structure changed: nodes swapped, inputs and integers replaced."""
    made = copy.deepcopy(onnx.load_from_string(model))
    nodes = made.graph.node
    at = nodes[data.draw(st.integers(0, len(nodes) - 1))]
    kind = data.draw(st.sampled_from(["drop", "rename", "operator", "integers", "shape"]))
    if kind == "drop":
        nodes.remove(at)
    elif kind == "rename":
        at.input[data.draw(st.integers(0, len(at.input) - 1))] = data.draw(
            st.sampled_from(["", "numbers", at.output[0]])
        )
    elif kind == "operator":
        at.op_type = data.draw(st.sampled_from(["Loop", "Sum", "Max", "Reshape", "TopK"]))
    elif kind == "integers":
        for attribute in at.attribute:
            if attribute.ints:
                place = data.draw(st.integers(0, len(attribute.ints) - 1))
                attribute.ints[place] = data.draw(st.sampled_from([-1, 0, 2**31, 2**62]))
    elif made.graph.initializer:
        tensor = made.graph.initializer[0]
        tensor.dims[:] = data.draw(st.lists(st.integers(-2, 2**40), max_size=3))
    return bytes(made.SerializeToString())


def test_every_operator_our_compiler_writes_is_in_the_list() -> None:
    """The list is written from models; this reads the source, so that no rare path is left out."""
    import re
    from pathlib import Path

    import jupyter_mlserve.notebook.compile as package
    from jupyter_mlserve.notebook.compile.encoders import _FUNCTIONS

    pattern = re.compile(r"\.(?:apply|node|arithmetic|make_node)\(\s*\"([A-Z]\w*)\"")
    names = {
        name
        for path in Path(package.__file__).parent.glob("*.py")
        for name in pattern.findall(path.read_text("utf-8"))
    }
    assert {"MatMul", "TreeEnsemble", "LabelEncoder", "Tokenizer", "Where"} <= names
    names |= set(_FUNCTIONS.values()) - {"Log1p", "Expm1", "Square"}
    known = {name for held in OPERATORS.values() for name in held}
    assert names - known == set()
