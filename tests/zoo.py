"""The models that must compile: every kind of the design's table, with a truth to recover.

An entry declares its nodes in the open model.  The truth is also where the fit starts, so that
labels and signs stay; what is compared is whether the data pull the parameters away from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pgem as pg

Floats = NDArray[np.float64]
Sizes = Mapping[str, Any]
Inputs = Callable[[np.random.Generator, int, Sizes], dict[str, Any]]
Identified = Callable[[Mapping[str, Floats]], dict[str, Floats]]


@dataclass(frozen=True)
class Animal:
    """One model of the zoo.

    Attributes:
        name: of the model.
        declare: its nodes.
        truth: parameters to simulate from.
        n: units of the sample.
        sizes: lengths of plates and sequences.
        small: lengths for enumeration; by default at most 3.
        inputs: covariates (and parents of trees) for n units of these sizes.
        close: how near the estimates come, absolute; by parameter where it differs.
        options: of the fit.
        seen: what of the parameters the likelihood shows (factors may rotate); all by default.
        shown: share of the values of a latent that the data hold.
        lost: share of the values of an observed node that the data do not hold.
    """

    name: str
    declare: Callable[[], object]
    truth: Mapping[str, Any]
    n: int = 1500
    sizes: Sizes = field(default_factory=dict)
    small: Sizes = field(default_factory=dict)
    inputs: Inputs | None = None
    close: float | Mapping[str, float] = 0.2
    options: Mapping[str, Any] = field(default_factory=dict)
    seen: Identified = dict
    shown: Mapping[str, float] = field(default_factory=dict)
    lost: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def model(self) -> pg.Model:
        """The declared model."""
        with pg.Model(self.name) as model:
            self.declare()
        return model

    @cached_property
    def few(self) -> Sizes:
        """Lengths that can be enumerated."""
        return {name: self.small.get(name, min(size, 3)) for name, size in self.sizes.items()}

    def known(self, n: int, sizes: Sizes, seed: int = 0) -> dict[str, Any]:
        """Covariates of n units."""
        return self.inputs(np.random.default_rng(seed), n, sizes) if self.inputs else {}

    @cached_property
    def at_truth(self) -> pg.Fit:
        """The fit that stands at the truth, to sample from."""
        data = {**self._ones(2, self.few), **self.known(2, self.few)}
        return self.model.fit(data, start=self.truth, max_iter=0)

    def _ones(self, n: int, sizes: Sizes) -> dict[str, Any]:
        """Data of the right shape: every number is one, every category the first."""
        scopes = {scope.name: scope for scope in self.model.record.scopes}
        found = {}
        for node in self.model.record.nodes:
            if node.kind == "observed":
                shape: list[int] = []
                scope = scopes[node.scope]
                while scope.parent:
                    shape.insert(0, scope.size or sizes[scope.name])
                    scope = scopes[scope.parent]
                vector = [node.leaf.settings["size"]] if node.leaf.family in VECTORS else []
                fill = 0.0 if node.leaf.family == "Categorical" else 1.0
                found[node.name] = np.full((n, *shape, *vector), fill)
        return found

    def sample(self, n: int, sizes: Sizes, seed: int = 0) -> dict[str, Any]:
        """All nodes and covariates of n units, drawn at the truth."""
        known = self.known(n, sizes, seed)
        return self.at_truth.sample(n, sizes=sizes, data=known or None, seed=seed)

    def observe(self, n: int, sizes: Sizes, seed: int = 0) -> dict[str, Any]:
        """What is seen of such a sample: latents only as far as they are shown."""
        latents = {node.name for node in self.model.record.nodes if node.kind == "latent"}
        drawn = self.sample(n, sizes, seed)
        rng = np.random.default_rng([seed, 7])
        for name, share in {**self.lost, **{k: 1 - v for k, v in self.shown.items()}}.items():
            drawn[name] = with_holes(drawn[name], share, rng)
        return {k: values for k, values in drawn.items() if k not in latents - set(self.shown)}

    @cached_property
    def few_units(self) -> dict[str, Any]:
        """Three small units."""
        return self.observe(3, self.few, seed=1)


VECTORS = ("MvNormal", "Multinomial")
ZOO: dict[str, Animal] = {}


def with_holes(values: Any, share: float, rng: np.random.Generator, *, rows: bool = False) -> Any:
    """Values of which a share is missing: single numbers, or whole rows of the last axis."""
    if isinstance(values, list):
        return [with_holes(part, share, rng, rows=rows) for part in values]
    gone = rng.random(np.shape(values)[: np.ndim(values) - rows]) < share
    gone = gone[..., None] if rows else gone
    return np.where(gone, np.nan, np.asarray(values, dtype=float))


def animal(**facts: Any) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Put a declaration into the zoo."""

    def keep(declare: Callable[[], object]) -> Callable[[], object]:
        ZOO[declare.__name__] = Animal(declare.__name__, declare, **facts)
        return declare

    return keep


