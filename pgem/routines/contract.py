"""Instruction `contract`: sum a discrete variable out of a product of log-tables.

Forward gives a message and the conditional of the eliminated variable; the posterior of the
tables' joint axes is the posterior of the message times that conditional.  In the sum semiring
the conditional is a softmax, in the max semiring a one-hot argmax (joint decoding), in the
sampling semiring a one-hot draw (posterior samples).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, log_softmax, log_sum_exp
from pgem.routines.tables import Axis, Collected, LogTable, Posterior, product


@dataclass(eq=False)
class Semiring:
    """How a variable is eliminated.

    Attributes:
        name: `sum`, `max` or `sample`.
        generator: source of random numbers of the sampling semiring.
        is_large: whether compiled loops pay.
    """

    name: str = "sum"
    generator: Generator | None = None
    is_large: bool = False

    def reduce(self, joint: Floats, axis: int) -> Floats:
        """The message: log sum exp, or the maximum; `axis` is kept with size 1."""
        if self.name == "max":
            return np.asarray(joint.max(axis=axis, keepdims=True))
        return log_sum_exp(joint, axis)

    def condition(self, joint: Floats, message: Floats, axis: int) -> Floats:
        """The conditional of the eliminated variable given the other axes."""
        if self.name == "max":
            return first_maximum(joint, message, axis)
        conditional = np.exp(joint - np.where(np.isfinite(message), message, 0.0))
        if self.name == "sample":
            assert self.generator is not None
            return draw(self.generator, conditional, axis)
        return conditional

    def eliminate(self, axis: Axis, *tables: LogTable) -> tuple[LogTable, Any]:
        """Message and conditional of one variable; a posterior is multiplied by the latter."""
        n_rows = tables[0].n_rows
        if self.name == "sum" and self.is_large and not all(t.is_shared for t in tables):
            from pgem.routines.columns import eliminate_when_needed

            return eliminate_when_needed(axis, tables)
        joint = product(*tables)
        if self.name == "sum":
            message, conditional = log_softmax(joint, axis.position)
            return LogTable(message, n_rows), conditional
        if self.name == "sample":
            joint = np.broadcast_to(joint, (n_rows, *joint.shape[1:]))
        message = self.reduce(joint, axis.position)
        return LogTable(message, n_rows), self.condition(joint, message, axis.position)


def first_maximum(joint: Floats, peak: Floats, axis: int) -> Floats:
    """A one at the first maximum along `axis`, given the maxima."""
    found: Floats = (joint == peak).astype(float)
    if (found.sum(axis=axis) == 1.0).all():
        return found
    return one_hot(joint.argmax(axis=axis), joint.shape[axis], axis)


def one_hot(codes: np.ndarray[tuple[int, ...], np.dtype[np.int64]], size: int, axis: int) -> Floats:
    """A table with ones at `codes` along a new axis."""
    return np.moveaxis((codes[..., None] == np.arange(size)).astype(float), -1, axis)


def draw(generator: Generator, weights: Floats, axis: int) -> Floats:
    """One-hot draws along `axis` with probabilities proportional to `weights`."""
    edges = np.cumsum(np.moveaxis(weights, axis, -1), axis=-1)
    uniform = generator.random((*edges.shape[:-1], 1)) * edges[..., -1:]
    codes = np.minimum((uniform >= edges).sum(axis=-1), edges.shape[-1] - 1)
    return one_hot(codes, weights.shape[axis], axis)


def keep(posterior: Posterior, *axes: Axis) -> Posterior:
    """The marginal of some axes; the others are summed and stay with size 1."""
    if isinstance(posterior, Collected):
        return posterior
    kept = {axis.position for axis in axes}
    gone = tuple(k for k in range(1, posterior.ndim) if k not in kept and posterior.shape[k] > 1)
    return posterior.sum(axis=gone, keepdims=True) if gone else posterior
