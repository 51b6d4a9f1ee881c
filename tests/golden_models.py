"""The models whose listing and derivation are kept word for word."""

from __future__ import annotations

import numpy as np

import pgem as pg


def mixture() -> pg.Model:
    """Gaussian mixture, one covariance for all components."""
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=3))
        mean, cov = pg.param("mean"), pg.param("cov")
        pg.observed("x", pg.MvNormal(mean=mean[z], cov=cov, size=2))
    return model


def hmm() -> pg.Model:
    """Hidden Markov model."""
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        pg.observed("y", pg.Poisson(), given=s)
    return model


def semi_markov() -> pg.Model:
    """A chain whose values last for explicit durations."""
    with pg.Model("semi_markov") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s", duration=pg.Poisson())
        pg.observed("y", pg.Normal(), given=s)
    return model


def stationary() -> pg.Model:
    """A chain that begins in the stationary distribution of its transitions."""
    with pg.Model("stationary") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s", first="stationary")
        pg.observed("y", pg.Poisson(), given=s)
    return model


def factorial() -> pg.Model:
    """Mixture of factorial hidden Markov models."""
    with pg.Model("factorial") as model:
        c = pg.latent("c", pg.Categorical(size=2))
        with pg.sequence("t"):
            a = pg.latent("a", pg.Categorical(size=2), given=c, after="a")
            b = pg.latent("b", pg.Categorical(size=3), after="b")
            pg.observed("y", pg.Normal(), given=[a, b])
    return model


def multilevel() -> pg.Model:
    """A class per clinic, a class per patient, twenty items."""
    with pg.Model("multilevel") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=4), given=g)
            with pg.plate("item", size=20) as item:
                pg.observed("x", pg.Categorical(size=3), given=[c, item])
    return model


def blood_groups() -> pg.Model:
    """Two nodes tied, a known table."""
    table = np.zeros((3, 3, 4))
    for (mother, father), group in {
        (0, 0): 0, (0, 1): 2, (0, 2): 0, (1, 1): 1, (1, 2): 1, (2, 2): 3,
    }.items():  # fmt: skip
        table[mother, father, group] = table[father, mother, group] = 1
    with pg.Model("blood_groups") as model:
        allele = pg.param("allele")
        mother = pg.latent("mother", pg.Categorical(allele, size=3))
        father = pg.latent("father", pg.Categorical(allele, size=3))
        pg.observed("group", pg.Categorical(pg.constant(table)[mother, father]))
    return model


def zero_inflated() -> pg.Model:
    """A switch of families, a solve in turn, a Newton solve."""
    with pg.Model("zero_inflated") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("y", pg.switch(z, pg.Dirac(0), pg.Poisson()))
        pg.observed("x", pg.Normal(mean=pg.param("centre"), var=pg.param("spread")[z]))
        pg.observed("w", pg.Gamma(), given=z)
    return model


def random_effects() -> pg.Model:
    """A latent Gamma per clinic, above counts with exposures and the variances of measurements."""
    with pg.Model("random_effects") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        nu = pg.param("nu")
        u = pg.latent("u", pg.Gamma(shape=nu[z], rate=nu[z]))
        with pg.plate("patient"):
            years = pg.covariate("years")
            pg.observed("y", pg.Poisson(rate=pg.param("rate")[z] * u * years))
            pg.observed("x", pg.Normal(var=pg.param("scale") / u), given=z)
    return model


def linked_priors() -> pg.Model:
    """A normal-inverse-Wishart, a bounded rate, a Dirichlet on rows with structural zeros."""
    with pg.Model("linked_priors") as model:
        weights = pg.param("weights", prior=pg.Dirichlet(2.0), zeros=[False, False, True])
        z = pg.latent("z", pg.Categorical(weights, size=3))
        cov = pg.param("cov", prior=pg.InverseWishart(1.0, df=4))
        mean = pg.param("mean", prior=pg.MvNormal([0.0, 1.0], cov / 0.1))
        pg.observed("x", pg.MvNormal(mean[z], cov))
        pg.observed("y", pg.Poisson(pg.param("rate", prior=pg.Gamma(3.0, 1.0), lower=0.5)[z]))
    return model


def tree() -> pg.Model:
    """Mixture of hidden Markov trees; a child also looks at its parent's mark."""
    with pg.Model("tree") as model:
        c = pg.latent("c", pg.Categorical(size=2))
        with pg.tree("cell"):
            s = pg.latent("s", pg.Categorical(size=3), given=c, after="s")
            pg.observed("y", pg.Normal(), given=s)
            pg.observed("mark", pg.Bernoulli(), given=s, after="mark")
    return model


def gaussian_states() -> pg.Model:
    """A mixture of state spaces with an input, seen through two outputs; a linked leaf beside."""
    with pg.Model("gaussian_states") as model:
        c = pg.latent("c", pg.Categorical(size=2))
        with pg.sequence("t"):
            x = pg.covariate("x")
            mean = pg.param("decay")[c] * pg.prev("h") + pg.param("gain") * x
            h = pg.latent("h", pg.Normal(mean=mean), first=pg.Normal(0.0, 1.0))
            outputs = pg.param("loadings") @ h + pg.param("level")[c]
            pg.observed("y", pg.MvNormal(mean=outputs, cov=pg.diagonal(), size=2))
            pg.observed("alarm", pg.Bernoulli(logit=pg.param("steep")[c] * x + pg.param("base")))
    return model


MODELS = {
    make.__name__: make
    for make in (
        *(mixture, hmm, semi_markov, stationary, factorial, multilevel),
        *(blood_groups, zero_inflated, random_effects, linked_priors),
        tree,
        gaussian_states,
    )
}
