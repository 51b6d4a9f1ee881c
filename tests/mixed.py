"""Random models of discrete and Gaussian latents, regressions, plates, sequences and holes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dense import Dense
from numpy.typing import NDArray

import pgem as pg

Floats = NDArray[np.float64]


@dataclass
class Case:
    """A model with data and parameters.

    Attributes:
        code: the declaration.
        data: by node.
        sizes: members of plates and sequences, for the oracle.
        n_units: number of units.
    """

    code: str
    data: dict[str, Any]
    sizes: dict[str, Any]
    n_units: int
    dims: dict[str, int]
    categories: dict[str, int]
    model: pg.Model = field(init=False)

    def __post_init__(self) -> None:
        names: dict[str, Any] = {"pg": pg, "np": np}
        exec(self.code, names)
        self.model = names["m"]

    def oracle(self) -> Dense:
        """The dense oracle of these data."""
        dense = Dense(self.model.record, self.data, self.sizes, self.n_units, self.categories)
        dense.dims = self.dims
        return dense

    def params(self, rng: np.random.Generator) -> dict[str, Floats]:
        """Random parameters inside their constraints."""
        found = {}
        for name, layout in self.model.compile(self.data).params.items():
            role, shape = layout.role.name, layout.shape
            if role == "probability vector":
                value = rng.dirichlet(np.full(shape[-1], 2.0), shape[:-1])
            elif role == "mean":
                value = rng.normal(size=shape) * 0.7
            elif role == "variance":
                value = rng.gamma(4.0, 0.25, shape) + 0.1
            else:
                root = rng.normal(size=shape) * 0.5
                value = root @ np.swapaxes(root, -1, -2) + 0.4 * np.eye(shape[-1])
            if layout.value is not None:
                value = np.where(layout.fixed, layout.value, value)
            found[name] = np.asarray(value)
        return found


class Maker:
    """Writes one random declaration, and data for it."""

    def __init__(self, rng: np.random.Generator, n_units: int) -> None:
        self.rng, self.n_units = rng, n_units
        self.lines = ["with pg.Model('mixed') as m:"]
        self.data: dict[str, Any] = {}
        self.sizes: dict[str, Any] = {}
        self.dims: dict[str, int] = {}
        self.categories: dict[str, int] = {}
        self.count = 0
        self.depth = 1

    def flip(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def say(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def values(self, scope: list[str], shape: tuple[int, ...], draw: Any) -> Any:
        """Nested lists of values, one per member."""

        def nested(sizes: list[Any], depth: int) -> Any:
            if depth == len(scope):
                return draw(shape)
            return [nested([s[k] for s in sizes[1:]], depth + 1) for k in range(sizes[0])]

        return [nested([self.sizes[s][u] for s in scope], 0) for u in range(self.n_units)]

    def numbers(self, scope: list[str], dim: int | None, holes: float) -> Any:
        """Random numbers with holes."""

        def draw(shape: tuple[int, ...]) -> Any:
            value = self.rng.normal(size=shape) * 1.5
            return np.where(self.rng.random(shape) < holes, np.nan, value)

        drawn = self.values(scope, () if dim is None else (dim,), draw)
        return np.array(drawn) if not scope else _arrays(drawn, len(scope))

    # --- nodes ------------------------------------------------------------------------------------

    def discrete(self, scope: list[str], gates: list[str], *, after: bool = False) -> str:
        name = self.name("z")
        size = int(self.rng.integers(2, 4)) if not scope else 2
        self.categories[name] = size
        options = f", given=[{', '.join(gates)}]" if gates else ""
        options += f", after='{name}'" if after else ""
        kind = "observed" if self.flip(0.25) and not after else "latent"
        self.say(f"{name} = pg.{kind}('{name}', pg.Categorical(size={size}){options})")
        if kind == "observed" or self.flip(0.2):
            holes = 0.3 if kind == "observed" else 0.7

            def draw(shape: tuple[int, ...]) -> Any:
                return np.nan if self.rng.random() < holes else float(self.rng.integers(size))

            drawn = self.values(scope, (), draw)
            self.data[name] = np.array(drawn) if not scope else _arrays(drawn, len(scope))
        return name

    def gated(self, gates: list[str]) -> str:
        """An index by some of the gates."""
        chosen = [g for g in gates if self.flip(0.5)]
        return f"[{', '.join(chosen)}]" if chosen else ""

    def param(self, gates: list[str]) -> str:
        return f"pg.param('{self.name('p')}'){self.gated(gates)}"

    def gaussian(
        self, kind: str, scope: list[str], gates: list[str], parents: list[str],
        covariates: list[str], *, looks_back: bool = False, dim: int | None = None,
    ) -> str:  # fmt: skip
        """A Gaussian node with terms of parents, covariates and its own past."""
        name = self.name("f" if kind == "latent" else "y")
        if dim is not None:
            self.dims[name] = dim
        terms = [self.term(parent, dim, gates) for parent in parents]
        terms += [f"{self.param(gates)} * {covariate}" for covariate in covariates]
        if looks_back:
            back = f"pg.prev('{name}')"
            plain = self.flip(0.2)
            terms.append(back if plain else f"{self.param(gates)} {'@' if dim else '*'} {back}")
        if self.flip(0.6) or not terms:
            terms.append(self.param(gates))
        if self.flip(0.15):
            terms.append("0.5")
        sign = " - " if self.flip(0.15) and len(terms) > 1 else " + "
        mean = sign.join(terms)
        family = self.family(mean, dim, gates, kind, covariates)
        first = ""
        if looks_back and (kind == "latent" or self.flip(0.4)):
            first = self.first(dim, kind)
        self.say(f"{name} = pg.{kind}('{name}', {family}{first})")
        return name

    def term(self, parent: str, dim: int | None, gates: list[str]) -> str:
        width = self.dims.get(parent)
        if width is None or (width == dim and self.flip(0.2)):
            return f"{self.param(gates)} * {parent}" if self.flip(0.8) or dim != width else parent
        return f"{self.param(gates)} @ {parent}"

    def family(
        self, mean: str, dim: int | None, gates: list[str], kind: str, covariates: list[str]
    ) -> str:
        if dim is None:
            var = self.param(gates)
            if covariates and kind == "observed" and self.flip(0.3):
                var = f"{var} * {self.positive}"
            if kind == "latent" and self.flip(0.3):
                var = "1.0"
            return f"pg.Normal(mean={mean}, var={var})"
        cov = [
            self.param(gates),
            f"pg.diagonal({self.param(gates)})",
            f"pg.spherical({self.param(gates)})",
            f"pg.identity({dim})",
        ][int(self.rng.integers(4))]
        size = f", size={dim}" if kind == "latent" else ""
        return f"pg.MvNormal(mean={mean}, cov={cov}{size})"

    def first(self, dim: int | None, kind: str) -> str:
        if dim is None:
            return ", first=pg.Normal()" if self.flip() else ", first=pg.Normal(0.0, 2.0)"
        return f", first=pg.MvNormal(mean=0.0, cov=pg.identity({dim}))"

    # --- the whole --------------------------------------------------------------------------------

    def make(self) -> Case:
        rng = self.rng
        gates = [self.discrete([], []) for _ in range(int(rng.integers(0, 2)))]
        inside = ["unit", "plate", "sequence", "tree"][int(rng.integers(4))]
        scope = [] if inside == "unit" else ["s"]
        outer: list[str] = []
        if self.flip(0.6):
            dim = 2 if self.flip(0.4) else None
            outer.append(self.gaussian("latent", [], gates, [], [], dim=dim))
            self.give(outer[-1], [])
        if scope:
            self.sizes["s"] = [
                int(rng.integers(1, 6 if inside == "tree" else 4)) for _ in range(self.n_units)
            ]
            self.say(f"with pg.{inside}('s'):")
            if inside == "tree":
                self.data["s.parent"] = [self.parents(size) for size in self.sizes["s"]]
            self.depth += 1
        covariates = []
        if self.flip(0.5):
            covariates.append("x")
            self.say("x = pg.covariate('x')")
            self.say("v = pg.covariate('v')")
            self.positive = "v"
            self.data["x"] = self.numbers(scope, None, 0.0)
            self.data["v"] = _arrays(
                self.values(scope, (), lambda shape: rng.gamma(3.0, 0.4)), len(scope)
            ) if scope else rng.gamma(3.0, 0.4, self.n_units)  # fmt: skip
        sequence = inside in ("sequence", "tree")
        if scope and self.flip(0.4):
            gates = [*gates, self.discrete(scope, gates if self.flip() else [], after=sequence)]
        latents = list(outer)
        for _ in range(int(rng.integers(0, 3))):
            dim = 2 if self.flip(0.4) else None
            parents = [p for p in latents if self.flip(0.4)]
            made = self.gaussian(
                "latent", scope, gates, parents, covariates if self.flip(0.3) else [], dim=dim,
                looks_back=sequence and self.flip(0.6),
            )  # fmt: skip
            latents.append(made)
            self.give(made, scope)
        for _ in range(int(rng.integers(1, 3))):
            dim = int(rng.integers(2, 4)) if self.flip(0.4) else None
            parents = [p for p in latents if self.flip(0.6)]
            back = sequence and self.flip(0.25)
            made = self.gaussian(
                "observed", scope, gates, parents, covariates if self.flip(0.7) else [], dim=dim,
                looks_back=back,
            )  # fmt: skip
            values = self.numbers(scope, dim, 0.25 if self.flip(0.5) else 0.0)
            if back:  # the first value may be conditioned on
                for unit, part in enumerate(values):
                    roots = [0] if inside == "sequence" else self.data["s.parent"][unit] < 0
                    part[roots] = rng.normal(size=np.shape(part[roots]))
            self.data[made] = values
            if self.flip(0.3):
                latents.append(made)
        return Case(
            "\n".join(self.lines), self.data, self.sizes, self.n_units, self.dims, self.categories
        )

    def parents(self, size: int) -> Any:
        """A random forest, its members in any order."""
        above = np.array([int(self.rng.integers(-1, k)) if k else -1 for k in range(size)])
        place = self.rng.permutation(size)
        found = np.full(size, -1)
        found[place] = np.where(above < 0, -1, place[above])
        return found

    def give(self, name: str, scope: list[str]) -> None:
        """Now and then, values of a latent in some rows."""
        if self.flip(0.2):
            self.data[name] = self.numbers(scope, self.dims.get(name), 0.6)


def _arrays(nested: Any, depth: int) -> Any:
    """The innermost lists as arrays."""
    if depth == 1:
        return [np.array(part, dtype=float) for part in nested]
    return [_arrays(part, depth - 1) for part in nested]


def make_case(seed: int, n_units: int = 3) -> Case:
    """A random case."""
    return Maker(np.random.default_rng(seed), n_units).make()
