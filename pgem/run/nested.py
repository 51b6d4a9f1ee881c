"""Nested values → flat rows: arrays and lists of any depth, with the members of every scope."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.arrays import Integers
from pgem.errors import DataError
from pgem.graph import Outline


@dataclass
class Flat:
    """One node's values, flattened.

    Attributes:
        counts: members per parent row, one array per scope from the unit inwards.
        rows: the values, one row per member of the innermost scope.
        style: how they came: `array`, `list` or `single` (one sequence or tree without a units
            axis).
        is_own: whether the values were copied out of lists.
    """

    counts: list[Integers]
    rows: Any
    style: str
    is_own: bool = False

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.counts[0]) if self.counts else len(self.rows)


def flatten(value: Any, path: Sequence[str], event: int, what: str, outline: Outline) -> Flat:
    """Counts per scope and the flat rows of nested values.

    Args:
        value: an array, or nested lists of values or arrays.
        path: the node's scopes from the unit inwards.
        event: own axes of one value.
        what: the node in words, for errors.
        outline: the model.

    Raises:
        DataError: depth or lengths do not fit.
    """
    _check_container(value, what)
    depth = len(path)
    sequential = depth == 1 and outline.scopes[path[0]].looks_back
    array = as_array(value)
    if array is not None and not array.size and 1 < array.ndim <= depth:
        return _ragged(value, path, event, what)  # members, and nothing inside any of them
    if array is None:
        if sequential and _n_axes(next(iter(value))) == event:
            return Flat([np.array([len(value)])], _joined(list(value), what), "single")
        return _ragged(value, path, event, what)
    if array.ndim == depth + event and sequential:
        return Flat([np.array([len(array)])], array, "single")
    if array.ndim < 1 + depth + event or array.ndim > 1 + depth + max(event, 1):
        raise DataError(
            f"{what} has the wrong number of axes",
            expected=_expected_axes(path, event),
            received=f"an array of shape '{array.shape}'",
        )
    shape = array.shape[: depth + 1]
    lead = [math.prod(shape[: k + 1]) for k in range(depth)]
    counts = [np.broadcast_to(shape[k + 1], (n,)) for k, n in enumerate(lead)]
    rows = array.reshape(math.prod(shape), *array.shape[depth + 1 :])
    listed = isinstance(value, list | tuple)
    style = "list" if depth and listed else "array"
    return Flat(counts, rows, style, is_own=listed and len(value) > 1)


def as_array(value: Any) -> Any:
    """A regular array with NaN or None for what is missing; None for ragged input.

    Text never swallows other values: what NumPy would turn into text stays an object.
    """
    if isinstance(value, np.ma.MaskedArray):
        return _unmasked(value)
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if isinstance(value, np.ndarray):
        nested = value.dtype == object and value.size and not np.isscalar(value.flat[0])
        return as_array(value.tolist()) if nested and np.ndim(value.flat[0]) else value
    if isinstance(value, list | tuple) and len(value) == 1 and _is_plain(value[0]):
        return value[0][None]  # such as one sequence: not copied
    try:
        array = np.array(value)
        if array.dtype.kind in "US" and not isinstance(value, np.ndarray):
            return np.array(value, dtype=object)
        return array
    except ValueError:
        return None


def _is_plain(value: Any) -> bool:
    """Whether a value is an array of numbers and nothing else."""
    return type(value) in (np.ndarray, np.memmap) and value.dtype.kind in "iufb"


def _n_axes(value: Any) -> int | None:
    array = as_array(value)
    return None if array is None else int(array.ndim)


def _unmasked(value: Any) -> Any:
    if value.dtype.kind in "iufb":
        return value.astype(float).filled(np.nan)
    return value.astype(object).filled(None)


def _check_container(value: Any, what: str) -> None:
    listed = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    if not listed or isinstance(value, str | bytes | Mapping) or getattr(value, "shape", 1) == ():
        raise DataError(
            f"{what} has no array or list of values",
            received=f"'{value!r}'"[:200],
            advice="give an array or list with one value per unit: its leading axis is the units",
        )


def _ragged(value: Any, path: Sequence[str], event: int, what: str) -> Flat:
    counts: list[Integers] = []
    level: list[Any] = list(value)
    for depth in range(len(path)):
        if depth:
            level = [inner for item in level for inner in item]
        for k, item in enumerate(level):
            if not hasattr(item, "__len__") or isinstance(item, str | bytes):
                raise DataError(
                    f"{what} is not nested deeply enough",
                    expected=_expected_axes(path, event),
                    received=f"'{item!r}' at position '{k}'",
                )
        counts.append(np.array([len(item) for item in level], dtype=np.int64))
    rows = _joined(level, what) if not path else _concatenated(level, what)
    return Flat(counts, rows, "list", is_own=True)


def _concatenated(items: list[Any], what: str) -> Any:
    """The values of all innermost lists, one after the other."""
    parts = []
    for item in items:
        part = as_array(item)
        parts.append(_joined(list(item), what) if part is None else part)
    parts = [part for part in parts if len(part)]
    if not parts:
        return np.zeros(0)
    if len({part.shape[1:] for part in parts}) > 1:
        _refuse_lengths({part.shape[1:] for part in parts}, what)
    if len({part.dtype.kind in "iufb" for part in parts}) > 1:
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts)


def _joined(items: list[Any], what: str) -> Any:
    """A list of values as one array; of different lengths, an error."""
    array = as_array(items)
    if array is None:
        _refuse_lengths({np.shape(as_array(item)) for item in items}, what)
    return array


def _refuse_lengths(shapes: set[tuple[int, ...]], what: str) -> None:
    raise DataError(
        f"{what} has values of different lengths",
        received=", ".join(f"'{shape}'" for shape in sorted(shapes)),
        advice="every value of a vector node has the same length",
    )


def _expected_axes(path: Sequence[str], event: int) -> str:
    own = ["coordinates"] if event == 1 else ["rows", "columns"][:event]
    return "[" + ", ".join(["units", *path, *own]) + "]"
