"""Completion inside the lines of our magics: options, service names, versions, variables, inputs.

IPython completes the names of magics but nothing after them, so one matcher of ours looks at the
line up to the cursor. What needs the server is asked in a thread, waited for a moment at most and
remembered for some seconds: a slow or missing server costs completions, never the kernel's time.
"""

# IPython's decorators carry no types.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher

from .arguments import split
from .session import Session

WAIT = 0.7  # seconds a completion may wait for the server
FRESH = 5.0  # seconds an answer of the server is used again
_MAGIC = re.compile(r"^\s*(?:[\w.,\s]+=\s*)?(%%?)(\w+)\s+(.*)$", re.DOTALL)
_VERSIONED = {"-v", "--version"}
_VARIABLES = {"--object", "--exclude", "--input", "--into"}
_FUNCTIONS = {"--function"}

Found = Sequence[tuple[str, str]]  # text and kind


class Completion:
    """The matcher and its memory of the server's services."""

    def __init__(self, shell: Any, session: Session) -> None:
        self.shell = shell
        self.services = Services(session)

        @context_matcher(identifier="jupyter_mlserve", priority=100)
        def matcher(context: Any) -> dict[str, Any]:
            return self.match(context)

        self._matcher = matcher

    def install(self) -> None:
        completer = getattr(self.shell, "Completer", None)
        if completer is not None:
            completer.custom_matchers.append(self._matcher)

    def remove(self) -> None:
        completer = getattr(self.shell, "Completer", None)
        if completer is not None and self._matcher in completer.custom_matchers:
            completer.custom_matchers.remove(self._matcher)

    def match(self, context: Any) -> dict[str, Any]:
        """IPython's matcher: never raises, because an error here would be shown while typing."""
        try:
            line = _current_line(context)
            fragment, found = self.complete(line)
        except Exception:
            fragment, found = "", []
        result: dict[str, Any] = {
            "completions": [SimpleCompletion(text=text, type=kind) for text, kind in found],
            "ordered": True,
        }
        if found:
            result["matched_fragment"] = fragment
            result["suppress"] = True
        return result

    def complete(self, line: str) -> tuple[str, Found]:
        """The word at the end of ``line`` (the text up to the cursor) and what it can become."""
        match = _MAGIC.match(line)
        parser = self._parser(match) if match else None
        if match is None or parser is None:
            return "", []
        magic, rest = match[2], match[3]
        words = [word.text for word in split(rest)]  # raises inside an open quote
        fragment = "" if not words or rest[-1:].isspace() else words.pop()
        found = self._candidates(magic, parser, words, fragment)
        return fragment, [
            (text, kind) for text, kind in found if text.startswith(fragment) and text != fragment
        ]

    def _parser(self, match: re.Match[str]) -> Any:
        kind = "cell" if match[1] == "%%" else "line"
        magic = self.shell.magics_manager.magics[kind].get(match[2])
        owner = getattr(magic, "__self__", None)
        room = __name__.rpartition(".")[0]
        if type(owner).__module__ not in (f"{room}.magics", f"{room}.batch_magic"):
            return None
        return getattr(magic, "parser", None)

    def _candidates(
        self, magic: str, parser: Any, words: Sequence[str], fragment: str
    ) -> Iterable[tuple[str, str]]:
        actions = parser._option_string_actions
        if fragment.startswith("-"):
            return [
                (option, "magic option")
                for option, action in sorted(actions.items())
                if option.startswith("--")
                and (type(action).__name__ == "_AppendAction" or not used(action, words))
            ]
        option = words[-1] if words else ""
        if option in actions and actions[option].nargs != 0:
            if magic == "publish_realtime" and option in ("-s", "--sample"):
                return self._variables(is_frame)
            if option == "--id":
                version = value_after(words, _VERSIONED)
                return self.services.batches(positionals(parser, words), version)
            if option == "--response":
                return self._columns(words)
            return self._values(option, positionals(parser, words))
        given = positionals(parser, words)
        if magic == "mlserve":
            return [] if given else [(word, "keyword") for word in parser._actions[0].choices]
        if not given:
            return [(name, "service") for name in self.services.names()]
        if magic == "publish_realtime":
            return self._variables(is_model) if len(given) == 1 else []
        if magic == "batch_service":
            return self._variables(is_frame) if len(given) == 1 else []
        if magic == "consume_service":
            taken = {word.partition("=")[0] for word in words if "=" in word}
            version = value_after(words, _VERSIONED)
            names = self.services.inputs(given[0], version)
            return [(f"{name}=", "param") for name in names if name not in taken]
        return []

    def _values(self, option: str, given: Sequence[str]) -> Iterable[tuple[str, str]]:
        if option in _VERSIONED and given:
            return [(version, "version") for version in self.services.versions(given[0])]
        if option in _VARIABLES:
            return self._variables()
        return self._variables(callable) if option in _FUNCTIONS else []

    def _variables(self, wanted: Callable[[Any], bool] | None = None) -> list[tuple[str, str]]:
        """The notebook's own variables, those that are wanted."""
        hidden = getattr(self.shell, "user_ns_hidden", {})
        return [
            (name, "instance")
            for name, value in sorted(self.shell.user_ns.items())
            if not name.startswith("_") and name not in hidden and (not wanted or wanted(value))
        ]

    def _columns(self, words: Sequence[str]) -> list[tuple[str, str]]:
        """The columns of the sample that the line names; else those of all frames."""
        sample = self.shell.user_ns.get(value_after(words, {"-s", "--sample"}))
        named = [sample] if is_frame(sample) else []
        frames = named or [self.shell.user_ns[name] for name, _ in self._variables(is_frame)]
        names = {str(name) for frame in frames[:20] for name in list(frame.columns)[:500]}
        return [(name, "column") for name in sorted(names) if " " not in name]


