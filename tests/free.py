"""Free coordinates of parameters, for numerical optimisers and derivatives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from strategies import Shape

Floats = NDArray[np.float64]


class Free:
    """All that may move in a set of parameters, as one unconstrained vector.

    Probability rows move by softmax with their held entries fixed, single probabilities by the
    logistic function, positive numbers by exp, covariances by their Cholesky factor (partly held
    ones entry by entry), numbers with a lower bound by their distance to it.

    Args:
        shapes: shapes by parameter name.
        params: the values at `start`.
    """

    def __init__(self, shapes: Mapping[str, Shape], params: Mapping[str, Floats]) -> None:
        self.shapes, self.params = shapes, params
        parts = [to_free(shape, np.asarray(params[name])) for name, shape in shapes.items()]
        self.lengths = [len(part) for part in parts]
        self.start: Floats = np.concatenate([*parts, np.zeros(0)])
        self.labels = [name for name, part in zip(shapes, parts, strict=True) for _ in part]

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.start)

    def unpack(self, point: Floats) -> dict[str, Floats]:
        """Parameters at a point."""
        found, first = {}, 0
        for (name, shape), length in zip(self.shapes.items(), self.lengths, strict=True):
            old = np.asarray(self.params[name])
            found[name] = from_free(shape, old, point[first : first + length])
            first += length
        return found


def _rows(shape: Shape) -> Iterator[tuple[int, ...]]:
    yield from np.ndindex(shape.gates)


def to_free(shape: Shape, value: Floats) -> Floats:
    """Coordinates of one parameter."""
    moving = ~shape.held
    if shape.role == "probs":
        parts = [np.log(value[row][moving[row]]) for row in _rows(shape)]
        return np.concatenate([p[1:] - p[:1] for p in parts])
    if shape.role == "cov" and len(shape.own) == 2:
        parts = [
            _root(value[row]) if moving[row].all() else value[row][_lower(moving[row])]
            for row in _rows(shape)
            if moving[row].any()
        ]
        return np.concatenate([*parts, np.zeros(0)])
    chosen = value[moving]
    if shape.role == "prob":
        return np.log(chosen) - np.log1p(-chosen)
    if shape.lower is not None:
        chosen = np.maximum(chosen - shape.lower[moving], 1e-9)
    return chosen if shape.role == "mean" else np.log(chosen)


def from_free(shape: Shape, old: Floats, point: Floats) -> Floats:
    """One parameter at these coordinates; held entries stay."""
    moving, new, first = ~shape.held, np.array(old, dtype=float), 0
    if shape.role == "probs":
        for row in _rows(shape):
            count = max(int(moving[row].sum()) - 1, 0)
            if moving[row].any():
                logits = np.concatenate([[0.0], point[first : first + count]])
                weights = np.exp(logits - logits.max())
                share = new[row][moving[row]].sum()
                new[row][moving[row]] = share * weights / weights.sum()
            first += count
        return new
    if shape.role == "cov" and len(shape.own) == 2:
        for row in _rows(shape):
            if moving[row].all():
                count = shape.own[0] * (shape.own[0] + 1) // 2
                new[row] = _product(point[first : first + count], shape.own[0])
                first += count
            elif moving[row].any():
                where = _lower(moving[row])
                new[row][where] = new[row].T[where] = point[first : first + int(where.sum())]
                first += int(where.sum())
        return new
    if shape.role == "prob":
        new[moving] = 1 / (1 + np.exp(-point))
    elif shape.role == "mean":
        new[moving] = point
    else:
        new[moving] = np.exp(point) + (0.0 if shape.lower is None else shape.lower[moving])
    return new


def _lower(moving: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Entries that may move, in the lower triangle."""
    return np.tril(moving)


def _root(cov: Floats) -> Floats:
    lower = np.linalg.cholesky(cov)
    np.fill_diagonal(lower, np.log(np.diag(lower)))
    return lower[np.tril_indices(len(cov))]


def _product(entries: Floats, size: int) -> Floats:
    lower = np.zeros((size, size))
    lower[np.tril_indices(size)] = entries
    np.fill_diagonal(lower, np.exp(np.diag(lower)))
    return lower @ lower.T
