"""Random graphs of discrete and Gaussian latents, regressions and links, as Hypothesis draws them.

A tape of bytes decides everything, zeros choosing what is simplest.  The first of them are features
that zero leaves out, so that failures shrink to what they need and to a small graph.  Parameters,
ties, priors, holes and weights are those of `strategies`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from dense import Dense
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from strategies import (
    TAPE,
    Builder,
    Case,
    Column,
    Filler,
    Floats,
    Index,
    ScopeInfo,
    Tie,
    bare_slot,
    random_weights,
)

OFTEN = 50
"""A feature's byte up to here leaves it out."""
CONFIGURATIONS = (4.0, 12.0, 40.0)
"""Numbers of configurations of the discrete latents of a unit."""
LINKS = {
    "Bernoulli": "logit",
    "Binomial": "logit",
    "Geometric": "logit",
    "Poisson": "log_rate",
    "Exponential": "log_rate",
    "Categorical": "logits",
    "Multinomial": "logits",
}


@dataclass(frozen=True)
class Features:
    """What a graph may have."""

    discrete: bool
    gaussian: bool
    covariates: bool
    links: bool
    switches: bool
    ties: bool
    structures: bool
    fixed: bool
    priors: bool
    holes: bool
    given: bool
    weights: bool


@dataclass
class MixedCase(Case):
    """A case with Gaussian latents.

    Attributes:
        lengths: per plate or sequence, its members per unit (and per member around it).
    """

    lengths: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def dense(self) -> Dense:
        """The answers of a dense joint Gaussian per configuration."""
        n_units = len(next(iter(self.data.values())))
        dense = Dense(self.record, self.data, self.lengths, n_units, self.sizes)
        dense.dims = self.vectors
        return dense

    @property
    def frequencies(self) -> Floats:
        """Weights of the units [N]."""
        return np.ones(self.dense.n_units) if self.weights is None else np.array(self.weights)


@dataclass(frozen=True)
class Regressor:
    """What a coefficient may be multiplied by.

    Attributes:
        text: how it is written.
        length: of a vector, or None.
        node: the name of a Gaussian node; empty for a covariate.
    """

    text: str
    length: int | None
    node: str = ""


