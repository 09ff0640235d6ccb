"""``%publish_realtime`` in a real shell: real models, and a real server where one is needed."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from support.notebook import Notebook
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient
from jupyter_mlserve.client.service import Service
from jupyter_mlserve.notebook.progress import Progress
from jupyter_mlserve.notebook.realtime import Compiling, told
from jupyter_mlserve.notebook.sample import Sample

from .test_publish import one_line

MODEL = """
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

cars = pd.DataFrame({
    "hp": [110.0, 93.0, 175.0, 105.0, 245.0, 62.0, 95.0, 123.0],
    "maker": ["Ford", "Fiat", "Ford", "Opel", "Opel", "Fiat", "Fiat", "Opel"],
    "mpg": [21.0, 22.8, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2],
})
prepare = make_column_transformer(
    ("passthrough", ["hp"]), (OneHotEncoder(handle_unknown="ignore"), ["maker"])
)
model = make_pipeline(prepare, Ridge(alpha=0.1)).fit(cars[["hp", "maker"]], cars["mpg"])
other = make_pipeline(prepare, Ridge(alpha=9.0)).fit(cars[["hp", "maker"]], cars["mpg"])
new = pd.DataFrame({"hp": [100.0, 150.0], "maker": ["Ford", "Lada"]})
expected = model.predict(new).tolist()
mine = make_pipeline(FunctionTransformer(lambda X: X.round(-1)), LinearRegression())
mine.fit(cars[["hp"]], cars["mpg"])
"""
ODD = """
from sklearn.base import BaseEstimator, RegressorMixin
class Hand:
    def predict(self, X):
        return X["hp"]
