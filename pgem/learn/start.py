"""Where EM begins: starts that break symmetry for any graph, and checks of the user's start.

Every latent node gets soft labels (`labels.py`); one M-step under them gives the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.analyse import ParamLayout
from pgem.arrays import Floats
from pgem.errors import FitError, did_you_mean
from pgem.families._linear import Linear, Term
from pgem.families._link import Linked
from pgem.learn.degenerate import data_mean, data_variance
from pgem.plan import Program
from pgem.routines import at_least
from pgem.run import Bound, expect

DECAY = 0.8
"""What is left of a state after one step."""


def neutral_params(bound: Bound, generator: Generator) -> dict[str, Floats]:
    """Values inside all constraints, at the scale of the data: what an M-step starts from."""
    params = {}
    for name, layout in bound.program.params.items():
        centre, scale = data_mean(bound, layout), data_variance(bound, layout)
        term = _term_of(bound, layout)
        if term is None:
            value = layout.role.neutral(layout.shape, centre, scale)
        else:
            value = _coefficients(bound, layout, term, scale, generator)
        if layout.value is not None:
            value = np.where(layout.fixed, layout.value, value)
        value = layout.role.complete(value, layout.fixed)
        params[name] = at_least(layout.lower, value, layout.fixed)
    return params


def _term_of(bound: Bound, layout: ParamLayout) -> Term | None:
    """The term that a parameter is the coefficient of; not of the intercept of a mean."""
    key, slot = layout.uses[0]
    family = bound.program.parts[key].family
    if not isinstance(family, Linear | Linked):
        return None
    term = next((t for t in family.terms if t.slot == slot), None)
    if isinstance(family, Linked):
        return term
    return term if term is not None and (term.factors or term.over or term.parent) else None


def _coefficients(
    bound: Bound, layout: ParamLayout, term: Term, scale: Floats, generator: Generator
) -> Floats:
    """Zeros for what is seen, a slow decay for a state, random loadings for other latents."""
    shape = layout.shape
    if term.parent is None:
        return np.zeros(shape)
    name, lag = term.parent
    if lag and name == bound.program.parts[layout.uses[0][0]].node:
        own = np.zeros(int(np.prod(term.own)))
        diagonal = [term.placement[k, k] for k in range(min(term.placement.shape))]
        own[diagonal] = DECAY
        return np.broadcast_to(own.reshape(term.own), shape).copy()
    spread = np.sqrt(np.mean(variances_of(scale)) / max(term.stop - term.start, 1))
    return np.asarray(generator.normal(size=shape) * spread)


def variances_of(scale: Floats) -> Floats:
    """The variances in a variance or covariance."""
    return np.asarray(np.diagonal(scale) if scale.ndim == 2 else scale)


def params_from_labels(program: Program, bound: Bound, generator: Generator) -> dict[str, Floats]:
    """One M-step under given responsibilities of the latents.

    Args:
        program: the program of the fit, whose M-step is used.
        bound: data bound with responsibilities, all conditionals left out.
        generator: of random loadings.
    """
    neutral = neutral_params(bound, generator)
    stats = expect(bound, neutral).stats
    with np.errstate(all="ignore"):
        found = program.m_step(neutral, stats, set())
    for name, layout in program.params.items():
        if not np.isfinite(found[name]).all():
            found[name] = neutral[name]
        if layout.value is not None:
            given = layout.fixed | layout.is_start
            start = np.where(given, layout.value, found[name])
            found[name] = layout.role.complete(start, layout.fixed)
    return _sound(found, bound)


def _sound(params: dict[str, Floats], bound: Bound) -> dict[str, Floats]:
    """A start must not be degenerate: spreads are at least a thousandth of the data's."""
    for name, layout in bound.program.params.items():
        if not layout.is_free or layout.value is not None:
            continue
        rows = params[name].reshape(-1, *layout.shape[layout.n_gates :])
        scale = data_variance(bound, layout)
        if layout.role.collapsed(rows, 1e7 * scale).any():
            raised = layout.role.raised(rows, 1e-3 * scale).reshape(layout.shape)
            params[name] = np.where(layout.fixed, params[name], raised)
    return params


def check_start(start: Mapping[str, Any], program: Program) -> dict[str, Floats]:
    """The user's start values as arrays.

    Raises:
        FitError: unknown name, wrong shape, or a value outside its constraint, naming the key.
    """
    latents = {n for n, node in program.outline.nodes.items() if node.kind == "latent"}
    checked = {}
    for name, value in start.items():
        if name in latents:
            _check_labelled(program, name)
            continue
        if name not in program.params:
            known = [*program.params, *sorted(latents)]
            raise FitError(
                f"start value '{name}' belongs to no parameter",
                expected=", ".join(known),
                advice=did_you_mean(name, known),
            )
        checked[name] = check_value(name, value, program.params[name])
    return checked


def _check_labelled(program: Program, name: str) -> None:
    node = program.outline.nodes[name]
    if not node.finite:
        raise FitError(
            f"start value of latent node '{name}': it has not finitely many values, so there are "
            "no labels to start from",
            where=node.origin,
            expected="start values of parameters, or labels of discrete latents",
            advice=f"put known values of '{name}' into the data",
        )


def check_value(name: str, value: Any, layout: ParamLayout) -> Floats:
    """One start value as an array of the right shape, inside its constraint."""
    try:
        table = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise FitError(f"start value '{name}' is no array of numbers") from None
    if table.shape != layout.shape:
        raise FitError(
            f"start value '{name}' has the wrong shape",
            where=layout.origin,
            expected=f"'{layout.shape}' ({', '.join(layout.axes) or 'a single number'})",
            received=f"'{table.shape}'",
        )
    if not layout.role.accepts(table).all():
        raise FitError(
            f"start value '{name}' is outside its constraint",
            where=layout.origin,
            expected=layout.role.expected,
            received=f"'{table.tolist()}'",
        )
    if layout.lower is not None and (table < layout.lower)[~layout.fixed].any():
        raise FitError(
            f"start value '{name}' is below the lower bound of the parameter",
            where=layout.origin,
            expected=f"at least '{layout.lower.tolist()}'",
            received=f"'{table.tolist()}'",
        )
    held = np.zeros(layout.shape) if layout.value is None else layout.value
    if (np.abs(table - held)[layout.fixed] > 1e-9).any():
        raise FitError(
            f"start value '{name}' differs from the fixed entries of the parameter",
            where=layout.origin,
            expected=f"'{held.tolist()}' where fixed",
            received=f"'{table.tolist()}'",
        )
    return table
