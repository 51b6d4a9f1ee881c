"""Tables in CSV files: columns of numbers or labels, with holes."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MISSING = frozenset({"", "NA", "NaN", "nan"})
Column = Any


class BadFile(Exception):
    """A file that cannot be used; the text is for the user, and the exit code is 2."""


def read_columns(path: Path) -> dict[str, Column]:
    """Columns by name: arrays of numbers where every cell is one, else lists of labels.

    An empty cell, `NA` and `NaN` are missing (nan or None).

    Raises:
        BadFile: no such file, no header, or rows of another length.
    """
    if not path.is_file():
        raise BadFile(f"there is no data file '{path}'")
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if not header or len(set(header)) < len(header):
        raise BadFile(f"'{path}' needs a first line with a name for each column, got '{header}'")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise BadFile(
                f"'{path}', row {number}: '{len(row)}' cells under '{len(header)}' column names"
            )
    return {name: _column([row[k].strip() for row in rows]) for k, name in enumerate(header)}


def pick_nodes(
    columns: Mapping[str, Column], names: Sequence[str], blocks: Mapping[str, Sequence[str]]
) -> dict[str, Column]:
    """The columns of a model: by node name, or stacked into a vector where `blocks` says so.

    Raises:
        BadFile: a block names a column that is not there, or no column fits.
    """
    data = {name: columns[name] for name in names if name in columns and name not in blocks}
    for name, wanted in blocks.items():
        absent = [column for column in wanted if column not in columns]
        if absent:
            raise BadFile(
                f"columns '{', '.join(absent)}' of node '{name}' are not in the data, which have "
                f"'{', '.join(columns)}'"
            )
        data[name] = np.stack([np.asarray(columns[column]) for column in wanted], axis=-1)
    if not data:
        raise BadFile(
            f"none of the columns '{', '.join(columns)}' is a node of the model, which has "
            f"'{', '.join(names)}'"
        )
    return data


def _column(cells: Sequence[str]) -> Column:
    try:
        return np.array([math.nan if cell in MISSING else float(cell) for cell in cells])
    except ValueError:
        return [None if cell in MISSING else cell for cell in cells]
