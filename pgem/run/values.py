"""Single values: numbers, and categories with or without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers, factorise, missing
from pgem.errors import DataError
from pgem.run.stored import Codes, Numbers, blocks_of, codes_type

Levels = tuple[Any, ...]


def to_numbers(array: Any, what: str, origin: str, *, is_own: bool = False) -> Numbers:
    """Values as numbers, in the type that they have; None as NaN.

    Args:
        array: values of any kind.
        what: the node in words, for errors.
        origin: where it was declared.
        is_own: whether the array was made here, and is not the user's.

    Raises:
        DataError: text, infinities or other objects.
    """
    if array.dtype.kind in "OUS":
        array, is_own = _parse(array, what, origin), True
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{what} holds values that are no numbers",
            where=origin,
            received=f"type '{array.dtype}'",
        )
    values = Numbers(array if array.dtype.itemsize <= 8 else array.astype(float), is_own=is_own)
    for rows in values.blocks():
        bad = np.isinf(values.array[rows])
        if bad.any():
            row = rows.start + int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
            raise DataError(
                f"{what} holds an infinite value in row '{row}'",
                where=origin,
                received=f"'{values[row]}'",
                advice="use NaN for a missing value",
            )
    return values


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(array: Any, what: str, origin: str) -> Floats:
    """Objects as floats; strings are refused even if they look like numbers."""
    gone = missing(array).reshape(-1)
    texts = [k for k, v in enumerate(array.reshape(-1)) if isinstance(v, str | bytes)]
    if texts:
        first = next((k for k in texts if not _is_number(array.reshape(-1)[k])), texts[0])
        raise DataError(
            f"{what} holds text",
            where=origin,
            expected="numbers (NaN or None where missing)",
            received=f"'{array.reshape(-1)[first]!s}' in row "
            f"'{first * len(array) // max(array.size, 1)}'",
            advice="convert it first, or declare a Categorical node with levels=[...]",
        )
    try:
        numbers = [
            np.nan if absent else float(value)
            for value, absent in zip(array.reshape(-1), gone, strict=True)
        ]
    except (TypeError, ValueError):
        raise DataError(
            f"{what} holds values that are no numbers",
            where=origin,
            expected="numbers (NaN or None where missing)",
            received=f"type '{type(array.reshape(-1)[np.argmin(gone)]).__name__}'",
        ) from None
    return np.array(numbers).reshape(array.shape)


def to_codes(
    array: Any, what: str, size: int | None, levels: Sequence[Any] | None, origin: str
) -> tuple[Codes, Levels | None]:
    """Categories as codes, -1 where missing; labels are looked up or sorted.

    Integers that are codes already are kept as they are.


    Raises:
        DataError: an unknown category, or values that are no categories.
    """
    if array.ndim != 1:
        raise DataError(
            f"{what} takes one category per row",
            where=origin,
            received=f"values of shape '{array.shape[1:]}'",
        )
    if levels is not None:
        return Codes(_look_up(array, what, tuple(levels), origin), is_own=True), tuple(levels)
    if array.dtype.kind in "fiub":
        return _whole(array, what, size, origin), None
    codes, found = factorise(array)
    kinds = {isinstance(v, int | float | np.number | np.bool_) for v in found}
    if len(kinds) > 1:
        raise DataError(
            f"{what} holds a mix of numbers and other labels",
            where=origin,
            received=", ".join(map(repr, found[:10])),
            advice="use one kind of label, or name the categories in order with levels=[...]",
        )
    if True in kinds or not found:
        numbers = np.array([*map(float, found), np.nan])[codes]
        return _whole(numbers, what, size, origin), None
    if size is not None and len(found) > size:
        raise DataError(
            f"{what} has more categories than its size",
            where=origin,
            expected=f"'{size}' categories",
            received=f"'{len(found)}': {', '.join(map(repr, found[:10]))}",
        )
    return Codes(codes.astype(codes_type(len(found))), is_own=True), tuple(found)


def _look_up(array: Any, what: str, levels: Levels, origin: str) -> Integers:
    codes, found = factorise(array)
    place = {level: k for k, level in enumerate(levels)}
    for code, label in enumerate(found):
        if label not in place:
            raise DataError(
                f"{what} has a category that is not among its levels",
                where=origin,
                expected=f"one of {', '.join(map(repr, levels))}",
                received=f"'{label}' in row '{int(np.argmax(codes == code))}'",
                advice="add it to levels=[...], or use NaN for a missing value",
            )
    places = [*(place[label] for label in found), -1]
    return np.array(places, dtype=codes_type(len(levels)))[codes]


def _whole(array: Any, what: str, size: int | None, origin: str) -> Codes:
    """Whole numbers from 0 as codes: integers themselves, others in the smallest type."""
    last = -1
    for rows in blocks_of(len(array)):
        values = np.asarray(array[rows], dtype=float)
        gone = np.isnan(values)
        with np.errstate(invalid="ignore"):
            bad = ~gone & ((values < 0) | (values != np.floor(values)) | np.isinf(values))
            if size is not None:
                bad |= ~gone & (values >= size)
        if bad.any():
            row = int(np.argmax(bad))
            _refuse_category(float(values[row]), rows.start + row, what, size, origin)
        last = max(last, int(values.max(where=~gone, initial=-1)))
    if array.dtype.kind != "f":
        return Codes(array)
    codes = np.empty(len(array), dtype=codes_type(last + 1))
    for rows in blocks_of(len(array)):
        codes[rows] = np.where(np.isnan(array[rows]), -1, array[rows])
    return Codes(codes, is_own=True)


def _refuse_category(value: float, row: int, what: str, size: int | None, origin: str) -> None:
    last = "…" if size is None else str(size - 1)
    raise DataError(
        f"{what} has a value that is no category",
        where=origin,
        expected=f"whole numbers from 0 to {last}",
        received=f"'{value:g}' in row '{row}'",
        advice="recode it (NaN or None for a missing value), or name the categories with "
        "levels=[...]",
    )