class MixedBuilder(Builder):
    """Writes graphs that mix discrete and Gaussian nodes.

    Args:
        tape: numbers below 256.
        features: what it may have; priors mean lower bounds and partly fixed parameters, too.
        fitted: leave out variances that a single value would make zero.
    """

    def __init__(self, tape: Iterable[int], features: Features, *, fitted: bool) -> None:
        super().__init__(tape, fitted=fitted, constrained=features.priors)
        self.features = features
        self.limit = float(np.log(self.pick(CONFIGURATIONS)))
        self.regressors: dict[str, list[Regressor]] = {"unit": []}
        self.positive: dict[str, list[str]] = {}
        self.ridge: tuple[str, list[Index]] | None = None

    # --- what features leave out ------------------------------------------------------------------

    def tied(self, role: str, own: tuple[int, ...], usable: list[Index]) -> str | None:
        """A parameter used before, if one fits."""
        return super().tied(role, own, usable) if self.features.ties else None

    def held(self, role: str, own: tuple[int, ...], gates: list[Index]) -> str:
        """Settings that hold a parameter, wholly or partly; without that, none."""
        return super().held(role, own, gates) if self.features.fixed else "fixed=False"

    def covariance(self, length: int, pool: list[Index]) -> tuple[str | None, bool]:
        """A covariance slot, and whether its parameter is the slot's own."""
        if self.features.structures:
            return super().covariance(length, pool)
        text = self.slot("cov", "cov", (length, length), pool)
        return text, bare_slot(text)

    def latent(self, *arguments: Any) -> bool:
        """A discrete latent node, if it fits."""
        return self.features.discrete and super().latent(*arguments)

    def switch(self, latents: Sequence[Index]) -> None:
        """An observed node whose family is picked by a gate."""
        if self.features.switches:
            super().switch(latents)

    # --- what is around -------------------------------------------------------------------------

    def put(self, regressor: Regressor) -> None:
        """Register something to regress on in the present scope."""
        self.regressors.setdefault(self.scope.name, []).append(regressor)

    def known(self) -> list[Regressor]:
        """Covariates, of this scope and those around it."""
        return [r for s in self.scope.around for r in self.regressors.get(s.name, []) if not r.node]

    def parents(self, *, outer: bool) -> list[Regressor]:
        """Gaussian nodes, of this scope alone or also of those around it."""
        scopes = self.scope.around if outer else [self.scope]
        return [r for s in scopes for r in self.regressors.get(s.name, []) if r.node]

    def covariate(self) -> None:
        """A covariate: a number, a vector, or a positive number that scales variances."""
        if not self.features.covariates:
            return
        kind = self.pick(["number", "vector", "positive"])
        name = self.name("v" if kind == "positive" else "c")
        self.say(f'{name} = pg.covariate("{name}")')
        length = 2 if kind == "vector" else None
        event = () if length is None else (length,)

        def draw(rng: np.random.Generator, *_: Any) -> Any:
            drawn = rng.gamma(3.0, 0.4) + 0.1 if kind == "positive" else rng.normal(size=event)
            return np.round(drawn, 3)

        self.columns.append(Column(name, self.scope, draw, event, kind="covariate"))
        if length is not None:
            self.vectors[name] = length
        if kind == "positive":
            self.positive.setdefault(self.scope.name, []).append(name)
        else:
            self.put(Regressor(name, length))

    # --- terms ----------------------------------------------------------------------------------

    def coefficient(self, role: str, own: tuple[int, ...], pool: Sequence[Index]) -> str:
        """A parameter or constant in an expression, gated by some of the pool."""
        if self.ridge is not None and not own and role == "mean" and self.chance(0.6):
            base, gates = self.ridge
            factor = round(float(self.rng.uniform(0.3, 3)), 2)
            text = self.name("q")
            self.say(f'{text} = pg.param("{text}", prior=pg.Normal(0.5, {base} * {factor}))')
            return self.gated(text, gates)
        tied = self.tied(role, own, list(pool))
        if tied is not None and self.chance(0.4):
            return tied
        gates = [index for index in pool if self.chance(0.5)]
        kind = self.pick(["new", "shared", "held", "constant"])
        prior = self.constrained and self.chance(0.6)
        sizes = tuple(index.size for index in gates)
        if kind == "held" and role == "mean" and not prior:
            return self.gated(f'pg.param("{self.name("q")}", {self.held(role, own, gates)})', gates)
        if kind == "constant" and role == "mean" and not prior:
            value = np.round(self.rng.normal(size=sizes + own), 2).tolist()
            return self.gated(f"pg.constant({value})", gates)
        text = self.name("q")
        if prior and role == "mean":
            setting = f", {self.constraint(role, own, gates)}"
        else:
            setting = f", prior={self.prior(role.split()[-1], own, sizes)}" if prior else ""
        self.say(f'{text} = pg.param("{text}"{setting})')
        self.ties.append(Tie(text, role, own, sizes))
        return self.gated(text, gates)

    def term(
        self, role: str, child: tuple[int, ...], regressor: Regressor, pool: Sequence[Index]
    ) -> str:
        """A coefficient times a regressor."""
        if regressor.length is None:
            bare = role == "mean" and self.chance(0.15)
            return regressor.text if bare else (
                f"{self.coefficient(role, child, pool)} * {regressor.text}"
            )  # fmt: skip
        if role == "mean" and child == (regressor.length,) and self.chance(0.3):
            bare = self.chance(0.5)
            return regressor.text if bare else (
                f"{self.coefficient(role, child, pool)} * {regressor.text}"
            )  # fmt: skip
        return f"{self.coefficient(role, (*child, regressor.length), pool)} @ {regressor.text}"

    def expression(
        self, role: str, child: tuple[int, ...], regressors: Sequence[Regressor],
        pool: Sequence[Index],
    ) -> str:  # fmt: skip
        """A sum of terms."""
        terms = [self.term(role, child, regressor, pool) for regressor in regressors]
        if not terms or self.chance(0.5):
            terms.append(self.coefficient(role, child, pool))
        if role == "mean" and self.chance(0.1):
            terms.append("0.5")
        return (" - " if self.chance(0.15) else " + ").join(terms)

    def some(self, regressors: Sequence[Regressor], share: float) -> list[Regressor]:
        """Some of the regressors."""
        return [regressor for regressor in regressors if self.chance(share)]

    # --- nodes ----------------------------------------------------------------------------------

    def gaussian(
        self, word: str, pool: Sequence[Index], *, outer: bool, back: bool = False
    ) -> None:
        """A Gaussian node whose mean has terms: parents, covariates, its own past.

        Args:
            word: latent or observed.
            pool: what may index its parameters.
            outer: whether latents around the scope may be parents.
            back: whether it looks back.
        """
        if word == "latent" and not self.features.gaussian:
            return
        length = self.pick([None, None, 2, 2, 3])
        gates = self.pool(pool, 2)
        name = self.name("f" if word == "latent" else "y")
        known = 0.5 if word == "observed" else 0.25
        own = [Regressor(f'pg.prev("{name}")', length)] if back else []
        if length is not None:  # so that the terms that read the node itself find it
            self.vectors[name] = length
        picks = [index for index in pool if index.size <= 3]
        if word == "observed" and self.features.switches and picks and self.chance(0.4):
            gate = self.pick(picks)
            parts = [self.component(length, gates, outer, 0.3, [*own] if k == 0 else
                                    self.some(own, 0.5)) for k in range(gate.size)]  # fmt: skip
            inside = ", ".join(f"pg.{text})" for text, _ in parts)
            empty = any(bare for _, bare in parts)
            self.declare(word, name, f"pg.switch({gate.text}, {inside})", empty, gates)
        else:
            text, empty = self.component(length, gates, outer, known, own)
            size = f", size={length}" if length is not None and word == "latent" else ""
            first = ""
            if back and (word == "latent" or self.chance(0.5)):
                first = self.start(length)
            self.declare(word, name, f"pg.{text}{size})", empty, gates, first)
        event = () if length is None else (length,)

        def draw(rng: np.random.Generator, *_: Any) -> Any:
            return np.round(rng.normal(0.0, 1.5, event), 3)

        self.columns.append(Column(name, self.scope, draw, event, kind=word))
        if word == "latent" or self.chance(0.4):
            self.put(Regressor(name, length, node=name))

    def component(
        self, length: int | None, gates: list[Index], outer: bool, known: float,
        own: list[Regressor],
    ) -> tuple[str, bool]:  # fmt: skip
        """A Gaussian family with terms, not yet closed, and whether a slot has its own parameter.

        Args:
            length: of its vectors.
            gates: what may index its parameters.
            outer: whether latents around the scope may be parents.
            known: share of the covariates that stand in the mean.
            own: the past of the node, if that does.
        """
        chosen = [*self.some(self.parents(outer=outer), 0.7), *self.some(self.known(), known), *own]
        spread, empty = self.spread(length, gates)
        mean = self.expression("mean", () if length is None else (length,), chosen, gates)
        self.ridge = None
        return f"{'Normal' if length is None else 'MvNormal'}(mean={mean}{spread}", empty

    def spread(self, length: int | None, gates: list[Index]) -> tuple[str, bool]:
        """The text of a variance or covariance, and whether it is the slot's own parameter."""
        if length is not None:
            text, bare = self.covariance(length, gates)
            return ("" if text is None else f", cov={text}"), bare
        if self.constrained and self.chance(0.3):
            return f", var={self.base_of_ridges(gates)}", False
        text = self.slot("var", "var", (), gates)
        scales = [n for s in self.scope.around for n in self.positive.get(s.name, [])]
        if scales and not bare_slot(text) and self.chance(0.4):
            text = f"{text} {self.pick(['*', '/'])} {self.pick(scales)}"
        return ("" if text is None else f", var={text}"), bare_slot(text)

    def base_of_ridges(self, gates: Sequence[Index]) -> str:
        """A variance with a prior, to which the priors of coefficients may be linked."""
        chosen = [index for index in gates if index.latent and self.chance(0.5)]
        text, sizes = self.name("q"), tuple(index.size for index in chosen)
        self.say(f'{text} = pg.param("{text}", prior={self.prior("var", (), sizes)})')
        self.ridge = text, chosen
        return self.gated(text, chosen)

    def start(self, length: int | None) -> str:
        """The first step of a Gaussian chain."""
        if length is None:
            return self.pick(["first=pg.Normal(0.0, 2.0)", "first=pg.Normal()", ""])
        fixed = f"first=pg.MvNormal(mean=0.0, cov=pg.identity({length}))"
        return self.pick([fixed, "first=pg.MvNormal(cov=pg.diagonal())", ""])

    def family(
        self, family: str, size: int | None, length: int | None, pool: list[Index], extra: str = ""
    ) -> tuple[str, bool]:
        """A family; where there are covariates, sometimes behind its link."""
        link = LINKS.get(family)
        if not self.features.links or link is None or not self.known() or not self.chance(0.35):
            return super().family(family, size, length, pool, extra)
        own = (size or length or 0,) if link == "logits" else () if length is None else (length,)
        role = "logits mean" if link == "logits" else "link mean"
        parts = [f"{link}={self.expression(role, own, self.some(self.known(), 0.7), pool)}"]
        if link == "log_rate" and self.chance(0.2):
            parts.append(f"rate={self.coefficient('rate', own, pool)}")
        if size is not None or length is not None:
            parts.append(f"size={size or length}")
        return f"pg.{family}({', '.join([*parts, *([extra] if extra else [])])})", False

    def leaf(self, lags: Sequence[Index] = (), *, must: bool = False) -> None:
        """An observed node of any family; single coordinates of all Gaussians may be missing."""
        super().leaf(lags, must=must)
        if self.families[-1:] == ["MvNormal"]:
            self.columns[-1].separable = True


