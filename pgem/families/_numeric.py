"""Derivatives by differences, and Newton's method on them: the fallback where no formula is given.

Functions here are *batched*: `f` maps points [C, F] to values [C], one independent problem a row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pgem.arrays import Floats

Batched = Callable[[Floats], Floats]

STEP = 2e-3
OFFSETS = ((1.0, 8.0), (-1.0, -8.0), (2.0, -1.0), (-2.0, 1.0))
"""Central differences of fourth order: offsets and weights, to be divided by 12."""
LONGEST = 2.0
"""The longest Newton step, in free coordinates."""


def gradient(f: Batched, points: Floats, steps: Floats) -> Floats:
    """∇f [C, F] by differences over `steps` [C, F], relative error about 1e-11."""
    columns = []
    for axis in range(points.shape[1]):
        total = np.zeros(len(points))
        for offset, weight in OFFSETS:
            moved = points.copy()
            moved[:, axis] += offset * steps[:, axis]
            total += weight * f(moved)
        columns.append(total / (12 * steps[:, axis]))
    return np.stack(columns, axis=-1)


def hessian(f: Batched, points: Floats, steps: Floats) -> Floats:
    """∇²f [C, F, F] by differences over 5 × `steps`, relative error about 1e-8."""
    steps = 5 * steps
    slices = []
    for axis in range(points.shape[1]):
        total = np.zeros(points.shape)
        for offset, weight in OFFSETS:
            moved = points.copy()
            moved[:, axis] += offset * steps[:, axis]
            total += weight * gradient(f, moved, steps)
        slices.append(total / (12 * steps[:, axis, None]))
    table = np.stack(slices, axis=1)
    return np.asarray((table + np.swapaxes(table, 1, 2)) / 2)


def climb(f: Batched, start: Floats, *, rounds: int = 60) -> Floats:
    """A maximum of each row's f: Newton steps that never accept a lower value.

    Directions of wrong curvature are mirrored, long steps are cut and steps that lose are halved,
    so a start far from the maximum costs rounds, not correctness.
    """
    points, value = start.copy(), f(start)
    for _ in range(rounds):
        lengths = STEP * np.maximum(1.0, 1e-3 * np.abs(points))
        slope = gradient(f, points, lengths)
        step = _newton_step(slope, hessian(f, points, lengths))
        moved, reached = _backtrack(f, points, value, step)
        gained = reached - value
        points, value = moved, reached
        if not (gained > 1e-15 * (1 + np.abs(value))).any():
            break
    return points


def relative_steps(points: Floats) -> Floats:
    """Steps that do not cross the sign of an entry, unless it is small beside its row."""
    size = np.abs(points)
    floor = 0.01 * size.max(axis=1, keepdims=True)
    return STEP * np.where(np.maximum(size, floor) > 0, np.maximum(size, floor), 1.0)


def _newton_step(slope: Floats, curvature: Floats) -> Floats:
    both = np.concatenate([curvature, slope[:, None]], axis=1)
    sound = np.asarray(np.isfinite(both).all(axis=(1, 2)))
    curvature = np.where(sound[:, None, None], curvature, -np.eye(slope.shape[1]))
    values, vectors = np.linalg.eigh(curvature)
    floor = 1e-10 * np.abs(values).max(axis=1, keepdims=True) + 1e-300
    along = np.einsum("cij,ci->cj", vectors, np.where(sound[:, None], slope, 0.0))
    step = np.einsum("cij,cj->ci", vectors, along / np.maximum(np.abs(values), floor))
    length = np.linalg.norm(step, axis=1, keepdims=True)
    return np.asarray(step * np.minimum(1.0, LONGEST / np.maximum(length, 1e-300)))


def _backtrack(f: Batched, points: Floats, value: Floats, step: Floats) -> tuple[Floats, Floats]:
    """The longest of the halved steps that does not lose, row by row."""
    best, reached = points.copy(), value.copy()
    open_rows = np.ones(len(points), dtype=bool)
    for _ in range(30):
        trial = np.where(open_rows[:, None], points + step, best)
        found = f(trial)
        good = open_rows & (found >= value)
        best[good], reached[good] = trial[good], found[good]
        open_rows &= ~good
        if not open_rows.any():
            break
        step = step / 2
    return best, reached
