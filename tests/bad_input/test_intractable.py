"""Models without an exact E-step: each is refused with the reason and a model that compiles."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import pgem as pg


class Refused(NamedTuple):
    """A declaration that must be refused.

    Attributes:
        code: the declaration, of `m`.
        words: all of them stand in the message.
        kept: nodes of the model that the message proposes.
    """

    code: str
    words: tuple[str, ...]
    kept: tuple[str, ...]


MODELS = {
    "a switching linear dynamical system": Refused(
        """
        with pg.Model("m") as m, pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=3), after="s")
            slope = pg.param("a")[s]
            h = pg.latent("h", pg.Normal(mean=slope * pg.prev("h")), first=pg.Normal(0.0, 1.0))
            pg.observed("y", pg.Normal(mean=h))
        """,
        ("'h'", "'s'", "switching linear dynamical system", "doubles at every step", "outside"),
        ("s", "h", "y"),
    ),
    "a switching vector state": Refused(
        """
        with pg.Model("m") as m, pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=2), after="s")
            first = pg.MvNormal(mean=0.0, cov=pg.identity(2), size=2)
            mean = pg.param("A")[s] @ pg.prev("h")
            h = pg.latent("h", pg.MvNormal(mean=mean, size=2), first=first)
            pg.observed("y", pg.MvNormal(mean=pg.param("C") @ h, cov=pg.diagonal(), size=3))
        """,
        ("'h'", "'s'", "switching linear dynamical system"),
        ("s", "h", "y"),
    ),
    "a state that switches along a tree": Refused(
        """
        with pg.Model("m") as m, pg.tree("branch"):
            s = pg.latent("s", pg.Categorical(size=2), after="s")
            drift = pg.param("drift")[s]
            h = pg.latent("h", pg.Normal(mean=pg.prev("h") + drift), first=pg.Normal(0.0, 1.0))
            pg.observed("y", pg.Normal(mean=h))
        """,
        (
            "'h'",
            "'s'",
            "member to member",
            "same tree",
            "doubles at every member",
            "pg.tree('branch')",
        ),
        ("s", "h", "y"),
    ),
    "latent Dirichlet allocation": Refused(
        """
        with pg.Model("m") as m:
            theta = pg.latent("theta", pg.Dirichlet(size=3))
            with pg.plate("token"):
                k = pg.latent("k", pg.Categorical(probs=theta, size=3))
                pg.observed("w", pg.Categorical(size=50), given=k)
        """,
        ("'k'", "'theta'", "latent Dirichlet allocation", "mixture over all members"),
        ("k", "w", "document"),
    ),
    "a Gaussian latent under a logit": Refused(
        """
        with pg.Model("m") as m:
            f = pg.latent("f", pg.Normal(0.0, 1.0))
            pg.observed("y", pg.Bernoulli(logit=pg.param("a") * f))
        """,
        ("'y'", "'f'", "Bernoulli", "no closed form", "discrete latent 'f'"),
        ("f", "y"),
    ),
    "a Gaussian latent under a logit of counts": Refused(
        """
        with pg.Model("m") as m:
            f = pg.latent("f", pg.Normal(0.0, 1.0))
            pg.observed("y", pg.Binomial(logit=pg.param("a") * f, trials=7))
        """,
        ("'y'", "'f'", "Binomial", "no closed form"),
        ("f", "y"),
    ),
    "an outer Gaussian under an inner gate": Refused(
        """
        with pg.Model("m") as m:
            f = pg.latent("f", pg.Normal(0.0, 1.0))
            with pg.plate("p"):
                z = pg.latent("z", pg.Categorical(size=2))
                pg.observed("y", pg.Normal(mean=pg.param("a")[z] * f))
        """,
        ("'y'", "'f'", "'z'", "inner scope 'p'", "mixture over all members"),
        ("f", "z", "y"),
    ),
    "an outer Gaussian vector under an inner gate": Refused(
        """
        with pg.Model("m") as m:
            f = pg.latent("f", pg.MvNormal(mean=0.0, size=2))
            with pg.plate("p"):
                z = pg.latent("z", pg.Categorical(size=2))
                pg.observed("y", pg.Normal(mean=pg.param("a")[z] @ f))
        """,
        ("'y'", "'f'", "'z'", "inner scope 'p'"),
        ("f", "z", "y"),
    ),
    "an outer Gamma under an inner gate": Refused(
        """
        with pg.Model("m") as m:
            u = pg.latent("u", pg.Gamma())
            with pg.sequence("t"):
                z = pg.latent("z", pg.Categorical(size=4), after="z")
                pg.observed("y", pg.Poisson(rate=pg.param("r")[z] * u))
        """,
        ("'y'", "'u'", "'z'", "inner scope 't'", "mixture over all members"),
        ("u", "z", "y"),
    ),
    "an outer scale under an inner gate": Refused(
        """
        with pg.Model("m") as m:
            u = pg.latent("u", pg.Gamma())
            with pg.plate("p"):
                z = pg.latent("z", pg.Categorical(size=2))
                pg.observed("y", pg.Normal(mean=0.0, var=pg.param("v")[z] / u))
        """,
        ("'y'", "'u'", "'z'", "inner scope 'p'"),
        ("u", "z", "y"),
    ),
    "a Gamma scale over a Gaussian factor": Refused(
        """
        with pg.Model("m") as m:
            f = pg.latent("f", pg.Normal(0.0, 1.0))
            u = pg.latent("u", pg.Gamma(2.0, 2.0))
            pg.observed("y", pg.Normal(mean=pg.param("a") * f, var=pg.param("v") / u))
        """,
        ("'y'", "'f'", "'u'", "different kinds", "leave 'u' out"),
        ("f", "y"),
    ),
    "a node named like a keyword": Refused(
        """
        with pg.Model("words") as m:
            f = pg.latent("lambda", pg.Normal(0.0, 1.0))
            pg.observed("class", pg.Poisson(log_rate=pg.param("a") * f))
        """,
        ("'class'", "'lambda'", "no closed form"),
        ("lambda", "class"),
    ),
    "a node that looks back inside a plate inside a sequence": Refused(
        """
        with pg.Model("m") as m, pg.sequence("t"), pg.plate("p", size=2):
            s = pg.latent("s", pg.Categorical(size=2), after="s")
            pg.observed("y", pg.Normal(), given=s)
        """,
        ("'s'", "looks back inside a plate inside a sequence", "put the plate outside"),
        ("s",),
    ),
    "a number that looks back inside a plate inside a sequence": Refused(
        """
        with pg.Model("m") as m, pg.sequence("t"), pg.plate("p", size=2):
            pg.observed("y", pg.Normal(mean=pg.param("a") * pg.prev("y")))
        """,
        ("'y'", "looks back inside a plate inside a sequence", "put the plate outside"),
        ("y",),
    ),
    "a node that looks back inside a plate inside a tree": Refused(
        """
        with pg.Model("m") as m, pg.tree("cell"), pg.plate("p", size=2):
            s = pg.latent("s", pg.Categorical(size=3), after="s")
        """,
        ("'s'", "looks back inside a plate inside a tree", "put the plate outside"),
        ("s",),
    ),
}


def proposal(text: str) -> str:
    """The code that a message ends with."""
    found = re.search(r"what to do: .*?:\n(?P<code>(    .*(\n|$))+)\Z", text, re.S)
    assert found, text
    return textwrap.dedent(found["code"])


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"pg": pg, "np": np}
    exec(textwrap.dedent(code), names)
    return names


@pytest.mark.parametrize("case", MODELS.values(), ids=MODELS)
def test_is_refused_with_a_model_that_compiles(case: Refused) -> None:
    with pytest.raises((pg.IntractableError, pg.DeclarationError)) as caught:
        run(case.code + "\n        m.compile()")
    text = str(caught.value)
    for word in case.words:
        assert word in text, text
    assert "declared at: <string>:" in text
    model = run(proposal(text))["model"]
    assert isinstance(model, pg.Model)
    names = [item.name for item in (*model.record.nodes, *model.record.covariates)]
    assert sorted(names) == sorted(case.kept)
    assert model.compile().source


def test_holes_beside_a_latent_below_them_are_refused() -> None:
    """The latent depends on what is missing, and has no steps of its own."""
    with pg.Model("echo") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        f = pg.latent("f", pg.Normal(mean=0.5 * pg.prev("y"), var=1.0), first=pg.Normal(0.0, 1.0))
        slope = pg.param("phi")[s]
        pg.observed("y", pg.Normal(mean=slope * pg.prev("y") + f), first=pg.Normal())
    y = np.arange(12.0).reshape(2, 6) % 5
    assert np.isfinite(model.fit({"y": y}, max_iter=2).trace).all()
    y[1, 3] = np.nan
    with pytest.raises(pg.IntractableError) as caught:
        model.fit({"y": y})
    text = str(caught.value)
    for word in (
        "'y' has holes (the first in unit '1', step '3' of 't')",
        "'s'",
        "switching linear dynamical system",
        "the latent 'f' depends on 'y'",
        "complete values",
    ):
        assert word in text
    instead = run(proposal(text))["model"]
    assert np.isfinite(instead.fit({"y": y}, max_iter=5).trace).all()


WIDE = {
    "too many parents": """
        with pg.Model("m") as m:
            {0}
            x = pg.observed("x", pg.Bernoulli(), given=[{1}])
        """,
    "too many values": """
        with pg.Model("m") as m:
            z = pg.latent("z", pg.Categorical(size=2_000_000))
            x = pg.observed("x", pg.Bernoulli(), given=z)
        """,
    "chains that all look at one another": """
        with pg.Model("m") as m, pg.sequence("t"):
            {2}
            x = pg.observed("x", pg.Poisson(), given=c0)
        """,
}


@pytest.mark.parametrize("code", WIDE.values(), ids=WIDE)
def test_a_wide_table_is_refused_with_lines_that_compile(code: str) -> None:
    many = [f'a{k} = pg.latent("a{k}", pg.Categorical(size=3))' for k in range(15)]
    back = ", ".join(f'pg.prev("c{k}")' for k in range(4))
    chains = [
        f'c{k} = pg.latent("c{k}", pg.Categorical(size=60), given=[{back}])' for k in range(4)
    ]
    names = ", ".join(f"a{k}" for k in range(15))
    code = textwrap.dedent(code).format("; ".join(many), names, "; ".join(chains))
    with pytest.raises(pg.IntractableError, match="1,000,000 entries") as caught:
        run(code + "\nm.compile()")
    lines = proposal(str(caught.value)).splitlines()
    for line in lines:
        name = line.split('"')[1]
        code, replaced = re.subn(rf'pg\.\w+\("{name}", .*?\)(?=(; |\n|$))', line, code)
        assert replaced == 1
    model = run(code)["m"]
    assert isinstance(model, pg.Model)
    assert model.compile().source


def test_holes_that_a_latent_depends_on_under_a_hidden_tree() -> None:
    with pg.Model("cells") as model, pg.tree("cell"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        f = pg.latent("f", pg.Normal(mean=0.5 * pg.prev("y"), var=1.0), first=pg.Normal(0.0, 1.0))
        mean = pg.param("slope")[s] * pg.prev("y") + f
        pg.observed("y", pg.Normal(mean=mean), first=pg.Normal())
    data = {"y": [np.array([0.1, np.nan, 0.3])], "cell.parent": [np.array([-1, 0, 1])]}
    with pytest.raises(pg.errors.IntractableError) as caught:
        model.fit(data)
    text = str(caught.value)
    assert "'y' has holes (the first in unit '0', member '1' of 'cell')" in text
    assert "member to member" in text
    assert "complete values of 'y'" in text


def holes_in_a_switch() -> tuple[pg.Model, dict[str, object]]:
    with pg.Model("m") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        x = pg.observed("x", pg.switch(z, pg.Normal(), pg.Exponential()))
        pg.observed("y", pg.Normal(mean=pg.param("a") * x))
    return model, {"x": [1.0, 2.0, np.nan, 0.5], "y": [0.1, 0.2, 0.3, 0.4]}


def holes_above_an_inner_gate() -> tuple[pg.Model, dict[str, object]]:
    with pg.Model("m") as model:
        x = pg.observed("x", pg.Normal())
        with pg.plate("i"):
            z = pg.latent("z", pg.Categorical(size=2))
            pg.observed("y", pg.Normal(mean=pg.param("a")[z] * x))
    y = np.arange(8.0).reshape(4, 2)
    return model, {"x": [1.0, 2.0, np.nan, 0.5], "y": y}


def holes_in_wide_tables() -> tuple[pg.Model, dict[str, object]]:
    with pg.Model("m") as model:
        xs = [pg.observed(f"x{k}", pg.Categorical(size=8)) for k in range(8)]
        pg.observed("y", pg.Bernoulli(prob=pg.param("p")[tuple(xs)]))
    data: dict[str, object] = {f"x{k}": [k % 8, 1.0, np.nan, 7.0] for k in range(8)}
    return model, {**data, "y": [0, 1, 1, 0]}


@pytest.mark.parametrize("case", [holes_in_a_switch, holes_above_an_inner_gate])
def test_a_refusal_for_holes_names_the_first(case: Callable[[], Any]) -> None:
    model, data = case()
    with pytest.raises(pg.IntractableError) as caught:
        model.fit(data)
    told = ("'x', which has holes", "'x' is Exponential and has holes")
    assert any(text in str(caught.value) for text in told)
    assert "(the first in unit '2')" in str(caught.value)


def test_a_wide_table_for_holes_names_them() -> None:
    model, data = holes_in_wide_tables()
    with pytest.raises(pg.IntractableError, match="1,000,000") as caught:
        model.fit(data)
    assert "'x3' has holes (the first in unit '2')" in str(caught.value)