def is_model(value: Any) -> bool:
    """Whether it looks like an estimator; nothing is imported to find out."""
    return not isinstance(value, type) and (
        hasattr(type(value), "get_params") or type(value).__name__ == "Booster"
    )


def is_frame(value: Any) -> bool:
    return type(value).__name__ == "DataFrame" and hasattr(value, "columns")


class Services:
    """Names, versions and inputs of the server's services, as last heard."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._heard: list[Mapping[str, Any]] = []
        self._when = float("-inf")
        self._changes = -1
        self._busy: threading.Thread | None = None

    def names(self) -> list[str]:
        return sorted({str(one["name"]) for one in self._services()}, key=str.lower)

    def versions(self, name: str) -> list[str]:
        """Newest first, as one mostly wants the newest."""
        return [str(one["version"]) for one in reversed(self._services()) if one["name"] == name]

    def inputs(self, name: str, version: str | None) -> list[str]:
        found = [
            one
            for one in self._services()
            if one["name"] == name and version in (None, one["version"])
        ]
        params = found[-1].get("inputParameterDefinitions") if found else None
        return [str(param["name"]) for param in params or ()]

    def batches(self, given: Sequence[str], version: str | None) -> list[tuple[str, str]]:
        """Ids of the batches of a version, the newest first."""
        found: list[str] = []
        known = self.versions(given[0]) if given else []

        def ask() -> None:
            with contextlib.suppress(Exception):
                path = path_of("api", given[0], version or known[0], "batch")
                found.extend(self._session.client.connection.request("GET", path, timeout=WAIT))

        if known:
            from ..client.http import path_of

            asking = threading.Thread(target=ask, daemon=True)
            asking.start()
            asking.join(WAIT)
        return [(one, "batch") for one in reversed(found)]

    def _services(self) -> list[Mapping[str, Any]]:
        changes = self._session.changes
        if changes != self._changes or time.monotonic() - self._when > FRESH:
            self._changes = changes
            if self._busy is None or not self._busy.is_alive():
                self._busy = threading.Thread(target=self._ask, daemon=True)
                self._busy.start()
            self._busy.join(WAIT)
        return self._heard

    def _ask(self) -> None:
        try:
            self._heard = list(self._session.client.list_services())
        except Exception:
            self._heard = []
        # Also after a failure: a server that is not there is not asked at every key.
        self._when = time.monotonic()


def _current_line(context: Any) -> str:
    before: str = context.text_until_cursor
    lines = before.split("\n")
    line = lines[-1]
    if line.lstrip().startswith("%%") and context.cursor_line:
        return ""  # a cell magic is one on the first line only
    return line


def used(action: Any, words: Sequence[str]) -> bool:
    return any(option in words for option in action.option_strings)


def positionals(parser: Any, words: Sequence[str]) -> list[str]:
    """The words that are neither options, nor values of options, nor ``name=value``."""
    actions = parser._option_string_actions
    found: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in actions and actions[word].nargs != 0
        elif "=" not in word:
            found.append(word)
    return found


def value_after(words: Sequence[str], options: Iterable[str]) -> str | None:
    for option, word in pairwise(words):
        if option in options:
            return word
    return None
