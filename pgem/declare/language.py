"""The words of the language."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgem.declare import expressions as ex
from pgem.declare.model import current
from pgem.declare.origin import caller
from pgem.declare.written import check_size
from pgem.errors import DeclarationError


def latent(
    name: str,
    family: Any,
    *,
    given: Any = None,
    after: Any = None,
    first: Any = None,
    duration: Any = None,
) -> ex.Node:
    """Declare a node that is not observed (though data may give it in some rows).

    Args:
        name: public name.
        family: a family instance, for discrete latents one with finitely many values.
        given: one or several gates that index all empty slots.
        after: node (or its name) whose previous step is the last gate: the recursion.
        first: family of the first step (in a tree of the roots); by default the same family with
            parameters of its own; `"stationary"` derives it from the transition table.
        duration: family of the number of steps that a value lasts (a semi-Markov chain), counted
            from 1: a family that starts at 0 is shifted by 1.  A value then never follows itself.

    Raises:
        DeclarationError: names, gates or scopes do not fit.
    """
    if isinstance(family, ex.Switch):
        raise DeclarationError(f"latent node '{name}' cannot be a switch", where=caller())
    return current().add_node("latent", name, family, given, after, first, duration)


def observed(
    name: str, family: Any, *, given: Any = None, after: Any = None, first: Any = None
) -> ex.Node:
    """Declare a node whose values the data hold; holes (NaN, None) are marginalised.

    Args:
        name: public name, also the key of its data.
        family: a family instance or `switch(...)`.
        given: one or several gates that index all empty slots.
        after: node whose previous step is the last gate.
        first: family of the first step (in a tree of the roots), or `"stationary"`; by default the
            first values are conditioned on.

    Raises:
        DeclarationError: names, gates or scopes do not fit.
    """
    return current().add_node("observed", name, family, given, after, first)


def covariate(name: str, *, size: int | None = None, levels: Any = None) -> ex.Covariate:
    """Declare an input that is observed and not modelled; with `size` it may index parameters."""
    return current().add_covariate(name, size, levels)


def param(
    name: str | None = None,
    *,
    prior: Any = None,
    fixed: Any = False,
    value: Any = None,
    zeros: Any = None,
    lower: Any = None,
) -> ex.Param:
    """A parameter; used in several places it is one parameter.

    Args:
        name: public name; without one, the slot's own parameter with these settings.
        prior: a conjugate family on each entry of the parameter (each row for a Dirichlet, matrix
            for an InverseWishart): the estimate is then the posterior mode (MAP). Its slots hold
            values, or other parameters times a factor (`pg.Normal(0.0, var / 0.01)`).
        fixed: True or a mask of entries held at `value`.
        value: fixed entries, or the default start.
        zeros: mask of probabilities that are zero by structure.
        lower: positive lower bound of variances, rates, scales and the like, one for all entries
            or one each.
    """
    return ex.Param(name, prior, fixed, value, zeros, caller(), lower)


def constant(value: Any, *, size: int | None = None) -> ex.Constant:
    """A known table; of integers and indexed, it is itself an index with `size` values."""
    try:
        table = np.asarray(value)
    except ValueError:
        table = np.array(None)
    if table.dtype.kind not in "fiub" or not table.size:
        raise DeclarationError(
            "pg.constant holds no table of numbers",
            where=caller(),
            expected="a number, or nested lists of equal lengths",
            received=f"'{value!r:.120}'",
        )
    check_size(size, "pg.constant", caller())
    return ex.Constant(table, size, caller())


def plate(name: str, *, size: int | None = None) -> ex.Scope:
    """Repeat what stands inside; with a `size` the plate may index parameters."""
    return current().add_scope(name, "plate", size)


def sequence(name: str) -> ex.Scope:
    """Repeat what stands inside over time; `after=` and `prev` look back."""
    return current().add_scope(name, "sequence", None)


def tree(name: str) -> ex.Scope:
    """Repeat what stands inside over the members of a tree; `after=` and `prev` mean the parent.

    The data tell each member's parent under the key `<name>.parent`.
    """
    return current().add_scope(name, "tree", None)


def prev(node: ex.Node | str, lag: int = 1) -> ex.Prev:
    """The value of a node `lag` steps earlier; in a tree (lag 1 only) its value at the parent."""
    if not isinstance(lag, int) or lag < 1:
        raise DeclarationError(
            "pg.prev looks back by whole steps",
            where=caller(),
            expected="a lag of at least 1",
            received=f"'{lag}'",
        )
    return ex.Prev(node.name if isinstance(node, ex.Node) else node, lag)


def switch(gate: Any, *families: Any) -> ex.Switch:
    """One family per value of `gate`: components of different kinds, zero inflation."""
    if len(families) < 2:
        raise DeclarationError(
            "pg.switch needs a family for each value of its gate",
            where=caller(),
            received=f"'{len(families)}' families",
        )
    made = ex.to_gate(gate)
    if made.kind == "constant":
        raise DeclarationError(
            f"pg.switch is given '{made}', a table that is indexed",
            where=caller(),
            expected="a node, a covariate or a plate with one family for each of its values",
            advice="name a family once for each value, with the same pg.param objects where it is "
            "the same: pg.switch(z, pg.Dirac(0), pg.Poisson(rate=r), pg.Poisson(rate=r))",
        )
    return ex.Switch(made, families)


def identity(size: int) -> ex.Constant:
    """The identity matrix as a fixed value."""
    check_size(size, "pg.identity", caller())
    return ex.Constant(np.eye(size), None, caller())


def diagonal(inside: Any = None) -> ex.Structured:
    """A diagonal covariance; its parameter holds the variances [gates…, D]."""
    return ex.Structured("diagonal", inside)


def spherical(inside: Any = None) -> ex.Structured:
    """A multiple of the identity; its parameter holds the variance [gates…]."""
    return ex.Structured("spherical", inside)
