"""Models whose data come in tables, and one table of clinics, patients and questions."""

from __future__ import annotations

from typing import Any

import numpy as np

import pgem as pg

Table = dict[str, Any]
RNG = np.random.default_rng(11)


def mixture() -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(cov=pg.diagonal()), given=z)
        pg.observed("kind", pg.Categorical(), given=z)
    return model


def chain() -> pg.Model:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)
    return model


def nested() -> pg.Model:
    with pg.Model("nested") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        pg.observed("size", pg.Poisson(), given=g)
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=2), given=g)
            with pg.plate("item", size=3) as item:
                pg.observed("x", pg.Categorical(size=3), given=[c, item])
    return model


X = [RNG.integers(0, 3, (n, 3)) for n in (2, 3, 1)]
SIZE = [5, 0, 2]


def items_table(rows: Any = None) -> Table:
    """One row per clinic, patient and item."""
    cells = [
        ("cba"[u], f"p{p}", "xyz"[k], int(X[u][p, k]), SIZE[u])
        for u in range(3)
        for p in range(len(X[u]))
        for k in range(3)
    ]
    columns = zip(*(cells if rows is None else [cells[r] for r in rows]), strict=True)
    return dict(zip(["clinic", "who", "question", "answer", "beds"], columns, strict=True))


NAMES = {"x": "answer", "size": "beds"}
KEYS = {"patient": "who", "item": "question"}
