"""Trees that must be refused: declarations that look back too far, and parents that are none."""

from __future__ import annotations

from refused import Case, cases, check

import pgem as pg

D, ERROR = pg.DeclarationError, pg.DataError
M = "with pg.Model('m') as m:\n with pg.tree('cell') as cell:\n  "

with pg.Model("tree") as TREE, pg.tree("cell"):
    s = pg.latent("s", pg.Categorical(size=2), after="s")
    pg.observed("y", pg.Normal(), given=s)

with pg.Model("inner") as INNER, pg.plate("family"), pg.tree("cell"):
    s = pg.latent("s", pg.Categorical(size=2), after="s")
    pg.observed("y", pg.Normal(), given=s)

with pg.Model("echo") as ECHO, pg.tree("cell"):
    pg.observed("w", pg.Bernoulli(), after="w")

MODELS = {name: value for name, value in globals().items() if isinstance(value, pg.Model)}
P = {"s.probs": [[0.9, 0.1], [0.2, 0.8]], "s.first.probs": [0.5, 0.5], "y.mean": [0.0, 1.0],
     "y.var": [1.0, 1.0]}  # fmt: skip
Y = "TREE.log_likelihood({'y': [[0.0, 1.0], [2.0, 3.0, 4.0]], 'cell.parent': "
F = "TREE.fit({'y': [0.0, 1.0, 2.0], 'cell.parent': [-1, 0, 0]}, start=P, max_iter=0)"


@cases(
    # declarations
    ("a lag of two", M + "pg.latent('s', pg.Categorical(size=2), given=pg.prev('s', 2))", D, "'s'", "parent in tree 'cell'", "'2'"),
    ("a mean at a lag of two", M + "pg.observed('x', pg.Normal(mean=pg.param('a') * pg.prev('x', 2)))", D, "'x'", "parent in tree 'cell'", "'2'"),
    ("looking back inside a plate", M + "with pg.plate('p', size=2): pg.latent('s', pg.Categorical(size=2), after='s')", D, "'s'", "plate inside a tree", "pg.tree"),
    ("looking back at a node around the tree", "with pg.Model('m') as m:\n z = pg.latent('z', pg.Categorical(size=2))\n with pg.tree('cell'): pg.latent('s', pg.Categorical(size=2), after='z')", D, "'s'", "'z'", "no node of tree 'cell'"),
    ("a tree that indexes", M + "pg.observed('x', pg.Normal(), given=cell)", D, "tree 'cell'", "cannot index"),
    ("a tree in no model", "pg.tree('cell')", D, "with pg.Model"),
    ("a tree whose table is too large", M + "s = [pg.latent(f's{k}', pg.Categorical(size=40), given=[pg.prev(f's{j}') for j in range(3)]) for k in range(3)]\nm.compile()", pg.IntractableError, "'s0'", "scope 'cell'", "look back at itself only"),
    ("a hole at a numeric root that is conditioned on", M + "pg.observed('x', pg.Normal(mean=pg.param('a') * pg.prev('x')))\nm.fit({'x': [nan, 0.0, 1.0, 2.0], 'cell.parent': [-1, 0, 1, 0]})", ERROR, "'x'", "root", "first="),
    # the key
    ("no parents", "TREE.fit({'y': [0.0, 1.0, 2.0]})", ERROR, "tree 'cell'", "'cell.parent'", "'y'"),
    ("a key nearly right", "TREE.fit({'y': [0.0, 1.0], 'cell.parents': [-1, 0]})", ERROR, "'cell.parents'", "did you mean 'cell.parent'?"),
    ("parents only", "TREE.fit({'cell.parent': [-1, 0]})", ERROR, "'y'", "no data"),
    ("fewer parents than values", Y + "[[-1, 0], [-1, 0]]}, P)", ERROR, "'cell.parent'", "'y'", "'3' in row '1'", "'2'"),
    ("parents of fewer units", Y + "[[-1, 0]]}, P)", ERROR, "'cell.parent'", "'2' units", "'1'"),
    ("no member", "TREE.log_likelihood({'y': [[], [1.0]], 'cell.parent': [[], [-1]]}, P)", ERROR, "tree 'cell'", "empty", "'0'"),
    # the values
    ("a missing parent", Y + "[[-1, 0], [-1, nan, 0]]}, P)", ERROR, "tree 'cell'", "missing", "unit '1', member '1' of 'cell'"),
    ("a parent of None", Y + "[[-1, None], [-1, 0, 0]]}, P)", ERROR, "tree 'cell'", "missing", "unit '0', member '1'"),
    ("half a parent", Y + "[[-1, 0], [-1, 0.5, 0]]}, P)", ERROR, "tree 'cell'", "whole", "'0.5'", "unit '1', member '1'"),
    ("a parent beyond the tree", Y + "[[-1, 2], [-1, 0, 0]]}, P)", ERROR, "tree 'cell'", "no member", "'2'", "0 to 1", "unit '0', member '1'"),
    ("a parent below -1", Y + "[[-1, 0], [-2, 0, 0]]}, P)", ERROR, "tree 'cell'", "no member", "'-2'", "unit '1', member '0'"),
    ("an infinite parent", Y + "[[-1, inf], [-1, 0, 0]]}, P)", ERROR, "'cell.parent'", "infinite"),
    ("text for parents", Y + "[['a', 'b'], ['a', 'b', 'c']]}, P)", ERROR, "'cell.parent'", "text"),
    ("truth for parents", Y + "[[True, False], [False, True, True]]}, P)", ERROR, "'cell.parent'", "true and false"),
    ("vectors for parents", "TREE.log_likelihood({'y': np.zeros((2, 3)), 'cell.parent': np.zeros((2, 3, 2))}, P)", ERROR, "'cell.parent'"),
    ("its own parent", Y + "[[0, 0], [-1, 0, 0]]}, P)", ERROR, "tree 'cell'", "circle", "unit '0', member '0'"),
    ("a circle", Y + "[[-1, 0], [-1, 2, 1]]}, P)", ERROR, "tree 'cell'", "circle", "unit '1', member '1'"),
    ("no root", Y + "[[-1, 0], [1, 2, 0]]}, P)", ERROR, "tree 'cell'", "circle", "unit '1', member '0'"),
    ("a circle in a plate", "INNER.log_likelihood({'y': [[[0.0], [1.0, 2.0]]], 'cell.parent': [[[-1], [1, 0]]]}, P)", ERROR, "circle", "unit '0', member '1' of 'family', member '0' of 'cell'"),
    ("a hole at a root that is conditioned on", "ECHO.fit({'w': [1, nan, 0], 'cell.parent': [1, -1, 0]})", ERROR, "'w'", "root", "member '1'", "first="),
    # questions
    ("a joint posterior with a grandparent", "TREE.posterior({'y': [0.0, 1.0], 'cell.parent': [-1, 0]}, P, joint=[('s', pg.prev('s', 2))])", ERROR, "'s'", "'2' steps earlier"),
    ("a sample of some size without parents", F + ".sample(2, sizes={'cell': 4})", ERROR, "tree 'cell'", "'cell.parent'", "[units, cell]"),
    ("a sample beside values without parents", F + ".sample(1, data={'y': [[0.0, nan]]})", ERROR, "tree 'cell'", "'cell.parent'"),
    ("a sample of roots that are conditioned on", "ECHO.fit({'w': [1, 1, 0], 'cell.parent': [1, -1, 0]}).sample(1)", ERROR, "'w'", "roots", "first="),
)  # fmt: skip
def test_is_refused(case: Case) -> None:
    check(case, **MODELS, P=P)
