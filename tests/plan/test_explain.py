"""The derivation says what the listing computes, for graphs of every kind."""

from __future__ import annotations

import numpy as np
import pytest

import pgem as pg
from pgem.plan.latex import plain
from pgem.plan.symbolic import role_statistic_of, statistics_of


def explained(model: pg.Model, data: object = None) -> str:
    return model.compile(data).explain()


def m_step(text: str) -> str:
    return text.partition("5. The M-step")[2].partition("6. What is")[0]


def test_mixture() -> None:
    with pg.Model("gmm") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.MvNormal(size=2), given=z)
    text = explained(model)
    assert "p(data, latents | θ) = Π_n p(z_n) p(x_n | z_n)" in text
    assert "p(z | D) = p(z) p(x | z) / μ_z" in text
    assert "x.mean[k] = (Σ_n p(z_n = k | D_n) x_n) / (Σ_n p(z_n = k | D_n))" in m_step(text)
    assert "(x_n - x.mean[k]) (x_n - x.mean[k])ᵀ" in m_step(text)
    assert "Every block attains the maximum of Q." in text


def test_a_shared_covariance_pools_over_the_components() -> None:
    with pg.Model("shared") as model:
        z = pg.latent("z", pg.Categorical(size=3))
        pg.observed("x", pg.MvNormal(mean=pg.param("m")[z], cov=pg.param("c"), size=2))
    solved = m_step(explained(model))
    assert "c = (Σ_n Σ_k p(z_n = k | D_n) (x_n - m[k]) (x_n - m[k])ᵀ) / (Σ_n 1)" in solved


def test_a_mean_under_free_variances_is_solved_in_turn() -> None:
    with pg.Model("common") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(mean=pg.param("m"), var=pg.param("v")[z]))
    text = explained(model)
    assert "(ECM)" in m_step(text)
    assert "m = (Σ_n Σ_k p(z_n = k | D_n) v[k]⁻¹ x_n) / (Σ_n Σ_k p(z_n = k | D_n) v[k]⁻¹)" in text


def test_hidden_markov_model() -> None:
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        pg.observed("y", pg.Poisson(), given=s)
    text = explained(model)
    assert "α_1(s_1) = p(s_1) p(y_1 | s_1)" in text
    assert "α_t(s_t) = p(y_t | s_t) Σ_{s_{t-1}} p(s_t | s_{t-1}) α_{t-1}(s_{t-1})" in text
    assert "s.probs[k', k] ∝ Σ_{n,t > 1} p(s_{n,t-1} = k', s_{n,t} = k | D_n)" in text
    assert "s.first.probs[k] ∝ Σ_n p(s_{n,1} = k | D_n)" in text


def test_factorial_chain_is_summed_factor_by_factor() -> None:
    with pg.Model("factorial") as model, pg.sequence("t"):
        a = pg.latent("a", pg.Categorical(size=2), after="a")
        b = pg.latent("b", pg.Categorical(size=3), after="b")
        pg.observed("y", pg.Normal(), given=[a, b])
    assert (
        "p(y_t | a_t, b_t) Σ_{b_{t-1}} p(b_t | b_{t-1}) Σ_{a_{t-1}} p(a_t | a_{t-1}) "
        "α_{t-1}(a_{t-1}, b_{t-1})" in explained(model)
    )


def test_plates_become_products_and_plate_gates_indices() -> None:
    with pg.Model("levels") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=4), given=g)
            with pg.plate("item", size=20) as item:
                pg.observed("x", pg.Categorical(size=3), given=[c, item])
    text = explained(model)
    assert "Π_n p(g_n) Π_i [p(c_{n,i} | g_n) Π_j p(x_{n,i,j} | c_{n,i})]" in text
    assert "μ_{c,i}(g) = Σ_{c_i} p(c_i | g) μ_{item,i}(c_i)" in text
    assert "x.probs[l, j, h] ∝ Σ_{n,i} p(c_{n,i} = l | D_n) [x_{n,i,j} = h]" in text