HALVES = [0.4, 0.6]
STICKY = [[0.9, 0.1], [0.2, 0.8]]
TWO_MEANS = [[-2.0, 0.0], [2.0, 1.0]]
COV = [[1.0, 0.3], [0.3, 0.5]]


# --- mixtures -----------------------------------------------------------------------------------


@animal(truth={"x_mean": TWO_MEANS}, options={"posterior": "hard"}, close=0.3)
def k_means() -> None:
    z = pg.latent("z", pg.Categorical([0.5, 0.5]))
    pg.observed("x", pg.MvNormal(mean=pg.param("x_mean")[z], cov=pg.identity(2), size=2))


@animal(truth={"z.probs": HALVES, "x.mean": TWO_MEANS, "x.cov": [COV, COV]})
def gaussian_mixture() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.MvNormal(size=2), given=z)


@animal(truth={"z.probs": HALVES, "x.mean": TWO_MEANS, "cov": COV})
def gaussian_mixture_with_one_covariance() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.MvNormal(cov=pg.param("cov"), size=2), given=z)


@animal(truth={"z.probs": HALVES, "x.mean": TWO_MEANS, "x.cov": [[1.0, 0.5], [0.6, 0.8]]})
def gaussian_mixture_with_diagonal_covariances() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.MvNormal(cov=pg.diagonal(), size=2), given=z)


@animal(truth={"z.probs": HALVES, "x.mean": TWO_MEANS, "noise": 0.7})
def gaussian_mixture_with_one_spherical_covariance() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.MvNormal(cov=pg.spherical(pg.param("noise")), size=2), given=z)


@animal(truth={"z.probs": HALVES, "centre": TWO_MEANS, "spread": [1.0, 0.5]})
def gaussian_mixture_with_one_diagonal_covariance() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    cov = pg.diagonal(pg.param("spread"))
    pg.observed("x", pg.MvNormal(mean=pg.param("centre")[z], cov=cov, size=2))


@animal(truth={"z.probs": HALVES, "x.mean": TWO_MEANS, "x.cov": [1.0, 0.4]})
def gaussian_mixture_with_spherical_covariances() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.MvNormal(cov=pg.spherical(), size=2), given=z)


@animal(truth={"z.probs": HALVES, "x.mean": TWO_MEANS, "x.cov": [COV, COV]}, shown={"z": 0.2})
def semi_supervised_classes() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.MvNormal(size=2), given=z)


@animal(
    truth={"x.mean": [0.0, 1.0, 2.0],
           "x.cov": [[1.0, 0.5, 0.2], [0.5, 2.0, -0.5], [0.2, -0.5, 1.5]]},
    lost={"x": 0.3},
)  # fmt: skip
def multivariate_normal_with_holes() -> None:
    pg.observed("x", pg.MvNormal(size=3))


@animal(truth={"z.probs": HALVES, "x.shape": [2.0, 9.0], "x.rate": [2.0, 1.0]}, n=3000,
        close={"x.shape": 1.0, "x.rate": 0.3})  # fmt: skip
def gamma_mixture() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.Gamma(), given=z)


@animal(truth={"z.probs": HALVES, "x.rate": [1.0, 7.0]})
def poisson_mixture() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.Poisson(), given=z)


@animal(
    truth={"z.probs": HALVES, "a.mean": [-1.5, 1.5], "a.var": [1.0, 0.5], "b.prob": [0.2, 0.8],
           "c.rate": [2.0, 6.0]}
)  # fmt: skip
def rows_of_mixed_types() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("a", pg.Normal(), given=z)
    pg.observed("b", pg.Bernoulli(), given=z)
    pg.observed("c", pg.Poisson(), given=z)


@animal(
    truth={"z.probs": HALVES, "x.prob": [[0.9, 0.8, 0.2, 0.7, 0.9], [0.2, 0.3, 0.8, 0.4, 0.2]]},
)
def latent_classes() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    with pg.plate("item", size=5) as item:
        pg.observed("x", pg.Bernoulli(), given=[z, item])


def one_input(rng: np.random.Generator, n: int, sizes: Sizes) -> dict[str, Any]:
    del sizes
    return {"x": rng.normal(size=n)}


