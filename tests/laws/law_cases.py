"""The models that the laws are tried on: every template, and graphs that no template covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from strategies import Case, random_datum

Draw = Callable[[np.random.Generator], Any]

N_UNITS = 14
LENGTHS = (3, 1, 4, 2)
"""Sequences and ragged plates take these lengths in turn."""


def flat(family: str, *event: int) -> Draw:
    """One value per unit."""
    return lambda rng: _float(random_datum(rng, family, (N_UNITS, *event)))


def members(family: str, size: int, *event: int) -> Draw:
    """A plate of one size."""
    return lambda rng: _float(random_datum(rng, family, (N_UNITS, size, *event)))


def steps(family: str, *event: int, lengths: tuple[int, ...] = LENGTHS) -> Draw:
    """Sequences, or ragged plates."""

    def draw(rng: np.random.Generator) -> list[Any]:
        sizes = [lengths[n % len(lengths)] for n in range(N_UNITS)]
        return [_float(random_datum(rng, family, (size, *event))) for size in sizes]

    return draw


def codes(size: int) -> Draw:
    """Categories, one per unit."""
    return lambda rng: rng.integers(0, size, N_UNITS).astype(float)


def code_members(size: int, count: int) -> Draw:
    """Categories in a plate of one size."""
    return lambda rng: rng.integers(0, size, (N_UNITS, count)).astype(float)


def code_steps(size: int) -> Draw:
    """Categories along sequences."""

    def draw(rng: np.random.Generator) -> list[Any]:
        return [
            rng.integers(0, size, LENGTHS[n % len(LENGTHS)]).astype(float) for n in range(N_UNITS)
        ]

    return draw


def forest() -> Draw:
    """Parents of as many members as sequences have steps, with second roots now and then."""

    def draw(rng: np.random.Generator) -> list[Any]:
        return [
            np.array([-1, *(rng.integers(-1, k) for k in range(1, LENGTHS[n % len(LENGTHS)]))])
            for n in range(N_UNITS)
        ]

    return draw


def atoms(family: str, share: float) -> Draw:
    """Values of which some are exactly zero."""

    def draw(rng: np.random.Generator) -> Any:
        values = _float(random_datum(rng, family, (N_UNITS,)))
        return np.where(rng.random(N_UNITS) < share, 0.0, values)

    return draw


def some_given(size: int) -> Draw:
    """Categories that are known in every third unit."""

    def draw(rng: np.random.Generator) -> Any:
        known = np.arange(N_UNITS) % 3 == 0
        return np.where(known, rng.integers(0, size, N_UNITS), np.nan)

    return draw


def _float(values: Any) -> Any:
    return np.asarray(values, dtype=float)


def case(source: str, sizes: Mapping[str, int], vectors: Mapping[str, int], **draws: Draw) -> Case:
    """A case with freshly drawn data."""
    rng = np.random.default_rng(len(source))
    data = {name: draw(rng) for name, draw in draws.items()}
    return Case(source, 1, dict(sizes), dict(vectors), data)


TEMPLATES: dict[str, Case] = {
    "mixture": case("m = pg.templates.mixture(pg.Poisson(), 3)", {"z": 3}, {}, x=flat("Poisson")),
    "mixture_full": case(
        "m = pg.templates.mixture(pg.MvNormal(), 2)", {"z": 2}, {"x": 2}, x=flat("Normal", 2)
    ),
    "kmeans": case("m = pg.templates.kmeans(3, 2)", {"z": 3}, {"x": 2}, x=flat("Normal", 2)),
    "hmm": case("m = pg.templates.hmm(pg.Normal(), 3)", {"s": 3}, {}, y=steps("Normal")),
    "hmm_categorical": case(
        "m = pg.templates.hmm(pg.Categorical(size=3), 2)", {"s": 2, "y": 3}, {}, y=code_steps(3)
    ),
    "latent_class": case(
        "m = pg.templates.latent_class(4, 2, categories=3)",
        {"z": 2, "item": 4, "x": 3},
        {},
        x=code_members(3, 4),
    ),
    "naive_bayes": case(
        "m = pg.templates.naive_bayes("
        '{"a": pg.Normal(), "b": pg.Categorical(size=3), "c": pg.Gamma()}, 2)',
        {"z": 2, "b": 3},
        {},
        a=flat("Normal"),
        b=codes(3),
        c=flat("Gamma"),
        z=some_given(2),
    ),
    "factorial_hmm": case(
        "m = pg.templates.factorial_hmm(pg.Poisson(), [2, 3])",
        {"s1": 2, "s2": 3},
        {},
        y=steps("Poisson"),
    ),
    "mixture_of_hmms": case(
        "m = pg.templates.mixture_of_hmms(pg.Poisson(), 2, 2)",
        {"z": 2, "s": 2},
        {},
        y=steps("Poisson"),
    ),
    "gmm_hmm": case(
        "m = pg.templates.gmm_hmm(2, 2, pg.Normal())", {"s": 2, "z": 2}, {}, y=steps("Normal")
    ),
}

GRAPHS: dict[str, Case] = {
    "shared_spherical": case(
        'with pg.Model("m") as m:\n'
        '    z = pg.latent("z", pg.Categorical(size=2))\n'
        '    x = pg.observed("x", pg.MvNormal(mean=pg.param("mean")[z], '
        'cov=pg.spherical(pg.param("noise"))))\n',
        {"z": 2},
        {"x": 2},
        x=flat("Normal", 2),
    ),
    "shared_mean": case(
        'with pg.Model("m") as m:\n'
        '    z = pg.latent("z", pg.Categorical(size=2))\n'
        '    x = pg.observed("x", pg.Normal(mean=pg.param("mean"), var=pg.param("var")[z]))\n',
        {"z": 2},
        {},
        x=flat("Normal"),
    ),
    "zero_inflated": case(
        'with pg.Model("m") as m:\n'
        '    z = pg.latent("z", pg.Categorical(size=2))\n'
        '    y = pg.observed("y", pg.switch(z, pg.Dirac(0), pg.Poisson()))\n',
        {"z": 2},
        {},
        y=atoms("Poisson", 0.3),
    ),
    "two_levels": case(
        'with pg.Model("m") as m:\n'
        '    g = pg.latent("g", pg.Categorical(size=2))\n'
        '    with pg.plate("patient"):\n'
        '        c = pg.latent("c", pg.Categorical(size=2), given=g)\n'
        '        with pg.plate("item", size=2) as item:\n'
        '            x = pg.observed("x", pg.Poisson(), given=[c, item])\n',
        {"g": 2, "c": 2, "item": 2},
        {},
        x=steps("Poisson", 2),
    ),
    "coupled": case(
        'with pg.Model("m") as m:\n'
        '    with pg.sequence("t"):\n'
        '        a = pg.latent("a", pg.Categorical(size=2), given=pg.prev("b"), after="a")\n'
        '        b = pg.latent("b", pg.Categorical(size=2), given=pg.prev("a"), after="b")\n'
        '        x = pg.observed("x", pg.Poisson(), given=a)\n'
        '        y = pg.observed("y", pg.Normal(), given=b)\n',
        {"a": 2, "b": 2},
        {},
        x=steps("Poisson"),
        y=steps("Normal"),
    ),
    "second_order": case(
        'with pg.Model("m") as m:\n'
        '    with pg.sequence("t"):\n'
        '        s = pg.latent("s", pg.Categorical(size=2), given=pg.prev("s", 2), after="s")\n'
        '        y = pg.observed("y", pg.Poisson(), given=s)\n',
        {"s": 2},
        {},
        y=steps("Poisson"),
    ),
    "tree": case(
        'with pg.Model("m") as m:\n'
        '    c = pg.latent("c", pg.Categorical(size=2))\n'
        '    with pg.tree("cell"):\n'
        '        a = pg.latent("a", pg.Categorical(size=2), given=c, after="a")\n'
        '        b = pg.latent("b", pg.Categorical(size=2), given=a, after="b")\n'
        '        x = pg.observed("x", pg.Poisson(), given=[a, b])\n'
        '        y = pg.observed("y", pg.Categorical(size=3), given=b, after="y", '
        "first=pg.Categorical(size=3))\n",
        {"c": 2, "a": 2, "b": 2, "y": 3},
        {},
        x=steps("Poisson"),
        y=code_steps(3),
        **{"cell.parent": forest()},
    ),
    "autoregressive": case(
        'with pg.Model("m") as m:\n'
        '    with pg.sequence("t"):\n'
        '        s = pg.latent("s", pg.Categorical(size=2), after="s")\n'
        '        y = pg.observed("y", pg.Categorical(size=3), given=s, after="y")\n',
        {"s": 2, "y": 3},
        {},
        y=code_steps(3),
    ),
}

CASES = {**TEMPLATES, **GRAPHS}
