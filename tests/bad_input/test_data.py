"""Data that must be refused, naming the node, the place and what to do."""

from __future__ import annotations

import pytest
from refused import Case, cases, check

import pgem as pg

ERROR = pg.DataError

with pg.Model("mixture") as MIXTURE:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.Normal(), given=z)

with pg.Model("vectors") as VECTORS:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.MvNormal(size=2), given=z)

with pg.Model("counts") as COUNTS:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("n", pg.Poisson(), given=z)
    pg.observed("k", pg.Binomial(trials=10), given=z)

with pg.Model("kinds") as KINDS:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("kind", pg.Categorical(size=3), given=z)
    pg.observed("sex", pg.Categorical(levels=["f", "m"]), given=z)

with pg.Model("open") as OPEN:
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("kind", pg.Categorical(), given=z)

with pg.Model("chain") as CHAIN, pg.sequence("t"):
    s = pg.latent("s", pg.Categorical(size=2), after="s")
    pg.observed("y", pg.Normal(), given=s)
    pg.observed("w", pg.Normal(), given=s)

with pg.Model("items") as ITEMS:
    z = pg.latent("z", pg.Categorical(size=2))
    with pg.plate("item", size=3) as item:
        pg.observed("x", pg.Bernoulli(), given=[z, item])

with pg.Model("visits") as VISITS:
    z = pg.latent("z", pg.Categorical(size=2))
    with pg.plate("visit"):
        pg.observed("x", pg.Normal(), given=z)

with pg.Model("pairs") as PAIRS:
    z = pg.latent("z", pg.Categorical(size=2))
    with pg.plate("v"):
        pg.observed("a", pg.Normal(), given=z)
        pg.observed("b", pg.Poisson(), given=z)

with pg.Model("inputs") as INPUTS:
    z = pg.latent("z", pg.Categorical(size=2))
    group = pg.covariate("group", size=2)
    n = pg.covariate("n")
    pg.observed("k", pg.Binomial(trials=n), given=[z, group])

with pg.Model("echo") as ECHO, pg.sequence("t"):
    y = pg.observed("y", pg.Bernoulli(), after="y")

MODELS = {name: value for name, value in globals().items() if isinstance(value, pg.Model)}
FITS = "fit = OPEN.fit({'kind': list('aabbc') * 4}, max_iter=2)\n"


