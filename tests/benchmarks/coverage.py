"""Which of scikit-learn's estimators can be realtime services: right, refused, or wrong.

    python tests/benchmarks/coverage.py [--write] [NAME ...]

Every estimator of scikit-learn that can score rows it was not fitted on is fitted with its
defaults (or the least that it needs), compiled with ``serialize_model`` and compared with itself
on rows that neither the fit nor the compilation saw. "Refused" is an answer; "wrong" is a bug, and
makes the exit code 1. ``--write`` writes the operators that were emitted to
``contract/realtime_operators.py``, which compiler and upload validator hold to.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RIGHT, REFUSED, WRONG, SKIPPED = "right", "refused", "wrong", "skipped"


def data(seed: int = 0) -> dict[str, Any]:
    """Small data sets of every shape that estimators ask for."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(240, 5)).round(2)
    y = x[:, 0] + 0.5 * x[:, 1] ** 2 + 0.1 * rng.normal(size=240)
    labels = np.digitize(y, np.quantile(y, [0.33, 0.66]))
    words = ["red", "green", "blue", "the", "quick", "fox", "over", "a", "dog", "Ærø", "été"]
    texts = [" ".join(rng.choice(words, 6)) for _ in range(240)]
    return {
        "x": x,
        "positive": np.abs(x) + 0.1,
        "unit": (x - x.min(0)) / (x.max(0) - x.min(0)),
        "one": x[:, :1],
        "y": y,
        "positive y": np.abs(y) + 0.1,
        "labels": labels,
        "binary": (y > 0).astype(int),
        "several y": np.c_[y, x[:, 1] - x[:, 2]],
        "several labels": np.c_[(y > 0).astype(int), (x[:, 2] > 0).astype(int)],
        "holes": np.where(rng.random(x.shape) < 0.1, np.nan, x),
        "text": pd.Series(texts, name="text"),
        "category": pd.DataFrame(
            {"a": rng.choice(["u", "v", "w"], 240), "b": rng.choice(["k", "l"], 240)}
        ),
    }


