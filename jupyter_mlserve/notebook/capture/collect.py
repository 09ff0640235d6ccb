"""Follows names: what each of them is, and what it needs in turn."""

from __future__ import annotations

import builtins
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from . import classes, credentials, modules, refusal, sources, texts
from .definitions import Definitions, Text, is_constant
from .facts import MODULE_NAMES, Reading
from .files import folder_of
from .order import Node, ordered
from .pickling import Notebook, is_definition, pickle_object
from .refusal import CannotTravel, Refusal
from .result import CaptureOptions, Item, Kind
from .spool import Spool


@dataclass
class Failure:
    """A name that cannot travel. It is refused only when some code surely needs it."""

    item: Item
    sure: bool


class Collector:
    """Collects what texts need. Call :meth:`use` for each text, then :meth:`prelude`.

    ``inputs``: names that every call brings; ``provided``: names the texts bind themselves.
    """

    def __init__(
        self,
        notebook: Notebook,
        options: CaptureOptions,
        spool: Spool,
        files: Iterable[Path],
        inputs: Iterable[str] = (),
        provided: Iterable[str] = (),
    ) -> None:
        self.notebook = notebook
        self.namespace = notebook.namespace
        self.options = options
        self.spool = spool
        self.files = set(files)
        self.inputs = frozenset(inputs)
        self.provided = frozenset(provided)
        self.definitions = Definitions(notebook)
        self.places = modules.Places()
        self.nodes: dict[str, Node] = {}
        self.failures: dict[str, Failure] = {}
        self.skipped: dict[str, Item] = {}
        self.missing: dict[str, list[str]] = {}  # names that exist nowhere, and who reads them
        self.inputs_read: set[str] = set()
        self.modules: dict[str, None] = {}
        self.chains: dict[str, dict[str, None]] = {}
        self.warnings: list[str] = []
        self.room = options.total_limit
        self.active: set[str] = set()  # names that are being looked at
        self.objects: dict[int, str] = {}  # one object under two names travels once
        self.todo: list[tuple[str, str, bool]] = []

    # What is needed

    def use(self, text: Reading, by: str, provided: Collection[str] = ()) -> None:
        """Collect everything a text needs, and everything that needs.

        ``provided``: what was bound before the text runs.
        """
        self.survey(text, by)
        for name, use in text.uses.items():
            if name not in provided:
                self.need(name, by, sure=not use.maybe, own=True)
        self.follow()
        for name in [*text.hints, *text.quoted]:
            if name not in provided:
                self.try_hint(name)
        self.follow()

    def add(self, name: str) -> None:
        """Collect a name because the author says so."""
        if name not in self.namespace:
            self.missing.setdefault(name, []).append("--object")
            return
        self.need(name, "--object", here=True)
        self.follow()

    def survey(self, text: Reading, by: str) -> None:
        for base, chains in text.chains.items():
            self.chains.setdefault(base, {}).update(dict.fromkeys(chains))
        for each in text.imports:
            self.check_import(each.module, by)
        if text.dynamic:
            self.warn(
                f"{by} calls {', '.join(sorted(text.dynamic))}: names used only in there are not "
                "seen. Name them with --object."
            )
        for line, what in credentials.secrets_in_source(text.tree):
            self.warn(
                f"Line {line} of {by} holds what looks like {what}. The source travels with the "
                "service: read it from the environment instead."
            )

    def need(
        self, name: str, by: str, sure: bool = True, here: bool = False, own: bool = False
    ) -> None:
        """``by`` reads ``name``.

        here: before any call, when neither inputs nor what the texts bind are there yet.
        own: ``by`` is one of the texts, which was read in order, so that what it binds is known.
        """
        if name in MODULE_NAMES:
            return
        if not here and name in self.inputs:
            self.inputs_read.add(name)
        elif here or own or name not in self.provided:
            self.todo.append((name, by, sure))

    def follow(self) -> None:
        while self.todo:
            name, by, sure = self.todo.pop(0)
            failure = self.failures.get(name)
            if failure is not None:
                failure.sure = failure.sure or sure
            elif name in self.missing:
                if sure:
                    self.missing[name].append(by)
            elif name not in self.nodes and name not in self.skipped:
                self.resolve(name, by, sure)

    # What a name is

    def resolve(self, name: str, by: str, sure: bool) -> None:
        if name in self.options.exclude:
            self.skipped[name] = Item(name, "object", "skipped", reason="named with --exclude")
            return
        why = refusal.refusal_of_name(name, self.namespace)
        if why is not None:
            self.fail(name, "object", why, by, sure)
        elif name not in self.namespace:
            if not hasattr(builtins, name) and sure:
                self.missing[name] = [by]
        else:
            value = self.namespace[name]
            if _is_builtin(name, value):
                return
            self.active.add(name)
            try:
                node = self.nodes[name] = self.node_of(name, value)
            except CannotTravel as exc:
                kind: Kind = "module" if exc.trail[:1] == ["module"] else "object"
                why = exc.why._replace(reason=exc.why.reason + _way_in(exc))
                self.fail(name, kind, why, by, sure, type(value).__name__)
                return
            finally:
                self.active.discard(name)
            for other in node.first:
                self.need(other, name, here=True)
            for other in node.later:
                self.need(other, name)

    def node_of(self, name: str, value: Any) -> Node:
        """The step that makes ``value`` under ``name``. Raises CannotTravel."""
        if isinstance(value, ModuleType):
            self.check_module(value.__name__)
            if modules.import_statement(name, value, ()) is None:
                raise CannotTravel(
                    Refusal(
                        f"the module {value.__name__} was made while the notebook ran",
                        "Import a module from a file, or use its parts by name.",
                    )
                )
            self.modules[value.__name__] = None
            return Node(name, "import", module=value)
        written = self.definitions.text(name)
        if written is not None:
            return self.source_node(name, value, written)
        home = modules.home_of(value) if not self.notebook.owns(value) else None
        if home is not None:
            self.check_module(home[0])
            return self.import_node(name, *home)
        if name not in self.options.objects and is_constant(value):
            text = f"{name} = {value!r}\n"
            if not credentials.secret_name(name) and not credentials.secret_value(value):
                kind = type(value).__name__
                return Node(name, "source", text, type=kind, reason="constant")
        # A module's own object (os.environ, rcParams): the worker has one, too.
        home = sources.import_of(name, value, self.namespace)
        if value is os.environ:
            home = ("os", "environ")
        if home is not None and self.places.of(home[0]).travels:
            return self.import_node(name, *home)
        try:
            return self.object_of(name, value)
        except CannotTravel:
            changed = self.definitions.changed_class(name)
            if changed is None or self.secret(name, value) is not None:
                raise
            self.warn(
                f"The class {name} was changed after its definition. A class of its kind travels "
                "only as its text, so the change does not. Define it as it should be."
            )
            return self.source_node(name, value, changed)

    def import_node(self, name: str, module: str, original: str) -> Node:
        self.modules[module] = None
        alias = "" if original == name else f" as {name}"
        statement = f"from {module} import {original}{alias}"
        return Node(name, "import", statement + "\n", reason=statement)

    def source_node(self, name: str, value: Any, text: Text) -> Node:
        source, found = text
        if source.name != name:
            reason = f"alias of {source.name}"
            alias = f"{name} = {source.name}\n"
            return Node(name, "source", alias, reason=reason, first=[source.name])
        self.survey(found, name)
        evaluated = [other for other in found.hints if other != name]
        kept = [other for other in evaluated if self.try_hint(other)]
        quoted = [other for other in found.quoted if other != name and self.try_hint(other)]
        code = source.text if kept == evaluated else texts.without_hints(source.text)
        kind = "class" if isinstance(value, type) else type(value).__name__
        return Node(
            name,
            "source",
            code,
            reason=f"{kind}, {_count(code.count(chr(10)), 'line')}",
            first=list(dict.fromkeys([*(each for each in found.now if each != name), *kept])),
            later=list(dict.fromkeys([*found.later, *quoted])),
        )

    def object_of(self, name: str, value: Any) -> Node:
        why = self.secret(name, value) or refusal.refusal_of(value)
        if name.startswith("__") and name.endswith("__"):
            why = Refusal("names of this form belong to Python", "Give it another name.")
        if isinstance(value, type) and classes.needs_text(value):
            why = Refusal("a named tuple with methods needs its text", "Define it in a cell.")
        if why is not None:
            raise CannotTravel(why)
        if id(value) in self.objects:
            twin = self.objects[id(value)]
            text, reason = f"{name} = {twin}\n", f"same object as {twin}"
            return Node(name, "source", text, reason=reason, first=[twin])
        # What is registered with this object while it is defined cannot be there before it.
        circular = partial(self.definitions.comes_before, name)
        pickled, found = pickle_object(value, self.notebook, self.spool, self.room, circular)
        self.room -= pickled.size
        for module in found.modules:
            self.check_module(module)
        self.modules.update(dict.fromkeys(name for name in found.modules if name[:5] != "dill."))
        for note in found.notes:
            self.warn(f"{name}: {note}.")
        self.objects[id(value)] = name
        kind = type(value).__name__
        reason = "by value: no text defines it as it is" if is_definition(value) else ""
        return Node(
            name,
            "object",
            pickled=pickled,
            type=kind,
            reason=reason,
            first=[other for other in found.names if other != name],
            later=list(found.later),
        )

    def secret(self, name: str, value: Any) -> Refusal | None:
        if name in self.options.objects or value is None or isinstance(value, bool):
            return None
        what = "its name says it is a secret" if credentials.secret_name(name) else None
        if is_definition(value):
            what = None
        what = what or credentials.secrets_in(value)
        if what is None:
            return None
        return Refusal(
            what,
            f"Read it from the environment in the code, or send it on purpose: --object {name}.",
        )

    def try_hint(self, name: str) -> bool:
        """Collect a name that stands in an annotation, if that costs little.

        False if it does not travel; then the annotation must not be evaluated.
        """
        done = (self.nodes, self.active, self.provided, self.inputs, MODULE_NAMES)
        if any(name in names for names in done):
            return True
        if name not in self.namespace:
            return hasattr(builtins, name)
        value = self.namespace[name]
        if _is_builtin(name, value):
            return True
        if name in self.failures or name in self.skipped:
            return False
        if isinstance(value, ModuleType) or is_definition(value) or modules.home_of(value):
            self.resolve(name, "an annotation", sure=False)
        return name in self.nodes

    # Modules

    def check_import(self, module: str, by: str) -> None:
        """An import statement in a text."""
        top = module.partition(".")[0]
        if not top:
            self.warn(f"{by} has a relative import, which fails: a service is no package.")
            return
        self.modules[module] = None
        try:
            self.check_module(module)
        except CannotTravel as exc:
            self.fail(top, "module", exc.why, by, True)
        if self.places.of(top).where == "missing":
            self.warn(f"{by} imports {top}, which is not installed here.")

    def check_module(self, module: str) -> None:
        """Raise CannotTravel if a worker could not import ``module``."""
        top = module.partition(".")[0]
        place = self.places.of(top)
        if place.where != "local" or place.path is None or top in ("__main__", "__mp_main__"):
            return
        if place.path in self.files:
            for other in modules.imports_of_file(place.path):
                if other.partition(".")[0] != top:
                    self.modules[other] = None
                    self.check_module(other)
            return
        raise _module_refusal(top, place.path, self.options)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def fail(
        self, name: str, kind: Kind, why: Refusal, by: str, sure: bool, type_: str = ""
    ) -> None:
        reason = why.reason
        if by not in ("the code", "an annotation", "--object"):
            reason += f" (used by {by})"
        item = Item(name, kind, "refused", None, reason, why.advice, type_)
        self.failures.setdefault(name, Failure(item, sure))

    # The outcome

    def prelude(self) -> list[Node]:
        """All steps in order."""
        for node in self.nodes.values():
            if node.module is not None:
                chains = self.chains.get(node.name, {})
                node.source = modules.import_statement(node.name, node.module, chains) or ""
                node.reason = node.source.strip().replace("\n", "; ")
        return ordered(self.nodes)


