from __future__ import annotations

import json
import pickle
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_mlserve.contract import errors
from jupyter_mlserve.contract.errors import (
    CLASSES,
    InvalidInput,
    MLServeError,
    ServiceFailed,
    TooBusy,
    TrialFailed,
    error_body,
    from_body,
    result_error_body,
)
from jupyter_mlserve.contract.http_status import STATUS, class_for, status_of

EXPECTED_STATUS = {
    400: "BadRequest InvalidName InvalidDefinition InvalidInput ServiceFailed SessionFailed "
    "TrialFailed",
    401: "NotAuthenticated",
    403: "NotAllowed",
    404: "NotFound ServiceNotFound BlobMissing",
    405: "MethodNotAllowed",
    409: "Conflict VersionExists StaleState",
    410: "Gone SessionEnded SessionLost VersionDeleted",
    413: "TooLarge",
    415: "UnsupportedMedia",
    429: "TooBusy",
    500: "MLServeError InternalError WorkerLost BundleCorrupt ServerNotFound ConnectionFailed",
    503: "Unavailable ComputeLost PoolExhausted",
    504: "CallTimeout",
    507: "OutOfSpace",
}
ALL = sorted(CLASSES.values(), key=lambda cls: cls.__name__)
RESULT_KEYS = {"success", "errorMessage", "consoleOutput", "changedFiles", "outputFiles"} | {
    "outputParameters"
}


def test_every_class_has_the_status_the_design_gives_it() -> None:
    found: dict[int, set[str]] = {}
    for name, cls in CLASSES.items():
        found.setdefault(status_of(cls), set()).add(name)
    assert found == {status: set(names.split()) for status, names in EXPECTED_STATUS.items()}


def test_a_foreign_exception_is_the_servers_failure_and_tells_nothing() -> None:
    body = error_body(KeyError("password=hunter2"))
    assert status_of(KeyError()) == body["code"] == 500
    assert "hunter2" not in json.dumps(body)
    assert body["exceptionType"] == "InternalError"


@pytest.mark.parametrize("cls", ALL)
def test_pickle_keeps_class_message_and_details(cls: type[MLServeError]) -> None:
    exc = cls("what happened", field="hp", retry_after=1.5, message="of the details", self=1)
    copy = pickle.loads(pickle.dumps(exc))
    assert type(copy) is cls
    assert (copy.message, copy.details) == (exc.message, exc.details)
    assert str(copy) == "what happened"


@pytest.mark.parametrize("cls", ALL)
def test_the_client_gets_back_what_the_server_raised(cls: type[MLServeError]) -> None:
    exc = cls("Sentence.", field="hp", retry_after=2.0, tried=["a", "b"])
    body = json.loads(json.dumps(error_body(exc, link="https://docs")))
    assert set(body) == {"code", "message", "exceptionType", "fields", "link", "details"}
    assert body["fields"] == "hp"
    back = from_body(body["code"], body)
    assert type(back) is cls
    assert (back.message, back.field, back.retry_after) == ("Sentence.", "hp", 2.0)
    assert back.details["tried"] == ["a", "b"]
    assert back.details["link"] == "https://docs"


def test_every_class_says_something_without_a_message() -> None:
    for cls in ALL:
        assert cls().message.endswith((".", "it.", ";")) or len(cls().message) > 10


def test_invalid_input_makes_its_sentence_of_the_facts() -> None:
    exc = InvalidInput(field="hp", expected="a number", got="the string 'x'")
    assert exc.message == "hp: expected a number, got the string 'x'."
    assert InvalidInput(expected="an object").message == "expected an object."
    assert InvalidInput("Own words.", field="hp", expected="a number").message == "Own words."


def test_the_traceback_is_for_owners_only() -> None:
    exc = ServiceFailed("TypeError: no", traceback='File "secret.py"', console="hi")
    assert "traceback" not in error_body(exc)["details"]
    assert error_body(exc, owner=True)["details"]["traceback"] == 'File "secret.py"'
    assert "secret" not in str(exc)


