"""``--batchable``: proven when it is published, kept by updates, shown in cards."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from support.notebook import Notebook

CELL = """%%publish_service {name} -v 1.0 -i "df: DataFrame[x: float]" -o "y: DataFrame" {more}
y = {answer}
"""


@pytest.fixture
def name() -> str:
    return "B" + uuid.uuid4().hex[:8]


def cell(name: str, more: str = "", answer: str = "df * 2") -> str:
    return CELL.format(name=name, more=more, answer=answer)


def shown(notebook: Notebook, value: Any) -> str:
    texts = notebook.shell.display_formatter.format(value)[0]
    assert set(texts) >= {"text/plain", "text/html"}
    return str(texts["text/plain"])


def test_it_is_proven_kept_and_taken_back(connected: Notebook, name: str) -> None:
    connected("import pandas as pd\nrows = pd.DataFrame({'x': [1.0, 2.0, 5.0]})")
    line = '--batchable --sample "df=rows"'
    service = connected(cell(name, line))
    text = " ".join(shown(connected, service).split())
    assert "one call answers the rows of many records (batchable)" in text
    assert "proven: the 3 rows of the sample have the same answers together and apart" in text
    assert service.definition["mlserve"]["batchable"] is True
    again = connected(f"%show_service {name}")
    assert "(batchable)" in shown(connected, again)

    # An update that does not speak of it keeps it, and is held to it.
    updated = connected(cell(name, "--update", "df * 3"))
    assert updated.definition["mlserve"]["batchable"] is True
    assert "proven: the 3 rows" in " ".join(shown(connected, updated).split())
    seen = connected.fails(cell(name, "--update", "df - df.mean()"))
    assert "Its answer for a row depends on the other rows: row 1 of y.x" in seen
    assert "--no-batchable" in seen
    plain = connected(cell(name, "--update --no-batchable", "df - df.mean()"))
    assert "batchable" not in plain.definition["mlserve"]
    assert "batchable" not in shown(connected, plain)

    # A part of a version, too.
    seen = connected.fails(f"%update_service {name} -v 1.0 --batchable")
    assert "depends on the other rows" in seen
    connected(cell(name, "--update", "df + 1"))
    assert connected(f"%update_service {name} -v 1.0 --batchable").definition["mlserve"][
        "batchable"
    ]
    plain = connected(f"%update_service {name} -v 1.0 --no-batchable")
    assert "batchable" not in plain.definition["mlserve"]


def test_without_a_sample_of_rows_the_card_warns(connected: Notebook, name: str) -> None:
    service = connected(cell(name, "--batchable"))
    text = " ".join(shown(connected, service).split())
    assert "was not proven: there is no sample. Give --sample a frame of several rows." in text
    service = connected(cell(name, "--batchable --update --sample \"df={'x': [1.0]}\""))
    text = " ".join(shown(connected, service).split())
    assert "was not proven: the sample has 1 row, and two are needed" in text


@pytest.mark.parametrize("more", ["", "--dry-run"])
def test_what_cannot_be_batchable_is_told_before_anything_is_sent(
    connected: Notebook, name: str, more: str
) -> None:
    line = f"%%publish_service {name} -v 1.0 -i 'x: float' -o 'y: float' --batchable {more}\ny = x"
    seen = connected.fails(line)
    assert "InvalidDefinition" in seen
    assert "it needs one input, a data.frame, not x: numeric" in seen
    dry = connected(cell(name, "--batchable --dry-run"))
    assert "(batchable)" in shown(connected, dry)
