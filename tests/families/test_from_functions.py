"""A family from two functions: equal to the shelf's where that has it, and clear where it fails."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

import pgem as pg
from pgem.errors import DataError, DeclarationError, FitError, PgemError
from pgem.families.from_functions import Sample
from pgem.testing import check_family


def normal_density(x: Any, mean: float, var: float) -> Any:
    return -0.5 * np.log(2 * np.pi * var) - (x - mean) ** 2 / (2 * var)


def normal_fit(x: Any, weights: Any) -> dict[str, float]:
    mean = weights @ x / weights.sum()
    return {"mean": mean, "var": weights @ (x - mean) ** 2 / weights.sum()}


MEAN_AND_VAR = {"mean": "real", "var": "variance"}
Gauss = pg.family_from_functions("Gauss", normal_density, normal_fit, MEAN_AND_VAR)


def student_density(x: Any, mean: float, scale: float) -> Any:
    return stats.t.logpdf(x, 4, loc=mean, scale=scale)


def student_fit(x: Any, weights: Any) -> dict[str, float]:
    """EM over the latent precisions of the values, run until nothing moves."""
    mean, square = np.average(x, weights=weights), 1.0
    for _ in range(500):
        precision = 5 / (4 + (x - mean) ** 2 / square)
        mean = np.average(x, weights=weights * precision)
        square = np.average(precision * (x - mean) ** 2, weights=weights)
    return {"mean": mean, "scale": np.sqrt(square)}


Student = pg.family_from_functions("Student", student_density, student_fit)


def gumbel_density(x: Any, mode: float, scale: float) -> Any:
    return stats.gumbel_r.logpdf(x, mode, scale)


def gumbel_fit(x: Any, weights: Any) -> dict[str, float]:
    """One equation in the scale: scale = mean - Σ w x e^(-x/s) / Σ w e^(-x/s)."""
    mean, low = np.average(x, weights=weights), x.min()

    def gap(scale: float) -> float:
        tilted = weights * np.exp(-(x - low) / scale)
        return scale - mean + float(tilted @ x / tilted.sum())

    scale = optimize.brentq(gap, 1e-3, 1e3)
    tilted = np.average(np.exp(-(x - low) / scale), weights=weights)
    return {"mode": low - scale * np.log(tilted), "scale": scale}


Gumbel = pg.family_from_functions(
    "Gumbel", gumbel_density, gumbel_fit, {"mode": "real", "scale": "scale"}
)


def plane_density(x: Any, mean: Any, cov: Any) -> Any:
    return stats.multivariate_normal.logpdf(x, mean, cov).reshape(len(x))


def plane_fit(x: Any, weights: Any) -> dict[str, Any]:
    mean = weights @ x / weights.sum()
    return {"mean": mean, "cov": (x - mean).T * weights @ (x - mean) / weights.sum()}


Plane = pg.family_from_functions(
    "Plane", plane_density, plane_fit, {"mean": "vector", "cov": "covariance"}, "vector"
)


def mixture(family: Any, **options: Any) -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        pg.observed("x", family(**options), given=z)
    return model


def chain(family: Any) -> pg.Model:
    with pg.Model("chain") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("x", family(), given=s)
    return model


def two_groups(seed: int = 0, n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(0, 1, n), rng.normal(4, 2, n)])
    x[::11] = np.nan
    return x


def rows_of(x: np.ndarray, size: int = 12) -> list[np.ndarray]:
    return list(x.reshape(-1, size))


def assert_equal_runs(one: pg.Fit, other: pg.Fit) -> None:
    np.testing.assert_allclose(one.trace, other.trace, rtol=1e-8)
    for name, value in one.params.items():
        np.testing.assert_allclose(value, other.params[name], rtol=1e-8, atol=1e-10)


TWENTY = {"tol": 0, "max_iter": 20, "seed": 3}


# --- the same as the shelf ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"shard_size": 7}, {"posterior": "hard"}])
def test_a_normal_mixture_is_that_of_the_shelf(options: dict[str, Any]) -> None:
    x = {"x": two_groups()}
    weights = np.random.default_rng(1).integers(0, 4, 120)
    own = mixture(Gauss).fit(x, weights=weights, **TWENTY, **options)
    assert_equal_runs(own, mixture(pg.Normal).fit(x, weights=weights, **TWENTY, **options))


@pytest.mark.parametrize("options", [{}, {"shard_size": 3}])
def test_a_normal_chain_is_that_of_the_shelf(options: dict[str, Any]) -> None:
    x = {"x": rows_of(two_groups(n=60))}
    own = chain(Gauss).fit(x, **TWENTY, **options)
    assert_equal_runs(own, chain(pg.Normal).fit(x, **TWENTY, **options))


def test_a_plane_mixture_is_that_of_the_shelf() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) @ [[1, 1], [0, 2]] + 4])
    x[::9] = np.nan
    assert_equal_runs(
        mixture(Plane).fit({"x": x}, **TWENTY), mixture(pg.MvNormal).fit({"x": x}, **TWENTY)
    )


def test_independent_coordinates_with_single_holes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3)) + np.repeat([[0.0], [3.0]], 40, axis=0)
    x[rng.random(x.shape) < 0.2] = np.nan
    own = mixture(Gauss).fit({"x": x}, **TWENTY)
    assert own.params["x.mean"].shape == (2, 3)
    assert_equal_runs(own, mixture(pg.Normal).fit({"x": x}, **TWENTY))


def count_density(x: Any, rate: float) -> Any:
    return stats.poisson.logpmf(x, rate)


def count_fit(x: Any, weights: Any) -> dict[str, float]:
    return {"rate": weights @ x / weights.sum()}


def test_equal_counts_are_merged() -> None:
    counts = np.random.default_rng(0).poisson(np.repeat([1.0, 6.0], 100)).astype(float)
    counts[::9] = np.nan
    family = pg.family_from_functions(
        "Count", count_density, count_fit, {"rate": "positive"}, "count"
    )
    own = mixture(family).fit({"x": counts}, **TWENTY)
    assert_equal_runs(own, mixture(pg.Poisson).fit({"x": counts}, **TWENTY))


def crossed(family: Any) -> pg.Model:
    """Two latent gates, a seen one, and a plate."""
    with pg.Model("crossed") as model:
        g = pg.covariate("g", size=3)
        z = pg.latent("z", pg.Categorical(size=2))
        with pg.plate("item"):
            w = pg.latent("w", pg.Categorical(size=2))
            pg.observed("x", family(), given=[z, g, w])
    return model


@pytest.mark.parametrize("options", [{}, {"shard_size": 7}])
def test_several_gates_in_a_plate(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    data = {"g": rng.integers(0, 3, 40), "x": [rng.normal(size=6) * 3 for _ in range(40)]}
    run = {"tol": 0, "max_iter": 6, "seed": 3}
    own = crossed(Gauss).fit(data, **run, **options)
    assert_equal_runs(own, crossed(pg.Normal).fit(data, **run, **options))


def test_in_a_switch() -> None:
    def model(family: Any) -> pg.Model:
        with pg.Model("switch") as made:
            z = pg.latent("z", pg.Categorical(size=2))
            pg.observed("x", pg.switch(z, pg.Laplace(location=0.0), family()))
        return made

    x = {"x": two_groups()}
    assert_equal_runs(model(Gauss).fit(x, **TWENTY), model(pg.Normal).fit(x, **TWENTY))


def test_cells_that_share_all_slots_are_pooled() -> None:
    """By a table that maps three values of the gate to two rows, and over two nodes."""

    def model(family: Any) -> pg.Model:
        with pg.Model("tied") as made:
            z = pg.latent("z", pg.Categorical(size=3))
            row = pg.constant([0, 1, 1])[z]
            mean, var = pg.param("mean"), pg.param("var")
            pg.observed("x", family(mean=mean[row], var=var[row]))
            pg.observed("y", family(mean=mean[row], var=var[row]))
        return made

    data = {"x": two_groups(), "y": two_groups(1)}
    start = {"mean": [0.0, 3.0], "var": [1.0, 2.0], "z.probs": [0.4, 0.3, 0.3]}
    run = {"tol": 0, "max_iter": 12, "start": start}
    assert_equal_runs(model(Gauss).fit(data, **run), model(pg.Normal).fit(data, **run))


# --- densities that the shelf does not have -------------------------------------------------------


@pytest.mark.parametrize("family", [Student, Gumbel])
@pytest.mark.parametrize("make", [mixture, chain])
def test_other_densities_climb_and_do_not_depend_on_shards(family: Any, make: Any) -> None:
    x = two_groups(n=60)
    data = {"x": rows_of(x) if make is chain else x}
    fit = make(family).fit(data, tol=0, max_iter=15, seed=1)
    assert fit.verdict == "iteration_limit"
    assert (np.diff(fit.trace) >= -1e-9 * abs(fit.trace[0])).all()
    assert_equal_runs(fit, make(family).fit(data, tol=0, max_iter=15, seed=1, shard_size=7))


def test_weights_count_like_repeated_rows() -> None:
    x, counts = two_groups(), np.random.default_rng(1).integers(1, 4, 120)
    start = {"x.mean": [0.0, 4.0], "x.scale": [1.0, 2.0], "z.probs": [0.5, 0.5]}
    run = {"tol": 0, "max_iter": 8, "start": start}
    once = mixture(Student).fit({"x": x}, weights=counts, **run)
    assert_equal_runs(once, mixture(Student).fit({"x": np.repeat(x, counts)}, **run))


@pytest.mark.parametrize("family", [Gauss, Student, Gumbel])
def test_the_kit_checks_it(family: Any) -> None:
    report = check_family(family)
    assert report.passed
    assert "it is given by two functions" in str(report)


def test_the_kit_finds_a_fit_that_is_none() -> None:
    def biased(x: Any, weights: Any) -> dict[str, float]:
        return {**normal_fit(x, weights), "mean": 0.3}

    Biased = pg.family_from_functions("Biased", normal_density, biased, MEAN_AND_VAR)
    with pytest.raises(AssertionError, match="wrong fit: the M-step loses"):
        check_family(Biased)


# --- what a fit of it can do ----------------------------------------------------------------------


def test_posterior_errors_draws_and_imputation() -> None:
    x = {"x": two_groups()}
    own, shelf = mixture(Gauss).fit(x, seed=3), mixture(pg.Normal).fit(x, seed=3)
    np.testing.assert_allclose(own.posterior(x)["z"], shelf.posterior(x)["z"], atol=1e-6)
    for name, errors in shelf.standard_errors().items():
        np.testing.assert_allclose(own.standard_errors()[name], errors, rtol=1e-3)
    drawn = own.sample(2000, seed=1)["x"]
    centre = own.params["z.probs"] @ own.params["x.mean"]
    assert abs(np.mean(drawn) - centre) < 0.3


def test_what_a_vector_cannot_do() -> None:
    x = np.random.default_rng(0).normal(size=(60, 2))
    fit = mixture(Plane).fit({"x": x}, seed=0)
    with pytest.raises(PgemError, match=r"give it draw="):
        fit.sample(5)
    with pytest.raises(PgemError, match="cannot integrate"):
        check_family(Plane)


def test_a_latent_of_it_is_refused() -> None:
    with pg.Model("latent") as model:
        y = pg.latent("y", Gauss())
        pg.observed("x", pg.Normal(), given=[])
    assert y is not None
    with pytest.raises(PgemError, match="'y'"):
        model.compile()


def test_its_own_draws_are_used() -> None:
    def draw(generator: Any, n: int, mean: float, var: float) -> Any:
        return np.full(n, mean)

    Fixed = pg.family_from_functions("Fixed", normal_density, normal_fit, MEAN_AND_VAR, draw=draw)
    fit = mixture(Fixed).fit({"x": two_groups()}, seed=3)
    assert set(np.unique(fit.sample(50, seed=0)["x"])) <= set(fit.params["x.mean"])


def test_pickle_and_json() -> None:
    model = mixture(Gauss)
    fit = model.fit({"x": two_groups()}, seed=3)
    assert pickle.loads(pickle.dumps(fit)).log_likelihood == fit.log_likelihood
    again = pg.Model.from_json(model.to_json(), families=[Gauss])
    assert again.fit({"x": two_groups()}, seed=3).log_likelihood == fit.log_likelihood
    assert Gauss.__module__ == __name__
    with pytest.raises(DeclarationError, match=r"families=\[Gauss\]"):
        pg.Model.from_json(model.to_json())


def test_the_report_says_what_rests_on_the_fit() -> None:
    report = crossed(Gauss).compile().report
    (row,) = [row for row in report.m_step if row.what == "x.mean, x.var"]
    assert (row.how, row.exact) == ("the family's own fit", "as good as that fit")
    assert "rests on the fit of Gauss" in str(report)
    assert "4 per row of 'x'" in str(report)
    derivation = str(mixture(Gauss).compile().explain())
    assert "the family's own fit returns" in derivation
    assert "Every other block attains" in derivation


def test_a_script_is_refused() -> None:
    with pytest.raises(PgemError, match="given by two functions"):
        mixture(Gauss).compile().to_script({"x": two_groups()})


# --- what can go wrong ----------------------------------------------------------------------------


def test_a_fit_that_lowers_q_ends_as_decreased() -> None:
    def biased(x: Any, weights: Any) -> dict[str, float]:
        found = normal_fit(x, weights)
        return {"mean": found["mean"] + 1.0, "var": found["var"]}

    Biased = pg.family_from_functions("Biased", normal_density, biased, MEAN_AND_VAR)
    start = {"x.mean": [0.0, 4.0], "x.var": [1.0, 4.0], "z.probs": [0.5, 0.5]}
    with pytest.warns(pg.FitWarning):
        fit = mixture(Biased).fit({"x": two_groups()}, start=start)
    assert fit.verdict == "decreased"
    assert "the M-step of x.mean, x.var lowered its part of Q" in fit.verdict.detail


def test_one_value_behind_a_cell_is_a_collapse() -> None:
    x = np.array([0.0, 0.1, 0.2, 0.3, 50.0])
    start = {"x.mean": [0.1, 50.0], "x.var": [1.0, 1e-3], "z.probs": [0.5, 0.5]}
    with pytest.warns(pg.FitWarning):
        assert mixture(Gauss).fit({"x": x}, start=start).verdict == "degenerate"


def test_a_cell_without_data_keeps_its_values() -> None:
    start = {"x.mean": [0.0, 1e6], "x.var": [1.0, 1.0], "z.probs": [0.5, 0.5]}
    fit = mixture(Gauss).fit({"x": two_groups()}, start=start, max_iter=3, tol=0)
    assert fit.params["x.mean"][1] == 1e6


def broken(what: Any) -> Any:
    def fit(x: Any, weights: Any) -> Any:
        return what(x, weights)

    return pg.family_from_functions("Broken", normal_density, fit, MEAN_AND_VAR)


def write(x: Any, weights: Any) -> Any:
    x[0] = 0.0


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda x, w: 1 / 0, r"node 'x': the function 'fit' of Broken .*ZeroDivisionError"),
        (lambda x, w: {"mean": 0.0}, "does not return the slots"),
        (lambda x, w: (0.0, 1.0), "does not return the slots"),
        (lambda x, w: {"mean": 0.0, "var": -1.0}, r"node 'x'.*slot 'var'.*\n.*above zero"),
        (lambda x, w: {"mean": np.nan, "var": 1.0}, "slot 'mean'"),
        (lambda x, w: {"mean": [0.0, 1.0], "var": 1.0}, "slot 'mean'"),
        (lambda x, w: {"mean": "a", "var": 1.0}, "slot 'mean'"),
        (write, "read-only"),
    ],
)
def test_what_fit_returns_is_checked(what: Any, message: str) -> None:
    with pytest.raises(FitError, match=message):
        mixture(broken(what)).fit({"x": two_groups()})


def test_the_cause_is_chained() -> None:
    with pytest.raises(FitError) as caught:
        mixture(broken(lambda x, w: 1 / 0)).fit({"x": two_groups()})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("density", "message"),
    [
        (lambda x, mean, var: 1 / 0, r"node 'x': .*ZeroDivisionError"),
        (lambda x, mean: x, r"node 'x': .*TypeError"),
        (lambda x, mean, var: 0.0, "wrong shape"),
        (lambda x, mean, var: x * np.nan, "NaN"),
    ],
)
def test_what_log_density_returns_is_checked(density: Any, message: str) -> None:
    family = pg.family_from_functions("Broken", density, normal_fit, MEAN_AND_VAR)
    with pytest.raises(DataError, match=message):
        mixture(family).fit({"x": two_groups()})


def test_values_outside_the_support() -> None:
    family = pg.family_from_functions(
        "Positive", normal_density, normal_fit, MEAN_AND_VAR, "positive"
    )
    with pytest.raises(DataError, match="outside the support"):
        mixture(family).fit({"x": two_groups()})


def gated_otherwise() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", Gauss(mean=pg.param("mean")[z], var=pg.param("var")))


def fixed_slot() -> None:
    pg.observed("x", Gauss(var=2.0))


def fixed_param() -> None:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", Gauss(var=pg.param("var", value=[1.0, 1.0], fixed=[True, False])[z]), given=z)


def with_prior() -> None:
    pg.observed("x", Gauss(var=pg.param("var", prior=pg.InverseGamma(shape=2.0, scale=1.0))))


def shared_with_another() -> None:
    mean = pg.param("mean")
    pg.observed("x", Gauss(mean=mean))
    pg.observed("y", pg.Normal(mean=mean))


def shared_in_part() -> None:
    mean = pg.param("mean")
    pg.observed("x", Gauss(mean=mean))
    pg.observed("y", Gauss(mean=mean))


@pytest.mark.parametrize(
    "declare",
    [gated_otherwise, fixed_slot, fixed_param, with_prior, shared_with_another, shared_in_part],
)
def test_slots_that_fit_cannot_return_together(declare: Any) -> None:
    with pg.Model("refused") as model:
        declare()
    with pytest.raises(DeclarationError, match="gated alike: fit returns them together"):
        model.compile()


def test_all_slots_known_needs_no_fit() -> None:
    own, shelf = (mixture(family, mean=0.0, var=2.0) for family in (Gauss, pg.Normal))
    x = {"x": two_groups()}
    assert own.fit(x).log_likelihood == pytest.approx(shelf.fit(x).log_likelihood)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("not a name", normal_density, normal_fit), "Python name"),
        (("F", None, normal_fit), "log_density of family 'F' is no function"),
        (("F", normal_density, 3), "fit of family 'F' is no function"),
        (("F", normal_density, normal_fit, {}), "no slots"),
        (("F", normal_density, normal_fit, {"mean": "rael"}), "did you mean 'real'"),
        (("F", normal_density, normal_fit, {"x": "real"}), "cannot have this name"),
        (("F", normal_density, normal_fit, {"cov": "covariance"}), "support='vector'"),
        (("F", normal_density, normal_fit, None, "reel"), "did you mean 'real'"),
    ],
)
def test_arguments_are_checked(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        pg.family_from_functions(*arguments)


def test_two_families_of_one_name() -> None:
    other = pg.family_from_functions("Gauss", normal_density, normal_fit, MEAN_AND_VAR)
    with pytest.raises(DeclarationError, match="two families are called"), pg.Model("names"):
        pg.observed("x", Gauss())
        pg.observed("y", other())


def test_samples_add_up() -> None:
    one = Sample(((np.array([1.0, 2.0]), np.array([0.0, 3.0])),))
    values, weights = (0 + one + one + Sample()).rows()
    assert values.tolist() == [2.0, 2.0]
    assert weights.tolist() == [3.0, 3.0]