@animal(
    truth={"z.probs": HALVES, "slope": [-1.0, 2.0], "intercept": [0.0, 2.0], "var": [0.5, 0.3]},
    inputs=one_input,
)
def mixture_of_regressions() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    x = pg.covariate("x")
    mean = pg.param("slope")[z] * x + pg.param("intercept")[z]
    pg.observed("y", pg.Normal(mean=mean, var=pg.param("var")[z]))


@animal(truth={"z.probs": HALVES, "slope": [-0.5, 0.8], "intercept": [0.0, 2.0]}, inputs=one_input)
def mixture_of_poisson_regressions() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    x = pg.covariate("x")
    pg.observed("y", pg.Poisson(log_rate=pg.param("slope")[z] * x + pg.param("intercept")[z]))


@animal(
    truth={"z.probs": HALVES, "slope": [-3.0, 2.0], "level": [0.0, 2.0]}, inputs=one_input,
    n=3000, close=0.6,
)  # fmt: skip
def mixture_of_logistic_regressions() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    logit = pg.param("slope")[z] * pg.covariate("x") + pg.param("level")[z]
    pg.observed("y", pg.Binomial(logit=logit, trials=6))


@animal(
    truth={"W": [0.0, 1.5], "b": [0.0, 0.5], "slope": [-1.0, 2.0], "intercept": [-2.0, 2.0],
           "var": [0.5, 0.3]},
    inputs=one_input, close=0.35,
)  # fmt: skip
def mixture_of_experts() -> None:
    x = pg.covariate("x")
    z = pg.latent("z", pg.Categorical(logits=pg.param("W") * x + pg.param("b"), size=2))
    mean = pg.param("slope")[z] * x + pg.param("intercept")[z]
    pg.observed("y", pg.Normal(mean=mean, var=pg.param("var")[z]))


@animal(truth={"z.probs": HALVES, "y.0.rate": 0.5, "y.1.shape": 9.0, "y.1.rate": 1.5},
        close={"y.1.shape": 1.5, "y.1.rate": 0.3})  # fmt: skip
def components_of_different_families() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("y", pg.switch(z, pg.Exponential(), pg.Gamma()))


@animal(truth={"z.probs": HALVES, "y.1.rate": 3.0})
def zero_inflated_counts() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("y", pg.switch(z, pg.Dirac(0), pg.Poisson()))


@animal(
    truth={"z.probs": HALVES, "w.probs": [[0.7, 0.3], [0.2, 0.8]],
           "x.mean": [[-6.0, -3.0], [2.0, 6.0]], "x.var": [[0.5, 0.5], [0.5, 0.5]]}
)  # fmt: skip
def hierarchical_mixture() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    w = pg.latent("w", pg.Categorical(size=2), given=z)
    pg.observed("x", pg.Normal(), given=[z, w])


@animal(
    truth={"a.probs": HALVES, "b.probs": [0.3, 0.7], "x.mean": [[-6.0, -2.0], [2.0, 6.0]],
           "x.var": [[0.5, 0.5], [0.5, 0.5]], "y.rate": [1.0, 6.0]}
)  # fmt: skip
def two_interacting_latents() -> None:
    a = pg.latent("a", pg.Categorical(size=2))
    b = pg.latent("b", pg.Categorical(size=2))
    pg.observed("x", pg.Normal(), given=[a, b])
    pg.observed("y", pg.Poisson(), given=b)


PHENOTYPE = np.eye(4)[[[0, 2, 0], [2, 1, 1], [0, 1, 3]]]


@animal(truth={"allele": [0.3, 0.2, 0.5]}, close=0.05)
def blood_groups() -> None:
    allele = pg.param("allele")
    mother = pg.latent("mother", pg.Categorical(allele, size=3))
    father = pg.latent("father", pg.Categorical(allele, size=3))
    pg.observed("group", pg.Categorical(pg.constant(PHENOTYPE)[mother, father], size=4))


@animal(truth={"r.probs": [0.62, 0.38]}, close=0.06)
def genetic_linkage() -> None:
    """Rao's animals: 1/2 + t/4, (1 - t)/4, (1 - t)/4, t/4; t is the share of `r` = 0."""
    r = pg.latent("r", pg.Categorical(size=2))
    half = pg.latent("half", pg.Categorical([0.5, 0.5]))
    certain = [1.0, 0.0, 0.0, 0.0]
    table = [[certain, [0.5, 0.0, 0.0, 0.5]], [certain, [0.0, 0.5, 0.5, 0.0]]]
    pg.observed("type", pg.Categorical(pg.constant(table)[r, half], size=4))


