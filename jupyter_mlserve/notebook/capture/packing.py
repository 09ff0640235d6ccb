"""From what was found to what is published: the body, the blobs and the report."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dill

from ...contract import validation
from ...contract.errors import InvalidDefinition
from ...contract.learn import to_json
from ...contract.names import check_file_name
from ...contract.types import Param
from . import modules
from .collect import Collector
from .facts import Reading
from .files import Files, gather_files
from .learning import join_names
from .operation import Operation
from .order import Node
from .parameters import function_inputs, function_outputs
from .pickling import Notebook
from .reading import read
from .result import MIB, Capture, CaptureOptions, Item, human_size
from .script import check_script, script_inputs, script_outputs
from .spool import Spool

_LARGE = 100 * MIB
_NOTED = 1 * MIB
CODE = "the code"


@dataclass
class Job:
    """One capture. ``by_value``: the name under which the operation itself is an object."""

    options: CaptureOptions
    namespace: Mapping[str, Any]
    code: str = ""
    init: str | None = None
    operation: Operation | None = None
    by_value: str | None = None
    description: str | None = None
    written: str = ""


def pack(job: Job, started: float) -> Capture:
    """Follow every name of the job's texts and build the capture."""
    options, operation = job.options, job.operation
    for name in options.artifacts:
        check_file_name(name, "artifact")
    code = read(job.code, [operation.name] if operation else ())
    init = read(job.init) if job.init else None
    files = gather_files(options)
    spool = Spool()
    warnings: list[str] = []

    inputs = (
        function_inputs(operation, options, warnings.append)
        if operation
        else script_inputs(options, code.uses, warnings.append)
    )
    outputs = (
        function_outputs(operation, options, warnings.append)
        if operation
        else script_outputs(code.tree, options, job.namespace, code.assigned)
    )
    collector = Collector(
        Notebook(job.namespace, _homes(job.namespace)),
        options,
        spool,
        files.paths,
        inputs=() if operation else [param["name"] for param in inputs],
        provided={*code.definite, *(init.assigned if init else ())},
    )
    collector.warnings = warnings
    if init is not None:
        collector.use(init, "init")
    collector.use(code, CODE, provided=init.assigned if init else ())
    if job.by_value:
        collector.add(job.by_value)
    for name in sorted(options.objects):
        collector.add(name)
    if operation is None:
        check_script(code, options, inputs, outputs, collector)
    _check_missing(job, code, collector)
    steps = collector.prelude()
    _warn_of_sizes(job, code, steps, files, collector)
    return Capture(
        body=_body(job, inputs, outputs, steps, files, collector),
        blobs={
            **{step.pickled.sha256: step.pickled.blob for step in steps if step.pickled},
            **files.blobs,
        },
        report=_report(job, steps, files, collector),
        warnings=collector.warnings,
        seconds=time.perf_counter() - started,
        _spool=spool,
    )


def _homes(namespace: Mapping[str, Any]) -> frozenset[str]:
    """Modules whose functions and classes are the author's own, and travel as source."""
    name = namespace.get("__name__")
    if not isinstance(name, str) or name == "__main__" or modules.Places().of(name).travels:
        return frozenset(("__main__",))
    return frozenset(("__main__", name))


def _body(
    job: Job,
    inputs: list[Param],
    outputs: list[Param],
    steps: list[Node],
    files: Files,
    collector: Collector,
) -> dict[str, Any]:
    options = job.options
    return {
        "runtimeType": "Python",
        "description": job.description or None,
        "operationId": None,
        "code": job.code,
        "initCode": job.init,
        "inputParameterDefinitions": inputs,
        "outputParameterDefinitions": outputs,
        "outputFileNames": list(dict.fromkeys(options.artifacts)),
        "mlserve": {
            "form": "function" if job.operation else "script",
            "function": job.operation.name if job.operation else None,
            "prelude": [_step(step) for step in steps],
            "objects": [
                {
                    "name": step.name,
                    "sha256": step.pickled.sha256,
                    "size": step.pickled.size,
                    "type": step.type[:200],
                }
                for step in steps
                if step.pickled
            ],
            "files": files.entries,
            "sample": _sample(options, inputs),
            "interpreter": interpreter(),
            "packages": modules.package_versions(collector.modules, collector.places),
            "source": job.written,
            "notebook": options.notebook,
            "cellId": options.cell_id,
        },
    }