@cases(
    # the mapping
    ("no mapping", "MIXTURE.fit([1.0, 2.0])", ERROR, "mapping", "'list'"),
    ("an array", "MIXTURE.fit(np.zeros(3))", ERROR, "mapping", "'ndarray'"),
    ("nothing", "MIXTURE.fit({})", ERROR, "'x'", "no data"),
    ("a missing key", "COUNTS.fit({'n': [1, 2, 3]})", ERROR, "'k'", "no data", "add 'k'"),
    ("an unknown name", "MIXTURE.fit({'x': [1.0, 2.0, 3.0], 'X2': [1, 2, 3]})", ERROR, "'X2'", "z, x"),
    ("a name nearly right", "COUNTS.fit({'n': [1, 2], 'k': [1, 2], 'kk': [1, 2]})", ERROR, "'kk'", "did you mean 'k'?"),
    ("a missing covariate", "INPUTS.fit({'k': [1, 2, 3], 'group': [0, 1, 0]})", ERROR, "'n'", "no data"),
    # shapes
    ("a single number", "MIXTURE.fit({'x': 1.0})", ERROR, "'x'", "one value per unit"),
    ("None", "MIXTURE.fit({'x': None})", ERROR, "'x'", "one value per unit"),
    ("text for an array", "MIXTURE.fit({'x': 'abc'})", ERROR, "'x'", "one value per unit"),
    ("an iterator", "MIXTURE.fit({'x': iter([1.0, 2.0])})", ERROR, "'x'", "list"),
    ("a set", "MIXTURE.fit({'x': {1.0, 2.0}})", ERROR, "'x'", "list"),
    ("an array too deep", "MIXTURE.fit({'x': np.zeros((3, 2, 2))})", ERROR, "'x'", "(3, 2, 2)"),
    ("scalars for vectors", "VECTORS.fit({'x': np.arange(4.0)})", ERROR, "'x'", "units, coordinates", "(4,)"),
    ("vectors of another length", "VECTORS.fit({'x': np.random.default_rng(0).normal(size=(9, 3))})", ERROR, "'x'", "'2'", "'3'"),
    ("vectors of different lengths", "VECTORS.fit({'x': [[1.0, 2.0], [3.0]]})", ERROR, "'x'", "different lengths"),
    ("vectors for categories", "KINDS.fit({'kind': np.zeros((4, 2)), 'sex': ['f'] * 4})", ERROR, "'kind'", "one category per row"),
    ("nodes of different lengths", "COUNTS.fit({'n': [1, 2, 3], 'k': [1, 2]})", ERROR, "'k'", "'n'", "'3'", "'2'"),
    ("not nested deeply enough", "VISITS.fit({'x': [1.0, 2.0]})", ERROR, "'x'", "units, visit"),
    ("a plate of another size", "ITEMS.fit({'x': np.zeros((4, 2))})", ERROR, "'item'", "'3'", "'2'"),
    ("a ragged sized plate", "ITEMS.fit({'x': [[0, 1, 1], [1, 0]]})", ERROR, "'item'", "'3'", "'2'"),
    ("nodes of a sequence that disagree", "CHAIN.fit({'y': [np.zeros(3), np.zeros(4)], 'w': [np.zeros(3), np.zeros(5)]})", ERROR, "'y'", "'w'", "'4'", "'5'"),
    ("nodes of a plate that disagree", "PAIRS.fit({'a': [[1.0, 2.0], [3.0]], 'b': [[1, 2], [3, 4]]})", ERROR, "'a'", "'b'", "'v'", "'1' in row '1'", "'2'"),
    ("other numbers of sequences", "CHAIN.fit({'y': [np.zeros(3), np.zeros(4)], 'w': [np.zeros(3)]})", ERROR, "'w'", "'2'", "'1'"),
    # emptiness
    ("no units", "MIXTURE.fit({'x': []})", ERROR, "empty", "'x'"),
    ("no sequences", "CHAIN.fit({'y': [], 'w': []})", ERROR, "empty"),
    ("an empty sequence", "CHAIN.fit({'y': [np.zeros(3), np.zeros(0)], 'w': [np.zeros(3), np.zeros(0)]})", ERROR, "'t'", "empty", "'1'"),
    ("all plates empty", "VISITS.fit({'x': [[], []]})", ERROR, "'x'", "no value"),
    ("nothing but holes", "MIXTURE.fit({'x': [nan, nan, nan]})", ERROR, "'x'", "no value", "leave it out"),
    ("a sequence of nothing but holes", "CHAIN.fit({'y': np.full((3, 4), nan), 'w': np.zeros((3, 4))})", ERROR, "'y'", "no value"),
    ("no value of a category", "OPEN.fit({'kind': [None, None]})", ERROR, "'kind'", "no value"),
    # values
    ("text in a numeric node", "MIXTURE.fit({'x': ['1.0', '2.0', '3.0']})", ERROR, "'x'", "text", "'1.0' in row '0'"),
    ("objects in a numeric node", "MIXTURE.fit({'x': [{}, {}]})", ERROR, "'x'", "no number"),
    ("complex numbers", "MIXTURE.fit({'x': np.array([1j, 2.0])})", ERROR, "'x'", "complex"),
    ("dates", "MIXTURE.fit({'x': np.array(['2020-01-01', '2020-01-02'], dtype='M8[D]')})", ERROR, "'x'", "datetime64"),
    ("an infinite value", "MIXTURE.fit({'x': [1.0, inf, 2.0]})", ERROR, "'x'", "infinite", "row '1'", "NaN"),
    ("a negative count", "COUNTS.fit({'n': [1, -1, 2], 'k': [1, 2, 3]})", ERROR, "'n'", "Poisson", "counts", "'-1", "unit '1'"),
    ("a count that is not whole", "COUNTS.fit({'n': [1, 1.5, 2], 'k': [1, 2, 3]})", ERROR, "'n'", "'1.5' in unit '1'"),
    ("more successes than trials", "COUNTS.fit({'n': [1, 1, 2], 'k': [1, 2, 11]})", ERROR, "'k'", "Binomial", "'11", "trials='10'", "unit '2'"),
    # categories
    ("a code beyond the size", "KINDS.fit({'kind': [0, 1, 3], 'sex': ['f', 'm', 'f']})", ERROR, "'kind'", "'3' in row '2'", "from 0 to 2"),
    ("a code that is not whole", "KINDS.fit({'kind': [0, 1.5, 2], 'sex': ['f', 'm', 'f']})", ERROR, "'kind'", "'1.5'"),
    ("a negative code", "KINDS.fit({'kind': [0, -1, 2], 'sex': ['f', 'm', 'f']})", ERROR, "'kind'", "'-1'", "missing"),
    ("more labels than categories", "KINDS.fit({'kind': list('abcd'), 'sex': ['f', 'm', 'f', 'm']})", ERROR, "'kind'", "'3'", "'4'"),
    ("a label that is no level", "KINDS.fit({'kind': [0, 1, 2], 'sex': ['f', 'm', 'x']})", ERROR, "'sex'", "'f', 'm'", "'x' in row '2'"),
    ("labels of mixed kinds", "OPEN.fit({'kind': ['a', 1, 'b', 2]})", ERROR, "'kind'", "mix", "levels="),
    ("lists as labels", "OPEN.fit({'kind': [['a'], ['b']]})", ERROR, "'kind'", "one category per row"),
    ("a covariate's code beyond its size", "INPUTS.fit({'k': [1, 2], 'n': [5, 5], 'group': [0, 2]})", ERROR, "'group'", "'2' in row '1'"),
    ("unseen label in new data", FITS + "fit.decode({'kind': ['a', 'd']})", ERROR, "'kind'", "'a', 'b', 'c'", "'d' in row '1'"),
    ("unseen code in new data", "fit = OPEN.fit({'kind': [0, 1, 2, 1]}, max_iter=1)\nfit.posterior({'kind': [0, 3]})", ERROR, "'kind'", "'3' in row '1'"),
    ("vectors in new data of scalars", "MIXTURE.fit({'x': [0.0, 0.1, 3.0, 3.2]}, max_iter=0, start=P).log_likelihoods({'x': [[1.0, 2.0]]})", ERROR, "'x'", "single numbers", "'2' coordinates"),
    ("other vectors in new data", "f = CHAIN.fit({'y': np.arange(24.0).reshape(3, 8), 'w': np.arange(24.0).reshape(3, 8) ** 2}, max_iter=1)\nf.decode({'y': np.zeros((2, 3, 4)), 'w': np.zeros((2, 3))})", ERROR, "'y'", "'4' coordinates"),
    # holes
    ("a covariate with NaN", "INPUTS.fit({'k': [1, 2], 'n': [5, nan], 'group': [0, 1]})", ERROR, "'n'", "row '1'", "complete"),
    ("a discrete covariate with None", "INPUTS.fit({'k': [1, 2], 'n': [5, 5], 'group': [0, None]})", ERROR, "'group'", "row '1'", "complete"),
    ("single counts of a row missing", "with pg.Model('m') as m: pg.observed('x', pg.Multinomial())\nm.fit({'x': [[1.0, 2.0], [3.0, nan], [2.0, 2.0]]})", ERROR, "'x'", "unit '1'", "Multinomial", "NaN"),
    ("a hole in a first value that is conditioned on", "ECHO.fit({'y': [[0, 1, 1], [None, 1, 0]]})", ERROR, "'y'", "first", "row '1'"),
    # weights
    ("a negative weight", "MIXTURE.fit({'x': [1.0, 2.0, 3.0]}, weights=[1, -1, 1])", ERROR, "weights", "'-1", "at least zero"),
    ("a weight that is NaN", "MIXTURE.fit({'x': [1.0, 2.0, 3.0]}, weights=[1, nan, 1])", ERROR, "weights", "'nan'"),
    ("an infinite weight", "MIXTURE.fit({'x': [1.0, 2.0, 3.0]}, weights=[1, inf, 1])", ERROR, "weights", "'inf'"),
    ("too few weights", "MIXTURE.fit({'x': [1.0, 2.0, 3.0]}, weights=[1, 1])", ERROR, "weights", "'3'", "(2,)"),
    ("a single weight", "MIXTURE.fit({'x': [1.0, 2.0, 3.0]}, weights=2.0)", ERROR, "weights", "()"),
    ("weights of text", "MIXTURE.fit({'x': [1.0, 2.0, 3.0]}, weights=['a', 'b', 'c'])", ERROR, "weights", "'a'"),
    ("no weight at all", "MIXTURE.fit({'x': [1.0, 2.0, 3.0]}, weights=[0, 0, 0])", ERROR, "weights", "zero"),
    # questions
    ("a joint posterior of an unknown node", "MIXTURE.posterior({'x': [1.0]}, P, joint=[('z', 'q')])", ERROR, "'q'", "z, x"),
    ("a joint posterior of an observed node", "MIXTURE.posterior({'x': [1.0]}, P, joint=[('z', 'x')])", ERROR, "'x'", "not discrete"),
    ("a joint posterior of a node twice", "MIXTURE.posterior({'x': [1.0]}, P, joint=[('z', 'z')])", ERROR, "'z'", "twice"),
    ("a joint posterior of an earlier node outside a sequence", "MIXTURE.posterior({'x': [1.0]}, P, joint=[('z', pg.prev('z'))])", ERROR, "'z'", "nothing looks back"),
)  # fmt: skip
def test_is_refused(case: Case) -> None:
    params = {"z.probs": [0.5, 0.5], "x.mean": [0.0, 1.0], "x.var": [1.0, 1.0]}
    check(case, **MODELS, P=params)


@pytest.mark.parametrize("values", [(1, 2, 3), range(3), [True, False, True]])
def test_what_is_not_refused(values: object) -> None:
    assert (
        MIXTURE.log_likelihood(
            {"x": values}, {"z.probs": [0.5, 0.5], "x.mean": [0.0, 1.0], "x.var": [1.0, 1.0]}
        ).ndim
        == 1
    )