def special(name: str) -> tuple[tuple[Any, ...] | dict[str, Any], str, str]:
    """Constructor arguments, and which data the estimator is fitted on."""
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    logistic, linear = LogisticRegression(), LinearRegression()
    grid: dict[str, Any] = {"estimator": logistic, "param_grid": {"C": [0.1, 1.0]}}
    drawn: dict[str, Any] = {"estimator": logistic, "param_distributions": {"C": [0.1, 1.0]}}
    named: list[Any] = [("a", logistic), ("b", DecisionTreeClassifier(max_depth=3))]
    table: dict[str, tuple[dict[str, Any], str, str]] = {
        "ColumnTransformer": (
            {"transformers": [("s", StandardScaler(), [0, 1]), ("p", "passthrough", [2])]},
            "x",
            "",
        ),
        "FeatureUnion": ({"transformer_list": [("s", StandardScaler())]}, "x", ""),
        "Pipeline": ({"steps": [("s", StandardScaler()), ("m", logistic)]}, "x", "labels"),
        "GridSearchCV": (grid, "x", "labels"),
        "HalvingGridSearchCV": (grid, "x", "labels"),
        "RandomizedSearchCV": ({**drawn, "n_iter": 2}, "x", "labels"),
        "HalvingRandomSearchCV": (drawn, "x", "labels"),
        "FrozenEstimator": ({"estimator": None}, "x", "labels"),
        "StackingClassifier": ({"estimators": named}, "x", "labels"),
        "StackingRegressor": ({"estimators": [("a", linear)]}, "x", "y"),
        "VotingClassifier": ({"estimators": named, "voting": "soft"}, "x", "labels"),
        "VotingRegressor": ({"estimators": [("a", linear)]}, "x", "y"),
        "ClassifierChain": ({"estimator": logistic}, "x", "several labels"),
        "MultiOutputClassifier": ({"estimator": logistic}, "x", "several labels"),
        "RegressorChain": ({"estimator": linear}, "x", "several y"),
        "MultiOutputRegressor": ({"estimator": linear}, "x", "several y"),
        "FixedThresholdClassifier": ({"estimator": logistic, "threshold": 0.3}, "x", "binary"),
        "TunedThresholdClassifierCV": ({"estimator": logistic}, "x", "binary"),
        "OneVsOneClassifier": ({"estimator": logistic}, "x", "labels"),
        "OneVsRestClassifier": ({"estimator": logistic}, "x", "labels"),
        "OutputCodeClassifier": ({"estimator": logistic}, "x", "labels"),
        "RFE": ({"estimator": logistic}, "x", "labels"),
        "RFECV": ({"estimator": logistic}, "x", "labels"),
        "SelectFromModel": ({"estimator": logistic}, "x", "labels"),
        "SequentialFeatureSelector": ({"estimator": logistic}, "x", "labels"),
        "SelfTrainingClassifier": ({"estimator": logistic}, "x", "labels"),
        "SparseCoder": ({"dictionary": np.eye(5)}, "x", ""),
        "IsotonicRegression": ({"out_of_bounds": "clip"}, "one", "y"),
        "CountVectorizer": ({}, "text", ""),
        "TfidfVectorizer": ({}, "text", ""),
        "HashingVectorizer": ({"n_features": 64}, "text", ""),
        "OneHotEncoder": ({"handle_unknown": "ignore"}, "category", ""),
        "OrdinalEncoder": ({}, "category", ""),
        "TargetEncoder": ({}, "category", "y"),
        "FeatureHasher": ({"n_features": 16, "input_type": "string"}, "category", ""),
        "MissingIndicator": ({}, "holes", ""),
        "SimpleImputer": ({}, "holes", ""),
        "KNNImputer": ({}, "holes", ""),
        "IterativeImputer": ({}, "holes", ""),
        "RandomTreesEmbedding": ({"n_estimators": 5}, "x", ""),
        "KBinsDiscretizer": ({"encode": "onehot-dense"}, "x", ""),
        "SelectKBest": ({"k": 2}, "x", "labels"),
        "SparseRandomProjection": ({"n_components": 3}, "x", ""),
        "GaussianRandomProjection": ({"n_components": 3}, "x", ""),
        "MultiTaskElasticNet": ({}, "x", "several y"),
        "MultiTaskElasticNetCV": ({}, "x", "several y"),
        "MultiTaskLasso": ({}, "x", "several y"),
        "MultiTaskLassoCV": ({}, "x", "several y"),
        "CCA": ({"n_components": 2}, "x", "several y"),
        "PLSCanonical": ({"n_components": 2}, "x", "several y"),
        "PLSSVD": ({"n_components": 2}, "x", "several y"),
        "PLSRegression": ({"n_components": 2}, "x", "y"),
        "QuantileTransformer": ({"n_quantiles": 100}, "x", ""),
        "TransformedTargetRegressor": ({}, "x", "y"),
        "NuSVC": ({"nu": 0.2}, "x", "labels"),
        "LocalOutlierFactor": ({"novelty": True}, "x", ""),
        "DummyClassifier": ({}, "x", "labels"),
        "RadiusNeighborsClassifier": ({"radius": 20.0}, "x", "labels"),
        "RadiusNeighborsRegressor": ({"radius": 20.0}, "x", "y"),
    }
    positive = {
        "AdditiveChi2Sampler",
        "SkewedChi2Sampler",
        "NMF",
        "MiniBatchNMF",
        "LatentDirichletAllocation",
        "MultinomialNB",
        "ComplementNB",
        "CategoricalNB",
        "PoissonRegressor",
    }
    if name in table:
        return table[name]
    kind = "positive" if name in positive else "unit" if name == "BernoulliRBM" else "x"
    return {}, kind, "?"


def make(name: str, cls: Any, sets: dict[str, Any]) -> tuple[Any, Any] | None:
    """The fitted estimator and the rows it takes; None if it cannot score new rows."""
    from sklearn.base import is_classifier, is_regressor
    from sklearn.linear_model import LogisticRegression

    if name == "FrozenEstimator":  # its methods are those of the model inside
        inner = LogisticRegression().fit(sets["x"][:160], sets["labels"][:160])
        return cls(inner), sets["x"]
    if name == "KernelCenterer" or not (hasattr(cls, "predict") or hasattr(cls, "transform")):
        return None
    arguments, rows, wanted = special(name)
    model = cls(**arguments) if isinstance(arguments, dict) else cls(*arguments)
    if "random_state" in model.get_params() and "random_state" not in arguments:
        model.set_params(random_state=0)
    x = sets[rows]
    if name == "CategoricalNB":
        x = x.round(0).clip(0, 3)
    if wanted == "?":
        wanted = "labels" if is_classifier(model) else "y" if is_regressor(model) else ""
        if name in ("PoissonRegressor", "GammaRegressor", "TweedieRegressor"):
            wanted = "positive y"
        if not wanted and name in _SUPERVISED:
            wanted = "labels"
    train = x[:160] if isinstance(x, np.ndarray) else x.iloc[:160]
    model.fit(train, sets[wanted][:160]) if wanted else model.fit(train)
    return model, x


