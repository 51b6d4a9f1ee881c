"""A sum over one variable of large tables whose rows lie side by side, when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.routines.column_loops import softmax
from pgem.routines.tables import Axis, Collected, LogTable, Mixed, product


class Conditional:
    """p(variable | the others) of a product of tables, which a posterior is multiplied by.

    Args:
        axis: the variable.
        tables: the tables.
    """

    __array_ufunc__ = None  # an array leaves the multiplication to this class

    def __init__(self, axis: Axis, tables: Sequence[LogTable]) -> None:
        self.axis, self.tables = axis, tables

    @cached_property
    def found(self) -> tuple[Floats, Floats]:
        """The log of the sum, and the shares in it."""
        return softmax_by_columns(product(*self.tables), self.axis.position)

    def __rmul__(self, posterior: Any) -> Any:
        if isinstance(posterior, Collected):  # has the statistics of all tables
            return posterior
        return posterior * self.found[1]


def eliminate_when_needed(axis: Axis, tables: Sequence[LogTable]) -> tuple[LogTable, Conditional]:
    """Message and conditional of one variable, not made before they are looked at."""
    conditional = Conditional(axis, tables)
    shape = list(np.broadcast_shapes(*(table.row_shape for table in tables)))
    shape[axis.position - 1] = 1
    source = Mixed(axis, tuple(tables))
    message = LogTable(
        lambda: conditional.found[0], tables[0].n_rows, None, source, shape=tuple(shape)
    )
    return message, conditional


def softmax_by_columns(table: Floats, axis: int) -> tuple[Floats, Floats]:
    """log sum exp of a table [N, ...] along an axis, which stays with size 1, and the shares.

    Both have their rows side by side in memory, one cell after the other.
    """
    cells = np.moveaxis(table, 0, -1)
    shares = np.array(cells, dtype=float, order="C")
    before = int(np.prod(cells.shape[: axis - 1], dtype=np.int64))
    flat = shares.reshape(before, cells.shape[axis - 1], -1)
    logs = np.empty((before, flat.shape[2]))
    softmax(flat, logs)
    shape = (*cells.shape[: axis - 1], 1, *cells.shape[axis:])
    return np.moveaxis(logs.reshape(shape), -1, 0), np.moveaxis(shares, -1, 0)
