"""The report: what blocks a refused model and what is exact beside it, and what holes would do."""

from __future__ import annotations

import pickle
import textwrap
from typing import Any

import numpy as np
import pytest
from bad_input.test_intractable import MODELS, Refused, run
from hypothesis import assume, given
from mixed import MIXED, MixedCase, mixed_cases
from zoo import ZOO, Animal

import pgem as pg
from pgem.plan import Report
from pgem.plan.report import REFUSED, Row


def refused_rows(report: Report) -> dict[str, Row]:
    return {row.what: row for row in report.e_step if row.exact == REFUSED}


# --- refused models -----------------------------------------------------------------------------


def declared(case: Refused) -> pg.Model | None:
    """The model of a case; None if it is refused as soon as it is declared."""
    try:
        model = run(case.code)["m"]
        assert isinstance(model, pg.Model)
    except pg.DeclarationError:
        return None
    return model


@pytest.mark.parametrize("case", MODELS.values(), ids=MODELS)
def test_every_refusal_has_a_report(case: Refused) -> None:
    model = declared(case)
    if model is None:
        return
    with pytest.raises(pg.IntractableError) as caught:
        model.compile()
    error = caught.value
    assert not error.report.is_exact
    assert error.report == model.report()
    found = refused_rows(error.report)
    assert ", ".join(error.blocks) in found
    assert error.because in found[", ".join(error.blocks)].how
    assert str(pickle.loads(pickle.dumps(error)).report) == str(error.report)
    assert "M-step" not in str(error.report)


def test_all_obstacles_are_collected_and_the_rest_is_analysed() -> None:
    with pg.Model("many") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        pg.observed("u", pg.Poisson(), given=g)
        with pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=3), after="s")
            slope = pg.param("a")[s]
            h = pg.latent("h", pg.Normal(mean=slope * pg.prev("h")), first=pg.Normal(0.0, 1.0))
            pg.observed("y", pg.Normal(mean=h))
            pg.observed("c", pg.Poisson(log_rate=pg.param("q") * h))
        with pg.plate("document"):
            theta = pg.latent("theta", pg.Dirichlet(size=3))
            with pg.plate("token"):
                k = pg.latent("k", pg.Categorical(probs=theta, size=3))
                pg.observed("word", pg.Categorical(size=7), given=k)
        wide = [pg.latent(f"w{n}", pg.Categorical(size=30)) for n in range(5)]
        pg.observed("all", pg.Bernoulli(), given=wide)
    report = model.report()
    found = refused_rows(report)
    assert set(found) == {"h", "theta", "w0, w1, w2, w3, w4"}
    assert "'c' below it is Poisson" in found["h"].how
    assert "'s', which gates 'h', changes along 't' too" in found["h"].how
    assert "latent 'k' of each member of 'token'" in found["theta"].how
    assert found["w0, w1, w2, w3, w4"].cost == "24,300,000 entries a row"
    beside = {(row.what, row.how.split(",")[0]): row.exact for row in report.e_step}
    assert beside["g", "summed out in scope unit"] == "exact"
    assert beside["t", "scanned forward and backward"] == "exact given h"
    assert beside["k", "summed out in scope token"] == "exact given theta"


def test_what_is_not_concerned_is_as_it_would_be_alone() -> None:
    def chain() -> None:
        with pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=3), after="s")
            pg.observed("y", pg.Poisson(), given=s)

    with pg.Model("alone") as alone:
        chain()
    with pg.Model("beside") as beside:
        chain()
        f = pg.latent("f", pg.Normal(0.0, 1.0))
        pg.observed("x", pg.Bernoulli(logit=pg.param("a") * f))
    report = beside.report()
    assert report.e_step[0] == Row("f", "'x' below it is Bernoulli", REFUSED, "")
    assert report.e_step[1:] == alone.report().e_step


def test_a_refused_latent_is_exact_where_it_is_seen() -> None:
    """What the rows after the refused ones say holds of the model with that node observed."""
    code = """
    with pg.Model("m") as m, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        slope = pg.param("a")[s]
        h = pg.{}("h", pg.Normal(mean=slope * pg.prev("h")), first=pg.Normal(0.0, 1.0))
        pg.observed("y", pg.Normal(mean=h))
    """
    hidden, seen = (run(textwrap.dedent(code).format(kind))["m"] for kind in ("latent", "observed"))
    given_h = [(row.what, row.how, row.cost) for row in hidden.report().e_step[1:]]
    assert given_h == [(row.what, row.how, row.cost) for row in seen.report().e_step]
    assert {row.exact for row in hidden.report().e_step[1:]} == {"exact given h"}


