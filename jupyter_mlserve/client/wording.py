"""Errors in the words of the caller of :class:`DeployClient`.

What finds a fault may know the options of a magic (``--object x``) or the keys of the wire
(``mlserve.sample``); a program has arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..contract.errors import InvalidDefinition, TooLarge, VersionExists


def _key(match: re.Match[str]) -> str:
    name, key = match[1], match[2]
    return f"{name}[{key!r}]" if key else name


Words = list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]]

# The keys of a definition, and the arguments they come from.
_KEYS: Words = [
    (re.compile(r"(?:The definition's )?\bmlserve\.(sample|pool|batchable)\b(?:\.(\w+))?"), _key),
    (re.compile(r"\b(?:The definition's )?inputParameterDefinitions\b"), "inputs"),
    (re.compile(r"\b(?:The definition's )?outputParameterDefinitions\b"), "outputs"),
    (re.compile(r"\b(?:The definition's )?outputFileNames\b"), "artifacts"),
    (re.compile(r"\b(?:The definition's )?operationId\b"), "alias"),
    (re.compile(r"\b(?:The definition's )?initCode\b"), "init_str"),
    (re.compile(r"\b(?:The definition's )?mlserve\.(objects|files)\b"), r"\1"),
]
# The options of %%publish_service.
_OPTIONS: Words = [
    (re.compile(r"\bas in -i (\"[^\"]*\")"), r"inputs=\1"),
    (re.compile(r"--object (\w+)"), r"objects={'\1': \1}"),
    (re.compile(r"with --object\b"), "in objects={...}"),
    (re.compile(r"--file (\S+?)(?=[\s,;)]|\.?$)", re.MULTILINE), r"files=['\1']"),
    (re.compile(r"--exclude (\w+)"), r"exclude=['\1']"),
    (re.compile(r"with --exclude\b"), "in exclude=[...]"),
    (re.compile(r"\(--sample, sample=\)"), "(sample=)"),
    (re.compile(r"\(--no-batchable, (batchable=False)\)"), r"(\1)"),
    (re.compile(r"\(%%?publish_\w+ --update, redeploy\(\), PATCH\)"), "(redeploy, or update=True)"),
    (re.compile(r"\(%%?publish_\w+(?: --update)?, (\w+)\)"), r"(\1)"),
    (re.compile(r"(?<=[ (])%%publish_service\b"), "deploy_service"),
]


def as_arguments(text: str) -> str:
    """The sentence with arguments in place of options and keys.

    >>> as_arguments("The definition's mlserve.sample.hp is not valid: it is text.")
    "sample['hp'] is not valid: it is text."
    """
    for pattern, words in (*_KEYS, *_OPTIONS):
        text = pattern.sub(words, text)
    return text


@contextmanager
def in_arguments() -> Iterator[None]:
    """Let errors about a definition leave in the caller's words."""
    try:
        yield
    except (InvalidDefinition, TooLarge, VersionExists) as error:
        message = as_arguments(error.message)
        field = as_arguments(error.field)
        if (message, field) == (error.message, error.field):
            raise
        details = {**error.details, **({"field": field} if field else {})}
        raise type(error)(message, **details) from None