# --- sequences ----------------------------------------------------------------------------------

STEPS = {"t": 60}
CHAIN = {"s.probs": STICKY, "s.first.probs": HALVES}


@animal(truth={**CHAIN, "y.rate": [1.0, 6.0]}, n=40, sizes=STEPS, close={"s.first.probs": 0.3})
def hidden_markov() -> None:
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Poisson(), given=s)


@animal(truth={"s.probs": STICKY, "y.rate": [1.0, 6.0]}, n=40, sizes=STEPS)
def stationary_hidden_markov() -> None:
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s", first="stationary")
        pg.observed("y", pg.Poisson(), given=s)


@animal(
    truth={"s.probs": [[0.8, 0.2, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]],
           "y.mean": [-3.0, 0.0, 3.0], "y.var": [0.5, 0.5, 0.5]},
    n=80, sizes={"t": 30},
)  # fmt: skip
def left_to_right() -> None:
    steps = [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    zeros = np.array(steps) == 0
    with pg.sequence("t"):
        first = pg.Categorical([1.0, 0.0, 0.0])
        probs = pg.param(zeros=zeros)
        s = pg.latent("s", pg.Categorical(probs, size=3), after="s", first=first)
        pg.observed("y", pg.Normal(), given=s)


@animal(
    truth={**CHAIN, "m.probs": [[0.5, 0.5], [0.3, 0.7]], "y.mean": [[-6.0, -2.0], [2.0, 6.0]],
           "y.var": [[0.5, 0.5], [0.5, 0.5]]},
    n=40, sizes=STEPS, close={"s.first.probs": 0.3},
)  # fmt: skip
def mixture_emissions() -> None:
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        m = pg.latent("m", pg.Categorical(size=2), given=s)
        pg.observed("y", pg.Normal(), given=[s, m])


@animal(
    truth={**CHAIN, "c": [0.0, 3.0], "phi": [0.6, -0.4], "v": [0.5, 0.5],
           "y.first.mean": [0.0, 0.0], "y.first.var": [1.0, 1.0]},
    n=40, sizes=STEPS, close={"s.first.probs": 0.3, "y.first.mean": 0.6, "y.first.var": 0.9},
)  # fmt: skip
def autoregressive_hidden_markov() -> None:
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("c")[s] + pg.param("phi")[s] * pg.prev("y")
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[s]), first=pg.Normal())


@animal(
    truth={**CHAIN, "c": [[0.0, 1.0, 0.5], [3.0, -1.0, 0.0]],
           "phi": [[0.6, 0.3, 0.0], [-0.4, 0.2, 0.5]], "l": [1.0, -0.7, 0.8], "v": [0.4, 0.6, 0.5]},
    n=40, sizes=STEPS, close={"s.first.probs": 0.3},
)  # fmt: skip
def autoregression_with_factors_of_each_step() -> None:
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        f = pg.latent("f", pg.Normal(0.0, 1.0))
        mean = pg.param("c")[s] + pg.param("phi")[s] * pg.prev("y") + pg.param("l") * f
        cov = pg.diagonal(pg.param("v"))
        first = pg.MvNormal(0.0, pg.identity(3))
        pg.observed("y", pg.MvNormal(mean=mean, cov=cov, size=3), first=first)


def step_inputs(rng: np.random.Generator, n: int, sizes: Sizes) -> dict[str, Any]:
    return {"x": rng.normal(size=(n, sizes["t"]))}


@animal(
    truth={"W": [[0.0, 1.5], [0.0, -1.0]], "b": [[0.0, -1.0], [0.0, 1.0]],
           "s.first.probs": HALVES, "y.mean": [-2.0, 2.0], "y.var": [0.5, 0.5]},
    n=40, sizes=STEPS, inputs=step_inputs, close={"s.first.probs": 0.3, "W": 0.5, "b": 0.4},
)  # fmt: skip
def input_output_hidden_markov() -> None:
    with pg.sequence("t"):
        x = pg.covariate("x")
        back = pg.prev("s")
        logits = pg.param("W")[back] * x + pg.param("b")[back]
        first = pg.Categorical(size=2)
        s = pg.latent("s", pg.Categorical(logits=logits, size=2), first=first)
        pg.observed("y", pg.Normal(), given=s)


