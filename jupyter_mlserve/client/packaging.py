"""From what the caller of :class:`DeployClient` gives to the body and blobs of a publish.

Finding what a function uses, and packing it, is the kernel's job (``notebook.capture``); it is
asked for only when there is code or an object to pack.
"""

from __future__ import annotations

import difflib
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract.batch import batchable as check_batchable
from ..contract.errors import InvalidDefinition
from ..contract.learn import to_json
from ..contract.types import params_of
from .misuse import WrongCall
from .publishing import Package, Publishable

if TYPE_CHECKING:
    from ..notebook.capture import Capture, CaptureOptions

Json = dict[str, Any]

# What code brings along besides itself. On an update the other parts keep what they are.
CODE_PARTS = ("code", "initCode")
OBJECT_PARTS = ("prelude", "objects", "interpreter", "packages")
OWN_CODE_PARTS = ("form", "function", "source", *OBJECT_PARTS)


@dataclass(frozen=True)
class Parts:
    """The parts of a definition that were given; None is "not given"."""

    code_fn: Callable[..., Any] | None = None
    init_fn: Callable[[], Any] | None = None
    code_str: str | None = None
    init_str: str | None = None
    inputs: Any = None
    outputs: Any = None
    objects: Mapping[str, Any] | None = None
    models: Mapping[str, Any] | None = None
    artifacts: Sequence[str] | None = None
    files: Sequence[str | Path] | None = None
    exclude: Sequence[str] | None = None
    alias: str | None = None
    description: str | None = None
    sample: Mapping[str, Any] | None = None
    pool: Mapping[str, int] | None = None
    batchable: bool | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Parts:
        """Raises TypeError naming a part that does not exist, and the nearest that does."""
        known = [part.name for part in fields(cls)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else f" The parts: {', '.join(known)}."
                raise WrongCall(f"A service has no part {name!r}.{hint}")
        parts = cls(**given)
        if parts.code_fn is not None and parts.code_str is not None:
            raise InvalidDefinition("Give code_fn or code_str, not both.", field="code")
        if isinstance(parts.artifacts, str):
            raise InvalidDefinition("artifacts is a list of file names.", field="outputFileNames")
        return parts

    @property
    def all_objects(self) -> dict[str, Any]:
        """``models`` and ``objects`` are the same thing under two names."""
        return {**(self.objects or {}), **(self.models or {})}

    @property
    def has_code(self) -> bool:
        return self.code_fn is not None or self.code_str is not None


def package(parts: Parts) -> Publishable:
    """A new version: everything that was given."""
    if not parts.has_code:
        raise InvalidDefinition("There is no code: give code_fn or code_str.", field="code")
    capture = capture_code(parts, parts.inputs, parts.outputs)
    capture.body.update(labels(parts))
    if parts.pool is not None:
        capture.body["mlserve"]["pool"] = dict(parts.pool)
    if parts.batchable is not None:
        capture.body["mlserve"]["batchable"] = check_batchable(
            parts.batchable,
            capture.body["inputParameterDefinitions"],
            capture.body["outputParameterDefinitions"],
            capture.body.get("outputFileNames") or (),
        )
    return capture


def package_update(parts: Parts, current: Mapping[str, Any]) -> Publishable:
    """An update of ``current`` (the WebService object of the version): only what was given.

    Code is read with the declared types and the objects of the version, where none are given.
    """
    body: Json = plain_parts(parts)
    own: Json = {}
    blobs: Mapping[str, Any] = {}
    if parts.has_code or parts.all_objects or parts.files is not None:
        capture, code, code_own = repack(parts, current)
        body.update(code)
        own.update(code_own)
        blobs = capture.blobs
    elif parts.init_fn is not None:
        raise InvalidDefinition("init_fn goes with code_fn: give both.", field="initCode")
    elif parts.init_str is not None:
        body["initCode"] = parts.init_str
    if parts.sample is not None:
        own["sample"] = sample_of(parts.sample)
    if parts.pool is not None:
        own["pool"] = dict(parts.pool)
    if parts.batchable is not None:
        own["batchable"] = parts.batchable
    if own:
        body["mlserve"] = own
    if not body:
        raise InvalidDefinition(
            "Nothing to update was given: name at least one part, such as description or code_fn."
        )
    return Package(body, blobs)


def labels(parts: Parts) -> Json:
    given = {"description": parts.description, "operationId": parts.alias}
    return {key: value for key, value in given.items() if value is not None}


def plain_parts(parts: Parts) -> Json:
    """The parts that need no packing, under the contract's names."""
    body = labels(parts)
    if parts.inputs is not None:
        body["inputParameterDefinitions"] = params_of(parts.inputs)
    if parts.outputs is not None:
        body["outputParameterDefinitions"] = params_of(parts.outputs, output=True)
    if parts.artifacts is not None:
        body["outputFileNames"] = list(parts.artifacts)
    return body


def sample_of(sample: Mapping[str, Any]) -> Json:
    return {name: to_json(value) for name, value in sample.items()}


def repack(parts: Parts, current: Mapping[str, Any]) -> tuple[Capture, Json, Json]:
    """The capture of new code, objects or files, and what of it goes into an update: parts of
    the contract, and parts of ours."""
    before = current.get("mlserve") or {}
    given = parts.all_objects
    kept = [item for item in before.get("objects") or () if item["name"] not in given]
    if parts.has_code:
        here = getattr(parts.code_fn, "__globals__", {})
        # What this session has, travels anew; what it does not have, is still there.
        kept = [item for item in kept if item["name"] not in here]
        capture = capture_code(
            parts,
            current.get("inputParameterDefinitions") if parts.inputs is None else parts.inputs,
            current.get("outputParameterDefinitions") if parts.outputs is None else parts.outputs,
            exclude=[item["name"] for item in kept],
        )
        code = {key: capture.body.get(key) for key in CODE_PARTS}
        if parts.init_fn is None and parts.init_str is None:
            del code["initCode"]
    else:
        capture = capture_objects(parts)
        code = {}
    new = capture.body["mlserve"]
    own: Json = {}
    if parts.has_code or given:
        own = {key: new.get(key) for key in (OWN_CODE_PARTS if parts.has_code else OBJECT_PARTS)}
    if own and (kept or not parts.has_code):
        # What stays may need what came with it: classes of the notebook, imports.
        own["objects"] = [*kept, *new["objects"]]
        own["packages"] = {**(before.get("packages") or {}), **new["packages"]}
        own["prelude"] = merged_prelude(
            before.get("prelude") or (),
            new.get("prelude") or (),
            {item["name"] for item in own["objects"]},
        )
    if parts.files is not None:
        own["files"] = new["files"]
    return capture, code, own


def merged_prelude(
    before: Sequence[Json], new: Sequence[Json], objects: Collection[str]
) -> list[Json]:
    """Definitions that come anew first; what they replace falls away, and so do the places of
    objects that are no longer there."""

    def names(entry: Json) -> set[str]:
        return {entry["object"]} if "object" in entry else set(entry.get("names") or ())

    replaced = set().union(*map(names, new))
    stays = [entry for entry in before if not names(entry) & replaced]
    return [*new, *(entry for entry in stays if entry.get("object", "") in {"", *objects})]


def capture_code(
    parts: Parts, inputs: Any, outputs: Any, *, exclude: Sequence[str] = ()
) -> Capture:
    """Pack the code and what it uses. Raises InvalidDefinition naming what cannot travel."""
    from ..notebook.capture import capture_cell, capture_function

    exclude = [*exclude, *(parts.exclude or ())]
    init = parts.init_fn if parts.init_fn is not None else parts.init_str
    if parts.code_fn is not None:
        namespace = ChainMap(parts.all_objects, getattr(parts.code_fn, "__globals__", {}))
        options = capture_options(parts, inputs, outputs, exclude=exclude)
        capture = capture_function(parts.code_fn, init, namespace, options)
    else:
        options = capture_options(parts, inputs, outputs, form="script", init=init, exclude=exclude)
        capture = capture_cell(str(parts.code_str), parts.all_objects, options)
    return capture.require()


def capture_objects(parts: Parts) -> Capture:
    """Pack objects and files alone: those of a script that does nothing."""
    from ..notebook.capture import capture_cell

    options = capture_options(parts, [], [], form="script")
    return capture_cell("pass", parts.all_objects, options).require()


def capture_options(parts: Parts, inputs: Any, outputs: Any, **more: Any) -> CaptureOptions:
    from ..notebook.capture import CaptureOptions

    return CaptureOptions(
        inputs=inputs,
        outputs=outputs,
        objects=set(parts.all_objects),
        files=list(parts.files or ()),
        artifacts=list(parts.artifacts or ()),
        sample=parts.sample,
        **more,
    )
