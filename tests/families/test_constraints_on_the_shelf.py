"""Every slot of every family: fixed in part, shared, tied, bounded; the M-step is a maximum.

Q at the new parameters is compared with what a numerical optimiser reaches from the same start.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from family_examples import LEARNED, Example
from numpy.typing import NDArray
from scipy.optimize import minimize

import pgem as pg
from pgem.pipeline import bind
from pgem.routines import expected_log_density
from pgem.run import sum_statistics

Floats = NDArray[np.float64]
N = 120
SLOTS = [(name, slot) for name, example in LEARNED.items() for slot in example.truth]
ENTRIES = [
    (name, slot)
    for name, slot in SLOTS
    if np.ndim(LEARNED[name].truth[slot]) == 2 and (name, slot) not in (("VonMisesFisher", "mean"),)
    and slot != "probs"
]  # fmt: skip
"""Slots of vectors; parts of tables and matrices are held in `test_random_constraints`."""
OTHERS = [(name, slot) for name, slot in SLOTS if len(LEARNED[name].truth) > 1]
"""Slots of families with more than one."""
BOUNDED = [
    (name, slot.name)
    for name, example in LEARNED.items()
    for slot in example.family.slots
    if slot.role.may_be_bounded and slot.name in example.truth
]


def declared(example: Example, slots: dict[str, Any], nodes: tuple[str, ...] = ("x",)) -> pg.Model:
    """Nodes of a family with these slots; the others are indexed by a covariate."""
    given = {slot: example.family.arguments[slot] for slot in example.family.known_slots}
    options = {k: v for k, v in example.family.settings.items() if v is not None}
    kind = type(example.family)
    with pg.Model("m") as model:
        u = pg.covariate("u", size=2)
        for node in nodes:
            pg.observed(node, kind(**slots, **given, **options), given=u)
    return model


def check(model: pg.Model, example: Example, slot: str = "") -> dict[str, Floats]:
    """One M-step from somewhere near the truth; the new parameters."""
    rng = np.random.default_rng(9)
    codes = np.arange(N) % 2
    columns = {node.name: example.draw(rng, codes) for node in model.record.nodes}
    data = {"u": codes, **columns}
    program = model.compile(data)
    start = {}
    for name, layout in program.params.items():
        own = slot if layout.name == "q" else name.rpartition(".")[2]
        table = np.array(example.truth[own], dtype=float)
        if layout.role.name != "direction":
            table = 0.8 * table + 0.2 * table[::-1]
        start[name] = table if layout.n_gates else table[0].copy()
        if layout.value is not None:
            start[name] = np.where(layout.fixed, layout.value, start[name])
        if layout.lower is not None:
            start[name] = np.maximum(start[name], layout.lower)
    keys = list(columns)
    _, stats = sum_statistics(bind(program, data), start)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        new = program.m_step(start, stats, set())

        def q(params: dict[str, Floats]) -> float:
            return expected_log_density(stats, keys, params, program.reads)

        assert q(new) >= q(start) - 1e-9 * (1 + abs(q(start)))
        assert q(new) >= best(program, start, q) - 1e-6 * (1 + abs(q(new)))
    for name, layout in program.params.items():
        assert (new[name][layout.fixed] == start[name][layout.fixed]).all()
        assert layout.lower is None or (new[name] >= layout.lower)[~layout.fixed].all()
        assert layout.role.accepts(new[name]).all()
    return dict(new)


def best(program: Any, start: dict[str, Floats], q: Any) -> float:
    """The highest Q that a numerical optimiser reaches."""
    free = {name: layout for name, layout in program.params.items() if layout.is_free}
    parts = {name: layout.role.to_free(start[name]) for name, layout in free.items()}
    cuts = np.cumsum([part.size for part in parts.values()])[:-1]

    def loss(point: Floats) -> float:
        moved = {}
        for (name, layout), flat in zip(free.items(), np.split(point, cuts), strict=True):
            value = layout.role.from_free(flat.reshape(parts[name].shape))
            moved[name] = np.where(layout.fixed, start[name], value)
        value = -q({**start, **moved})
        return float(value) if np.isfinite(value) else 1e10

    low = [
        np.full(part.shape, -np.inf)
        if free[name].lower is None
        else free[name].role.to_free(free[name].lower)
        for name, part in parts.items()
    ]
    bounds = [(None if np.isinf(b) else b, None) for b in np.concatenate([b.ravel() for b in low])]
    at = np.concatenate([part.ravel() for part in parts.values()])
    return -float(minimize(loss, at, method="L-BFGS-B", bounds=bounds).fun)


@pytest.mark.parametrize(("name", "slot"), SLOTS)
def test_one_row_fixed(name: str, slot: str) -> None:
    example = LEARNED[name]
    value = np.array(example.truth[slot], dtype=float)
    fixed = np.zeros(value.shape, dtype=bool)
    fixed[0] = True
    check(declared(example, {slot: pg.param(fixed=fixed, value=value)}), example)


@pytest.mark.parametrize(("name", "slot"), ENTRIES)
def test_one_entry_fixed(name: str, slot: str) -> None:
    example = LEARNED[name]
    value = np.array(example.truth[slot], dtype=float)
    fixed = np.zeros(value.shape, dtype=bool)
    fixed[0, 1] = fixed[1, 0] = True
    check(declared(example, {slot: pg.param(fixed=fixed, value=value)}), example)


@pytest.mark.parametrize(("name", "slot"), OTHERS)
def test_held_while_the_others_are_free(name: str, slot: str) -> None:
    example = LEARNED[name]
    value = np.array(example.truth[slot], dtype=float)
    check(declared(example, {slot: pg.param(fixed=True, value=value)}), example)


@pytest.mark.parametrize(("name", "slot"), SLOTS)
def test_shared_by_the_components(name: str, slot: str) -> None:
    example = LEARNED[name]
    common = {**example.truth, slot: [example.truth[slot][0]] * 2}
    alike = replace(example, truth=common)
    check(declared(alike, {slot: pg.param("q")}), alike, slot)


@pytest.mark.parametrize(("name", "slot"), SLOTS)
def test_tied_across_nodes(name: str, slot: str) -> None:
    example = LEARNED[name]
    common = {**example.truth, slot: [example.truth[slot][0]] * 2}
    alike = replace(example, truth=common)
    check(declared(alike, {slot: pg.param("q")}, nodes=("x", "y")), alike, slot)


@pytest.mark.parametrize(("name", "slot"), BOUNDED)
def test_bounded(name: str, slot: str) -> None:
    example = LEARNED[name]
    lower = float(np.mean(example.truth[slot]))
    check(declared(example, {slot: pg.param(lower=lower)}), example)