@animal(
    truth={**CHAIN, "c": [-1.0, 1.0], "slope": [-1.0, 2.0], "v": [0.5, 0.3]},
    n=40, sizes=STEPS, inputs=step_inputs, close={"s.first.probs": 0.3},
)  # fmt: skip
def markov_switching_regression() -> None:
    with pg.sequence("t"):
        x = pg.covariate("x")
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("c")[s] + pg.param("slope")[s] * x
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[s]))


@animal(
    truth={"a.probs": STICKY, "a.first.probs": HALVES, "b.probs": [[0.7, 0.3], [0.1, 0.9]],
           "b.first.probs": HALVES, "y.mean": [[-6.0, -2.0], [2.0, 6.0]],
           "y.var": [[0.5, 0.5], [0.5, 0.5]]},
    n=40, sizes=STEPS, close={"a.first.probs": 0.3, "b.first.probs": 0.3},
)  # fmt: skip
def factorial_chains() -> None:
    with pg.sequence("t"):
        a = pg.latent("a", pg.Categorical(size=2), after="a")
        b = pg.latent("b", pg.Categorical(size=2), after="b")
        pg.observed("y", pg.Normal(), given=[a, b])


@animal(
    truth={"a.probs": [[[0.9, 0.1], [0.6, 0.4]], [[0.5, 0.5], [0.2, 0.8]]],
           "a.first.probs": HALVES, "b.probs": [[[0.8, 0.2], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]],
           "b.first.probs": HALVES, "x.mean": [-2.0, 2.0], "x.var": [0.3, 0.3],
           "y.mean": [-2.0, 2.0], "y.var": [0.3, 0.3]},
    n=60, sizes=STEPS, close={"a.first.probs": 0.3, "b.first.probs": 0.3},
)  # fmt: skip
def coupled_chains() -> None:
    with pg.sequence("t"):
        a = pg.latent("a", pg.Categorical(size=2), given=pg.prev("b"), after="a")
        b = pg.latent("b", pg.Categorical(size=2), given=pg.prev("a"), after="b")
        pg.observed("x", pg.Normal(), given=a)
        pg.observed("y", pg.Normal(), given=b)


@animal(
    truth={"s.probs": [[[0.9, 0.1], [0.4, 0.6]], [[0.6, 0.4], [0.1, 0.9]]],
           "s.first.probs": HALVES, "s.first2.probs": STICKY, "y.mean": [-2.0, 2.0],
           "y.var": [0.4, 0.4]},
    n=60, sizes=STEPS, close={"s.first.probs": 0.3, "s.first2.probs": 0.4},
)  # fmt: skip
def second_order_chain() -> None:
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), given=[pg.prev("s", 2), pg.prev("s", 1)])
        pg.observed("y", pg.Normal(), given=s)


@animal(
    truth={"s.probs": [[0.0, 0.7, 0.3], [0.5, 0.0, 0.5], [0.4, 0.6, 0.0]],
           "s.first.probs": [0.3, 0.3, 0.4], "s.duration.rate": [2.0, 5.0, 8.0],
           "y.mean": [-3.0, 0.0, 3.0], "y.var": [0.4, 0.4, 0.4]},
    n=40, sizes={"t": 80}, small={"t": 5},
    close={"s.first.probs": 0.3, "s.duration.rate": 0.8},
)  # fmt: skip
def explicit_durations() -> None:
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s", duration=pg.Poisson())
        pg.observed("y", pg.Normal(), given=s)


@animal(
    truth={"c.probs": HALVES, "s.probs": [STICKY, [[0.3, 0.7], [0.6, 0.4]]],
           "s.first.probs": [HALVES, HALVES], "y_mean": [-2.0, 2.0], "y_var": [0.4, 0.4]},
    n=60, sizes=STEPS, close={"s.first.probs": 0.4, "c.probs": 0.25},
)  # fmt: skip
def mixture_of_chains() -> None:
    c = pg.latent("c", pg.Categorical(size=2))
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), given=c, after="s")
        pg.observed("y", pg.Normal(mean=pg.param("y_mean")[s], var=pg.param("y_var")[s]))


def binary_trees(rng: np.random.Generator, n: int, sizes: Sizes) -> dict[str, Any]:
    del rng
    above = (np.arange(sizes["cell"]) - 1) // 2
    return {"cell.parent": np.tile(above, (n, 1))}


@animal(
    truth={**CHAIN, "y.mean": [-2.0, 2.0], "y.var": [0.5, 0.5]}, n=40,
    sizes={"cell": 63}, small={"cell": 5}, inputs=binary_trees, close={"s.first.probs": 0.3},
)  # fmt: skip
def hidden_markov_tree() -> None:
    with pg.tree("cell"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)


