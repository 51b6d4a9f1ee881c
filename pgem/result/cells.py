"""Parameters per cell of a component: what moments and samples are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pgem.analyse import gate_token
from pgem.arrays import Floats
from pgem.declare import Gate
from pgem.errors import FitError, did_you_mean
from pgem.learn import check_value
from pgem.plan import Program
from pgem.routines import stationary_value


def full_params(program: Program, params: Mapping[str, Any]) -> dict[str, Floats]:
    """All parameters as checked arrays.

    Raises:
        FitError: one is missing, unknown, of the wrong shape or outside its constraint.
    """
    if not isinstance(params, Mapping):
        raise FitError(
            "the parameters are no mapping from names to values",
            expected="for example fit.params",
            received=f"'{type(params).__name__}'",
        )
    for name in params:
        if name not in program.params:
            raise FitError(
                f"'{name}' is no parameter of this model",
                expected=", ".join(program.params),
                advice=did_you_mean(name, program.params),
            )
    full = {}
    for name, layout in program.params.items():
        if name in params:
            full[name] = check_value(name, params[name], layout)
        elif not layout.is_free and layout.value is not None:
            full[name] = layout.value
        else:
            raise FitError(
                f"parameter '{name}' is missing",
                where=layout.origin,
                expected=f"an array of shape '{layout.shape}'",
            )
    return full


def derived(program: Program, params: Mapping[str, Floats]) -> dict[str, Floats]:
    """Tables that follow from parameters, by the name that a parameter in their place would have.

    These are first steps with `first="stationary"`: [gates…, own axes].
    """
    return {
        f"{key}.{table.slot}": _stationary(program, key, params)
        for key, table in program.analysis.layout.stationary.items()
    }


def _stationary(program: Program, key: str, params: Mapping[str, Floats]) -> Floats:
    """The stationary distribution that a first step follows."""
    layout = program.analysis.layout
    found, steady = layout.stationary[key], layout.components[layout.stationary[key].key]
    slot = steady.component.leaf.slots[found.slot]
    table = np.asarray(params[found.param] if found.param else slot.value, dtype=float)
    gates = [gate_token(gate) for gate in slot.gates]
    prev = Gate("node", steady.component.node, 1)
    return stationary_value(table, gates, prev, lambda gate: layout.sizes[gate.name])[0]


def cell_slots(program: Program, key: str, params: Mapping[str, Floats]) -> dict[str, Floats]:
    """Slot values of a component per cell [C, own axes]."""
    settled = program.analysis.layout.components[key]
    values = {}
    for name, slot in settled.component.leaf.slots.items():
        if slot.kind == "covariate":
            continue
        own = settled.family.own_shape(name)
        if slot.kind == "stationary":
            values[name] = _stationary(program, key, params).reshape(-1, *own)
            continue
        table = np.asarray(params[slot.name] if slot.kind == "param" else slot.value, dtype=float)
        n_gates = len(slot.gates)
        if table.ndim == n_gates and own:
            unit = np.eye(own[0]) if len(own) == 2 else np.ones(own)
            table = table.reshape(table.shape + (1,) * len(own)) * unit
        table = np.broadcast_to(table, table.shape[:n_gates] + own)
        rows = table.reshape(settled.cells.n_rows[name], *own)
        values[name] = rows[settled.cells.rows[name]]
    return values
