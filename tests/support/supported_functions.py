"""One example for each function of revoscalepy and microsoftml: what to use today.

``tests/e2e/test_supported_functions.py`` runs each of them (train, publish, score over HTTP,
compare) and writes them as they stand here to ``notebooks/supported-functions.md``. An example
returns the fitted model, its training rows, rows it has not seen, and the name of the response.
The first line of its docstring is what the table says.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd


def rx_lin_mod():
    """`LinearRegression`"""
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression

    x, y = load_diabetes(return_X_y=True, as_frame=True)
    model = LinearRegression().fit(x[:300], y[:300])
    return model, x[:300], x[300:], "progression"


def rx_logit():
    """`LogisticRegression` without a penalty (`C=inf`)"""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True, as_frame=True)
    x, y = x[50:][::-1], (y[50:] == 2)[::-1]  # two of the kinds
    model = LogisticRegression(C=np.inf, max_iter=1000).fit(x[::2], y[::2])
    return model, x[::2], x[1::2], "virginica"


def rx_dtree():
    """`DecisionTreeClassifier`, `DecisionTreeRegressor`"""
    from sklearn.datasets import load_wine
    from sklearn.tree import DecisionTreeClassifier

    x, y = load_wine(return_X_y=True, as_frame=True)
    model = DecisionTreeClassifier(max_depth=10, ccp_alpha=0.01, random_state=0)
    return model.fit(x[::2], y[::2]), x[::2], x[1::2], "cultivar"


def rx_dforest():
    """`RandomForestClassifier`, `RandomForestRegressor`, `ExtraTreesClassifier`, ..."""
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import RandomForestRegressor

    x, y = load_diabetes(return_X_y=True, as_frame=True)
    model = RandomForestRegressor(n_estimators=10, max_depth=10, random_state=0)
    return model.fit(x[:300], y[:300]), x[:300], x[300:], "progression"


def rx_btrees():
    """`GradientBoostingClassifier`, `HistGradientBoostingClassifier`, and their `...Regressor`"""
    from sklearn.datasets import load_wine
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = load_wine(return_X_y=True, as_frame=True)
    model = GradientBoostingClassifier(n_estimators=10, max_depth=1, subsample=0.5, random_state=0)
    return model.fit(x[::2], y[::2]), x[::2], x[1::2], "cultivar"


def rx_fast_trees():
    """`LGBMClassifier`, `LGBMRegressor`; also `XGBClassifier`, `HistGradientBoostingClassifier`"""
    from lightgbm import LGBMClassifier
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    model = LGBMClassifier(
        n_estimators=100, num_leaves=20, learning_rate=0.2, min_child_samples=10, verbose=-1
    )
    return model.fit(x[:400], y[:400]), x[:400], x[400:], "benign"


def rx_fast_forest():
    """`RandomForestClassifier(max_leaf_nodes=20)`, or `LGBMClassifier(boosting_type="rf")`"""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    model = RandomForestClassifier(n_estimators=100, max_leaf_nodes=20, random_state=0)
    return model.fit(x[:400], y[:400]), x[:400], x[400:], "benign"


def rx_fast_linear():
    """`SGDClassifier` (`loss="log_loss"`, `"hinge"`), `SGDRegressor`, `LinearSVC`"""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0))
    return model.fit(x[:400], y[:400]), x[:400], x[400:], "benign"


def rx_logistic_regression():
    """`LogisticRegression`, with `l1_ratio` and `solver="saga"` for the L1 weight"""
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    x, y = load_wine(return_X_y=True, as_frame=True)
    logistic = LogisticRegression(l1_ratio=0.5, solver="saga", max_iter=5000, random_state=0)
    model = make_pipeline(MinMaxScaler(), logistic).fit(x[::2], y[::2])
    return model, x[::2], x[1::2], "cultivar"


def rx_neural_network():
    """`MLPClassifier`, `MLPRegressor`"""
    from sklearn.datasets import load_wine
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_wine(return_X_y=True, as_frame=True)
    network = MLPClassifier(hidden_layer_sizes=(100,), max_iter=1000, random_state=0)
    model = make_pipeline(StandardScaler(), network).fit(x[::2], y[::2])
    return model, x[::2], x[1::2], "cultivar"


def rx_oneclass_svm():
    """`OneClassSVM`; its `Score` is the decision function, negative for outliers"""
    from sklearn.datasets import load_wine
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import OneClassSVM

    x = load_wine(as_frame=True).data
    model = make_pipeline(StandardScaler(), OneClassSVM(kernel="rbf", nu=0.1))
    return model.fit(x[:60]), x[:60], x[60:], None


def categorical():
    """`OneHotEncoder(handle_unknown="ignore")`; `OrdinalEncoder` for keys"""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    x, y = reviews()
    indicators = OneHotEncoder(handle_unknown="ignore")
    encode = make_column_transformer((indicators, ["city"]), remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(x[["city", "stars"]][:150], y[:150])
    fresh = pd.DataFrame({"city": ["Tromsø", "Oslo", "", "東京"], "stars": [1, 5, 3, 4]})
    return model, x[["city", "stars"]][:150], fresh, "sold"


def categorical_hash():
    """`FeatureHasher(input_type="string")` on the columns, `HashingVectorizer` on words"""
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    x, y = reviews()
    cities = make_column_transformer(("passthrough", ["city"]))  # a frame to rows of texts
    model = make_pipeline(cities, FeatureHasher(2**16, input_type="string"), LogisticRegression())
    model.fit(x[["city"]][:150], y[:150])
    return model, x[["city"]][:150], pd.DataFrame({"city": ["Tromsø", "Oslo", "", "東京"]}), "sold"


def concat():
    """`ColumnTransformer`, `FeatureUnion`: what they make stands side by side"""
    from sklearn.datasets import load_wine
    from sklearn.decomposition import PCA
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import StandardScaler

    x, y = load_wine(return_X_y=True, as_frame=True)
    model = make_pipeline(make_union(StandardScaler(), PCA(3)), RidgeClassifier())
    return model.fit(x[::2], y[::2]), x[::2], x[1::2], "cultivar"


def select_columns():
    """`ColumnTransformer` with `"passthrough"` for those to keep"""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    x, _ = reviews()
    keep = make_column_transformer(("passthrough", ["stars", "words"]))
    model = make_pipeline(keep, LinearRegression()).fit(x[:150], x.price[:150])
    return model, x[:150], x[150:], None


def drop_columns():
    """`ColumnTransformer` with `"drop"` for those to leave out, `remainder="passthrough"`"""
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeClassifier

    x, y = reviews()
    drop = make_column_transformer(("drop", ["city", "text"]), remainder="passthrough")
    model = make_pipeline(drop, DecisionTreeClassifier(max_depth=4, random_state=0))
    return model.fit(x[:150], y[:150]), x[:150], x[150:], "sold"


def featurize_text():
    """`TfidfVectorizer`, `CountVectorizer`, `HashingVectorizer`"""
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    x, y = reviews()
    words = TfidfVectorizer(
        ngram_range=(1, 2), stop_words="english", strip_accents="unicode", sublinear_tf=True
    )
    model = make_pipeline(make_column_transformer((words, "text")), LogisticRegression())
    model.fit(x[["text"]][:150], y[:150])
    fresh = ["ÆRØ café, the GREAT café", "not-so good 3.14 don't", "", "東京 poor poor poor"]
    return model, x[["text"]][:150], pd.DataFrame({"text": fresh}), "sold"


def get_sentiment():
    """`jupyter_mlserve.Sentiment`: VADER's lexicon and rules, 0 negative to 1 positive"""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from jupyter_mlserve import Sentiment

    x, y = reviews()
    feeling = make_column_transformer((Sentiment(), ["text"]), ("passthrough", ["stars"]))
    model = make_pipeline(feeling, LogisticRegression())
    model.fit(x[["text", "stars"]][:150], y[:150])
    fresh = pd.DataFrame({"text": ["Not good :(", "I LOVE it 😀", ""], "stars": [2, 5, 3]})
    return model, x[["text", "stars"]][:150], fresh, "sold"


