"""Random autoregressions under chains with explicit durations, with holes in their values."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from dense import World
from numpy.typing import NDArray
from scipy import stats as sp
from switching import Forgetful, Switching, make_case

Floats = NDArray[np.float64]
CHAIN = 's = pg.latent("s", pg.Categorical(size={k}), after="s", duration='
KINDS = {
    "Poisson durations": (CHAIN + "pg.Poisson())", "[s]"),
    "geometric durations": (CHAIN + "pg.Geometric())", "[s]"),
    "durations up to three steps": (CHAIN + "pg.Categorical(size=3))", "[s]"),
    "Poisson durations, and the step before": (CHAIN + "pg.Poisson())", '[s, pg.prev("s")]'),
    "short durations, and the step before": (
        CHAIN + "pg.Categorical(size=3))",
        '[s, pg.prev("s")]',
    ),
    "durations in a mixture": (CHAIN + "pg.Poisson(), given=c)", "[s, c]"),
    "durations and a mixture of means": (CHAIN + "pg.Geometric())", "[c, s]"),
    "durations, beside a factor of each step": (
        CHAIN + 'pg.Poisson())\n    f = pg.latent("f", pg.Normal(0.0, 1.0))',
        "[s]",
    ),
    "durations and a regime that is seen": (
        CHAIN + 'pg.Poisson())\n    w = pg.covariate("w", size=2)',
        "[s, w]",
    ),
}
"""What gates the values: the declaration, and the gates of the mean."""


class Segmented(Forgetful):
    """Every course of a chain whose values last for explicit durations."""

    def row(self, name: str, path: Any, unit: int, world: World) -> Any:
        """The chain has no factor step by step."""
        return None if name == "s" else super().row(name, path, unit, world)

    def new_worlds(self, unit: int, params: Any) -> list[World]:
        found = super().new_worlds(unit, params)
        for world in found:
            world.log_prior += self.log_segments(unit, world, params)
        return [world for world in found if np.isfinite(world.log_prior)]

    def log_segments(self, unit: int, world: World, params: Any) -> float:
        """log p of the course of the chain."""
        n = int(self.sizes["t"][unit])
        course = [world.codes["s", (t,)] for t in range(n)]
        runs = [(value, len(list(same))) for value, same in itertools.groupby(course)]
        moves, first = (
            self.gated(key, unit, world, params) for key in ("s.probs", "s.first.probs")
        )
        with np.errstate(divide="ignore"):
            total = float(np.log(first[runs[0][0]]))
            for (a, _), (b, _) in itertools.pairwise(runs):
                total += float(np.log(moves[a, b]))
            lasts = self.lasts(unit, world, params)
            for value, steps in runs[:-1]:
                total += float(np.log(lasts[value][steps]))
            value, steps = runs[-1]
            total += float(np.log(lasts[value][steps:].sum()))
        return total

    def gated(self, key: str, unit: int, world: World, params: Any) -> Floats:
        """A parameter of the chain, in the class of the unit where that gates the chain."""
        value = np.asarray(params[key])
        gates = [gate.name for gate in self.nodes["s"].gates()]
        return value[world.codes["c", ()]] if "c" in gates else value

    def lasts(self, unit: int, world: World, params: Any) -> list[Floats]:
        """Per value p(a segment lasts d steps), d = 0, 1, ..."""
        key = next(name for name in params if name.startswith("s.duration."))
        own = self.gated(key, unit, world, params)
        d = np.arange(400)
        if key.endswith("rate"):
            return [np.asarray(sp.poisson(each, loc=1).pmf(d)) for each in own]
        if key.endswith("prob"):
            return [np.asarray(sp.geom(each).pmf(d)) for each in own]
        return [np.concatenate([[0.0], each, np.zeros(400)]) for each in own]


class Lasting(Switching):
    """A case with durations."""

    def oracle(self) -> Segmented:
        dense = Segmented(self.model.record, self.data, self.sizes, self.n_units, self.categories)
        dense.dims = self.dims
        return dense

    def params(self, rng: np.random.Generator) -> dict[str, Floats]:
        found = super().params(rng)
        moves = found["s.probs"] + 0.01
        moves[..., *np.diag_indices(moves.shape[-1])] = 0.0
        return found | {"s.probs": moves / moves.sum(axis=-1, keepdims=True)}


def make_lasting_case(seed: int, n_units: int, kind: str) -> Switching:
    """A random declaration with data."""
    return make_case(seed, n_units, kind, KINDS, Lasting)
