"""The list of operators that compiled models may use: written by its generator, and harmless."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import onnx
import pytest

from jupyter_mlserve.contract import realtime_operators
from jupyter_mlserve.contract.realtime_operators import DOMAINS, OPERATORS

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("estimator_coverage", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entries() -> set[tuple[str, str, str]]:
    return {
        (domain, operator, attribute)
        for domain, held in OPERATORS.items()
        for operator, attributes in held.items()
        for attribute in ("", *attributes)
    }


def test_it_is_as_the_generator_writes_it(generator: ModuleType) -> None:
    text = Path(realtime_operators.__file__).read_text("utf-8")
    assert text.endswith(generator.listed(entries()))


def test_it_has_all_that_image_networks_are_made_of(generator: ModuleType) -> None:
    assert generator.networks() <= entries()


def test_nothing_in_it_loops_branches_calls_or_draws() -> None:
    names = {operator for held in OPERATORS.values() for operator in held}
    for word in ("Random", "Sequence", "Optional", "Attention"):
        assert not [name for name in names if word in name], word
    assert not names & {
        *("Loop", "Scan", "If", "SequenceMap", "Bernoulli", "Multinomial", "Dropout"),
        *("Expand", "Range", "Resize", "Upsample", "ConvTranspose", "ImageDecoder", "GRU", "LSTM"),
    }


def test_of_the_runtime_s_own_operators_three_are_in_it() -> None:
    assert set(OPERATORS) == {"", "ai.onnx.ml", "com.microsoft"}
    assert set(OPERATORS["com.microsoft"]) == {"Tokenizer", "MurmurHash3", "CDist"}


def test_every_operator_and_attribute_is_one_of_its_set() -> None:
    for domain, held in OPERATORS.items():
        if domain == "com.microsoft":  # ONNX has no schema of these
            continue
        for operator, attributes in held.items():
            schema = onnx.defs.get_schema(operator, DOMAINS[domain], domain)
            assert not schema.deprecated, operator
            assert attributes <= set(schema.attributes), operator
            kinds = {schema.attributes[name].type.name for name in attributes}
            assert not kinds & {"GRAPH", "GRAPHS", "TYPE_PROTO", "SPARSE_TENSOR"}, operator