# --- the kinds of graph -------------------------------------------------------------------------


def _covariates(b: MixedBuilder) -> None:
    for _ in range(b.between(0, 2)):
        b.covariate()
    if b.chance(0.15):
        b.input()


def _leaves(b: MixedBuilder, pool: Sequence[Index], *, outer: bool, back: bool = False) -> None:
    """Observed nodes: Gaussians with terms, and others."""
    b.gaussian("observed", pool, outer=outer, back=back and b.chance(0.25))
    for _ in range(b.between(0, 2)):
        if b.chance(0.5):
            b.leaf()
        else:
            b.gaussian("observed", pool, outer=outer)


def _top(b: MixedBuilder, most: int = 2) -> None:
    """Covariates, discrete and Gaussian latents of the unit."""
    _covariates(b)
    for _ in range(b.between(0, most)):
        b.latent()
    if b.chance(0.2):
        b.observed_gate()
    if b.chance(0.5):
        b.gaussian("latent", b.indexes(), outer=True)


def _members(b: MixedBuilder, *, back: bool) -> None:
    """What stands inside a plate or sequence.

    Gaussians are gated by latents of their own scope, or hang together with what is around them;
    both at once is refused, and drawn now and then.
    """
    around = [index for index in b.indexes() if index not in b.scope.indexes]
    _covariates(b)
    if b.chance(0.5):
        if back:
            name = b.name("s")
            lag = Index(f'pg.prev("{name}")', 2, True, name, 1)
            b.latent([*b.indexes(), lag], [lag], name, 2)
        else:
            b.latent()
    inner = b.chance(0.5)
    fits = b.chance(0.95)
    pool = b.indexes() if inner or not fits else [*around, *_seen(b)]
    outer = not inner or not fits
    for _ in range(b.between(0, 2)):
        b.gaussian("latent", pool, outer=outer, back=back and outer and b.chance(0.6))
    _leaves(b, pool, outer=outer, back=back)


