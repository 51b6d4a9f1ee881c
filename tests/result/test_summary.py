"""The summary: everything is named, labelled and aligned."""

from __future__ import annotations

import numpy as np

import pgem as pg

RNG = np.random.default_rng(3)


def test_verdict_criteria_and_labels() -> None:
    with pg.Model("answers") as model:
        z = pg.latent("class", pg.Categorical(levels=["low", "high"]))
        with pg.plate("item", size=3) as item:
            pg.observed("x", pg.Categorical(levels=["no", "maybe", "yes"]), given=[z, item])
        pg.observed("age", pg.Normal(var=4.0))
    x = RNG.choice(["no", "maybe", "yes"], (60, 3))
    fit = model.fit({"x": x, "age": RNG.normal(40, 2, 60)}, max_iter=30)
    text = fit.summary()
    assert text.startswith(f"answers: {fit.verdict}\n  {fit.verdict.message}\n")
    for name in ("log-likelihood", "AIC", "BIC", "ICL", "parameters", "observations", "iterations"):
        assert f"  {name} " in text
    assert f"{fit.log_likelihood:.4f}" in text
    assert "class.probs [class]" in text
    assert "  class = low\n" in text
    assert "x.probs [class, item, x]" in text
    header = next(line for line in text.splitlines() if "maybe" in line)
    assert header.split() == ["no", "maybe", "yes"]
    assert "age.mean = " in text


def test_rows_line_up_and_wide_tables_are_continued() -> None:
    with pg.Model("wide") as model:
        z = pg.covariate("g", size=2)
        pg.observed("x", pg.Categorical(size=40), given=z)
    fit = model.fit({"x": np.arange(40), "g": np.arange(40) % 2})
    lines = fit.summary().split("x.probs [g, x]\n")[1].splitlines()
    assert max(map(len, lines)) <= 100
    heads = [line for line in lines if line.startswith("     ")]
    assert [label for line in heads for label in line.split()] == [str(k) for k in range(40)]
    assert len(lines) == 3 * len(heads)
    for start in range(0, len(lines), 3):
        assert len({len(line) for line in lines[start : start + 3]}) == 1


def test_table_is_in_the_order_of_the_covariance() -> None:
    with pg.Model("pair") as model:
        pg.observed("x", pg.MvNormal())
    fit = model.fit({"x": RNG.normal(size=(30, 2))})
    rows = fit.table()
    assert [name for name, _, _ in rows] == ["x.mean"] * 2 + ["x.cov"] * 4
    assert rows[3] == ("x.cov", (0, 1), float(fit.params["x.cov"][0, 1]))
    assert fit.covariance().shape == (6, 6)
    errors = np.sqrt(np.diag(fit.covariance()))
    np.testing.assert_allclose(errors[:2], fit.standard_errors()["x.mean"])


def test_axes_of_coefficients_are_named_by_what_they_meet() -> None:
    rng = np.random.default_rng(0)
    with pg.Model("axes") as model:
        w = pg.covariate("w")
        f = pg.latent("f", pg.MvNormal(mean=0.0, cov=pg.identity(2)))
        pg.observed("x", pg.MvNormal(mean=pg.param("loadings") @ f + pg.param("mean")))
        pg.observed("y", pg.Normal(mean=pg.param("slopes") @ w))
        pg.observed("k", pg.Categorical(logits=pg.param("W") @ w + pg.param("b"), size=4))
    data = {"w": rng.normal(size=(20, 3)), "x": rng.normal(size=(20, 3)), "y": rng.normal(size=20),
            "k": np.arange(20) % 4}  # fmt: skip
    fit = model.fit(data, max_iter=1)
    for line in (
        "loadings [x, f]",
        "mean [x]",
        "slopes [w]",
        "W [k, w]",
        "b [k]",
        "x.cov [x, x]",
        "y.var =",
    ):
        assert line in fit.summary()
