"""Collapsed spreads: finding them, and raising them to a floor on request."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pgem.analyse import ParamLayout
from pgem.arrays import Floats, all_finite
from pgem.run import Bound, Numbers


@dataclass(frozen=True, eq=False)
class Measured:
    """Values on the scale that a parameter refers to, made some rows at a time.

    Attributes:
        values: as they are kept.
        measure: some of them on that scale.
    """

    values: Numbers
    measure: Callable[[Floats], Floats]

    @property
    def ndim(self) -> int:
        """One, and the axes of one value."""
        return self.measure(self.values[:1]).ndim

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return math.prod(self.measure(self.values[:1]).shape[1:])

    def blocks(self) -> Iterator[Floats]:
        """Rows [n, width], some at a time."""
        for rows in self.values.blocks():
            yield self.measure(self.values[rows]).reshape(-1, self.width)


def data_variance(bound: Bound, param: ParamLayout) -> Floats:
    """Variance (covariance for vectors) of the data behind a parameter; 1 without data."""
    values = _measured(bound, param)
    if values is None:
        return np.ones(())
    if values.ndim == 2 and param.n_own == 2:
        cov = _covariance(values)
        if cov is not None:
            return cov
    _, variance = _moments(values)
    return np.asarray(_positive(variance)[0] if values.ndim == 1 else _positive(variance))


def _covariance(values: Measured) -> Floats | None:
    """Covariance [D, D] of the complete rows, or None if it is singular."""
    count, total = 0, np.zeros(values.width)
    for rows in values.blocks():
        whole = rows[~np.isnan(rows).any(axis=1)]
        count, total = count + len(whole), total + whole.sum(axis=0)
    if count < 2:
        return None
    cov = np.zeros((values.width, values.width))
    for rows in values.blocks():
        deviations = rows[~np.isnan(rows).any(axis=1)] - total / count
        cov += deviations.T @ deviations
    roots = np.linalg.eigvalsh(cov / count)
    return cov / count if roots[0] > 1e-12 * roots[-1] else None


def _moments(values: Measured) -> tuple[Floats, Floats]:
    """Mean and variance of each coordinate [D] over the values that are there; 0 without any."""
    count, total, squares = (np.zeros(values.width) for _ in range(3))
    for rows in values.blocks():
        gone = np.isnan(rows)
        count += (~gone).sum(axis=0)
        total += np.where(gone, 0.0, rows).sum(axis=0)
    mean = total / np.maximum(count, 1)
    for rows in values.blocks():
        squares += (np.where(np.isnan(rows), 0.0, rows - mean) ** 2).sum(axis=0)
    return mean, squares / np.maximum(count, 1)


def _measured(bound: Bound, param: ParamLayout) -> Measured | None:
    """Values of the node behind a parameter, on the scale that its slots refer to."""
    part = bound.program.parts[param.uses[0][0]]
    node = stand_in(bound, part.node)
    values = bound.columns.numbers.get(node)
    if values is None or not len(values):
        return None
    if node == part.node:
        return Measured(values, part.family.measured)
    shape = part.family.event_shape
    if values.shape[1:] == shape:
        return Measured(values, lambda x: x)

    def alike(x: Floats) -> Floats:
        mean = x.reshape(len(x), -1).mean(axis=1)
        return np.repeat(mean[:, None], shape[0], axis=1) if shape else mean

    return Measured(values, alike)


def stand_in(bound: Bound, node: str) -> str:
    """The node whose data show the scale of another: itself, or one that repeats it plus noise."""
    graph, seen = bound.program.analysis.graph, [node]
    for name in seen:
        if name in bound.columns.numbers:
            return name
        for child in graph.nodes.values():
            slots = [s for leaf in child.components for s in leaf.slots.values()]
            known = any(s.times and s.times.parent == name and s.kind == "constant" for s in slots)
            if known and child.name not in seen:
                seen.append(child.name)
    return node


def _positive(variance: Floats) -> Floats:
    return np.where(variance > 0, variance, 1.0)


def data_mean(bound: Bound, param: ParamLayout) -> Floats:
    """Mean of the data behind a parameter [D] or scalar."""
    values = _measured(bound, param)
    if values is None:
        return np.zeros(())
    mean, _ = _moments(values)
    return np.asarray(mean[0]) if values.ndim == 1 else mean


def find_collapsed(params: dict[str, Floats], bound: Bound) -> str:
    """The first parameter row whose spread collapsed or is not finite, in words; or nothing."""
    for name, layout in bound.program.params.items():
        if not layout.is_free:
            continue
        value = params[name]
        finite = all_finite(value)
        if finite and not layout.role.has_spread:
            continue
        rows = value.reshape(-1, *value.shape[layout.n_gates :])
        if not finite:
            bad = np.asarray(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))
            return f"'{name}'{_row(layout, bad)} is not finite"
        bad = np.asarray(layout.role.collapsed(rows, _scale(bound, layout)))
        if bad.any():
            return f"'{name}'{_row(layout, bad)} has lost its spread"
    return ""


def _scale(bound: Bound, layout: ParamLayout) -> Floats:
    kept = bound.__dict__.setdefault("_variances", {})
    if layout.name not in kept:
        kept[layout.name] = data_variance(bound, layout)
    return np.asarray(kept[layout.name])


def _row(layout: ParamLayout, bad: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
    if not layout.n_gates:
        return ""
    place = np.unravel_index(int(np.argmax(bad)), layout.shape[: layout.n_gates])
    return f"[{', '.join(str(int(k)) for k in place)}]"


def raise_spread(params: dict[str, Floats], bound: Bound, floor: float) -> dict[str, Floats]:
    """Raise every free spread to a share of the data's variance."""
    raised = dict(params)
    for name, layout in bound.program.params.items():
        if layout.is_free and layout.role.has_spread:
            value = params[name]
            rows = value.reshape(-1, *value.shape[layout.n_gates :])
            up = layout.role.raised(rows, floor * _scale(bound, layout))
            new = np.where(layout.fixed, value, up.reshape(value.shape))
            raised[name] = new if layout.role.accepts(new).all() else value  # partly fixed matrices
    return raised