class Own(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.n_features_in_, self.feature_names_in_ = X.shape[1], list(X.columns)
        return self
    def predict(self, X):
        return X["hp"].to_numpy()
hand, own = Hand(), Own().fit(cars[["hp", "maker"]], cars["mpg"])
wide = cars.assign(id=range(8))[["id", *cars.columns]]
lost = cars.assign(hp=[float("nan")] * 8)
"""


@pytest.fixture
def modelled(notebook: Notebook) -> Notebook:
    """A notebook with models and no server: a request would fail with ServerNotFound."""
    notebook(MODEL)
    return notebook


@pytest.fixture
def ready(connected: Notebook) -> Notebook:
    connected(MODEL)
    return connected


@pytest.fixture
def name() -> str:
    return "R" + uuid.uuid4().hex[:8]


def text_of(notebook: Notebook, thing: object) -> str:
    found = notebook.shell.display_formatter.format(thing)[0]
    assert "mls-" in found["text/html"]
    return str(found["text/plain"])


# Without a server ------------------------------------------------------------------------------


def test_a_dry_run_compiles_and_proves_and_sends_nothing(modelled: Notebook) -> None:
    text = repr(modelled("%publish_realtime Mpg model --dry-run"))
    assert "nothing was sent" in text
    assert re.search(r"sample +cars  8 rows, found in the notebook", text)
    assert "Proven on" in text
    assert "mpg_Pred" in text
    assert "ServerNotFound" in modelled.fails("%list_services")


def test_a_sample_of_many_rows_or_an_array_says_what_was_made_of_it(modelled: Notebook) -> None:
    modelled("many = pd.concat([cars] * 2_000, ignore_index=True)")
    assert "many  5,000 of 16,000 rows" in repr(modelled("%publish_realtime M model -n -s many"))
    modelled("import numpy as np\nX = np.arange(8.0).reshape(4, 2)\nflat = Ridge().fit(X, X[:, 0])")
    text = repr(modelled("%publish_realtime M flat -n -s X"))
    assert "X is an array, which has no names: its columns are called x0 to x1" in text
    assert "x0 to" not in repr(
        modelled("%publish_realtime M flat -n -s pd.DataFrame(X,columns=['p','q'])")
    )


def test_model_and_sample_may_be_expressions(modelled: Notebook) -> None:
    modelled("kept = {'best': model}")
    line = '%publish_realtime Mpg kept["best"] -n --sample cars.drop(columns="mpg").tail(5)'
    text = repr(modelled(line))
    assert re.search(r'sample +cars.drop\(columns="mpg"\).tail\(5\)  5 rows\n', text)
    assert re.search(r"  Pred +float", text)
    named = repr(modelled(line + " --response gallons"))
    assert "gallons_Pred" in named


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "the following arguments are required: NAME, MODEL"),
        ("A", "the following arguments are required: MODEL"),
        ("A modl", "MODEL: modl is no variable of this notebook. Did you mean model?"),
        ("A cars", "cars: This is a DataFrame. A realtime service is made of a fitted"),
        ("A Ridge", "the class Ridge"),
        ("A 1/0", "MODEL: 1/0 fails: ZeroDivisionError"),
        ("A a/", "neither a variable of the notebook nor an expression"),
        ("A Ridge()", "The Ridge is not fitted. Call fit first"),
        ("A Ridge() --sample cars", "is not fitted. Call fit first"),
        ("A model --sample nothing", "--sample: nothing is no variable"),
        ("A model --sample expected[0]", "must be a DataFrame"),
        ("A model --sample 'text'", "text is no variable"),
        ("A model --sample new[['maker','hp']]", "another order"),
        ("A model --sample new.head(0)", "no rows"),
        ("A model --response hp", "is a column the model was fitted on"),
        ("A model --sample cars --response hp", "is a column the model was fitted on"),
        ("A model --update", "--update needs to know which version"),
        ("A model --alias 1a", "not a valid alias"),
        ("a/b model", "not a valid service name"),
        ("A model -v 1/0", "not a valid version"),
        ("A model --smaple cars", "Did you mean --sample?"),
        ("A model cars", "does not know what to do with 'cars'"),
        ("A model -d Price of a house -n", 'needs quotes: -d "Price of a house"'),
        ("A hand", "Hand is no estimator of scikit-learn, LightGBM or XGBoost. Publish it as a"),
        (
            "A own -s cars[['hp','maker']]",
            "Own is a class of this notebook, and only those of scikit-learn",
        ),
        ("A model -s wide", "columns 'id' and 'mpg' are not ones"),
        ("A model -s wide", "leave out all: --sample wide[list(model.feature_names_in_)]"),
        ("A model -s wide --response mpg", "Leave it out: --sample wide[[*model.feature_na"),
        ("A model -s wide.drop(columns='mpg')", "name it: --response id. Otherwise leave it out"),
        ("A model -s lost", "cannot score the sample (ValueError: Input X contains NaN. Ridge "),
    ],
)
def test_mistakes_are_one_line_without_a_traceback(
    modelled: Notebook, line: str, complaint: str
) -> None:
    modelled(ODD)
    seen = modelled.fails(f"%publish_realtime {line} --dry-run")
    assert complaint in one_line(seen)
    assert "Traceback" not in seen


def test_frames_that_differ_are_named(modelled: Notebook) -> None:
    modelled("faster = cars.assign(hp=2 + cars['hp'])")
    seen = one_line(modelled.fails("%publish_realtime Mpg model --dry-run"))
    assert "cars, faster" in seen
    assert "--sample cars" in seen


def test_a_model_that_cannot_be_compiled_is_one_line_with_a_way_out(modelled: Notebook) -> None:
    seen = one_line(modelled.fails("%publish_realtime Mpg mine --sample cars[['hp','mpg']] -n"))
    assert seen.startswith("NotCompilable: ")
    assert "FunctionTransformer" in seen
    assert "%%publish_service" in seen


def test_a_model_that_is_not_right_is_refused_with_step_difference_and_row(
    modelled: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler is broken on purpose: of its converters one is off by a hundredth."""
    from jupyter_mlserve.notebook.compile import compiler, serialize

    right = compiler._PREDICTORS["sklearn", "Ridge"]

    def wrong(c: Any, model: Any, columns: Any, data: Any) -> Any:
        value = right(c, model, columns, data).value
        return compiler.Prediction(value=c.graph.arithmetic("Add", value, 0.01))

    monkeypatch.setitem(compiler._PREDICTORS, ("sklearn", "Ridge"), wrong)
    monkeypatch.setattr(serialize, "CANDIDATES", serialize.CANDIDATES[:1])
    seen = one_line(modelled.fails("%publish_realtime Mpg model --dry-run"))
    assert re.search(r"Step at fault: .*ridge \(Ridge\)", seen)
    assert re.search(r"Largest difference: 0.00\d+ \(\w+ row hp=.*, maker=", seen)
    assert "Publish it as a standard service instead: %%publish_service" in seen


def test_without_a_server_nothing_is_compiled(modelled: Notebook) -> None:
    modelled("class Slow(Ridge):\n    def predict(self, X):\n        raise SystemExit('asked')")
    modelled("slow = Slow().fit(cars[['hp']], cars['mpg'])")
    seen = modelled.fails("%publish_realtime Mpg slow -v 1.0 --sample cars[['hp']]")
    assert "ServerNotFound" in seen


def test_an_interrupt_ends_the_compiling(modelled: Notebook) -> None:
    """A real SIGINT while the model is asked."""
    import os
    import signal
    import threading

    modelled(
        "import time\nclass Slow(Ridge):\n    def predict(self, X):\n"
        "        time.sleep(5)\n        return super().predict(X)\n"
        "slow = Slow().fit(cars[['hp']], cars['mpg'])"
    )
    timer = threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    seen = modelled.fails("%publish_realtime Mpg slow -n --sample cars[['hp']]")
    timer.join()
    assert one_line(seen).startswith("Interrupted: nothing more is done")


def test_what_the_compiler_does_is_told(shell: Any) -> None:
    stage = Compiling("Mpg", Sample("cars", [1, 2]))
    assert stage.text() == ("Publishing Mpg: compiling the model", None)
    stage.tell("prove", 200, 1600)
    assert stage.text() == ("Publishing Mpg: proving it on 1,600 rows", 0.125)
    stage.tell("prove", 0, 1600)
    assert stage.text()[1] is None  # no bar that stands at 0
    stage.tell("compile", 0, 0)
    stage.tell("compile", 0, 0)
    assert stage.text() == ("Publishing Mpg: compiling the model in another way", None)
    failure = ValueError("as it was")
    with pytest.raises(ValueError, match="as it was") as caught, told(Progress(shell), stage):
        raise failure
    assert caught.value is failure


# With a server ---------------------------------------------------------------------------------


def test_a_model_is_published_and_scores_as_in_the_notebook(
    ready: Notebook, name: str, server: RunningServer
) -> None:
    service = ready(
        f"%publish_realtime {name} model --version 1.0 --sample cars --response mpg \\\n"
        '    --alias estimate -d "Miles per gallon, in {braces} and $HOME"'
    )
    assert isinstance(service, Service)
    assert service.definition["runtimeType"] == "Realtime"
    assert service.definition["description"] == "Miles per gallon, in {braces} and $HOME"
    shown = text_of(ready, service)
    for fact in (
        f"{server.prefix}api/{name}/1.0",
        "Proven on",
        "published in",
        "estimate",
        "mpg_Pred",
        "answer to the example",
        "curl",
        "mpg as column 3 is accepted too",
    ):
        assert fact in shown, fact
    assert server.token not in shown
    ready(f"svc = %show_service {name}")
    found = ready("svc.estimate(new).output('outputData')['mpg_Pred'].tolist()")
    assert found == pytest.approx(ready("expected"), rel=1e-9)
    proof = service.definition["mlserve"]["proof"]
    assert f"Proven on {proof['rows']:,} rows" in text_of(ready, ready("svc"))


def test_the_other_magics_work_on_realtime_versions(ready: Notebook, name: str) -> None:
    ready(f"%publish_realtime {name} model -v 1.0 -s cars -d first")
    reply = ready(f"%consume_service {name} inputData=new --into answer")
    assert "mpg_Pred" in text_of(ready, reply)
    assert ready("answer['mpg_Pred'].tolist()") == pytest.approx(ready("expected"), rel=1e-9)
    for given in ("--input new", "inputData={'hp':[100.0],'maker':['Ford']}"):
        reply = ready(f"%consume_service {name} -v 1.0 {given}")
        assert reply.output("outputData")["mpg_Pred"][0] == pytest.approx(ready("expected[0]"))
    listed = text_of(ready, ready(f"%list_services {name}"))
    assert listed.splitlines()[2].split()[2] == "realtime"

    changed = ready(f"%update_service {name} -v 1.0 -d second --alias estimate")
    assert changed.definition["description"] == "second"
    assert "Ridge" in text_of(ready, changed)
    assert ready(f"svc = %show_service {name}") is None
    assert ready("svc.estimate(new).output('outputData')['mpg_Pred'][0]") == pytest.approx(
        ready("expected[0]")
    )
    back = ready(f"%rollback_service {name} -v 1.0")
    assert back.definition["description"] == "first"
    assert "rolled back to state 1" in text_of(ready, back)
    shown = text_of(ready, ready(f"%show_service {name} --history --code"))
    assert "There is no code" in shown
    assert "rollback" in shown
    assert "410" in text_of(ready, ready(f"%delete_service {name} -v 1.0"))
    assert "no service" in ready.fails(f"%consume_service {name} inputData=new")


def test_a_version_that_is_there_is_replaced_only_on_request(ready: Notebook, name: str) -> None:
    ready(f"%publish_realtime {name} model -v 1.0 -s cars -d first")
    seen = one_line(ready.fails(f"%publish_realtime {name} other -v 1.0 -s cars"))
    assert seen.startswith("VersionExists: ")
    assert "--update" in seen
    updated = ready(f"%publish_realtime {name} other -v 1.0 -s cars --update")
    assert updated.definition["description"] == "first"
    assert "updated in" in text_of(ready, updated)
    assert ready(f"svc = %show_service {name}") is None
    ready("again = other.predict(new).tolist()")
    assert ready("svc.consume(new).output('outputData')['mpg_Pred'].tolist()") == pytest.approx(
        ready("again"), rel=1e-9
    )
    same = ready(f"%publish_realtime {name} other -v 1.0 -s cars --update")
    assert "unchanged" in text_of(ready, same)
    assert "Call it:" in text_of(ready, same)
    assert "for callers" not in text_of(ready, same)


def test_an_update_keeps_the_response_and_says_what_changes_for_callers(
    ready: Notebook, name: str
) -> None:
    ready("X, n = cars[['hp', 'maker']], cars[['hp']].assign(year=[1] * 7 + [2])")
    ready("slim = Ridge().fit(n, cars['mpg'])")
    ready(f"%publish_realtime {name} model -v 1.0 -s X --response gallons")
    shown = text_of(ready, ready(f"%publish_realtime {name} other -v 1.0 -s X -u"))
    assert re.search(r"response +gallons: kept from the live version; --response names it", shown)
    assert "gallons_Pred" in shown
    assert "for callers" not in shown
    asked = repr(ready(f"%publish_realtime {name} slim -v 1.0 -s n -u --dry-run"))
    shown = text_of(ready, ready(f"%publish_realtime {name} slim -v 1.0 -s n -u --response mpg"))
    assert "kept from" not in shown
    for text in (asked, shown):
        assert "The inputs changed" in text
        assert "new year (int); gone maker (str?)" in text
    assert "The outputs changed" not in asked
    assert "new mpg_Pred (float); gone gallons_Pred (float)" in shown


def test_a_classifier_says_which_class_a_probability_is_of(ready: Notebook, name: str) -> None:
    ready(
        "from sklearn.linear_model import LogisticRegression\n"
        "strict = make_column_transformer(('passthrough', ['hp']), (OneHotEncoder(), ['maker']))\n"
        "thirsty = (cars['mpg'] < 20).map({True: 'yes', False: 'no'})\n"
        "yes = make_pipeline(strict, LogisticRegression()).fit(cars[['hp', 'maker']], thirsty)"
    )
    line = f"%publish_realtime {name} yes -v 1.0 -s cars.assign(mpg=thirsty)"
    published = text_of(ready, ready(line))
    shown = text_of(ready, ready(f"%show_service {name}"))
    assert "mpg: taken as the response; --response names it" in published
    for text in (published, shown):
        assert re.search(r"Probability +float .*Probability of 'yes'", text)
        assert "The predicted class: 'no', 'yes'" in text
        assert '"Fiat", "Ford", "Opel"' in text


def test_without_a_version_the_server_names_one(ready: Notebook, name: str) -> None:
    service = ready(f"%publish_realtime {name} model -s cars")
    assert uuid.UUID(service.version)
    assert "No version was named" in text_of(ready, service)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("%consume_service {name} inputData=new[::-1]", "is code"),
        ("%consume_service {name} frame=new", "has no input frame"),
        ("%consume_service {name} inputData=text", "{name} 1.0: inputData.hp[0]: expected a"),
        ("%consume_service {name} inputData=less", "{name} 1.0: inputData.maker: expected this"),
        ("%consume_service {name} inputData=void", "{name} 1.0: inputData.hp[0]: expected a"),
        ("%update_service {name} -v 1.0 -i 'x: float'", "is a realtime service"),
        ("%publish_realtime {name}S slow -v 1 -s cars[['hp']]", "%%publish_service"),
    ],
)
def test_refusals_are_one_line_and_name_the_service(
    ready: Notebook, published: str, line: str, complaint: str
) -> None:
    ready(
        "text = new.assign(hp=['x', 'y'])\nless = new[['hp']]\nvoid = new.assign(hp=float('nan'))\n"
        "class Slow(Ridge):\n    def predict(self, X):\n        return super().predict(X) + 1\n"
        "slow = Slow().fit(cars[['hp']], cars['mpg'])"
    )
    seen = ready.fails(line.format(name=published))
    assert complaint.format(name=published) in one_line(seen)
    assert "Traceback" not in seen


