"""What a person sees: cards as HTML and as text, and nothing of others that could do harm."""

from __future__ import annotations

import json
import re
import shlex
import time
from html.parser import HTMLParser
from typing import Any

import pytest

from jupyter_mlserve.client.publishing import Published
from jupyter_mlserve.client.response import ServiceResponse
from jupyter_mlserve.notebook import card as cards
from jupyter_mlserve.notebook import snippets
from jupyter_mlserve.notebook.capture import Capture, Item
from jupyter_mlserve.notebook.describe import moment_text
from jupyter_mlserve.notebook.document import Card
from jupyter_mlserve.notebook.html import card_html
from jupyter_mlserve.notebook.text import card_text

URL = "http://127.0.0.1:8888/mlserve/api/TxService/1.0"
URLS = {"api": URL, "swagger": f"{URL}/swagger.json", "openapi": f"{URL}/openapi.json"}
EVIL = """<img src=x onerror=alert(1)>"'&</td></details></style><script>alert(2)</script>"""


def service(**changes: Any) -> dict[str, Any]:
    return {
        "name": "TxService",
        "version": "1.0",
        "versionPublishedBy": "ada",
        "creationTime": "2026-03-29T17:55:13.5336083",
        "description": "Does a car have a manual transmission?",
        "operationId": "manualTransmission",
        "inputParameterDefinitions": [
            {"name": "hp", "type": "numeric"},
            {"name": "wt", "type": "numeric", "optional": True, "default": 2.8},
        ],
        "outputParameterDefinitions": [{"name": "answer", "type": "data.frame"}],
        "outputFileNames": ["answer.csv"],
        "myPermissionOnService": "read/write",
        "code": "answer = f(hp, wt)\n",
        "mlserve": {
            "sample": {"hp": 120.0, "wt": 2.8},
            "interpreter": {"executable": "/env/bin/python", "version": "3.11.7"},
            "packages": {"pandas": "3.1.1"},
            "state": {
                "id": "x",
                "number": 2,
                "author": "bo",
                "creationTime": "2026-03-29T18:00:00",
            },
        },
        **changes,
    }


def capture(**changes: Any) -> Capture:
    return Capture(
        body=service(),
        report=[
            Item("cars_model", "object", "captured", 532, "", "", "LinearRegression"),
            Item("pd", "import", "captured", None, "import pandas as pd"),
            Item("API_TOKEN", "object", "refused", None, "looks secret", "--object API_TOKEN"),
            Item("unused", "object", "skipped", None, "not used"),
        ],
        warnings=["The annotation says str, -o says DataFrame."],
        seconds=0.012,
        **changes,
    )


def published(**changes: Any) -> Published:
    values: dict[str, Any] = {
        "action": "published",
        "service": service(),
        "urls": URLS,
        "trial": {
            "load_seconds": 0.21,
            "call_seconds": 0.0031,
            "console": "Rows read: 1\n",
            "result": {
                "outputParameters": {"answer": {"am_Pred": [0.5332668559970368]}},
                "outputFiles": {"answer.csv": "YQ=="},
            },
        },
        "timings": {"upload": 0.01, "publish": 0.3, "total": 0.31},
        "sent_bytes": 532,
        **changes,
    }
    return Published(**values)


def reply(body: dict[str, Any]) -> ServiceResponse:
    return ServiceResponse("/api/TxService/1.0", body, service()["outputParameterDefinitions"])


