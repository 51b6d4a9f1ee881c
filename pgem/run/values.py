"""Single values: numbers, and categories with or without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.errors import DataError

Levels = tuple[Any, ...]


def to_numbers(rows: Any, name: str, origin: str) -> Floats:
    """Values as floats, None as NaN.

    Raises:
        DataError: text or infinities.
    """
    array = np.asarray(rows)
    if array.dtype.kind in "OUS":
        array = _parse(array, name, origin)
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"node '{name}' holds values that are no numbers",
            where=origin,
            received=f"type '{array.dtype}'",
        )
    values = np.ascontiguousarray(array, dtype=float)
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values).reshape(len(values), -1).any(axis=1)))
        raise DataError(
            f"node '{name}' holds an infinite value in row '{row}'",
            where=origin,
            advice="use NaN for a missing value",
        )
    return values


def _parse(array: Any, name: str, origin: str) -> Floats:
    """Objects as floats; strings are refused even if they look like numbers."""
    flat = array.reshape(-1)
    for row, value in enumerate(flat):
        if isinstance(value, str | bytes):
            raise DataError(
                f"node '{name}' holds text",
                where=origin,
                expected="numbers (NaN or None where missing)",
                received=f"'{value}' in row '{row}'",
                advice="convert it first, or declare a Categorical node with levels=[...]",
            )
    try:
        numbers = [np.nan if value is None else float(value) for value in flat]
    except (TypeError, ValueError):
        raise DataError(
            f"node '{name}' holds values that are no numbers", where=origin
        ) from None
    return np.array(numbers).reshape(array.shape)


def to_codes(
    rows: Any, name: str, size: int | None, levels: Sequence[Any] | None, origin: str
) -> tuple[Integers, Levels | None]:
    """Categories as codes, -1 where missing; labels are looked up or sorted.

    Raises:
        DataError: an unknown category, or values that are no categories.
    """
    array = np.asarray(rows)
    if array.ndim != 1:
        raise DataError(
            f"node '{name}' takes one category per row",
            where=origin,
            received=f"values of shape '{array.shape[1:]}'",
        )
    if levels is not None:
        return _look_up(array, name, tuple(levels), origin), tuple(levels)
    if array.dtype.kind in "fiub":
        return _whole(array.astype(float), name, size, origin), None
    missing = np.array([_is_missing(value) for value in array], dtype=bool)
    present = [value for value, gone in zip(array, missing, strict=True) if not gone]
    if all(isinstance(v, int | float | np.number | np.bool_) for v in present):
        numbers = np.array([np.nan if gone else float(v) for v, gone in
                            zip(array, missing, strict=True)])
        return _whole(numbers, name, size, origin), None
    found = tuple(sorted({_plain(v) for v in present}, key=str))
    if size is not None and len(found) > size:
        raise DataError(
            f"node '{name}' has more categories than its size",
            where=origin,
            expected=f"'{size}' categories",
            received=f"'{len(found)}': {', '.join(map(repr, found[:10]))}",
        )
    return _look_up(array, name, found, origin), found


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _look_up(array: Any, name: str, levels: Levels, origin: str) -> Integers:
    place = {level: k for k, level in enumerate(levels)}
    codes = np.empty(len(array), dtype=np.int64)
    for row, value in enumerate(array):
        if _is_missing(value):
            codes[row] = -1
            continue
        plain = _plain(value)
        if plain not in place:
            raise DataError(
                f"node '{name}' has a category that is not among its levels",
                where=origin,
                expected=f"one of {', '.join(map(repr, levels))}",
                received=f"'{plain}' in row '{row}'",
                advice="add it to levels=[...], or use NaN for a missing value",
            )
        codes[row] = place[plain]
    return codes


def _whole(values: Floats, name: str, size: int | None, origin: str) -> Integers:
    missing = np.isnan(values)
    with np.errstate(invalid="ignore"):
        bad = ~missing & ((values < 0) | (values != np.floor(values)) | np.isinf(values))
        if size is not None:
            bad |= ~missing & (values >= size)
    if bad.any():
        row = int(np.argmax(bad))
        last = "…" if size is None else str(size - 1)
        raise DataError(
            f"node '{name}' has a value that is no category",
            where=origin,
            expected=f"whole numbers from 0 to {last}",
            received=f"'{values[row]:g}' in row '{row}'",
            advice="recode it, or name the categories with levels=[...]",
        )
    return np.where(missing, -1, values).astype(np.int64)