def _seen(b: MixedBuilder) -> list[Index]:
    """What may index and is no latent of the present scope."""
    return [index for index in b.scope.indexes if not index.latent]


def _unit(b: MixedBuilder) -> None:
    _top(b)
    if b.chance(0.4):
        b.gaussian("latent", b.indexes(), outer=True)
    _leaves(b, b.indexes(), outer=True)


def _plate(b: MixedBuilder) -> None:
    _top(b, 1)
    with b.inside("plate", b.pick([None, 2, 3]), 1, 3):
        _members(b, back=False)
    if b.chance(0.3):
        b.gaussian("observed", b.indexes(), outer=True)


def _sequence(b: MixedBuilder) -> None:
    _top(b, 1)
    with b.inside("sequence", None, 1, 4):
        _members(b, back=True)
    if b.chance(0.2):
        b.leaf()


def _tree(b: MixedBuilder) -> None:
    _top(b, 1)
    with b.inside("tree", None, 1, 5):
        _members(b, back=True)


def _nested(b: MixedBuilder) -> None:
    _top(b, 1)
    kind = b.pick(["plates", "sequence in plate", "plate in sequence"])
    first = "sequence" if kind == "plate in sequence" else "plate"
    with b.inside(first, b.pick([None, 2]) if first == "plate" else None, 1, 2):
        if b.chance(0.5):
            b.gaussian("latent", b.indexes(), outer=True, back=first == "sequence")
        if first == "sequence" and b.chance(0.3):
            b.leaf(must=True)
        with b.inside("sequence" if kind == "sequence in plate" else "plate", None, 1, 2):
            _members(b, back=kind == "sequence in plate")