def test_data_can_be_what_is_refused() -> None:
    with pg.Model("line") as model:
        x = pg.observed("x", pg.Normal())
        pg.observed("y", pg.Poisson(log_rate=pg.param("b") * x))
    data = {"x": np.array([0.1, np.nan, 0.3]), "y": np.array([1, 2, 3])}
    assert model.report().is_exact
    assert list(refused_rows(model.report(data))) == ["x"]
    with pytest.raises(pg.IntractableError) as caught:
        model.fit(data)
    assert caught.value.report == model.report(data)


# --- missing values -----------------------------------------------------------------------------


def punched(values: Any, depth: int) -> Any:
    """Nested values, the last one of the last row that has any missing.

    Args:
        values: by unit, then by member or step of each scope.
        depth: number of these axes.
    """
    values = list(values)
    if depth == 1:
        last = values[-1]
        values[-1] = np.full(np.shape(last), np.nan) if np.ndim(last) else None
        return values
    last = max(k for k, inner in enumerate(values) if len(inner))
    values[last] = punched(values[last], depth - 1)
    return values


def check_holes(model: pg.Model, data: dict[str, Any]) -> None:
    """A hole in a node does what the report says of it."""
    program = model.compile(data)
    told = {name: row for row in program.report.holes for name in row.what.split(", ")}
    for name, node in program.outline.nodes.items():
        if node.kind == "latent" or name not in data:
            continue
        depth = 1 + len(program.outline.path(node.scope))
        holed = {**data, name: punched(data[name], depth)}
        try:
            report = model.report(holed)
        except pg.DataError as problem:  # the last value is one of the first
            assert node.conditioned, problem
            assert "must be there" in told[name].how or told[name].exact == REFUSED
            continue
        assert report.is_exact == (told[name].exact != REFUSED), name
        opened = program.outline.nodes[name].is_opened_by_holes
        if report.is_exact and opened:
            how = told[name].how.split(";")[0]
            assert (how, told[name].cost) in {(row.how, row.cost) for row in report.e_step}, name
    covariates = set(program.outline.covariates)
    assert {name for name, row in told.items() if "conditioned on" in row.how} == covariates


@pytest.mark.parametrize("animal", ZOO.values(), ids=ZOO)
def test_holes_do_what_the_report_says(animal: Animal) -> None:
    check_holes(animal.model, animal.few_units)


@pytest.mark.parametrize("kind", list(MIXED))
def test_holes_of_random_graphs_do_what_the_report_says(kind: str) -> None:
    def check(case: MixedCase) -> None:
        try:
            case.model.compile(case.data)
        except pg.IntractableError:
            assume(False)
        check_holes(case.model, case.data)

    given(mixed_cases(kind))(check)()


def test_holes_are_told_with_what_blocks_them() -> None:
    with pg.Model("told") as model:
        b = pg.observed("b", pg.Categorical(size=3))
        x = pg.covariate("x")
        r = pg.observed("r", pg.Normal(mean=pg.param("c") * x))
        pg.observed("n", pg.Poisson(log_rate=pg.param("k")[b] * r))
        pg.observed("v", pg.MvNormal(size=2), given=b)
        pg.observed("p", pg.Dirichlet(size=2), given=b)
        with pg.sequence("t"):
            pg.observed("z", pg.Normal(mean=pg.param("ar") * pg.prev("z", 2)))
    found = {row.what: row for row in model.compile().report.holes}
    assert found["b"] == Row("b", "summed out in scope unit", "exact", "3 entries a row (b)")
    assert found["r"] == Row("r", "'n' below it is Poisson", REFUSED, "")
    assert found["n"].how == "left out of the product"
    assert found["v"].how == "left out of the product; single coordinates are integrated out"
    assert found["p"].how == "left out of the product, as a whole only"
    assert found["z"].how.endswith("; the first 2 values of a sequence must be there")
    assert found["x"] == Row("x", "must be complete: they are conditioned on", REFUSED, "")


def test_missing_values_are_analysed_when_they_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pgem.plan import program as module

    asked: list[str] = []
    real = module.hole_rows
    monkeypatch.setattr(module, "hole_rows", lambda a: asked.append(a.graph.name) or real(a))
    with pg.Model("lazy") as model:
        pg.observed("x", pg.Normal())
    fit = model.fit({"x": [0.0, 1.0, 3.0]})
    assert not asked
    assert "Missing values" in str(fit.report)
    assert str(fit.report) and asked == ["lazy"]