def _module_refusal(top: str, path: Path, options: CaptureOptions) -> CannotTravel:
    exc = CannotTravel(_local_module(top, path, options))
    exc.trail.append("module")
    return exc


def _local_module(top: str, path: Path, options: CaptureOptions) -> Refusal:
    folder = folder_of(options)
    if path.is_relative_to(folder):
        shown, where = path.relative_to(folder), "the notebook's folder"
    else:
        shown, where = path, str(path.parent)
    reason = f"the module {top} lies in {where} and is not installed"
    if path.is_file():
        return Refusal(reason, f"Send it along: --file {shown}")
    return Refusal(
        reason, f"Install it (pip install -e {shown}), or copy what you need into the notebook."
    )


def _is_builtin(name: str, value: object) -> bool:
    """Python's own, or IPython's stand-in for it (``open``)."""
    own = getattr(builtins, name, None)
    if own is None:
        return False
    if own is value:
        return True
    module = getattr(value, "__globals__", {}).get("__name__")
    return isinstance(module, str) and module.startswith("IPython.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _way_in(exc: CannotTravel) -> str:
    """Through which objects the pickling came to what cannot travel."""
    way = [name for name in reversed(exc.trail) if name not in ("dict", "list", "tuple", "module")]
    return f" (inside: {' > '.join(way)})" if len(way) > 1 else ""