@pytest.fixture(scope="module")
def published(server: RunningServer) -> str:
    """A realtime service with one version, published without the magics. Not to be changed."""
    from jupyter_mlserve import serialize_model

    names: dict[str, Any] = {}
    exec(MODEL, names)
    name = "Mpg" + uuid.uuid4().hex[:6]
    with DeployClient(server.url, auth=server.token) as client:
        client.deploy_realtime(
            name,
            version="1.0",
            serialized_model=serialize_model(names["model"], names["cars"]),
        )
    return name


def test_a_run_of_a_notebook_hears_of_what_was_refused(
    ready: Notebook, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for every version in the report of ``jupyter mlserve publish``."""
    report = tmp_path / "report.jsonl"
    monkeypatch.setenv("JUPYTER_MLSERVE_REPORT", str(report))
    ready(f"%publish_realtime {name} model -v 1.0 -s cars")
    ready.fails(f"%publish_realtime {name} mine -v 2.0 -s cars[['hp','mpg']]")
    ready("import threading\nguard = threading.Lock()")
    ready.fails(
        f'%%publish_service {name} -v 3.0 -i "x: float" -o "y: float"\nwith guard:\n    y = x\n'
    )
    ready(f"%publish_realtime {name} model -v 4.0 --dry-run -s cars")
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(line["version"], line["action"]) for line in lines] == [
        ("1.0", "published"),
        ("2.0", "failed"),
        ("3.0", "failed"),
    ]
    assert "FunctionTransformer" in lines[1]["error"]
    assert "guard cannot travel" in lines[2]["error"]


def test_a_slow_proof_shows_its_progress_in_a_notebook(
    server: RunningServer, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a real kernel: one output that changes in place and is empty in the end."""
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    cells = [
        "%load_ext jupyter_mlserve",
        MODEL
        + "import time\nplain = Ridge.predict\n"
        + "Ridge.predict = lambda self, X: (time.sleep(0.04), plain(self, X))[1]\n",
        f"%publish_realtime {name} model -v 1 -s cars",
    ]
    written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    shown: list[str] = []

    class Recording(NotebookClient):  # type: ignore[misc]
        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] in ("display_data", "update_display_data"):
                shown.append(msg["content"]["data"]["text/plain"])
            return super().process_message(msg, cell, cell_index)

    resources = {"metadata": {"path": str(tmp_path)}}
    ran = Recording(written, timeout=60, resources=resources).execute()
    assert shown[0].startswith(f"Publishing {name}: compiling the model (")
    assert any(re.search(r"proving it on \d+ rows .*%", text) for text in shown)
    assert shown[-1] == ""  # nothing of it stays
    outputs = [output.output_type for output in ran.cells[2].outputs]
    assert outputs == ["display_data", "execute_result"]
    assert "Proven on" in ran.cells[2].outputs[1].data["text/plain"]
    assert server.token not in json.dumps(ran)