def test_tied_tables_pool_their_nodes() -> None:
    with pg.Model("genes") as model:
        allele = pg.param("allele")
        m = pg.latent("mother", pg.Categorical(allele, size=2))
        f = pg.latent("father", pg.Categorical(allele, size=2))
        pg.observed("group", pg.Categorical(pg.constant(np.eye(4).reshape(2, 2, 4))[m, f]))
    solved = m_step(explained(model))
    assert "pools 'mother' and 'father'" in solved
    assert "allele[k] ∝ Σ_n p(mother_n = k | D_n) + Σ_n p(father_n = k | D_n)" in solved


def test_a_switch_weighs_a_component_by_its_gate() -> None:
    with pg.Model("zip") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("y", pg.switch(z, pg.Dirac(0), pg.Poisson()))
    text = explained(model)
    assert "y_n | z_n ~ Dirac(value = 0) where z_n = 0" in text
    assert "y.1.rate = (Σ_n p(z_n = 1 | D_n) y_n) / (Σ_n p(z_n = 1 | D_n))" in text


def test_given_values_and_holes() -> None:
    with pg.Model("gmm") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Normal(), given=z)
    x = np.arange(4.0)
    assert "μ_z = Σ_z p(z) e(z) p(x | z)" in explained(model, {"x": x, "z": [0, 1, None, None]})
    known = explained(model, {"x": x, "z": [0, 1, 0, 1]})
    assert "Nothing is latent" in known
    assert "x.mean[k] = (Σ_n [z_n = k] x_n) / (Σ_n [z_n = k])" in known


def test_markdown_holds_the_same_formulas() -> None:
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        pg.observed("y", pg.Poisson(), given=s)
    program = model.compile()
    text, markdown = program.explain(), program.explain("markdown")
    blocks = markdown.split("$$")[1::2]
    assert len(blocks) > 8
    for block in blocks:
        for line in (
            block.replace(r"\begin{aligned}", "").replace(r"\end{aligned}", "").split("\\\\")
        ):
            squeezed = plain(" ".join(line.split()))
            assert squeezed.replace(" ", "") in text.replace(" ", "").replace("\n", "")


def test_unknown_format() -> None:
    with pg.Model("one") as model:
        pg.observed("x", pg.Normal())
    with pytest.raises(pg.PgemError, match="'html'"):
        model.compile().explain("html")


LETTERS = {"shape": "a", "rate": "b", "prob": "p", "trials": "n", "mean": "m", "var": "v"}


@pytest.mark.parametrize(
    ("family", "statistics", "slot", "role"),
    [
        (pg.Poisson(), ("x",), "rate", ("x", "1")),
        (pg.Exponential(), ("x",), "rate", ("1", "x")),
        (pg.Gamma(), (r"\log x", "x"), "shape", ("1", r"\log x + \log b")),
        (pg.Gamma(), (r"\log x", "x"), "rate", ("a", "x")),
        (pg.Binomial(trials=3), ("x", "n - x"), "prob", ("x", "n - x")),
        (pg.Geometric(), ("1", "x"), "prob", ("1", "x")),
        (pg.Normal(), ("x", "x^2"), "mean", None),
        (pg.MvNormal(size=2), ("x", "x x^T"), "mean", None),
    ],
)
def test_a_familys_own_code_tells_its_statistics(
    family: pg.families.Family,
    statistics: tuple[str, ...],
    slot: str,
    role: tuple[str, ...] | None,
) -> None:
    letters = {s.name: LETTERS.get(s.name, s.name) for s in family.slots}
    assert statistics_of(family, letters) == statistics
    assert role_statistic_of(family, slot, letters) == role


