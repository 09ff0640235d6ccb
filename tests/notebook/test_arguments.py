"""Lines of magics: words, quotes, options and Python values."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.error import UsageError

from jupyter_mlserve.notebook.arguments import assignments, split, value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("A --version 1.0", ["A", "--version", "1.0"]),
        ('A -i "hp: float, wt: float"', ["A", "-i", "hp: float, wt: float"]),
        ("A -d 'it''s'", ["A", "-d", "'it''s'"]),
        ("""A -d "it's" """, ["A", "-d", "it's"]),
        (r"""A -d "say \"hi\" \\ \n" """, ["A", "-d", 'say "hi" \\ \\n']),
        ("x=[1, 2, 3] y={'a': 1} z='b c'", ["x=[1, 2, 3]", "y={'a': 1}", "z='b c'"]),
        ("-i df:DataFrame[a: int]", ["-i", "df:DataFrame[a: int]"]),
        ('--sample="a=1, b=2" -n', ["--sample=a=1, b=2", "-n"]),
        ("", []),
        ("  \t ", []),
        ("-d ''", ["-d", ""]),
        ("-d 2)", ["-d", "2)"]),
    ],
)
def test_a_line_is_cut_at_blanks_outside_quotes_and_brackets(line: str, words: list[str]) -> None:
    assert [word.text for word in split(line)] == words


@pytest.mark.parametrize("line", ['A -d "open', "A -d it's", "A -i df:DataFrame[a: int"])
def test_an_open_quote_or_bracket_is_told(line: str) -> None:
    with pytest.raises(UsageError, match="opened and not closed"):
        split(line)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hp=120, wt=2.8", {"hp": 120, "wt": 2.8}),
        ("a=-1, b='x, y', c=[1, n], d={'k': (True, None)}",
         {"a": -1, "b": "x, y", "c": [1, 7], "d": {"k": (True, None)}}),
        ("f=frame", {"f": "the frame"}),
        ("{'hp': 1}", {"hp": 1}),
        ("inputs", {"hp": 3}),
        ("", {}),
    ],
)  # fmt: skip
def test_inputs_are_literals_or_names_of_variables(text: str, found: dict[str, Any]) -> None:
    variables = {"n": 7, "frame": "the frame", "inputs": {"hp": 3}}
    assert assignments(text, variables) == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hp=120 wt=2.8", "Write inputs as hp=120, wt=2.8"),
        ("120", "Write inputs as"),
        ("hp=1, hp=2", "twice|repeated|Write inputs"),
        ("hp=", "Write inputs as"),
        ("**x", r"\*\* is not understood"),
        ("hp=abc", r"abc is no variable of this notebook .*hp='abc'"),
        ("hp=fram", "Did you mean frame"),
        ("hp=open('x')", r"open\('x'\) is code"),
        ("frame", "must be a dict"),
        ("[1]", "Write inputs as"),
    ],
)
def test_what_cannot_be_read_is_told_by_name(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        assignments(text, {"frame": 1})


def test_a_value_never_runs_code() -> None:
    ran: list[int] = []
    with pytest.raises(UsageError, match="is code"):
        value("f()", {"f": lambda: ran.append(1)}, "x")
    with pytest.raises(UsageError, match="is code"):
        value("[f() for _ in 'ab']", {"f": lambda: ran.append(1)}, "x")
    with pytest.raises(UsageError, match="neither a Python value"):
        value("1 +", {}, "x")
    assert not ran
