"""Log-densities of priors, written with SciPy from the declaration alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from strategies import Shape

from pgem.declare.records import ModelRecord, ParamRecord

Floats = NDArray[np.float64]
Params = Mapping[str, Floats]
EVENTS = {"Dirichlet": 1, "MvNormal": 1, "InverseWishart": 2}


def log_prior(record: ModelRecord, shapes: Mapping[str, Shape], params: Params) -> float:
    """Sum over all priors of log p(free entries | fixed entries)."""
    return sum(
        _one(param, shapes, params)
        for param in record.params
        if param.prior is not None and param.name in shapes
    )


def _one(param: ParamRecord, shapes: Mapping[str, Shape], params: Params) -> float:
    assert param.prior is not None
    kind, shape, value = param.prior.family, shapes[param.name], np.asarray(params[param.name])
    n_event = EVENTS.get(kind, 0)
    grid = value.shape[: value.ndim - n_event]
    length = value.shape[-1] if n_event else 0
    slots = {
        name: _spread(np.asarray(table, dtype=float), grid, _own(kind, name, length))
        for name, table in param.prior.slots.items()
    }
    for name, link in param.prior.links.items():
        own = _own(kind, name, length)
        other = np.asarray(params[link.param], dtype=float)
        gates = shapes[link.param].gates
        rest = other.shape[len(gates) : other.ndim - len(own)]
        lead = gates or (1,) * len(shape.gates)
        wide = (1,) * (len(grid) - len(lead) - len(rest))
        table = other.reshape(lead + rest + wide + own)
        factor = np.broadcast_to(np.asarray(link.factor, dtype=float), grid)
        factor = factor.reshape(grid + (1,) * len(own))
        slots[name] = factor * np.broadcast_to(table, grid + own)
    return sum(
        _density(kind, value[row], {n: t[row] for n, t in slots.items()}, ~shape.held[row])
        for row in np.ndindex(grid)
    )


def _own(kind: str, slot: str, length: int) -> tuple[int, ...]:
    if (kind, slot) in (("MvNormal", "cov"), ("InverseWishart", "scale")):
        return (length, length)
    return (length,) if kind in ("MvNormal", "Dirichlet") else ()


def _spread(table: Floats, grid: tuple[int, ...], own: tuple[int, ...]) -> Floats:
    if len(own) == 2 and table.ndim < 2:
        table = table * np.eye(own[0])
    return np.broadcast_to(table, grid + own)


def _density(kind: str, x: Floats, s: dict[str, Any], free: Any) -> float:
    if not np.any(free):
        return 0.0
    if kind == "Dirichlet":
        left = x[free].sum()
        shares, within = np.maximum(x[free] / left, 1e-300), s["concentration"][free]
        if len(shares) == 1:
            return 0.0
        density = stats.dirichlet.logpdf(shares / shares.sum(), within)
        return float(density - (len(shares) - 1) * np.log(left))
    if kind == "MvNormal":
        joint = stats.multivariate_normal.logpdf(x, s["mean"], s["cov"])
        if free.all():
            return float(joint)
        rest = np.ix_(~free, ~free)
        return float(
            joint - stats.multivariate_normal.logpdf(x[~free], s["mean"][~free], s["cov"][rest])
        )
    if kind == "InverseWishart":
        return float(stats.invwishart.logpdf(x, s["df"], s["scale"]))
    density = {
        "Beta": lambda: stats.beta.logpdf(np.clip(x, 1e-300, 1 - 1e-16), s["a"], s["b"]),
        "Gamma": lambda: stats.gamma.logpdf(np.maximum(x, 1e-300), s["shape"], scale=1 / s["rate"]),
        "InverseGamma": lambda: stats.invgamma.logpdf(x, s["shape"], scale=s["scale"]),
        "Normal": lambda: stats.norm.logpdf(x, s["mean"], s["var"] ** 0.5),
    }[kind]
    return float(density())