class Checker(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "progress":
            self.open.append(tag)
        for name, text in attrs:
            if name.startswith("on") or (text or "").strip().lower().startswith("javascript:"):
                self.bad.append(f"{tag} {name}={text}")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert not checker.open, "tags left open"
    assert not checker.bad
    return checker


ALL_CARDS: dict[str, Card] = {
    "published": cards.published_card(published(), capture(), guid=True, seconds=0.4),
    "unchanged": cards.published_card(published(action="unchanged", trial=None), None),
    "dry run": cards.dry_run_card("TxService", None, capture()),
    "refused": cards.refused_card("TxService", "1.0", capture()),
    "service": cards.service_card(service(), URLS, code=True, history=[]),
    "list": cards.list_card([service(), service(version="2.0")], "http://h/", None),
    "nothing": cards.list_card([], "http://h/", None),
    "history": cards.history_card("TxService", [{"at": "2026-03-29T17:55:13Z"}]),
    "deleted": cards.deleted_card("TxService", "1.0", ["2.0"]),
    "rolled back": cards.rolled_back_card(service(), URLS, [{"action": "rollback"}]),
    "reply": cards.reply_card(reply({"outputParameters": {"answer": {"a": [1, None]}}}), service()),
    "status": cards.status_card({"statusCode": "warn"}, "http://h/", "found", 0.1),
}


@pytest.mark.parametrize("name", ALL_CARDS)
def test_every_card_is_sound_html_without_script_and_has_a_text_form(name: str) -> None:
    bundle = ALL_CARDS[name]._repr_mimebundle_()
    tags = set(parsed(bundle["text/html"]).tags)
    assert not tags & {"script", "iframe", "object", "form", "input", "img", "link"}
    text = bundle["text/plain"]
    assert text == repr(ALL_CARDS[name])
    assert "<" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_the_published_card_says_what_an_author_wants_to_know() -> None:
    card = cards.published_card(published(), capture(), seconds=0.4)
    for shown in (card_html(card), card_text(card)):
        for fact in (
            "TxService",
            "1.0",
            "published in 0.40 s",
            URL,
            f"{URL}/swagger.json",
            "hp: float, wt: float = 2.8",
            "answer: DataFrame",
            "answer.csv",
            "0.5332668559970368",
            "Rows read: 1",
            "curl",
            "2 captured (532 B), 1 skipped, 1 refused",
            "-o says DataFrame",
        ):
            assert fact in shown.replace("&quot;", '"').replace("\xa0", " "), fact
    html = card_html(card)
    assert "svc.manualTransmission(hp=120.0, wt=2.8)" in html
    assert "urllib.request" in html
    assert "load 0.21 s" in html


def test_without_a_version_the_card_says_how_to_name_one() -> None:
    card = cards.published_card(published(), None, guid=True)
    assert "--version 1.0 --update" in card_text(card)
    assert "No version was named" not in card_text(cards.published_card(published(), None))


def test_a_dry_run_says_that_nothing_was_sent_and_shows_every_item() -> None:
    text = card_text(cards.dry_run_card("TxService", None, capture()))
    assert text.splitlines()[0].endswith("dry run: nothing was sent")
    assert re.search(r"API_TOKEN +object +refused +looks secret", text)
    assert re.search(r"cars_model +object LinearRegression +captured +532 B", text)
    assert "unused" in text
    assert "http" not in text


@pytest.mark.parametrize("where", ["name", "version", "description", "versionPublishedBy"])
def test_what_others_wrote_is_shown_and_does_nothing(where: str) -> None:
    evil = service(**{where: EVIL})
    for card in (
        cards.published_card(published(service=evil), capture()),
        cards.service_card(evil, URLS, code=True),
        cards.list_card([evil], EVIL, None),
    ):
        html = card_html(card)
        tags = parsed(html).tags
        assert "img" not in tags
        assert "script" not in tags
        assert tags.count("style") == 1


def test_hostile_replies_and_reports_do_nothing() -> None:
    body = {
        "outputParameters": {EVIL: EVIL, "answer": {EVIL: [EVIL]}},
        "outputFiles": {EVIL: "YQ=="},
        "consoleOutput": EVIL,
        "errorMessage": EVIL,
    }
    report = [Item(EVIL, "object", "refused", 1, EVIL, EVIL, EVIL)]  # type: ignore[arg-type]
    hostile = Capture(body=service(), report=report, warnings=[EVIL])
    events = [{"at": EVIL, "action": EVIL, "version": EVIL, "state": {"number": 1}, "who": EVIL}]
    for card in (
        cards.reply_card(reply(body), service()),
        cards.dry_run_card("A", "1", hostile),
        cards.history_card(EVIL, events),
        cards.service_card(
            service(code=EVIL), {**URLS, "swagger": "javascript:alert(1)"}, code=True
        ),
        cards.status_card({"statusCode": EVIL, "components": {EVIL: EVIL}}, EVIL, EVIL, 1.0),
    ):
        tags = parsed(card_html(card)).tags
        assert "img" not in tags
        assert "script" not in tags
        assert '"javascript:' not in card_html(card)


def test_text_of_others_cannot_move_the_cursor_of_a_terminal() -> None:
    text = card_text(cards.list_card([service(description="a\x1b[2Jb\rc\nd")], "http://h/", None))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "a\N{REPLACEMENT CHARACTER}[2Jb c d" in text
    printed = card_text(cards.reply_card(reply({"consoleOutput": "a\x1b[2J\tb\n"})))
    assert "\x1b" not in printed


def test_times_are_local_and_say_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = "2026-03-28T23:55:13.5336083"
    try:
        for zone, said in (
            ("UTC0", "2026-03-28 23:55:13 UTC"),
            ("XYZ-5:30", "2026-03-29 05:25:13 +05:30"),
            ("XYZ8", "2026-03-28 15:55:13 -08:00"),
        ):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert moment_text(stamp) == said
            assert moment_text(stamp, seconds=False) == said[:16] + said[19:]
            shown = card_text(cards.service_card(service(creationTime=stamp), URLS))
            assert said in shown
    finally:
        monkeypatch.undo()
        time.tzset()
    assert moment_text("sometime") == "sometime"


def test_columns_of_a_list_stand_under_one_another_newest_first() -> None:
    services = [service(), service(version="1.1"), service(name="A", version="7", description=None)]
    lines = card_text(cards.list_card(services, "http://h/", None)).splitlines()
    head, *rows = lines[1:]
    assert [row.split()[0] for row in rows] == ["A", "TxService", "1.0"]
    assert rows[1].split()[1] == "1.1"
    assert {row.index("hp: float") for row in rows} == {head.index("inputs")}


def test_the_curl_line_is_one_shell_command_with_any_content() -> None:
    inputs = {"text": 'it\'s $HOME `x` \\ "q" ü', "n": 1}
    words = shlex.split(snippets.curl(URL, inputs))
    assert words[0] == "curl"
    assert json.loads(words[words.index("-d") + 1]) == inputs
    assert URL in words
    assert "Authorization: Bearer $JUPYTER_MLSERVE_TOKEN" in words


def test_snippets_are_python_and_frames_become_frames() -> None:
    params = [{"name": "df", "type": "data.frame"}, {"name": "s", "type": "character"}]
    inputs = {"df": {"a": [1, None]}, "s": "it's"}
    code = snippets.client(
        "N", "1.0", "consume", params, inputs, [{"name": "y", "type": "numeric"}]
    )
    compile(code, "snippet", "exec")
    assert "df=pd.DataFrame({'a': [1, None]})" in code
    assert "import pandas as pd" in code
    plain = snippets.standard_library(URL, inputs)
    compile(plain, "snippet", "exec")
    assert "pandas" not in plain


@pytest.mark.parametrize(
    "kind",
    ["logical", "integer", "numeric", "character", "vector", "matrix", "data.frame", "datetime",
     "bytes", "list", "dict"],
)  # fmt: skip
def test_without_a_sample_the_snippet_has_a_fitting_example_of_each_type(kind: str) -> None:
    from jupyter_mlserve.contract.values import misfit

    param: dict[str, Any] = {"name": "x", "type": kind}
    example = snippets.example_inputs([param], None)["x"]
    assert example is not None
    assert misfit(example, param) is None


def test_the_example_of_a_frame_has_its_columns_and_optional_inputs_are_left_out() -> None:
    columns = [{"name": "a", "type": "integer"}, {"name": "t", "type": "datetime"}]
    params: list[dict[str, Any]] = [
        {"name": "df", "type": "data.frame", "columns": columns},
        {"name": "more", "type": "numeric", "optional": True, "default": 1},
    ]
    assert snippets.example_inputs(params, None) == {"df": {"a": [1], "t": ["2024-01-31T12:00:00"]}}


def test_of_a_long_frame_the_example_has_the_first_rows() -> None:
    param: dict[str, Any] = {"name": "df", "type": "data.frame"}
    columns, records = {"a": list(range(50))}, [{"a": n} for n in range(50)]
    assert snippets.example_inputs([param], {"df": columns}) == {"df": {"a": [0, 1]}}
    assert snippets.example_inputs([param], {"df": records}) == {"df": [{"a": 0}, {"a": 1}]}
    assert snippets.example_inputs([param], {"df": None}) == {"df": None}
