"""What the attributes and constants of single operators may say.

Rules for the operators whose numbers decide how much memory or time they take, or which the
runtime trusts: trees (a cycle would never end), shapes that are computed, n-gram tables, patterns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...contract.errors import InvalidDefinition
from . import rules_network

MAX_WIDTH = 1_000_000  # columns of a value that one node makes
MAX_CONSTANT = 1_000_000  # elements of a filled constant
PATTERNS = ("(?s).", "[^ ]+", "[^\ue001]+")  # of the tokenizer: what we emit, all linear


@dataclass(frozen=True)
class Around:
    """What a rule may look at: constants by name, and the node that gives each value."""

    constants: Mapping[str, Any]
    makers: Mapping[str, Any]


def check(node: Any, around: Around) -> None:
    """Raise InvalidDefinition if ``node`` breaks the rule of its operator."""
    rule = _RULES.get(node.op_type)
    if rule is not None:
        rule(node, around)


def _fail(node: Any, problem: str) -> None:
    raise InvalidDefinition(
        f"The compiled model is refused: a {node.op_type} {problem}. Make it with "
        "serialize_model(model, sample).",
        field="model",
    )


def _held(node: Any) -> dict[str, Any]:
    return {attribute.name: attribute for attribute in node.attribute}


def _numbers(tensor: Any) -> list[Any]:
    from onnx import numpy_helper

    return list(numpy_helper.to_array(tensor).ravel().tolist())


def _constant(around: Around, name: str) -> list[Any] | None:
    tensor = around.constants.get(name)
    return None if tensor is None else _numbers(tensor)


def _trees(node: Any, around: Around) -> None:
    """ai.onnx.ml 5 TreeEnsemble: every list as long as it must be, every id there, no cycle."""
    held = _held(node)

    def ints(name: str) -> list[int]:
        return list(held[name].ints) if name in held else []

    try:
        modes = _numbers(held["nodes_modes"].t)
        splits = _numbers(held["nodes_splits"].t)
        weights = _numbers(held["leaf_weights"].t)
        targets = int(held["n_targets"].i)
    except KeyError as exc:
        _fail(node, f"lacks its attribute {exc.args[0]!r}")
        return
    nodes, leaves = len(modes), len(weights)
    per_node = ("featureids", "truenodeids", "falsenodeids", "trueleafs", "falseleafs")
    lists = {name: ints(f"nodes_{name}") for name in per_node}
    missing = ints("nodes_missing_value_tracks_true")
    if len(splits) != nodes or any(len(values) != nodes for values in lists.values()):
        _fail(node, "has lists of different lengths")
    if missing and len(missing) != nodes:
        _fail(node, "has lists of different lengths")
    if not 1 <= targets <= MAX_WIDTH or len(ints("leaf_targetids")) != leaves:
        _fail(node, "has an impossible number of targets")
    if any(not 0 <= target < targets for target in ints("leaf_targetids")):
        _fail(node, "has a leaf of a target that is not there")
    if any(not 0 <= feature < MAX_WIDTH for feature in lists["featureids"]):
        _fail(node, "reads a column that cannot be there")
    if any(mode not in (0, 1, 6) for mode in modes):
        _fail(node, "compares in a way that is not emitted")
    members = _numbers(held["membership_values"].t) if "membership_values" in held else []
    ends = sum(1 for value in members if value != value)
    if ends != sum(1 for mode in modes if mode == 6) or (members and members[-1] == members[-1]):
        _fail(node, "has sets of members that do not fit its nodes")
    parents: Counter[int] = Counter(ints("tree_roots"))
    for side in ("true", "false"):
        for child, leaf in zip(lists[f"{side}nodeids"], lists[f"{side}leafs"], strict=True):
            if leaf not in (0, 1) or not 0 <= child < (leaves if leaf else nodes):
                _fail(node, "has a branch that leads nowhere")
            if not leaf:
                parents[child] += 1
    # Every node has exactly one parent or is a root: from a root no path can come back.
    if set(parents) != set(range(nodes)) or any(count != 1 for count in parents.values()):
        _fail(node, "is not made of trees")


def _filled(node: Any, around: Around) -> None:
    """ConstantOfShape: of a constant small shape, or of the shape of a value that is there."""
    _bounded(node, around, node.input[0], 0)


def _bounded(node: Any, around: Around, name: str, depth: int) -> int:
    """How many open dimensions the shape ``name`` has; constants are bounded."""
    values = _constant(around, name)
    if values is not None:
        size = 1
        for value in values:
            size *= max(1, int(value))
            if not 0 <= value <= MAX_CONSTANT or size > MAX_CONSTANT:
                _fail(node, "makes a constant that is too large")
        return 0
    maker = around.makers.get(name)
    if maker is None or depth > 6:
        _fail(node, "has a shape that comes from the data")
    assert maker is not None
    if maker.op_type == "Shape":
        return 1
    if maker.op_type in ("Slice", "Gather", "ArrayFeatureExtractor", "Cast", "Identity"):
        return _bounded(node, around, maker.input[0], depth + 1)
    if maker.op_type in ("Squeeze", "Unsqueeze", "Reshape"):
        return _bounded(node, around, maker.input[0], depth + 1)
    if maker.op_type == "Concat" and len(maker.input) <= 4:
        found = sum(_bounded(node, around, part, depth + 1) for part in maker.input)
        if found <= 1:
            return found
    _fail(node, "has a shape that is computed")
    return 0


def _ngrams(node: Any, around: Around) -> None:
    held = _held(node)
    indexes = list(held["ngram_indexes"].ints) if "ngram_indexes" in held else []
    counts = list(held["ngram_counts"].ints) if "ngram_counts" in held else []
    pool = len(held["pool_strings"].strings) if "pool_strings" in held else 0
    if not indexes or min(indexes) < 0 or max(indexes) >= MAX_WIDTH:
        _fail(node, "has n-grams at impossible places")
    if len(set(indexes)) != len(indexes):
        _fail(node, "has two n-grams at one place")
    if counts != sorted(counts) or not counts or counts[0] != 0 or counts[-1] > pool:
        _fail(node, "has an n-gram table that does not fit its texts")
    lowest = held["min_gram_length"].i if "min_gram_length" in held else 0
    highest = held["max_gram_length"].i if "max_gram_length" in held else 0
    if not 1 <= lowest <= highest <= 20 or len(counts) != highest:
        _fail(node, "has n-grams of impossible lengths")
    ends = [*counts[1:], pool]
    sizes = [
        (end - start) / (i + 1) for i, (start, end) in enumerate(zip(counts, ends, strict=True))
    ]
    if any(size != int(size) for size in sizes) or sum(sizes) != len(indexes):
        _fail(node, "has an n-gram table that does not fit its texts")
    if "max_skip_count" in held and held["max_skip_count"].i != 0:
        _fail(node, "skips words")


def _tokens(node: Any, around: Around) -> None:
    held = _held(node)
    pattern = held["tokenexp"].s.decode("utf-8") if "tokenexp" in held else None
    if pattern not in PATTERNS:
        _fail(node, "has a pattern that is not emitted")
    if "mincharnum" not in held or held["mincharnum"].i != 1:
        _fail(node, "has an impossible length of words")


def _top(node: Any, around: Around) -> None:
    values = _constant(around, node.input[1]) if len(node.input) > 1 else None
    if values is None or len(values) != 1 or not 1 <= values[0] <= MAX_WIDTH:
        _fail(node, "asks for a number of values that is not constant")


def _pick(node: Any, around: Around) -> None:
    """Gather of columns: a constant list of places must not make a value of any width."""
    values = around.constants.get(node.input[1])
    if values is not None and len(values.dims) and max(values.dims) > MAX_WIDTH:
        _fail(node, "picks too many columns")


def _encoder(node: Any, around: Around) -> None:
    held = _held(node)
    sizes = []
    for name in ("keys_tensor", "values_tensor"):
        if name not in held:
            _fail(node, f"lacks its attribute {name!r}")
        sizes.append(list(held[name].t.dims))
    if sizes[0] != sizes[1] or len(sizes[0]) != 1:
        _fail(node, "has not as many values as keys")
    if "default_tensor" in held and list(held["default_tensor"].t.dims) != [1]:
        _fail(node, "has no single default")


def _vectors(node: Any, around: Around) -> None:
    """SVMClassifier: as many coefficients, vectors and offsets as its classes need."""
    held = _held(node)
    try:
        counts = list(held["vectors_per_class"].ints)
        lengths = {
            name: len(held[name].floats)
            for name in ("coefficients", "support_vectors", "rho", "prob_a", "prob_b")
            if name in held
        }
        kernel = len(held["kernel_params"].floats)
    except KeyError as exc:
        _fail(node, f"lacks its attribute {exc.args[0]!r}")
        return
    classes, vectors = len(counts), sum(counts)
    pairs = classes * (classes - 1) // 2
    fits = (
        2 <= classes <= 1000
        and min(counts) >= 0
        and 0 < vectors <= lengths.get("support_vectors", 0)
        and lengths["support_vectors"] % vectors == 0
        and lengths.get("coefficients") == vectors * (classes - 1)
        and lengths.get("rho") == pairs
        and lengths.get("prob_a", pairs) == lengths.get("prob_b", pairs) == pairs
        and kernel == 3
    )
    labels = [len(held[n].ints) for n in ("classlabels_ints",) if n in held]
    labels += [len(held[n].strings) for n in ("classlabels_strings",) if n in held]
    if not fits or labels != [classes]:
        _fail(node, "has lists of lengths that do not fit together")


_RULES: dict[str, Callable[[Any, Around], None]] = {
    "TreeEnsemble": _trees,
    "ConstantOfShape": _filled,
    "TfIdfVectorizer": _ngrams,
    "Tokenizer": _tokens,
    "TopK": _top,
    "Gather": _pick,
    "LabelEncoder": _encoder,
    "SVMClassifier": _vectors,
    **rules_network.RULES,
}
