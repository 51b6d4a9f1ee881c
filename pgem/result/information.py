"""Standard errors from the observed information.

The information is minus the second derivative of the weighted log-likelihood in the named
parameters, restricted to the directions that the linear constraints leave free (`tangent`).  It is
the Jacobian of the score, which the Fisher identity gives exactly from one E-step (`score`), by
central differences: two E-steps per free parameter and no second derivative by hand, to eight
digits or so (Jamshidian & Jennrich 2000, J. R. Statist. Soc. B 62).  Its inverse along those
directions is the covariance matrix of the estimates.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.errors import FitError, FitWarning
from pgem.result.facts import count_observations
from pgem.result.score import gradients, prior_statistics, score
from pgem.result.tangent import Tangent, derivative, make_tangent
from pgem.routines import Stats
from pgem.run import Bound, sum_statistics

STEP = 3e-5
"""Step of the difference quotients, relative to the scale of each entry."""
NULL = 1e-6
"""A direction whose information is this small a share of its size shows nothing."""
FAR = 0.1
"""Distance from a stationary point, in standard errors, from which a fit is warned about."""


@dataclass(frozen=True, eq=False)
class Information:
    """The observed information, inverted where it can be.

    Attributes:
        tangent: free directions and the order of the entries.
        at: the parameters as one vector [entries].
        root: columns whose outer product is the covariance matrix [entries, G].
        null: unit directions without information [entries, H].
        unknown: entries without an error: on the boundary, or not identified [entries].
        unidentified: names of parameters with entries that are not identified.
        distance: of the parameters from the maximum, in standard errors.
    """

    tangent: Tangent
    at: Floats
    root: Floats
    null: Floats
    unknown: Mask
    unidentified: tuple[str, ...]
    distance: float

    @property
    def covariance(self) -> Floats:
        """Covariance matrix of all entries; nan where unknown, 0 where fixed."""
        matrix = self.root @ self.root.T
        matrix[self.unknown] = np.nan
        matrix[:, self.unknown] = np.nan
        return matrix

    @property
    def errors(self) -> Floats:
        """Standard errors of all entries."""
        return np.where(self.unknown, np.nan, np.sqrt((self.root**2).sum(axis=1)))


def information(bound: Bound, params: dict[str, Floats], *, priors: bool = False) -> Information:
    """The information of the data about the parameters.

    Args:
        bound: data with the program.
        params: where to evaluate it.

    Warns:
        FitWarning: the parameters are no maximum, or some are not identified.
    """
    _, stats = sum_statistics(bound, params)
    added = list(prior_statistics(bound.program, params)) if priors else []
    tangent = make_tangent(bound.program.params, params, stats, added)
    at, basis = tangent.flat(params), tangent.basis
    first = basis.T @ tangent.flat(gradients(bound.program, stats, params, priors=priors))

    def slope(vector: Floats) -> Floats:
        return basis.T @ tangent.flat(score(bound, tangent.named(vector), priors=priors))

    matrix = -derivative(slope, at, basis, STEP)
    n = count_observations(bound.columns)
    endless = tangent.flat(_endless(bound, params, stats, priors=priors)) > 0
    found = _inverted(tangent, at, (matrix + matrix.T) / 2, first, n, endless)
    _warn(found)
    return found


def _endless(
    bound: Bound, params: dict[str, Floats], stats: Stats, *, priors: bool
) -> dict[str, Floats]:
    """1 where the likelihood has no finite maximum in an entry, as the M-step finds, else 0.

    There it is flat, but a step of the difference quotients may lead to where it is not.
    """
    marks = {name: np.zeros(np.shape(value)) for name, value in params.items()}
    if any(block.linked for block in bound.program.analysis.blocks):
        stats.use_priors = priors
        with np.errstate(all="ignore"):
            bound.program.m_step(params, stats, set())
        for name, row in stats.runaways:
            marks[name][row] = 1.0
    return marks


def _inverted(
    tangent: Tangent, at: Floats, matrix: Floats, first: Floats, n: float, endless: Mask
) -> Information:
    """Split the directions into those with information and those without.

    `n`, the number of observations, sets the size below which an information is rounding; entries
    that are `endless` are not identified.
    """
    size = np.sqrt(np.maximum(np.diag(matrix), NULL * n))
    roots, vectors = np.linalg.eigh(matrix / np.outer(size, size))
    good = roots > NULL
    scaled = tangent.basis / size
    root = scaled @ vectors[:, good] / np.sqrt(roots[good])
    null = scaled @ vectors[:, ~good]
    share = np.sqrt((null**2).sum(axis=1)), np.sqrt((scaled**2).sum(axis=1))
    lost = endless | (share[0] > 1e-4 * np.where(share[1] > 0, share[1], 1.0))
    slope = vectors.T @ (first / size)
    distance = float(np.sqrt((slope[good] ** 2 / roots[good]).sum()))
    if (np.abs(slope[~good]) > FAR).any() or (roots < -1e-4).any():
        distance = np.inf
    named = tangent.named(lost.astype(float))
    return Information(
        tangent,
        at,
        root,
        null,
        tangent.boundary | lost,
        tuple(name for name, entries in named.items() if entries.any()),
        distance,
    )


def _warn(found: Information) -> None:
    if found.unidentified:
        listed = ", ".join(f"'{name}'" for name in found.unidentified)
        warnings.warn(
            f"the data do not identify {listed}: their standard errors are nan where the "
            "likelihood is flat",
            FitWarning,
            stacklevel=5,
        )
    if found.distance > FAR:
        away = (
            "not at a maximum"
            if np.isinf(found.distance)
            else (f"about {found.distance:.2g} standard errors away from the maximum")
        )
        warnings.warn(
            f"the parameters are {away}, so the standard errors are not those of an estimate; "
            "fit with a smaller tol",
            FitWarning,
            stacklevel=5,
        )


def named_errors(found: Information) -> dict[str, Floats]:
    """Standard errors by parameter."""
    return found.tangent.named(found.errors)


def delta_errors(found: Information, function: Callable[[dict[str, Floats]], Any]) -> Any:
    """Standard errors of a function of the parameters, by the delta method.

    Args:
        found: the information.
        function: takes the parameters by name, returns a number, an array or a mapping of them.

    Returns:
        Errors in the form of what the function returns; nan where it depends on directions
        without information.

    Raises:
        FitError: the function returns no numbers.
    """
    shown = function(found.tangent.named(found.at))
    keys = list(shown) if isinstance(shown, Mapping) else None
    shapes = [np.shape(shown[key]) for key in keys] if keys is not None else [np.shape(shown)]

    def flat(vector: Floats) -> Floats:
        value = function(found.tangent.named(vector))
        parts = [value[key] for key in keys] if keys is not None else [value]
        return np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in parts])

    try:
        flat(found.at)
    except (TypeError, ValueError):
        raise FitError("of= returns something that is no number", received=f"'{shown!r}'",
                       expected="a number, an array, or a mapping of them") from None  # fmt: skip
    scaled = np.concatenate([found.root, found.null], axis=1)
    size = np.abs(scaled / found.tangent.scale[:, None]).max(axis=0, initial=0.0)
    size = np.where(size > 0, size, 1.0)
    slopes = derivative(flat, found.at, scaled / size, STEP) * size
    n_good = found.root.shape[1]
    errors = np.sqrt((slopes[:, :n_good] ** 2).sum(axis=1))
    total = np.sqrt((slopes**2).sum(axis=1))
    flatness = np.sqrt((slopes[:, n_good:] ** 2).sum(axis=1))
    errors = np.where(flatness > 1e-4 * total, np.nan, errors)
    parts = np.split(errors, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1])
    shaped = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    if keys is not None:
        return dict(zip(keys, shaped, strict=True))
    return float(shaped[0]) if shapes[0] == () else shaped[0]