def load_image():
    """`jupyter_mlserve.LoadImage` on a column of base64 texts"""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from jupyter_mlserve import ExtractPixels, LoadImage, ResizeImage

    x, y = photos()
    model = make_pipeline(LoadImage(), ResizeImage(8, 8), ExtractPixels(), LogisticRegression())
    return model.fit(x[:24], y[:24]), x[:24], x[24:], "picture"


def resize_image():
    """`jupyter_mlserve.ResizeImage`: `how="iso_pad"`, `"iso_crop"` or `"aniso"`"""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline

    from jupyter_mlserve import ExtractPixels, LoadImage, ResizeImage

    x, _ = photos()
    model = make_pipeline(LoadImage(), ResizeImage(12, 9, "iso_pad"), ExtractPixels(), PCA(4))
    return model.fit(x[:24]), x[:24], x[24:], None


def extract_pixels():
    """`jupyter_mlserve.ExtractPixels`: channels, layout, offset and scale"""
    from sklearn.pipeline import make_pipeline

    from jupyter_mlserve import ExtractPixels, LoadImage, ResizeImage

    x, _ = photos()
    pixels = ExtractPixels(channels="RGB", layout="interleaved", offset=128.0, scale=1 / 128)
    model = make_pipeline(LoadImage(), ResizeImage(6, 6), pixels)
    return model.fit(x[:24]), x[:24], x[24:], None


