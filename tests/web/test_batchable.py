"""``batchable`` is proven before it is visible: the sample is called whole and in parts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.bodies import definition

from jupyter_mlserve.contract.errors import TrialFailed
from jupyter_mlserve.contract.types import parse_params
from jupyter_mlserve.web.batchable import Different, _is_single, _same, compare

PREFER = {"Prefer": "return=representation"}
SAMPLE = {"df": {"x": [1.5, 2.0, 4.0, 5.0, 7.0]}}


def frame_service(
    code: str, sample: Any = SAMPLE, output: str = "y: DataFrame", **more: Any
) -> Any:
    """The body of a batchable service over a frame ``df`` with one column."""
    own = {"sample": sample, "batchable": True, **more.pop("mlserve", {})}
    return definition(
        code,
        inputParameterDefinitions=parse_params("df: DataFrame[x: float]"),
        outputParameterDefinitions=parse_params(output, output=True),
        mlserve=own,
        **more,
    )


async def no_workers(http: Any) -> None:
    for _ in range(100):
        status = (await http("GET", "status")).json
        if not status["components"]["compute"]["workers"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(status)


GOOD = "import pandas as pd\ny = pd.DataFrame({'twice': df['x'] * 2, 'big': df['x'] > 3})"


async def test_a_service_that_answers_row_by_row_is_published(http: Any) -> None:
    reply = await http("POST", "services/Rows/1.0", frame_service(GOOD), headers=PREFER)
    assert reply.status == 201, reply.json
    assert reply.json["trial"]["batchable"] == {"proven": True, "rows": 5, "why": ""}
    assert reply.json["service"]["mlserve"]["batchable"] is True
    called = await http("POST", "api/Rows/1.0", {"df": {"x": [1.0]}})
    assert called.json["outputParameters"] == {"y": {"twice": [2.0], "big": [False]}}
    # Not again, when nothing changes that could matter.
    same = await http("PATCH", "services/Rows/1.0", {"description": "d"}, headers=PREFER)
    assert (same.status, same.json["trial"]) == (200, None)
    # Updates are proven as well, and a version that fails stays what it is.
    worse = {"code": "y = df - df.mean()"}
    refused = await http("PATCH", "services/Rows/1.0", worse)
    assert (refused.status, refused.json["exceptionType"]) == (400, "TrialFailed")
    assert "stays as it was" in refused.json["message"]
    called = await http("POST", "api/Rows/1.0", {"df": {"x": [1.0]}})
    assert called.json["outputParameters"] == {"y": {"twice": [2.0], "big": [False]}}
    plain = await http("PATCH", "services/Rows/1.0", {**worse, "mlserve": {"batchable": False}})
    assert plain.status == 200
    # The word alone is proven too, on the code that is there; the worker in use stays.
    alone = await http("PATCH", "services/Rows/1.0", {"mlserve": {"batchable": True}})
    assert (alone.status, alone.json["details"]["stage"]) == (400, "batchable")
    called = await http("POST", "api/Rows/1.0", {"df": {"x": [1.0, 3.0]}})
    assert called.json["outputParameters"] == {"y": {"x": [-1.0, 1.0]}}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        # Rows 4 and 5 are ranked among themselves; the first three are as they were.
        (
            "y = df.rank()",
            "depends on the other rows: row 4 of y.x is 4.0 when all 5 rows of the sample are "
            "called at once, and 1.0 when rows 4 to 5 are called.",
        ),
        (
            "import pandas as pd\ny = pd.get_dummies(df['x'].astype(str)).astype(int)",
            "y.5.0 is in the answer when all 5 rows of the sample are called at once, and not",
        ),
        ("y = df[df['x'] > 3]", "y has 3 rows when all 5 rows of the sample are called"),
        ("y = df.mean().to_frame().T", "y has 1 row when all 5 rows of the sample are called"),
        ("y = df[(df['x'] < 3) | (len(df) > 2)]", "y has 0 rows when rows 4 to 5 are called"),
        ("import numpy as np\ny = df + np.random.rand()", "does not answer the same twice: row 1"),
        ("y = df / (len(df) - 1) * (len(df) - 1)", "row 5"),
        (
            "import pandas as pd\ny = df if len(df) > 2 else pd.DataFrame([1])[['no column']]",
            "answers its whole sample, and fails when rows 4 to 5 are called: KeyError",
        ),
        ("y = None", "y has 0 rows when all 5 rows of the sample are called"),
    ],
)
async def test_others_are_refused_with_the_first_difference(
    http: Any, code: str, said: str
) -> None:
    reply = await http("POST", "services/Rows/1.0", frame_service(code))
    assert (reply.status, reply.json["exceptionType"]) == (400, "TrialFailed"), reply.json
    message = reply.json["message"]
    assert message.startswith("Service 'Rows' version '1.0' is not batchable, so nothing was")
    assert said in message
    assert message.endswith(
        "Publish it without batchable (--no-batchable, batchable=False): batches then call it "
        "once for every record."
    )
    assert reply.json["details"]["stage"] == "batchable"
    assert (await http("POST", "api/Rows/1.0", {"df": {"x": [1.0]}})).status == 404
    await no_workers(http)  # the tried one does not stay
    if "KeyError" in said:
        assert "no column" in reply.json["details"]["traceback"]


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        (None, "there is no sample"),
        ({"df": {"x": [1.0]}}, "the sample has 1 row, and two are needed"),
        ({"df": [{"x": 1.0}]}, "the sample has 1 row, and two are needed"),
        ({"df": {"x": []}}, "the sample has no rows, and two are needed"),
        ({"df": []}, "the sample has no rows, and two are needed"),
    ],
)
async def test_without_two_rows_nothing_is_proven_and_that_is_said(
    http: Any, sample: Any, why: str
) -> None:
    reply = await http("POST", "services/Rows/1.0", frame_service("y = df", sample), headers=PREFER)
    assert reply.status == 201, reply.json
    assert reply.json["trial"]["batchable"] == {"proven": False, "rows": 0, "why": why}


async def test_records_vectors_and_two_rows(http: Any) -> None:
    sample = {"df": [{"x": 1.0}, {"x": 3.0}]}
    body = frame_service("y = df['x'].to_numpy() * 2", sample, "y: numpy.array")
    reply = await http("POST", "services/Rows/1.0", body, headers=PREFER)
    assert reply.status == 201, reply.json
    assert reply.json["trial"]["batchable"] == {"proven": True, "rows": 2, "why": ""}
    body = frame_service("y = df['x'].to_numpy()[::-1]", sample, "y: numpy.array")
    reply = await http("POST", "services/Rows/2.0", body)
    assert "row 1 of y is 3.0 when all 2 rows" in reply.json["message"]
    assert "and 1.0 when row 1 is called alone." in reply.json["message"]
    details = reply.json["details"]
    assert (details["row"], details["column"]) == (0, "y")
    assert (details["together"], details["alone"]) == (3.0, 1.0)


async def test_a_rollback_is_proven_too(http: Any) -> None:
    """What was fine when it was published may not be any more: its worker is a new one."""
    code = "import os, pandas\ny = df - df.mean() if os.path.exists({!r}) else df"
    flag = __file__ + ".never"
    await http("POST", "services/Rows/1.0", frame_service(code.format(flag)))
    assert (await http("PATCH", "services/Rows/1.0", {"code": "y = df * 2"})).status == 200
    back = await http("POST", "services/Rows/1.0/rollback", {"state": None}, headers=PREFER)
    assert back.status == 200
    assert back.json["trial"]["batchable"]["proven"] is True


# -- comparing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1.0, 1.0 + 1e-11, True),
        (1.0, 1.0 + 1e-8, False),
        (0.0, 1e-13, True),
        (0.0, 1e-11, False),
        (1, 1.0, True),  # a column of integers with one missing value is of floats
        (2**60, 2**60 + 1, False),
        (True, 1, False),
        (True, True, True),
        ("a", "a", True),
        ("a", "A", False),
        (None, None, True),
        (None, 0.0, False),
        ([1.0], [1.0], True),
    ],
)
def test_values_are_compared_by_what_they_are(one: Any, other: Any, same: bool) -> None:
    assert _same(one, other, False) is same


def test_numbers_of_32_bits_have_seven_digits() -> None:
    import numpy as np

    singles = np.float32([0.1, 2.5, 1e-3]).tolist()
    assert _is_single(singles)
    assert not _is_single([0.1, 2.5])
    assert not _is_single([1.0, 2.0])  # whole numbers say nothing
    assert not _is_single([None, 1e300])
    near = np.nextafter(np.float32(singles), np.float32(9)).tolist()
    compare({"y": singles}, {"y": near}, 0, 3, 3)
    with pytest.raises(Different, match=r"row 1 of y is 0\.1"):
        compare({"y": singles}, {"y": [value * 1.001 for value in singles]}, 0, 3, 3)


def test_the_error_is_a_trial_that_failed() -> None:
    assert TrialFailed("x", stage="batchable").details == {"stage": "batchable"}
