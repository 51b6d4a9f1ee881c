"""Tables of any kind as columns by name: mappings of arrays, and data frames through narwhals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.errors import DataError, MissingExtraError, did_you_mean


@dataclass(frozen=True, eq=False)
class Table:
    """Column names, and a function that reads one."""

    names: list[str]
    n_rows: int
    read: Callable[[str], Any]


def read_table(frame: Any) -> Table:
    """A data frame or mapping as a table.

    Raises:
        DataError: it is neither. MissingExtraError: a data frame without narwhals.
    """
    if isinstance(frame, Mapping):
        lengths = [len(column) for column in frame.values()]
        if len(set(lengths)) > 1:
            raise DataError(
                "the columns of the table have different lengths",
                received=", ".join(f"{n}: '{k}'" for n, k in zip(frame, lengths, strict=True)),
            )
        return Table(list(frame), max(lengths, default=0), lambda name: np.asarray(frame[name]))
    native = _native(frame)
    return Table(list(native.columns), len(native), lambda name: _column_of(native[name]))


def _native(frame: Any) -> Any:
    try:
        import narwhals as nw
    except ImportError:
        raise MissingExtraError("narwhals", "frames", "read a data frame") from None
    try:
        native = nw.from_native(frame)
    except TypeError:
        raise DataError(
            "the data are no data frame",
            expected="a frame of pandas, polars or pyarrow, or a mapping of columns",
            received=f"'{type(frame).__name__}'",
        ) from None
    return native.collect() if isinstance(native, nw.LazyFrame) else native


def _column_of(series: Any) -> Any:
    """A column as an array: NaN or None where null."""
    gone = series.is_null().to_numpy()
    if not gone.any():
        return series.to_numpy()
    plain = series.to_numpy()
    if plain.dtype.kind == "f":
        return plain
    values = np.empty(len(series), dtype=object)
    values[:] = series.to_list()
    values[np.asarray(gone, dtype=bool)] = None
    return values.astype(float) if series.dtype.is_numeric() else values


def check_known(option: str, name: str, known: Iterable[str], kind: str) -> None:
    """Raise a `DataError` with close matches if a name is not among the known ones."""
    names = list(map(str, known))
    if name in names:
        return
    raise DataError(
        f"{option}: there is no {kind} '{name}'",
        expected=", ".join(names) or "(none)",
        advice=did_you_mean(name, names),
    )
