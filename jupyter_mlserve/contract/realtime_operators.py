"""The operators a realtime model may use: those our own compiler emits, and no others.

Written by ``tests/benchmarks/coverage.py --write`` from the models it compiles. The compiler holds
its results to it, and the server every upload. It has no loops, no branches, no random numbers, no
functions, and of ONNX Runtime's own operators only two for text and one for distances.
"""

from __future__ import annotations

# Operator sets, and the newest version of each that is emitted.
DOMAINS = {"": 22, "ai.onnx.ml": 5, "com.microsoft": 1}

# domain -> operator -> the names of its attributes
OPERATORS: dict[str, dict[str, frozenset[str]]] = {
    "": {
        "Abs": frozenset(),
        "Add": frozenset(),
        "And": frozenset(),
        "ArgMax": frozenset(
            {
                "axis",
                "keepdims",
                "select_last_index",
            }
        ),
        "AveragePool": frozenset(
            {
                "ceil_mode",
                "count_include_pad",
                "dilations",
                "kernel_shape",
                "pads",
                "strides",
            }
        ),
        "BatchNormalization": frozenset(
            {
                "epsilon",
            }
        ),
        "Cast": frozenset(
            {
                "to",
            }
        ),
        "Ceil": frozenset(),
        "Clip": frozenset(),
        "Concat": frozenset(
            {
                "axis",
            }
        ),
        "ConstantOfShape": frozenset(
            {
                "value",
            }
        ),
        "Conv": frozenset(
            {
                "dilations",
                "group",
                "kernel_shape",
                "pads",
                "strides",
            }
        ),
        "Cos": frozenset(),
        "CumSum": frozenset(),
        "Div": frozenset(),
        "Elu": frozenset(
            {
                "alpha",
            }
        ),
        "Equal": frozenset(),
        "Erf": frozenset(),
        "Exp": frozenset(),
        "Flatten": frozenset(
            {
                "axis",
            }
        ),
        "Floor": frozenset(),
        "Gather": frozenset(
            {
                "axis",
            }
        ),
        "GatherElements": frozenset(
            {
                "axis",
            }
        ),
        "Gemm": frozenset(
            {
                "alpha",
                "beta",
                "transA",
                "transB",
            }
        ),
        "GlobalAveragePool": frozenset(),
        "GlobalMaxPool": frozenset(),
        "Greater": frozenset(),
        "GreaterOrEqual": frozenset(),
        "HardSigmoid": frozenset(
            {
                "alpha",
                "beta",
            }
        ),
        "HardSwish": frozenset(),
        "Identity": frozenset(),
        "IsNaN": frozenset(),
        "LRN": frozenset(
            {
                "alpha",
                "beta",
                "bias",
                "size",
            }
        ),
        "LeakyRelu": frozenset(
            {
                "alpha",
            }
        ),
        "Less": frozenset(),
        "LessOrEqual": frozenset(),
        "Log": frozenset(),
        "MatMul": frozenset(),
        "Max": frozenset(),
        "MaxPool": frozenset(
            {
                "ceil_mode",
                "dilations",
                "kernel_shape",
                "pads",
                "strides",
            }
        ),
        "Mod": frozenset(),
        "Mul": frozenset(),
        "Neg": frozenset(),
        "Or": frozenset(),
        "PRelu": frozenset(),
        "Pad": frozenset(
            {
                "mode",
            }
        ),
        "Pow": frozenset(),
        "ReduceLogSumExp": frozenset(
            {
                "keepdims",
            }
        ),
        "ReduceMax": frozenset(
            {
                "keepdims",
            }
        ),
        "ReduceMean": frozenset(
            {
                "keepdims",
            }
        ),
        "ReduceSum": frozenset(
            {
                "keepdims",
            }
        ),
        "ReduceSumSquare": frozenset(
            {
                "keepdims",
            }
        ),
        "Relu": frozenset(),
        "Reshape": frozenset(
            {
                "allowzero",
            }
        ),
        "ScatterElements": frozenset(
            {
                "axis",
                "reduction",
            }
        ),
        "Shape": frozenset(),
        "Sigmoid": frozenset(),
        "Sign": frozenset(),
        "Sin": frozenset(),
        "Slice": frozenset(),
        "Softmax": frozenset(
            {
                "axis",
            }
        ),
        "Sqrt": frozenset(),
        "Squeeze": frozenset(),
        "Sub": frozenset(),
        "Sum": frozenset(),
        "Tanh": frozenset(),
        "TfIdfVectorizer": frozenset(
            {
                "max_gram_length",
                "max_skip_count",
                "min_gram_length",
                "mode",
                "ngram_counts",
                "ngram_indexes",
                "pool_strings",
            }
        ),
        "TopK": frozenset(
            {
                "axis",
                "largest",
                "sorted",
            }
        ),
        "Transpose": frozenset(
            {
                "perm",
            }
        ),
        "Unsqueeze": frozenset(),
        "Where": frozenset(),
    },
    "ai.onnx.ml": {
        "ArrayFeatureExtractor": frozenset(),
        "Binarizer": frozenset(
            {
                "threshold",
            }
        ),
        "LabelEncoder": frozenset(
            {
                "default_tensor",
                "keys_tensor",
                "values_tensor",
            }
        ),
        "SVMClassifier": frozenset(
            {
                "classlabels_ints",
                "classlabels_strings",
                "coefficients",
                "kernel_params",
                "kernel_type",
                "post_transform",
                "prob_a",
                "prob_b",
                "rho",
                "support_vectors",
                "vectors_per_class",
            }
        ),
        "TreeEnsemble": frozenset(
            {
                "aggregate_function",
                "leaf_targetids",
                "leaf_weights",
                "membership_values",
                "n_targets",
                "nodes_falseleafs",
                "nodes_falsenodeids",
                "nodes_featureids",
                "nodes_missing_value_tracks_true",
                "nodes_modes",
                "nodes_splits",
                "nodes_trueleafs",
                "nodes_truenodeids",
                "post_transform",
                "tree_roots",
            }
        ),
    },
    "com.microsoft": {
        "CDist": frozenset(
            {
                "metric",
            }
        ),
        "MurmurHash3": frozenset(
            {
                "positive",
                "seed",
            }
        ),
        "Tokenizer": frozenset(
            {
                "mark",
                "mincharnum",
                "pad_value",
                "tokenexp",
            }
        ),
    },
}
