"""The models that people publish: right on rows that neither fit nor proof saw."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier
from support.compiled import proved, score

# Fitting small models on few rows is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CLASSIFIERS: dict[str, Any] = {
    "logistic": LogisticRegression(max_iter=500),
    "tree": DecisionTreeClassifier(random_state=0),
    "forest": RandomForestClassifier(10, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=8, random_state=0),
    "histogram": HistGradientBoostingClassifier(max_iter=8),
    "lightgbm": lgb.LGBMClassifier(n_estimators=8, verbose=-1),
    "xgboost": xgb.XGBClassifier(n_estimators=8),
    "svc": SVC(),
    "linear svc": LinearSVC(),
    "neighbours": KNeighborsClassifier(),
    "bayes": GaussianNB(),
    "network": MLPClassifier((8,), max_iter=60, random_state=0),
    "votes": VotingClassifier(
        [("a", LogisticRegression()), ("b", RandomForestClassifier(5, random_state=0))],
        voting="soft",
    ),
    "bags": BaggingClassifier(LogisticRegression(), n_estimators=3, random_state=0),
    "calibrated": CalibratedClassifierCV(LinearSVC(), cv=2),
}
REGRESSORS: dict[str, Any] = {
    "linear": LinearRegression(),
    "forest": RandomForestRegressor(8, random_state=0),
    "boosting": GradientBoostingRegressor(n_estimators=8, random_state=0),
    "histogram": HistGradientBoostingRegressor(max_iter=8),
    "lightgbm": lgb.LGBMRegressor(n_estimators=8, verbose=-1),
    "xgboost": xgb.XGBRegressor(n_estimators=8),
    "svr": make_pipeline(StandardScaler(), SVR()),
    "polynomial": make_pipeline(PolynomialFeatures(2), Ridge()),
    "adaboost": AdaBoostRegressor(n_estimators=4, random_state=0),
    "log target": TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    "scaled target": TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_of_three_classes(name: str) -> None:
    x, y = load_iris(return_X_y=True, as_frame=True)
    model = CLASSIFIERS[name].fit(x[::2], y[::2])
    made = proved(model, x[::2], x[1::2])
    names = [output["name"] for output in made.header["outputs"]]
    assert names[0] == "PredictedLabel"
    assert names[1:] == ["Score.0", "Score.1", "Score.2"]


@pytest.mark.parametrize("name", ["logistic", "forest", "boosting", "histogram", "svc"])
def test_classifiers_of_two_text_classes(name: str, numbers: Any, two: Any) -> None:
    labels = np.where(two == 1, "yes", "no")
    model = CLASSIFIERS[name].fit(numbers[:200], labels[:200])
    made = proved(model, numbers[:200], numbers[200:])
    second = "Score" if name == "svc" else "Probability"
    assert [output["name"] for output in made.header["outputs"]] == ["PredictedLabel", second]
    assert made.header["outputs"][0]["type"] == "character"
    assert made.header["outputs"][0]["labels"] == ["no", "yes"]


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name: str) -> None:
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    model = REGRESSORS[name].fit(x[::2], y[::2])
    made = proved(model, x[::2].assign(target=y[::2]), x[1::2])
    assert [output["name"] for output in made.header["outputs"]] == ["target_Pred"]
    assert made.header["proof"]["candidate"] == "double"


def test_the_attitude_data_give_what_the_published_samples_give() -> None:
    # The first rows of R's attitude data; ratings 43 63 71 61 81.
    frame = pd.DataFrame(
        {
            "rating": [
                43,
                63,
                71,
                61,
                81,
                43,
                58,
                71,
                72,
                67,
                64,
                67,
                69,
                68,
                77,
                81,
                74,
                65,
                65,
                50,
                50,
                64,
                53,
                40,
                63,
                66,
                78,
                48,
                85,
                82,
            ],
            "complaints": [
                51,
                64,
                70,
                63,
                78,
                55,
                67,
                75,
                82,
                61,
                53,
                60,
                62,
                83,
                77,
                90,
                85,
                60,
                70,
                58,
                40,
                61,
                66,
                37,
                54,
                77,
                75,
                57,
                85,
                82,
            ],
            "privileges": [
                30,
                51,
                68,
                45,
                56,
                49,
                42,
                50,
                72,
                45,
                53,
                47,
                57,
                83,
                54,
                50,
                64,
                65,
                46,
                68,
                33,
                52,
                52,
                42,
                42,
                66,
                58,
                44,
                71,
                39,
            ],
            "learning": [
                39,
                54,
                69,
                47,
                66,
                44,
                56,
                55,
                67,
                47,
                58,
                39,
                42,
                45,
                72,
                72,
                69,
                75,
                57,
                54,
                34,
                62,
                50,
                58,
                48,
                63,
                74,
                45,
                71,
                59,
            ],
            "raises": [
                61,
                63,
                76,
                54,
                71,
                54,
                66,
                70,
                71,
                62,
                58,
                59,
                55,
                59,
                79,
                60,
                79,
                55,
                75,
                64,
                43,
                66,
                63,
                50,
                66,
                88,
                80,
                51,
                77,
                64,
            ],
            "critical": [
                92,
                73,
                86,
                84,
                83,
                49,
                68,
                66,
                83,
                80,
                67,
                74,
                63,
                77,
                77,
                54,
                79,
                80,
                85,
                78,
                64,
                80,
                80,
                57,
                75,
                76,
                78,
                83,
                74,
                78,
            ],
            "advance": [
                45,
                47,
                48,
                35,
                47,
                34,
                35,
                41,
                31,
                41,
                34,
                41,
                25,
                35,
                46,
                36,
                63,
                60,
                46,
                52,
                33,
                41,
                37,
                49,
                33,
                72,
                49,
                38,
                55,
                39,
            ],
        }
    )
    x = frame.drop(columns="rating")
    model = LinearRegression().fit(x, frame["rating"])
    made = proved(model, frame, x)
    assert made.header["response"] == {"name": "rating", "type": "integer", "position": 0}
    first = score(made, x.head(5))["rating_Pred"]
    wanted = [51.110295255533131, 61.352766, 69.939441, 61.226842, 74.453799]
    np.testing.assert_allclose(first, wanted, rtol=1e-7)


def columns(**options: Any) -> ColumnTransformer:
    encoder = OneHotEncoder(handle_unknown="ignore", **options)
    return ColumnTransformer(
        [("n", StandardScaler(), ["age", "income", "ratio"]), ("c", encoder, ["city", "grade"])],
        remainder="passthrough",
    )


def imputed() -> ColumnTransformer:
    number = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    text = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    return ColumnTransformer(
        [("n", number, ["age", "income", "ratio"]), ("c", text, ["city", "grade"])]
    )


MIXED: dict[str, Any] = {
    "logistic": make_pipeline(columns(), LogisticRegression(max_iter=500)),
    "forest": make_pipeline(columns(), RandomForestClassifier(8, random_state=0)),
    "lightgbm": make_pipeline(columns(), lgb.LGBMClassifier(n_estimators=8, verbose=-1)),
    "histogram": make_pipeline(
        columns(sparse_output=False), HistGradientBoostingClassifier(max_iter=8)
    ),
    "stack": make_pipeline(
        columns(),
        StackingClassifier([("a", RandomForestClassifier(4, random_state=0))], cv=2),
    ),
    "search": GridSearchCV(
        make_pipeline(columns(), LogisticRegression(max_iter=500)),
        {"logisticregression__C": [0.1, 1.0]},
        cv=2,
    ),
    "target encoder": make_pipeline(
        ColumnTransformer([("t", TargetEncoder(cv=2), ["city", "grade"])]),
        LogisticRegression(),
    ),
    "infrequent": make_pipeline(
        ColumnTransformer(
            [("o", OneHotEncoder(min_frequency=60, handle_unknown="infrequent_if_exist"), ["city"])]
        ),
        LogisticRegression(),
    ),
    "bins": make_pipeline(
        ColumnTransformer(
            [
                ("k", KBinsDiscretizer(4, encode="onehot-dense"), ["age"]),
                ("q", QuantileTransformer(n_quantiles=50), ["income"]),
                ("p", PowerTransformer(), ["ratio"]),
            ]
        ),
        LogisticRegression(),
    ),
    "frames within": make_pipeline(
        columns(sparse_output=False).set_output(transform="pandas"),
        ColumnTransformer([("s", StandardScaler(), ["n__age"])], remainder="passthrough"),
        LogisticRegression(max_iter=500),
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_pipelines_on_frames_of_mixed_types(name: str, table: Any, label: Any) -> None:
    model = MIXED[name].fit(table[:200], label[:200])
    made = proved(model, table[:200], table[200:])
    assert made.header["proof"]["largest_difference"] < 1e-9
    assert made.header["proof"]["probes"]["text"] > 20


@pytest.mark.parametrize("last", [LogisticRegression(max_iter=500), RandomForestClassifier(8)])
def test_missing_values_are_scored_where_the_model_was_proven_with_them(
    last: Any, holes: Any, label: Any
) -> None:
    model = make_pipeline(imputed(), last).fit(holes[:200], label[:200])
    made = proved(model, holes[:200], holes[200:])
    assert all(column["nullable"] for column in made.header["columns"])


def test_pandas_categories_of_lightgbm_and_histograms(table: Any, label: Any) -> None:
    frame = table.assign(city=table.city.astype("category"), grade=table.grade.astype("category"))
    for model in (
        lgb.LGBMClassifier(n_estimators=8, verbose=-1, min_child_samples=5),
        HistGradientBoostingClassifier(max_iter=8, categorical_features="from_dtype"),
    ):
        made = proved(model.fit(frame[:200], label[:200]), frame[:200], frame[200:])
        city = made.header["columns"][3]
        assert city["type"] == "character"
        assert set(city["known"]) == set(table.city)
        assert city["nullable"]


def test_outliers_and_one_class(numbers: Any) -> None:
    for model in (IsolationForest(n_estimators=10, random_state=0), OneClassSVM(nu=0.1)):
        made = proved(model.fit(numbers[:200]), numbers[:200], numbers[200:])
        assert made.header["kind"] == "outlier"
        assert [output["name"] for output in made.header["outputs"]] == ["PredictedLabel", "Score"]


def test_transformers_give_their_feature_names(table: Any) -> None:
    part = table[["city", "grade"]]
    made = proved(OneHotEncoder(handle_unknown="ignore").fit(part[:200]), part[:200], part[200:])
    assert made.header["kind"] == "transform"
    assert [output["name"] for output in made.header["outputs"]][:2] == [
        "city_New York",
        "city_Oslo",
    ]


def test_ordinal_codes_reach_categorical_trees(holes: Any) -> None:
    value = holes.age * 0.1 + holes.ratio
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(
        ColumnTransformer([("o", encoder, ["city", "grade"]), ("n", "passthrough", ["income"])]),
        HistGradientBoostingRegressor(max_iter=8, categorical_features=[0, 1]),
    ).fit(holes[:200], value[:200])
    proved(model, holes[:200], holes[200:])


def test_a_lightgbm_booster_alone(numbers: Any, value: Any) -> None:
    booster = lgb.LGBMRegressor(n_estimators=8, verbose=-1).fit(numbers[:200], value[:200]).booster_
    proved(booster, numbers[:200], numbers[200:])


def test_float32_frames_are_scored_as_float32(numbers: Any, value: Any) -> None:
    frame = pd.DataFrame(numbers.astype(np.float32), columns=list("abcd"))
    model = make_pipeline(StandardScaler(), RandomForestRegressor(5, random_state=0))
    proved(model.fit(frame[:200], value[:200]), frame[:200], frame[200:])
