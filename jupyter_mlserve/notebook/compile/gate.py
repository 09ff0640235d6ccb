"""The parity gate: a compiled model answers what the model answers, or is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .build import Built
from .feeding import feeds
from .probes import Probes, answers
from .reference import Answers, Reference
from .running import dense, run

TOLERANCE = 1e-5  # scaled: of the value itself, or of the column's usual size if that is larger
_IMAGES = 8  # rows with images that are scored at once
_TIE = 1e-9  # classes whose scores are this close are equally right


@dataclass
class Verdict:
    """What the gate found. ``fault`` is None when the candidate passed."""

    rows: int = 0
    largest: float = 0.0
    ties: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    not_nullable: set[int] = field(default_factory=set)
    fault: Fault | None = None


@dataclass(frozen=True)
class Fault:
    """The worst row: its kind, what both said, and the scaled difference (inf: another label)."""

    kind: str
    row: Any  # a frame of that one row
    difference: float
    expected: str
    found: str


def judge(
    built: Built,
    opened: Any,
    probes: Probes,
    reference: Reference,
    progress: Callable[[str, int, int], None] | None = None,
) -> Verdict:
    """Score every probe with the compiled model (``opened``, its session) and the model itself.

    ``progress`` is told "prove", and rows done and in total.
    """
    verdict = Verdict()
    usual = _usual(answers(reference, probes.frame.data))
    done, total = 0, sum(map(len, probes.rows))
    for rows, kind, column in _batches(probes):
        if progress is not None:
            progress("prove", done, total)
        done += len(rows)
        expected = answers(reference, rows)
        if expected is None:
            rows, expected = _taken(reference, rows)
            if expected is None:
                continue
        try:
            got = score(built, opened, rows, expected)
        except Exception as exc:  # the runtime's own errors have no common class
            got, why = None, " ".join(str(exc).split())[:200]
        if got is None:
            off, ties = np.full(len(rows), np.inf), 0
        else:
            off, ties = differences(expected, got, usual, kind == "boundary")
            why = ""
        if kind == "boundary":
            off = _unstable(reference, rows, off, expected, got, usual)
        worst = float(off.max()) if len(off) else 0.0
        if worst > TOLERANCE:
            if kind == "null" and column is not None and not _has_nulls(probes, column):
                verdict.not_nullable.add(column)
                continue
            at = int(off.argmax())
            if kind == "null" and column is None and verdict.not_nullable:
                continue
            if verdict.fault is None or worst > verdict.fault.difference:
                wanted, found = (_at(one, at, reference) if one else why for one in (expected, got))
                verdict.fault = Fault(kind, rows.iloc[[at]], worst, wanted, found)
            continue
        verdict.rows += len(rows)
        verdict.largest = max(verdict.largest, worst)
        verdict.ties += ties
        verdict.counts[kind] += len(rows)
    return verdict


def _batches(probes: Probes) -> Iterator[tuple[Any, str, int | None]]:
    """The probes with their kind and column; frames of numbers for the columns as one.

    A model of many trees takes as long for one row as for a hundred. Rows with nulls stay apart,
    because a column that is not right with them loses its nulls and not the model.
    """
    import pandas as pd

    numbers: dict[str, list[Any]] = {}
    for rows, (kind, column) in zip(probes.rows, probes.kinds, strict=True):
        if kind == "number" and not probes.frame.images:
            numbers.setdefault(str(rows.dtypes.tolist()), []).append(rows)
        else:
            yield rows, kind, column
    for held in numbers.values():
        yield pd.concat(held, ignore_index=True), "number", None


def score(built: Built, opened: Any, rows: Any, expected: Answers) -> Answers:
    """The compiled model's answers, named as the reference's."""
    names = [tensor["name"] for tensor in built.tensors]
    found = dict(zip(names, _run(built, opened, rows, names), strict=True))
    if "features" in expected:
        return {"features": _joined([found[name] for name in names])}
    return {name: dense(value) for name, value in found.items()}


def _run(built: Built, opened: Any, rows: Any, names: list[str]) -> list[Any]:
    if not any(item["type"] == "float" for item in built.inputs):
        return run(opened, feeds(built.inputs, rows), names)
    # A network needs memory for each image at once.
    parts = [rows.iloc[at : at + _IMAGES] for at in range(0, len(rows), _IMAGES)]
    found = [run(opened, feeds(built.inputs, part), names) for part in parts]
    return [np.concatenate(pieces) for pieces in zip(*found, strict=True)]


def _joined(parts: Sequence[Any]) -> npt.NDArray[Any]:
    if any(part.dtype.kind in "OU" for part in parts):
        return np.concatenate([part.astype(object) for part in parts], axis=1)
    return np.concatenate(parts, axis=1)


def differences(
    expected: Answers, got: Answers, usual: dict[str, Any], lenient: bool = False
) -> tuple[npt.NDArray[np.float64], int]:
    """For each row the largest scaled difference (inf for another label), and how many ties."""
    rows = len(next(iter(expected.values())))
    off, ties = np.zeros(rows), 0
    for name, wanted in expected.items():
        found = got[name]
        if found.shape != wanted.shape:
            return np.full(rows, np.inf), 0
        if name == "label":
            unequal = (found != wanted).any(axis=1)
            tied = unequal & _ties(expected, found)
            ties += int(tied.sum())
            off = np.maximum(off, np.where(unequal & ~tied, np.inf, 0.0))
        else:
            off = np.maximum(off, _scaled(found, wanted, usual.get(name)).max(axis=1, initial=0.0))
    return off, ties


def _scaled(
    found: npt.NDArray[Any], wanted: npt.NDArray[Any], usual: Any
) -> npt.NDArray[np.float64]:
    if wanted.dtype.kind not in "fiub" or found.dtype.kind not in "fiub":
        return _unequal_cells(found, wanted)
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    scale = np.abs(b) if usual is None else np.maximum(np.abs(b), usual)
    with np.errstate(all="ignore"):
        off = np.abs(a - b) / np.maximum(scale, 1e-300)
    off[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    off[np.isnan(off)] = np.inf
    return off


def _unequal_cells(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    from ...contract.realtime import NULL_TEXT
    from .encoders import is_null

    off = np.zeros(wanted.shape)
    for place in np.ndindex(wanted.shape):
        a, b = found[place], wanted[place]
        if is_null(b):
            off[place] = 0.0 if a == NULL_TEXT or is_null(a) else np.inf
        elif isinstance(b, str) or isinstance(a, str):
            off[place] = 0.0 if a == b else np.inf
        else:
            gap = abs(float(a) - float(b))
            off[place] = gap / max(abs(float(b)), 1e-12) if gap else 0.0
    return off


def _usual(sample: Answers | None) -> dict[str, Any]:
    """The usual size of each column on the sample; 1 for probabilities."""
    found: dict[str, Any] = {}
    for name, values in (sample or {}).items():
        if name == "probabilities":
            found[name] = 1.0
        elif values.dtype.kind in "fiub":
            with np.errstate(all="ignore"):
                sizes = np.abs(values.astype(np.float64))
                sizes[~np.isfinite(sizes)] = 0.0
                found[name] = sizes.mean(axis=0, keepdims=True)
    return found


def _ties(expected: Answers, found: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Rows where the model's own scores of both labels are equal to rounding."""
    rows = len(found)
    scores = expected.get("probabilities", expected.get("scores"))
    if scores is None or found.shape[1] != 1:
        return np.zeros(rows, bool)
    if scores.shape[1] == 1:
        return np.asarray(np.abs(scores[:, 0]) <= _TIE)
    picked = np.clip(found[:, 0], 0, scores.shape[1] - 1)
    chosen = scores[np.arange(rows), picked]
    best = scores.max(axis=1)
    return np.asarray(best - chosen <= _TIE * np.maximum(1.0, np.abs(best)))