# They can score what they were not fitted on, but not as rows of a frame.
NO_FRAME = {
    "DictVectorizer": "it takes dicts",
    "LabelBinarizer": "it takes responses",
    "LabelEncoder": "it takes responses",
    "MultiLabelBinarizer": "it takes sets of labels",
    "PatchExtractor": "it takes arrays of images",
}
_SUPERVISED = {
    "GenericUnivariateSelect",
    "SelectFdr",
    "SelectFpr",
    "SelectFwe",
    "SelectPercentile",
    "NeighborhoodComponentsAnalysis",
}


def judge(model: Any, x: Any) -> tuple[str, str, bytes | None]:
    """Compile on 100 training rows, compare on the 80 rows after the training rows."""
    from jupyter_mlserve.contract.errors import MLServeError
    from jupyter_mlserve.contract.realtime import unpack
    from jupyter_mlserve.notebook.compile import serialize_model
    from jupyter_mlserve.notebook.compile.feeding import feeds
    from jupyter_mlserve.notebook.compile.frames import read_sample
    from jupyter_mlserve.notebook.compile.gate import TOLERANCE, differences
    from jupyter_mlserve.notebook.compile.reference import Reference
    from jupyter_mlserve.notebook.compile.running import run

    part = (lambda a, b: x[a:b]) if isinstance(x, np.ndarray) else (lambda a, b: x.iloc[a:b])
    try:
        made = unpack(serialize_model(model, part(0, 100)))
    except MLServeError as exc:
        return REFUSED, exc.message, None
    frame = read_sample(model, part(160, 240), None)
    expected = Reference(model, frame)(frame.data)
    names = [tensor["name"] for tensor in made.header["tensors"]]
    found = run(made.model, feeds(made.header["inputs"], frame.data), names)
    got = dict(zip(names, found, strict=True))
    if "features" in expected:
        got = {"features": np.concatenate([got[name] for name in names], axis=1)}
    usual = {
        name: 1.0 if name == "probabilities" else np.abs(value).mean(axis=0, keepdims=True)
        for name, value in expected.items()
        if value.dtype.kind in "fiub"
    }
    off = float(differences(expected, got, usual)[0].max())
    note = f"{made.header['proof']['candidate']}, {off:.1e}"
    return (RIGHT if off <= TOLERANCE else WRONG), note, made.model


def operators(model: bytes) -> set[tuple[str, str, str]]:
    """(domain, operator, attribute) of every node; the attribute "" stands for the node itself."""
    import onnx

    found = set()
    for node in onnx.load_from_string(model).graph.node:
        found.add((node.domain, node.op_type, ""))
        found |= {(node.domain, node.op_type, attribute.name) for attribute in node.attribute}
    return found