@animal(
    truth={**CHAIN, "c": [0.0, 3.0], "phi": [0.6, -0.4], "v": [0.5, 0.5],
           "y.first.mean": [0.0, 1.0], "y.first.var": [1.0, 1.0]},
    n=160, sizes={"cell": 15}, small={"cell": 5}, inputs=binary_trees,
    close={"s.first.probs": 0.3, "y.first.mean": 0.6, "y.first.var": 0.9},
)  # fmt: skip
def autoregression_along_a_hidden_tree() -> None:
    with pg.tree("cell"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        mean = pg.param("c")[s] + pg.param("phi")[s] * pg.prev("y")
        pg.observed("y", pg.Normal(mean=mean, var=pg.param("v")[s]), first=pg.Normal())


# --- plates -------------------------------------------------------------------------------------

ITEMS = np.array([[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.9, 0.1]],
                  [[0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8]]])  # fmt: skip


@animal(
    truth={"g.probs": HALVES, "c.probs": [[0.85, 0.15], [0.2, 0.8]], "x.probs": ITEMS},
    n=80,
    sizes={"patient": 15},
)
def multilevel_classes() -> None:
    g = pg.latent("g", pg.Categorical(size=2))
    with pg.plate("patient"):
        c = pg.latent("c", pg.Categorical(size=2), given=g)
        with pg.plate("item", size=4) as item:
            pg.observed("x", pg.Categorical(size=2), given=[c, item])


def documents(rng: np.random.Generator, n: int, sizes: Sizes) -> dict[str, Any]:
    del rng, sizes
    return {"who": np.arange(n) % 4}


def words_of_documents(params: Mapping[str, Floats]) -> dict[str, Floats]:
    """The two tables are one factorisation of many."""
    return {"words": params["topic.probs"] @ params["word.probs"]}


TOPICS = np.array([[0.4, 0.3, 0.2, 0.05, 0.05], [0.05, 0.05, 0.2, 0.3, 0.4]])


@animal(
    truth={"topic.probs": [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.1, 0.9]], "word.probs": TOPICS},
    n=4, sizes={"token": 1500}, inputs=documents, close=0.05,
    seen=words_of_documents,
)  # fmt: skip
def probabilistic_latent_semantic_analysis() -> None:
    who = pg.covariate("who", size=4)
    with pg.plate("token"):
        topic = pg.latent("topic", pg.Categorical(size=2), given=who)
        pg.observed("word", pg.Categorical(size=5), given=topic)


@animal(truth={"a.var": 1.5, "mu": 2.0, "y.var": 0.5}, n=300, sizes={"member": 6}, close=0.4)
def random_intercepts() -> None:
    a = pg.latent("a", pg.Normal(mean=0.0))
    with pg.plate("member"):
        pg.observed("y", pg.Normal(mean=pg.param("mu") + a))


def slopes(rng: np.random.Generator, n: int, sizes: Sizes) -> dict[str, Any]:
    w = rng.normal(size=(n, sizes["visit"], 2))
    w[:, :, 0] = 1.0
    return {"w": w}


@animal(
    truth={"b.cov": [[1.0, 0.3], [0.3, 0.5]], "beta": [1.0, -1.0], "y.var": 0.4},
    n=300, sizes={"visit": 8}, inputs=slopes,
)  # fmt: skip
def linear_mixed_model() -> None:
    b = pg.latent("b", pg.MvNormal(mean=0.0, size=2))
    with pg.plate("visit"):
        w = pg.covariate("w")
        pg.observed("y", pg.Normal(mean=pg.param("beta") @ w + w @ b))


# --- continuous latents -------------------------------------------------------------------------

LOADINGS = [[1.0, 0.0], [0.5, 1.0], [-1.0, 0.5], [0.0, -1.0], [1.0, 1.0]]


@animal(
    truth={"loadings": [1.0, 0.5, -1.0, 2.0], "mean": [0.0, 1.0, 2.0, 3.0],
           "x.cov": [0.5, 0.4, 0.6, 0.8]},
)  # fmt: skip
def factor_analysis() -> None:
    f = pg.latent("f", pg.Normal(0.0, 1.0))
    mean = pg.param("loadings") @ f + pg.param("mean")
    pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal(), size=4))


def turned_covariance(params: Mapping[str, Floats]) -> dict[str, Floats]:
    """Loadings up to a rotation of the factors."""
    shown = dict(params)
    loadings = shown.pop("loadings")
    return {**shown, "between": loadings @ loadings.T}


