"""What splitting uploads and rendering results must know of a service, as JSON can carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...contract.batch import frame_input

if TYPE_CHECKING:
    from ...contract.definition import Definition

Json = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How records are made of an upload.

    frame: the only input, if it is a frame: then a row of a table is a record.
    columns: those the frame declares (``name``, ``type``), in their order; None: any.
    inputs: ``name``, ``type`` and ``optional`` of every input; without a frame, the columns.
    response: a column that may come with the others and is left out.
    arrow: Arrow and Parquet uploads are kept as Arrow, because the service takes many rows.
    """

    frame: str | None
    columns: list[Json] | None
    inputs: list[Json]
    response: str | None = None
    arrow: bool = False

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Plan:
        return cls(**body)


@dataclass(frozen=True)
class OutPlan:
    """What results hold: the declared outputs (wire form), and whether the service is batchable."""

    outputs: list[Json]
    rows: bool = False

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> OutPlan:
        return cls(**body)


def plan_of(definition: Definition) -> Plan:
    """How uploads for this version are split."""
    frame = frame_input(definition.inputs)
    inputs = [
        {
            "name": param["name"],
            "type": param["type"],
            "optional": bool(param.get("optional")),
        }
        for param in definition.inputs
    ]
    if frame is None:
        return Plan(None, None, inputs)
    columns = frame.get("columns")
    response = None
    if definition.realtime is not None and definition.realtime.response is not None:
        response = str(definition.realtime.response["name"])
    if columns is None:
        return Plan(str(frame["name"]), None, inputs, response)
    return Plan(
        frame=str(frame["name"]),
        columns=[{"name": column["name"], "type": column["type"]} for column in columns],
        inputs=inputs,
        response=response,
        arrow=_takes_rows(definition),
    )


def out_plan_of(definition: Definition) -> OutPlan:
    """How results of this version are rendered."""
    return OutPlan([dict(param) for param in definition.outputs], _takes_rows(definition))


def _takes_rows(definition: Definition) -> bool:
    return definition.realtime is not None or definition.batchable
