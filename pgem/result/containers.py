"""Giving results back in the container that the data came in, and labels for codes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.declare import UNIT
from pgem.graph import Outline
from pgem.run import Columns


def as_mapping(data: Any, outline: Outline) -> tuple[Mapping[str, Any], Any]:
    """Data in any accepted form as a mapping, with the weights that it carries."""
    if hasattr(data, "as_mapping"):
        return data.as_mapping(outline)  # type: ignore[no-any-return]
    if isinstance(data, Mapping) or not hasattr(type(data), "columns"):
        return data, None
    from importlib import import_module

    frames = import_module("pgem.bridges.frames")
    return frames.Data(data).as_mapping(outline)  # type: ignore[no-any-return]


def nest(columns: Columns, scope: str, rows: Any) -> Any:
    """Flat rows of a scope in the container of its data: array, list or single sequence."""
    if scope == UNIT:
        return rows
    path = columns.outline.path(scope)
    style = columns.styles.get(scope) or _borrowed(columns, scope)
    if style == "single":
        return rows
    lengths = [np.diff(columns.starts[name]) for name in path]
    if style == "array" and all(len(set(n.tolist())) <= 1 for n in lengths):
        shape = [columns.n_units, *(int(n[0]) for n in lengths)]
        return np.asarray(rows).reshape(*shape, *np.shape(rows)[1:])
    for name in reversed(path):
        starts = columns.starts[name]
        rows = [rows[a:b] for a, b in pairwise(starts)]
    return rows


def _borrowed(columns: Columns, scope: str) -> str:
    """The style of a neighbouring scope, where this one has no data of its own."""
    for other, style in columns.styles.items():
        if other != UNIT:
            return style
    return "array" if columns.outline.scopes[scope].size is not None else "list"


def labelled(columns: Columns, node: str, codes: Any) -> Any:
    """Labels for codes, where the node has labels."""
    levels = columns.levels.get(node) or columns.outline.nodes[node].levels
    if levels is None:
        return codes
    return np.array(levels, dtype=object if isinstance(levels[0], str) else None)[codes]


def unweighted(columns: Columns) -> Columns:
    """The same data with all weights one."""
    from dataclasses import replace

    ones: Floats = np.broadcast_to(1.0, columns.n_units)
    return replace(columns, weights=ones)