@animal(
    truth={"loadings": LOADINGS, "mean": np.zeros(5), "x.cov": 0.5}, close=0.4,
    seen=turned_covariance,
)  # fmt: skip
def probabilistic_pca() -> None:
    f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(2), size=2))
    mean = pg.param("loadings") @ f + pg.param("mean")
    pg.observed("x", pg.MvNormal(mean=mean, cov=pg.spherical(), size=5))


@animal(
    truth={"z.probs": HALVES, "loadings": [[1.0, 0.5, -1.0], [0.5, -1.0, 1.0]],
           "mean": [[-3.0, 0.0, 1.0], [3.0, 1.0, -1.0]], "psi": [0.4, 0.5, 0.6]},
    n=2500, close=0.3,
)  # fmt: skip
def mixture_of_factor_analysers() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    f = pg.latent("f", pg.Normal(0.0, 1.0))
    mean = pg.param("loadings")[z] @ f + pg.param("mean")[z]
    pg.observed("x", pg.MvNormal(mean=mean, cov=pg.diagonal(pg.param("psi")), size=3))


@animal(
    truth={"a": [1.0, -1.0], "ma": [0.0, 1.0], "x.cov": [0.5, 0.5], "b": [2.0, 1.0, 0.5],
           "mb": [0.0, 0.0, 0.0], "y.cov": [0.5, 0.4, 0.3]},
    n=2500,
)  # fmt: skip
def two_views_with_one_factor() -> None:
    f = pg.latent("f", pg.Normal(0.0, 1.0))
    pg.observed(
        "x", pg.MvNormal(mean=pg.param("a") @ f + pg.param("ma"), cov=pg.diagonal(), size=2)
    )
    pg.observed(
        "y", pg.MvNormal(mean=pg.param("b") @ f + pg.param("mb"), cov=pg.diagonal(), size=3)
    )


@animal(truth={"h.var": 0.5, "y.var": 1.0}, n=30, sizes={"t": 80})
def local_level() -> None:
    with pg.sequence("t"):
        h = pg.latent("h", pg.Normal(mean=pg.prev("h")), first=pg.Normal(0.0, 4.0))
        pg.observed("y", pg.Normal(mean=h))


def turned_states(params: Mapping[str, Floats]) -> dict[str, Floats]:
    """Dynamics up to a rotation of the states: the covariances of outputs now and a step apart."""
    a, c = params["A"], params["C"]
    return {"y.cov": params["y.cov"], "lag 0": c @ c.T, "lag 1": c @ a @ c.T}


@animal(
    truth={"A": [[0.8, 0.1], [0.0, 0.6]], "C": [[1.0, 0.0], [0.5, 1.0], [0.0, 1.0]],
           "y.cov": [0.4, 0.4, 0.4]},
    n=30, sizes={"t": 80}, close=0.4, seen=turned_states,
)  # fmt: skip
def linear_state_space() -> None:
    with pg.sequence("t"):
        mean = pg.param("A") @ pg.prev("h")
        first = pg.MvNormal(mean=0.0, cov=pg.identity(2))
        h = pg.latent("h", pg.MvNormal(mean=mean, cov=pg.identity(2), size=2), first=first)
        pg.observed("y", pg.MvNormal(mean=pg.param("C") @ h, cov=pg.diagonal(), size=3))


@animal(
    truth={"decay": 0.7, "loadings": [1.0, -0.5, 1.5], "y.cov": [0.4, 0.4, 0.4]},
    n=30, sizes={"t": 80},
)  # fmt: skip
def dynamic_factor() -> None:
    with pg.sequence("t"):
        mean = pg.param("decay") * pg.prev("f")
        f = pg.latent("f", pg.Normal(mean=mean, var=1.0), first=pg.Normal(0.0, 2.0))
        pg.observed("y", pg.MvNormal(mean=pg.param("loadings") @ f, cov=pg.diagonal(), size=3))


@animal(
    truth={"c.probs": HALVES, "decay": [0.9, -0.5], "h_var": [0.3, 1.0], "level": [-1.0, 1.0],
           "y.var": 0.5},
    n=120, sizes={"t": 40}, close=0.3,
)  # fmt: skip
def mixture_of_state_spaces() -> None:
    c = pg.latent("c", pg.Categorical(size=2))
    with pg.sequence("t"):
        mean = pg.param("decay")[c] * pg.prev("h")
        h = pg.latent(
            "h", pg.Normal(mean=mean, var=pg.param("h_var")[c]), first=pg.Normal(0.0, 1.0)
        )
        pg.observed("y", pg.Normal(mean=h + pg.param("level")[c]))