def test_the_publisher_of_a_failed_trial_always_sees_the_traceback() -> None:
    body = error_body(TrialFailed("NameError: x", traceback="Traceback ...", stage="load"))
    assert body["details"] == {"traceback": "Traceback ...", "stage": "load"}


def test_ipython_shows_one_line_or_the_authors_own_traceback() -> None:
    assert TooBusy("Full.")._render_traceback_() == ["TooBusy: Full."]
    exc = from_body(400, error_body(TrialFailed("NameError: x", traceback="Traceback:\n  a\n")))
    assert exc._render_traceback_() == ["Traceback:\n  a", "TrialFailed: NameError: x"]
    if sys.version_info >= (3, 11):
        assert exc.__notes__ == ["Traceback:\n  a\n"]


def test_errors_of_calls_carry_the_keys_of_a_result() -> None:
    exc = ServiceFailed("ValueError: bad", console="printed\n", traceback="...")
    body = result_error_body(exc)
    assert set(body) == RESULT_KEYS | {"code", "message", "exceptionType", "fields", "link"}
    assert body["success"] is False
    assert body["errorMessage"] == body["message"] == "ValueError: bad"
    assert body["consoleOutput"] == "printed\n"
    assert (body["outputParameters"], body["outputFiles"], body["changedFiles"]) == ({}, {}, [])
    back = from_body(400, body)
    assert isinstance(back, ServiceFailed)
    assert back.details["console"] == "printed\n"


@pytest.mark.parametrize(
    ("status", "body", "cls", "part"),
    [
        (403, {"message": "Forbidden", "reason": None}, errors.NotAllowed, "Forbidden"),
        (404, "<html>no such page</html>", errors.NotFound, "status 404"),
        (502, "Bad gateway", errors.Unavailable, "Bad gateway"),
        (418, None, errors.BadRequest, "status 418"),
        (599, {}, errors.InternalError, "status 599"),
        (302, "", MLServeError, "status 302"),
        (409, {"exceptionType": "Nonsense", "message": "m"}, errors.Conflict, "m"),
        (400, {"errorMessage": "said by the code"}, errors.BadRequest, "said by the code"),
        (400, {"exceptionType": "InvalidInput", "details": [1]}, InvalidInput, "status 400"),
    ],
)
def test_answers_that_are_not_ours_fall_back_on_the_status(
    status: int, body: object, cls: type[MLServeError], part: str
) -> None:
    exc = from_body(status, body)
    assert type(exc) is cls
    assert part in exc.message


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(100, 599), st.data())
def test_no_answer_can_break_the_client(draw_from: type, status: int, data: st.DataObject) -> None:
    body = data.draw(
        draw_from.json_values
        | st.fixed_dictionaries(
            {},
            optional={
                key: draw_from.json_values
                for key in ("message", "exceptionType", "fields", "link", "details")
            },
        )
    )
    exc = from_body(status, body)
    assert isinstance(exc, MLServeError)
    json.dumps(error_body(exc, owner=True), allow_nan=False).encode()


def test_details_that_are_not_json_cannot_break_an_error() -> None:
    loop: list[object] = []
    loop.append(loop)
    exc = MLServeError(
        "half \ud800", nan=float("nan"), a_set={1}, obj=object, loop=loop, text="\udfff", none=None
    )
    text = json.dumps(error_body(exc), allow_nan=False, ensure_ascii=False).encode()
    details = json.loads(text)["details"]
    assert details["nan"] is None
    assert details["a_set"] == [1]
    assert details["text"] == "?"
    assert "none" not in details


def test_retry_after_is_a_number_of_seconds_or_none() -> None:
    assert TooBusy("Full.", retry_after=2).retry_after == 2.0
    assert TooBusy("Full.", retry_after="soon").retry_after is None
    assert TooBusy("Full.").retry_after is None


def test_class_for_is_the_table_backwards() -> None:
    for cls, status in STATUS.items():
        if cls is not MLServeError:
            assert status_of(class_for(status)) == status
            assert class_for(status) is cls