MIXED: dict[str, Callable[[MixedBuilder], None]] = {
    "unit": _unit,
    "plate": _plate,
    "sequence": _sequence,
    "tree": _tree,
    "nested": _nested,
}


def mixed_cases(kind: str, **options: bool) -> SearchStrategy[MixedCase]:
    """Random mixed graphs of one kind, with parameters and data.

    Args:
        kind: `unit`, `plate`, `sequence`, `tree` or `nested`.
        options: as in `build_mixed`.
    """
    tapes = st.binary(min_size=TAPE, max_size=TAPE)
    return tapes.map(lambda tape: build_mixed(tape, kind, **options))


def build_mixed(
    tape: Iterable[int],
    kind: str,
    *,
    fitted: bool = False,
    absent: bool = False,
    priors: bool = True,
) -> MixedCase:
    """The case that some choices decide.

    Args:
        tape: numbers below 256.
        kind: `unit`, `plate`, `sequence`, `tree` or `nested`.
        fitted: leave out variances that a single value would make zero.
        absent: leave some observed nodes out of the data.
        priors: whether there may be priors, lower bounds and partly fixed covariances.
    """
    rest = iter(tape)
    features = Features(*[next(rest) > OFTEN for _ in fields(Features)])
    features = replace(features, priors=features.priors and priors)
    builder = MixedBuilder(rest, features, fitted=fitted)
    MIXED[kind](builder)
    case = MixedCase("\n".join(builder.lines), builder.seed, builder.sizes, builder.vectors, {})
    lags = {n.name: n.lag() for n in case.record.nodes if n.conditioned}
    case.data = MixedFiller(builder, lags).fill(absent=absent)
    case.lengths = lengths_of(builder)
    if features.weights and builder.chance(0.6):
        case.weights = random_weights(builder)
    return case


class MixedFiller(Filler):
    """Draws data, with holes where the features say so."""

    builder: MixedBuilder

    def column(self, column: Column, rate: float) -> Any:
        """Values of one name, holes at this rate."""
        return super().column(column, rate if self.builder.features.holes else 0.0)

    def is_given(self, column: Column) -> bool:
        """Whether values of a latent are in the data."""
        return self.builder.features.given and super().is_given(column)


def lengths_of(builder: Builder) -> dict[str, Any]:
    """Per scope and unit, its members, nested over the members around it."""
    found: dict[str, Any] = {}
    scopes = {s.name: s for c in builder.columns for s in c.scope.around[1:]}

    def nested(
        info: ScopeInfo, outer: Sequence[ScopeInfo], unit: int, path: tuple[int, ...]
    ) -> Any:
        if not outer:
            return info.lengths[unit, path]
        members = range(outer[0].lengths[unit, path])
        return [nested(info, outer[1:], unit, (*path, k)) for k in members]

    for name, info in scopes.items():
        units = range(len(info.paths))
        found[name] = [nested(info, info.around[1:-1], unit, ()) for unit in units]
    return found