def featurize_image():
    """`jupyter_mlserve.FeaturizeImage`: EfficientNet-Lite0, or an ONNX network of yours"""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from jupyter_mlserve import FeaturizeImage, LoadImage, ResizeImage

    x, y = photos()
    network = FeaturizeImage()
    model = make_pipeline(LoadImage(), ResizeImage(224, 224), network, LogisticRegression())
    return model.fit(x[:8], y[:8]), x[:8], x[24:28], "picture"


def reviews():
    """200 reviews of numbers and texts, and whether the thing was sold."""
    rng = np.random.default_rng(0)
    words = ["great", "poor", "good", "bad", "café", "lovely", "awful", "the", "never", "worth"]
    stars = rng.integers(1, 6, 200)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["Oslo", "São Paulo", "東京", "New York"], 200),
            "stars": stars,
            "words": rng.integers(3, 9, 200),
            "price": (stars * 10 + rng.normal(size=200)).round(2),
            "text": [" ".join(rng.choice(words, 6)) for _ in range(200)],
        }
    )
    return frame, pd.Series(np.where(stars + rng.normal(size=200) > 3, "yes", "no"), name="sold")


def photos():
    """Pieces of two photographs as base64 texts, and which photograph each is from."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    texts, names = [], []
    for count in range(32):
        pixels = load_sample_images().images[count % 2]
        top, left = rng.integers(0, 200), rng.integers(0, 400)
        file = io.BytesIO()
        Image.fromarray(pixels[top : top + 180, left : left + 240]).save(file, "JPEG")
        texts.append(base64.b64encode(file.getvalue()).decode())
        names.append(["palace", "flower"][count % 2])
    return pd.DataFrame({"photo": texts}), names


# model, training rows, fresh rows, name of the response
Example = tuple[Any, Any, Any, str | None]
EXAMPLES: dict[str, dict[str, Callable[[], Example]]] = {
    "revoscalepy": {
        "rx_lin_mod": rx_lin_mod,
        "rx_logit": rx_logit,
        "rx_dtree": rx_dtree,
        "rx_dforest": rx_dforest,
        "rx_btrees": rx_btrees,
    },
    "microsoftml, learners": {
        "rx_fast_trees": rx_fast_trees,
        "rx_fast_forest": rx_fast_forest,
        "rx_fast_linear": rx_fast_linear,
        "rx_logistic_regression": rx_logistic_regression,
        "rx_neural_network": rx_neural_network,
        "rx_oneclass_svm": rx_oneclass_svm,
    },
    "microsoftml, transforms": {
        "categorical": categorical,
        "categorical_hash": categorical_hash,
        "concat": concat,
        "select_columns": select_columns,
        "drop_columns": drop_columns,
        "featurize_text": featurize_text,
        "get_sentiment": get_sentiment,
        "load_image": load_image,
        "resize_image": resize_image,
        "extract_pixels": extract_pixels,
        "featurize_image": featurize_image,
    },
}