def test_priors_stand_in_the_formulas() -> None:
    with pg.Model("priors") as model:
        weights = pg.param("weights", prior=pg.Dirichlet([2.0, 1.0]))
        z = pg.latent("z", pg.Categorical(weights, size=2))
        pg.observed("y", pg.Poisson(pg.param("rate", prior=pg.Gamma(3.0, 1.0))[z]))
        pg.observed("b", pg.Bernoulli(pg.param("p", prior=pg.Beta(2.0, 5.0))))
        var = pg.param("var", prior=pg.InverseGamma(2.0, 1.0), lower=0.5)
        mean = pg.param("mean", prior=pg.Normal(21.0, var / 0.01))
        pg.observed("w", pg.Normal(mean[z], var))
        pg.observed("v", pg.Normal(pg.param("m", prior=pg.Normal([1.0, 0.0], 2.0))[z], 3.0))
    program = model.compile()
    text = m_step(program.explain())
    assert "weights[k] ∝ a_0[k] - 1 + Σ_n p(z_n = k | D_n)" in text
    assert "rate[k] = (2 + Σ_n p(z_n = k | D_n) y_n) / (1 + Σ_n p(z_n = k | D_n))" in text
    assert "p = (1 + Σ_n b_n) / (5 + Σ_n 1)" in text
    assert "mean[k] = (0.21 + Σ_n p(z_n = k | D_n) w_n) / (0.01 + Σ_n p(z_n = k | D_n))" in text
    assert "var = (2 + Σ_k (mean[k] - 21)² / 100 + Σ_n Σ_k" in text
    assert "/ (6 + Σ_k 1 + Σ_n 1)" in text
    assert "m[k] = (m_0[k] / 2 + Σ_n" in text
    assert "Normal(mean = 21, var = 100 var)" in " ".join(text.split())
    assert "Entries of 'var' below their lower bound are raised to it" in text
    assert "with 'var' as its var" in str(program.report)
    assert "# with its InverseGamma prior and the prior of mean, raised" in program.source


def test_matrix_priors_stand_in_the_formulas() -> None:
    with pg.Model("priors") as model:
        cov = pg.param("cov", prior=pg.InverseWishart([[2.0, 0.1], [0.1, 1.0]], 5.0))
        mean = pg.param("mean", prior=pg.MvNormal([0.0, 1.0], cov / 0.1))
        pg.observed("x", pg.MvNormal(mean, cov))
    text = m_step(explained(model))
    assert "mean = (10⁻¹ m_0 + Σ_n x_n) / (0.1 + Σ_n 1)" in text
    assert "cov = (V_0 + (mean - m_0) (mean - m_0)ᵀ / 10 + Σ_n" in text
    assert "/ (8 + 1 + Σ_n 1)" in text
    with pg.Model("plain") as model:
        cov = pg.param("cov", prior=pg.InverseWishart(2.0, 5.0))
        pg.observed("x", pg.MvNormal(pg.param("m", prior=pg.MvNormal(0.0, 3 * cov)), cov, size=2))
    assert "cov = (2 I + (m) (m)ᵀ / 3 + Σ_n" in m_step(explained(model))


def test_means_in_the_priors_of_means_stand_in_the_formulas() -> None:
    with pg.Model("pulled") as model:
        a = pg.param("a")
        pg.observed("u", pg.Normal(a, 1.0))
        pg.observed("w", pg.Normal(pg.param("b", prior=pg.Normal(-0.5 * a, 0.3)), 2.0))
    text = m_step(explained(model))
    assert "a = (0.3⁻¹ b (-0.5) + Σ_n" in text
    assert "b = (-0.5 a / 0.3 + Σ_n" in text


class Odd(pg.Gamma):
    """A prior whose code does not run on symbols."""

    def pseudo_statistics(self, **slots):
        return np.maximum(slots["shape"] - 1, 0), slots["rate"]


def test_priors_that_do_not_run_on_symbols_are_named() -> None:
    with pg.Model("odd") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", pg.Poisson(pg.param("r", prior=Odd([3.0, 2.0], 1.0))[z]))
    assert "r[k] = (prior_0 + Σ_n" in m_step(explained(model))