def _unstable(
    reference: Reference,
    rows: Any,
    off: npt.NDArray[np.float64],
    expected: Answers,
    got: Answers | None,
    usual: dict[str, Any],
) -> npt.NDArray[np.float64]:
    """``off`` without the rows where the model changes its own mind within rounding.

    Behind a matrix product or a division the last bit depends on the order of additions, in
    scikit-learn itself too. There the compiled model must give what the model gives for the same
    row moved by a few units in the last place.
    """
    bad = np.flatnonzero(off > TOLERANCE)
    if got is None or not len(bad):
        return off
    left = np.array(off, np.float64)
    numeric = [name for name in rows.columns if rows[name].dtype.kind == "f"]
    for units in (1, -1, 2, -2, 4, -4, 8, -8):
        moved = rows.iloc[bad].copy()
        for name in numeric:
            values = moved[name].to_numpy()
            moved[name] = values + units * np.spacing(np.abs(values))
        again = answers(reference, moved)
        if again is None:
            continue
        part = {name: value[bad] for name, value in got.items()}
        left[bad] = np.minimum(left[bad], differences(again, part, usual)[0])
    return left


def _taken(reference: Reference, rows: Any) -> tuple[Any, Answers | None]:
    """The rows that the model takes, when it does not take all."""
    kept = [i for i in range(len(rows)) if answers(reference, rows.iloc[[i]]) is not None]
    if not kept:
        return rows, None
    rows = rows.iloc[kept].reset_index(drop=True)
    return rows, answers(reference, rows)


def _has_nulls(probes: Probes, column: int) -> bool:
    return bool(probes.frame.data.iloc[:, column].isna().any())


def _at(found: Answers, row: int, reference: Reference) -> str:
    """What was answered for a row, in short; class labels as the author knows them."""
    shown = {name: np.asarray(values[row]).ravel()[:4].tolist() for name, values in found.items()}
    if "label" in shown and reference.classes:
        places = zip(shown["label"], reference.classes, strict=False)
        labels = [names[place] if 0 <= place < len(names) else place for place, names in places]
        shown["label"] = labels
    return ", ".join(
        f"{name} {values[0]!r}" if name == "label" and len(values) == 1 else f"{name} {values}"
        for name, values in shown.items()
    )