def branches(rng: np.random.Generator, n: int, sizes: Sizes) -> dict[str, Any]:
    """Binary trees with branches of different lengths."""
    length = rng.uniform(0.2, 1.5, (n, sizes["cell"]))
    return {**binary_trees(rng, n, sizes), "length": length}


@animal(
    truth={"rate": 0.6, "y.var": 0.3}, n=25, sizes={"cell": 63}, small={"cell": 5}, inputs=branches,
)  # fmt: skip
def brownian_motion_along_a_tree() -> None:
    """A trait that spreads with the length of the branches, measured with an error."""
    with pg.tree("cell"):
        var = pg.param("rate") * pg.covariate("length")
        h = pg.latent("h", pg.Normal(mean=pg.prev("h"), var=var), first=pg.Normal(0.0, 4.0))
        pg.observed("y", pg.Normal(mean=h))


@animal(
    truth={"decay": 0.7, "loadings": [1.0, -0.5, 1.5], "y.cov": [0.4, 0.4, 0.4]},
    n=40, sizes={"cell": 63}, small={"cell": 5}, inputs=binary_trees,
)  # fmt: skip
def factor_along_a_tree() -> None:
    with pg.tree("cell"):
        mean = pg.param("decay") * pg.prev("f")
        f = pg.latent("f", pg.Normal(mean=mean, var=1.0), first=pg.Normal(0.0, 2.0))
        pg.observed("y", pg.MvNormal(mean=pg.param("loadings") @ f, cov=pg.diagonal(), size=3))


@animal(truth={"mean": 1.0, "scale": 2.0}, n=3000, close=0.3)
def student_t() -> None:
    u = pg.latent("u", pg.Gamma(shape=2.5, rate=2.5))
    pg.observed("x", pg.Normal(mean=pg.param("mean"), var=pg.param("scale") / u))


@animal(truth={"lam.shape": 2.0, "lam.rate": 0.5}, n=4000, close=0.4)
def gamma_poisson() -> None:
    lam = pg.latent("lam", pg.Gamma())
    pg.observed("y", pg.Poisson(rate=lam))


@animal(truth={"p.a": 2.0, "p.b": 4.0}, n=4000, close=0.6)
def beta_binomial() -> None:
    p = pg.latent("p", pg.Beta())
    pg.observed("y", pg.Binomial(prob=p, trials=12))


@animal(truth={"theta.concentration": [1.0, 2.0, 3.0]}, n=2500, sizes={"y": 15}, close=0.5)
def dirichlet_multinomial() -> None:
    theta = pg.latent("theta", pg.Dirichlet(size=3))
    pg.observed("y", pg.Multinomial(probs=theta, size=3))


@animal(truth={"a": 1.5, "slope": 0.6, "level": -0.2}, inputs=one_input, n=3000,
        close={"a": 0.4})  # fmt: skip
def negative_binomial_regression() -> None:
    """Counts over-dispersed by an effect of mean one: var = μ + μ² / a."""
    a = pg.param("a")
    u = pg.latent("u", pg.Gamma(shape=a, rate=a))
    log_rate = pg.param("slope") * pg.covariate("x") + pg.param("level")
    pg.observed("y", pg.Poisson(rate=u, log_rate=log_rate))


@animal(
    truth={"z.probs": HALVES, "a": 3.0, "slope": 0.5, "level": 1.2}, inputs=one_input, n=3000,
    close={"a": 1.0},
)  # fmt: skip
def zero_inflated_negative_binomial_regression() -> None:
    a, z = pg.param("a"), pg.latent("z", pg.Categorical(size=2))
    u = pg.latent("u", pg.Gamma(shape=a, rate=a))
    log_rate = pg.param("slope") * pg.covariate("x") + pg.param("level")
    pg.observed("y", pg.switch(z, pg.Dirac(0), pg.Poisson(rate=u, log_rate=log_rate)))


@animal(
    truth={"s.first.probs": HALVES, "s.probs": STICKY, "shape": [[6.0, 3.0], [2.0, 4.0]],
           "rate": [3.0, 0.5]},
    n=300, sizes={"t": 40}, close={"shape": 1.2, "rate": 0.5},
)  # fmt: skip
def counts_that_remember_the_state_before() -> None:
    """Negative binomial counts whose dispersion depends on this step's and the last one's state."""
    with pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        gamma = pg.Gamma(shape=pg.param("shape")[pg.prev(s), s], rate=pg.param("rate")[s])
        u = pg.latent("u", gamma, first=pg.Gamma(2.0, 1.0))
        pg.observed("y", pg.Poisson(rate=u))
