"""Columns in the type that they came in: what is read of them is float64, or int64 for codes.

A column may be the user's own array, a memory-mapped file or every second row of something: it is
never converted as a whole, but where rows are read, a shard or some thousand at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from pgem.arrays import Floats, Mask

Read = TypeVar("Read", bound=np.generic)

ALL = slice(None)
BLOCK = 1 << 17
"""Numbers that are read at a time where all rows are looked at."""


class Stored(Generic[Read]):
    """Values of one node or covariate.

    Args:
        array: the values [rows], [rows, D] or [rows, D, D], of any type of numbers.
        is_own: whether the array was made here, and is not the user's.
    """

    read_as: ClassVar[type[np.generic]]

    def __init__(self, array: Any, *, is_own: bool = False) -> None:
        self.array, self.is_own = array, is_own

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, and the shape of one value."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """One, and the axes of one value."""
        return int(self.array.ndim)

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return math.prod(self.shape[1:])

    @property
    def is_plain(self) -> bool:
        """Whether rows are read without a copy."""
        return bool(self.array.dtype == self.read_as and self.array.flags.c_contiguous)

    @property
    def nbytes(self) -> int:
        """Bytes that the values take beside the user's arrays."""
        return int(self.array.nbytes) if self.is_own else 0

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> NDArray[Read]:
        return np.asarray(self.array[rows], dtype=self.read_as, order="C")

    def __setitem__(self, rows: Any, values: Any) -> None:
        self.array[rows] = values
        self.__dict__.pop("has_holes", None)

    def blocks(self) -> Iterator[slice]:
        """Rows in runs of about `BLOCK` numbers."""
        return blocks_of(len(self), self.width)

    def take(self, rows: Any) -> Self:
        """Some rows, kept in the same type."""
        return type(self)(self.array[rows], is_own=not isinstance(rows, slice))

    def copy(self) -> Self:
        """Values of one's own, in the type that they are read in."""
        return type(self)(np.array(self.array, dtype=self.read_as), is_own=True)

    def missing(self, rows: Any = ALL) -> Mask:
        """Which entries of these rows are holes, shaped like the values."""
        raise NotImplementedError

    @cached_property
    def has_holes(self) -> bool:
        """Whether an entry is missing."""
        return any(self.missing(rows).any() for rows in self.blocks())

    @property
    def first_hole(self) -> int:
        """The first row in which an entry is missing; 0 without any."""
        for rows in self.blocks():
            gone = self.missing(rows)
            if gone.any():
                in_row = gone.reshape(len(gone), -1).any(axis=1)
                return int(rows.start) + int(np.argmax(in_row))
        return 0

    @property
    def is_empty(self) -> bool:
        """Whether every entry is missing."""
        return all(self.missing(rows).all() for rows in self.blocks())

    @property
    def n_missing(self) -> int:
        """Number of entries that are missing."""
        return sum(int(self.missing(rows).sum()) for rows in self.blocks()) if self.has_holes else 0


class ByRow(Protocol):
    """Something of which some rows can be read [n, ...]."""

    def __getitem__(self, rows: slice, /) -> Floats:
        """Some rows."""


class Numbers(Stored[np.float64]):
    """Numbers, NaN where missing; float32, small integers and booleans stay what they are."""

    read_as = np.float64

    def missing(self, rows: Any = ALL) -> Mask:
        array = self.array[rows]
        if array.dtype.kind != "f":
            return np.zeros(array.shape, dtype=bool)
        return np.asarray(np.isnan(array))


class Codes(Stored[np.int64]):
    """Categories from 0, -1 where missing, in a type that is no larger than they need."""

    read_as = np.int64

    def missing(self, rows: Any = ALL) -> Mask:
        array = self.array[rows]
        if array.dtype.kind != "i":
            return np.zeros(array.shape, dtype=bool)
        return np.asarray(array < 0)


class OfDomain(Numbers):
    """Numbers that are told by codes, -1 where missing.

    Args:
        codes: which value each row has.
        domain: the values.
    """

    def __init__(self, codes: Codes, domain: Floats) -> None:
        super().__init__(codes.array)
        self.codes, self.table = codes, np.concatenate([domain, [np.nan]])  # -1 reads the last

    @property
    def is_plain(self) -> bool:
        return False

    def __getitem__(self, rows: Any) -> Floats:
        return np.asarray(self.table[self.codes[rows]])

    def missing(self, rows: Any = ALL) -> Mask:
        return self.codes.missing(rows)


def blocks_of(n_rows: int, width: int = 1) -> Iterator[slice]:
    """Runs of rows of about `BLOCK` numbers, `width` in a row."""
    size = max(1, BLOCK // max(1, width))
    return (slice(first, min(first + size, n_rows)) for first in range(0, n_rows, size))


def absent(shape: tuple[int, ...]) -> Numbers:
    """Numbers that are all missing, without memory for them."""
    return Numbers(np.broadcast_to(np.nan, shape))


def codes_type(size: int) -> np.dtype[Any]:
    """The smallest type that holds codes below `size`, and -1."""
    return np.min_scalar_type(-max(size, 1))