def extras(sets: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Fitted models whose options or libraries emit what no default does, with their rows."""
    import lightgbm as lgb
    import xgboost as xgb
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import (
        AdaBoostRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )
    from sklearn.feature_extraction.text import (
        CountVectorizer,
        HashingVectorizer,
        TfidfVectorizer,
    )
    from sklearn.isotonic import IsotonicRegression
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import (
        FunctionTransformer,
        MinMaxScaler,
        Normalizer,
        OneHotEncoder,
        OrdinalEncoder,
        PowerTransformer,
        SplineTransformer,
        StandardScaler,
    )
    from sklearn.svm import SVC

    x, y, labels, positive = sets["x"], sets["y"], sets["labels"], sets["positive"]
    binary, texts, category = sets["binary"], sets["text"], sets["category"]
    frame = category.astype("category").assign(x=x[:, 0])
    coded, holes = np.c_[x, np.arange(240) % 7], sets["holes"]
    small = {"n_estimators": 8, "verbose": -1}
    rows: list[tuple[Any, Any, Any]] = [
        (lgb.LGBMClassifier(**small), x, labels),
        (lgb.LGBMClassifier(**small), x, binary),
        (lgb.LGBMClassifier(**small, objective="multiclassova"), x, labels),
        (lgb.LGBMRegressor(**small), x, y),
        (lgb.LGBMRegressor(**small, objective="poisson"), x, sets["positive y"]),
        (lgb.LGBMRegressor(**small, zero_as_missing=True), x, y),
        (lgb.LGBMRegressor(**small, reg_sqrt=True), x, y),
        (lgb.LGBMRegressor(**small, objective="cross_entropy_lambda"), x, binary),
        (xgb.XGBClassifier(n_estimators=8), x, labels),
        (xgb.XGBClassifier(n_estimators=8), x, binary),
        (xgb.XGBRegressor(n_estimators=8), x, y),
        (xgb.XGBRegressor(n_estimators=8, objective="count:poisson"), x, sets["positive y"]),
        (xgb.XGBRegressor(n_estimators=8, booster="gblinear"), x, y),
        (HistGradientBoostingClassifier(max_iter=8, categorical_features=[5]), coded, labels),
        (HistGradientBoostingRegressor(max_iter=8, loss="poisson"), x, sets["positive y"]),
        (CalibratedClassifierCV(SVC(), method="isotonic"), x, labels),
        (AdaBoostRegressor(n_estimators=4), x, y),
        (SVC(kernel="poly"), x, labels),
        (SVC(kernel="sigmoid"), x, labels),
        (SVC(break_ties=True), x, labels),
        (make_pipeline(Nystroem(kernel="laplacian", n_components=9), Ridge()), x, y),
        (make_pipeline(Nystroem(kernel="cosine", n_components=9), Ridge()), x, y),
        (make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression()), texts, labels),
        (make_pipeline(TfidfVectorizer(sublinear_tf=True, norm="l1"), Ridge()), texts, y),
        (make_pipeline(CountVectorizer(analyzer="char_wb", binary=True), Ridge()), texts, y),
        (make_pipeline(OneHotEncoder(drop="first"), Ridge()), category, y),
        (make_pipeline(OrdinalEncoder(), Ridge()), category, y),
        (make_pipeline(PowerTransformer(method="box-cox"), Ridge()), positive, y),
        (make_pipeline(MinMaxScaler(clip=True), Normalizer("max"), Ridge()), x, y),
        (
            make_pipeline(StandardScaler(), Normalizer("l1"), PoissonRegressor()),
            x,
            sets["positive y"],
        ),
        (SGDClassifier(loss="modified_huber"), x, labels),
        (SGDClassifier(loss="log_loss"), x, binary),
        (SVC(probability=True), x, labels),
        (SVC(probability=True), x, np.array(["u", "v", "w"])[labels]),
        (KNeighborsClassifier(), x, np.array(["u", "v", "w"])[labels]),
        (GaussianNB(), x, np.array(["u", "v", "w"])[labels]),
        (MLPClassifier(max_iter=20), x, sets["several labels"]),
        (MLPClassifier(max_iter=20), x, np.array(["u", "v", "w"])[labels]),
        (make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge()), holes.round(0), y),
        (make_pipeline(FunctionTransformer(np.log), Ridge()), positive, y),
        (make_pipeline(FunctionTransformer(np.sqrt), Ridge()), positive, y),
        (IsotonicRegression(), x[:, :1], y),
        (make_pipeline(HashingVectorizer(n_features=99, ngram_range=(1, 2)), Ridge()), texts, y),
        (make_pipeline(HashingVectorizer(n_features=9, norm="l1"), Ridge()), texts, y),
        (make_pipeline(HashingVectorizer(n_features=9, binary=True), Ridge()), texts, y),
        (make_pipeline(CountVectorizer(analyzer="char_wb", ngram_range=(4, 5)), Ridge()), texts, y),
        (make_pipeline(SplineTransformer(extrapolation="linear"), Ridge()), x, y),
        (make_pipeline(SplineTransformer(extrapolation="periodic"), Ridge()), x, y),
        (xgb.XGBRegressor(n_estimators=8, enable_categorical=True), frame, y),
        *(
            (make_pipeline(FunctionTransformer(function), Ridge()), x, y)
            for function in (np.floor, np.ceil, np.sign, np.negative, np.tanh, np.sin, np.exp)
        ),
    ]
    return [(type(model).__name__, model.fit(a[:160], b[:160]), a) for model, a, b in rows]


# What common image networks (AlexNet, VGG, ResNet, SqueezeNet, MobileNet, EfficientNet, Inception)
# are made of, as ``notebook/compile/image_network.py`` writes them.
_WINDOW = ("kernel_shape", "pads", "strides", "dilations")
NETWORKS: dict[str, tuple[str, ...]] = {
    "Add": (),
    "AveragePool": (*_WINDOW, "ceil_mode", "count_include_pad"),
    "BatchNormalization": ("epsilon",),
    "Clip": (),
    "Concat": ("axis",),
    "Conv": (*_WINDOW, "group"),
    "Div": (),
    "Elu": ("alpha",),
    "Erf": (),
    "Exp": (),
    "Flatten": ("axis",),
    "Gemm": ("alpha", "beta", "transA", "transB"),
    "GlobalAveragePool": (),
    "GlobalMaxPool": (),
    "HardSigmoid": ("alpha", "beta"),
    "HardSwish": (),
    "LRN": ("alpha", "beta", "bias", "size"),
    "LeakyRelu": ("alpha",),
    "MatMul": (),
    "MaxPool": (*_WINDOW, "ceil_mode"),
    "Max": (),
    "Mul": (),
    "PRelu": (),
    "Pad": ("mode",),
    "Pow": (),
    "ReduceMean": ("keepdims",),
    "ReduceSum": ("keepdims",),
    "Relu": (),
    "Reshape": (),
    "Sigmoid": (),
    "Softmax": ("axis",),
    "Sqrt": (),
    "Squeeze": (),
    "Sub": (),
    "Tanh": (),
    "Transpose": ("perm",),
    "Unsqueeze": (),
}


def networks() -> set[tuple[str, str, str]]:
    """As :func:`operators`, of the networks that FeaturizeImage takes."""
    return {
        ("", operator, attribute)
        for operator, attributes in NETWORKS.items()
        for attribute in ("", *attributes)
    }


def listed(emitted: set[tuple[str, str, str]]) -> str:
    """The list of these operators as Python text."""
    table: dict[str, dict[str, list[str]]] = {}
    for domain, operator, attribute in sorted(emitted):
        names = table.setdefault(domain, {}).setdefault(operator, [])
        if attribute:
            names.append(attribute)
    lines = ["OPERATORS: dict[str, dict[str, frozenset[str]]] = {"]
    for domain, held in table.items():
        lines.append(f'    "{domain}": {{')
        for operator, names in held.items():
            lines.append(f'        "{operator}": frozenset(')
            lines += ["            {", *(f'                "{name}",' for name in names)]
            lines += ["            }", "        ),"] if names else []
            if not names:
                lines[-2:] = [f'        "{operator}": frozenset(),']
        lines.append("    },")
    return "\n".join([*lines, "}"]) + "\n"


def write(emitted: set[tuple[str, str, str]]) -> None:
    """Write the list of operators that compiler and upload validator hold to."""
    import jupyter_mlserve.contract.realtime_operators as module

    path = Path(module.__file__)
    head = path.read_text("utf-8").split("OPERATORS", 1)[0]
    path.write_text(head + listed(emitted), "utf-8")


def main() -> int:
    from sklearn.experimental import (  # noqa: F401
        enable_halving_search_cv,
        enable_iterative_imputer,
    )
    from sklearn.utils import all_estimators

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--write", action="store_true", help="write the allow-list")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    sets, counts, emitted = data(), Counter[str](), set[tuple[str, str, str]]()
    started = time.perf_counter()
    if asked.write:
        from jupyter_mlserve.notebook.compile import serialize

        serialize.outside = lambda model: None  # to learn what is new
    for name, cls in all_estimators():
        if asked.names and name not in asked.names:
            continue
        if name in NO_FRAME:
            counts[REFUSED] += 1
            print(f"{name:32} {REFUSED:8}   0.0 s  {NO_FRAME[name]}, not a frame")
            continue
        try:
            made = make(name, cls, sets)
        except Exception as exc:  # a harness that cannot fit an estimator says so
            made = None
            print(f"{name:32} could not be fitted: {exc!r:.100}")
        if made is None:
            counts[SKIPPED] += 1
            continue
        begun = time.perf_counter()
        verdict, note, model = judge(*made)
        counts[verdict] += 1
        if model is not None:
            emitted |= operators(model)
        print(
            f"{name:32} {verdict:8} {time.perf_counter() - begun:5.1f} s  {note:.180}", flush=True
        )
    tried = counts[RIGHT] + counts[REFUSED] + counts[WRONG]
    print(
        f"\n{counts[RIGHT]} of {tried} right, {counts[REFUSED]} refused, {counts[WRONG]} wrong, "
        f"{counts[SKIPPED]} cannot score new rows; {time.perf_counter() - started:.0f} s"
    )
    if asked.write:
        for name, model, rows in extras(sets):
            verdict, note, made_bytes = judge(model, rows)
            counts[WRONG] += verdict == WRONG
            emitted |= operators(made_bytes) if made_bytes else set()
            print(f"{name:32} {verdict:8} {note:.180}", flush=True)
        write(emitted | networks())
    return 1 if counts[WRONG] else 0


if __name__ == "__main__":
    sys.exit(main())