def _sample(options: CaptureOptions, inputs: list[Param]) -> dict[str, Any] | None:
    """The sample as JSON; InvalidDefinition when it is no call of these inputs."""
    if options.sample is None:
        return None
    found = to_json(dict(options.sample))
    return validation.sample(found, [dict(param) for param in inputs])


def interpreter() -> dict[str, str]:
    """Where the service will run: the interpreter of this kernel."""
    return {
        "executable": sys.executable,
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "dill": dill.__version__,
    }


def _step(node: Node) -> dict[str, Any]:
    if node.pickled:
        return {"object": node.name}
    names = [] if node.name.startswith("__") and node.name.endswith("__") else [node.name]
    return {"source": node.source, "names": names}


def _report(job: Job, steps: list[Node], files: Files, collector: Collector) -> list[Item]:
    report: list[Item] = []
    for step in steps:
        size = step.pickled.size if step.pickled else None
        if step.kind == "source":
            size = len(step.source.encode())
        report.append(Item(step.name, step.kind, "captured", size, step.reason, type=step.type))
    report += [item for item in files.items if item.status == "captured"]
    report += collector.skipped.values()
    for name in sorted(collector.inputs & set(job.namespace)):
        if name not in collector.nodes:
            report.append(
                Item(name, "object", "skipped", reason="an input: every call brings its own value")
            )
    for failure in collector.failures.values():
        item = failure.item
        if not failure.sure:
            why = f"{item.reason}; the code can do without"
            report.append(Item(item.name, item.kind, "skipped", None, why, type=item.type))
    report += [failure.item for failure in collector.failures.values() if failure.sure]
    report += [item for item in files.items if item.status == "refused"]
    return report


def _check_missing(job: Job, code: Reading, collector: Collector) -> None:
    """Names that exist nowhere: an error when the code surely reads them."""
    named = [name for name, by in collector.missing.items() if "--object" in by]
    if named:
        raise InvalidDefinition(
            f"The notebook has no variable {named[0]!r} to send as an object.", field="objects"
        )
    for module in code.unknown_star:
        collector.warn(
            f"What 'from {module} import *' binds is not known here. Import the names you use."
        )
    own = [
        name
        for name, by in collector.missing.items()
        if ({CODE, "init"} & set(by)) and not code.unknown_star and not code.dynamic
    ]
    for name, by in collector.missing.items():
        if name not in own:
            collector.warn(f"{by[0]} reads {name}, which is not defined.")
    if not own:
        return
    shown = join_names(own)
    if job.operation is None and job.options.inputs is None:
        example = ", ".join(f"{name}: float" for name in own)
        advice = f'Declare the inputs, as in -i "{example}", or define the names in the notebook.'
    else:
        other = "" if job.operation else " or declare it as an input"
        advice = (
            f"Define what is missing in the notebook{other}. If the code can do without: "
            f"--exclude {own[0]}."
        )
    be = "is" if len(own) == 1 else "are"
    raise InvalidDefinition(
        f"The code reads {shown}, which {be} neither an input nor a variable of the notebook. "
        f"{advice}",
        field="inputs",
    )


def _warn_of_sizes(
    job: Job, code: Reading, steps: list[Node], files: Files, collector: Collector
) -> None:
    total = sum(step.pickled.size for step in steps if step.pickled)
    total += sum(entry["size"] for entry in files.entries)
    if total > _LARGE:
        sizes = {step.name: _size(step) for step in steps}
        sizes.update({entry["name"]: entry["size"] for entry in files.entries})
        largest = max(sizes, key=lambda name: sizes[name])
        collector.warn(
            f"{human_size(total)} travel with the service; the largest part is {largest} "
            f"({human_size(sizes[largest])})."
        )
    if job.operation is None:
        return
    for step in steps:
        if _size(step) > _NOTED and step.name in code.now and step.name not in code.later:
            collector.warn(
                f"{step.name} ({human_size(_size(step))}) travels because line "
                f"{code.now[step.name].line} of the cell reads it whenever a worker starts. If "
                f"only {job.operation.name} is the service, move that line to another cell."
            )


def _size(step: Node) -> int:
    return step.pickled.size if step.pickled else 0
