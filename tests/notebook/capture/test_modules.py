"""Which modules a fresh interpreter would find, and how names of theirs are imported."""

from __future__ import annotations

import importlib
import os
import site
import sys
from pathlib import Path

import pytest
from support.capturing import Kernel, item, prelude

from jupyter_mlserve.notebook.capture.modules import (
    Places,
    home_of,
    import_statement,
    package_versions,
)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in a folder that only this process looks into."""
    (tmp_path / "only_here.py").write_text("def f():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("only_here")
    monkeypatch.delitem(sys.modules, "only_here")
    return "only_here"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("os", "python"),
        ("sys", "python"),
        ("_bisect", "python"),
        ("encodings.utf_8", "python"),
        ("numpy", "installed"),
        ("sklearn.linear_model", "installed"),
        ("not_there_at_all", "missing"),
    ],
)
def test_places(name: str, where: str) -> None:
    assert Places().of(name).where == where


def test_a_module_beside_the_notebook_is_local(module: str, tmp_path: Path) -> None:
    place = Places().of(module)
    assert place == ("local", tmp_path / "only_here.py")
    assert not place.travels


def test_a_folder_that_a_pth_file_names_counts_as_installed(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "editable.pth").write_text(f"import sys\n# comment\n{tmp_path}\n")
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(folder)])
    assert Places().of(module).where == "installed"


def test_an_editable_installs_finder_counts_as_installed(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            return object() if name == module else None

    Finder.__module__ = "__editable___project_1_0_finder"
    importlib.import_module(module)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert Places().of(module).where == "installed"


def test_pythonpath_counts_unless_it_is_the_notebooks_folder(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), ""]))
    assert Places().of(module).where == "installed"
    monkeypatch.chdir(tmp_path)
    assert Places().of(module).where == "local"


def test_import_statements() -> None:
    import xml.etree.ElementTree as tree

    import numpy

    assert import_statement("np", numpy, ()) == "import numpy as np\n"
    assert import_statement("numpy", numpy, ["numpy.linalg.norm"]) == (
        "import numpy\nimport numpy.linalg\n"
    )
    assert import_statement("np", numpy, ["np.linalg.norm", "np.sin", "np.linalg"]) == (
        'import numpy as np\n__import__("numpy.linalg")\n'
    )
    assert import_statement("ET", tree, ()) == "import xml.etree.ElementTree as ET\n"
    assert import_statement("x", type(sys)("made_up"), ()) is None


def test_homes_are_public_and_exact() -> None:
    import collections

    import numpy
    from sklearn.linear_model import LinearRegression

    assert home_of(LinearRegression) == ("sklearn.linear_model", "LinearRegression")
    assert home_of(collections.OrderedDict) == ("collections", "OrderedDict")
    assert home_of(numpy.sin) == ("numpy", "sin")
    assert home_of(len) == ("builtins", "len")
    assert home_of(LinearRegression()) is None
    assert home_of(LinearRegression.fit) is None
    assert home_of(3) is None


def test_versions_are_those_of_the_distributions() -> None:
    from importlib.metadata import version

    found = package_versions(
        ["sklearn.linear_model", "dateutil", "attr", "orjson", "os", "not_there_at_all"], Places()
    )
    assert found == {
        name: version(name) for name in ("attrs", "orjson", "python-dateutil", "scikit-learn")
    }
    # A module of a distribution with quite another name is looked up.
    assert "setuptools" in package_versions(["_distutils_hack"], Places())


def test_what_a_module_owns_is_imported_as_the_author_did(kernel: Kernel) -> None:
    kernel("from os import environ\nfrom calendar import month_name as months\nimport os\n")
    kernel("env = os.environ\n")
    capture = kernel.capture("y = len(months) + (environ is env)\n", inputs=[], outputs="y: float")
    assert set(prelude(capture)) == {
        "from calendar import month_name as months",
        "from os import environ",
        "from os import environ as env",
    }
    assert kernel.call(capture, {}) == [{"y": 14.0}]
    kernel("held = {'all': os.environ}\n")
    refused = kernel.capture("y = len(held)\n", inputs=[], outputs="y: float")
    assert "environment variables" in item(refused, "held").reason


def test_star_imports_of_code_are_expanded(kernel: Kernel) -> None:
    code = "from {} import *\ny = floor(x)\n"
    number = {"inputs": "x: float", "outputs": "y: float"}
    assert kernel.call(kernel.capture(code.format("math"), **number), {"x": 2.5}) == [{"y": 2.0}]
    unknown = kernel.capture(code.format("not_there_at_all"), **number)
    assert any("from not_there_at_all import *" in text for text in unknown.warnings)


def test_an_import_of_something_that_is_not_installed_is_a_warning(kernel: Kernel) -> None:
    code = "try:\n    import not_there\nexcept ImportError:\n    not_there = None\ny = 1.0\n"
    capture = kernel.capture(code, inputs=[], outputs="y: float")
    assert capture.warnings == ["the code imports not_there, which is not installed here."]
    assert kernel.call(capture, {}) == [{"y": 1.0}]
