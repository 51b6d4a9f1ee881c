"""Declarations that must be refused when they are written or compiled."""

from __future__ import annotations

from dataclasses import replace

import pytest
from refused import Case, cases, check

import pgem as pg
from pgem.declare import Gate, ModelRecord
from pgem.graph import build_graph

ERROR = pg.DeclarationError
M = "with pg.Model('m') as m: "
T = "with pg.Model('m') as m, pg.sequence('t'): "
END = "\nm.compile()"


@cases(
    # names and places
    ("no model is open", "pg.latent('z', pg.Categorical(size=2))", ERROR, "with pg.Model"),
    ("an empty model", M + "pass" + END, ERROR, "'m'", "pg.observed"),
    ("a name twice", M + "pg.observed('x', pg.Normal()); pg.observed('x', pg.Normal())", ERROR, "'x'", "twice"),
    ("a parameter name twice", M + "pg.observed('x', pg.Normal(pg.param('a'), pg.param('a')))", ERROR, "'a'", "twice"),
    ("a name that is no identifier", M + "pg.observed('my x', pg.Normal())", ERROR, "'my x'", "identifier"),
    ("a name that is no string", M + "pg.observed(3, pg.Normal())", ERROR, "'3'", "identifier"),
    ("a node of another model", "with pg.Model('a'): z = pg.latent('z', pg.Categorical(size=2))\n" + M + "pg.observed('x', pg.Normal(), given=z)", ERROR, "'x'", "'z'", "not part of this model"),
    ("a gate that is only a name", M + "pg.observed('x', pg.Normal(), given='z')", ERROR, "'z'", "cannot index"),
    ("a node out of its plate", M + "\n with pg.plate('p', size=2): z = pg.latent('z', pg.Categorical(size=2))\n pg.observed('x', pg.Normal(), given=z)", ERROR, "'x'", "'z'", "'p'"),
    ("a plate opened elsewhere", M + "\n with pg.plate('p') as p: pass\n with pg.plate('q'):\n  with p: pass", ERROR, "'p'", "'q'"),
    ("a plate of no members", M + "pg.plate('p', size=0)", ERROR, "'p'", "'0'"),
    ("a ragged plate as a gate", M + "\n with pg.plate('p') as p: pg.observed('x', pg.Normal(), given=p)", ERROR, "'p'", "size"),
    ("a tree as a gate", M + "\n with pg.tree('cell') as c: pg.observed('x', pg.Normal(), given=c)", ERROR, "'cell'", "cannot index"),
    # families and slots
    ("a family class", M + "pg.observed('x', pg.Normal)", ERROR, "'x'", "an instance"),
    ("no family", M + "pg.observed('x', 'normal')", ERROR, "'x'", "a family"),
    ("an unknown slot", M + "pg.observed('x', pg.Normal(sigma=1.0))", ERROR, "'sigma'", "Normal", "mean"),
    ("too many slots", M + "pg.observed('x', pg.Normal(0.0, 1.0, 2.0))", ERROR, "Normal", "mean, var", "'3'"),
    ("a slot twice", M + "pg.observed('x', pg.Normal(0.0, mean=1.0))", ERROR, "'mean'", "twice"),
    ("text in a slot", M + "pg.observed('x', pg.Normal(mean='zero'))", ERROR, "x.mean", "'zero'"),
    ("a value that is not finite", M + "pg.observed('x', pg.Normal(mean=nan))", ERROR, "x.mean", "finite"),
    ("a size that is no number", M + "pg.latent('z', pg.Categorical(size='two'))", ERROR, "Categorical", "size", "'two'"),
    ("a size below one", M + "pg.latent('z', pg.Categorical(size=0))", ERROR, "Categorical", "size", "'0'"),
    ("size and levels that disagree", M + "pg.latent('z', pg.Categorical(size=3, levels=['a', 'b']))", ERROR, "'z'", "'3'", "'2'"),
    ("levels that repeat", M + "pg.latent('z', pg.Categorical(levels=['a', 'a']))", ERROR, "'z'", "levels", "'a'"),
    ("levels that are no list", M + "pg.latent('z', pg.Categorical(levels='abc'))", ERROR, "'z'", "levels", "'abc'"),
    ("a covariate of no values", M + "pg.covariate('c', size=0)", ERROR, "'c'", "'0'"),
    ("a covariate whose levels repeat", M + "pg.covariate('c', levels=['a', 'a'])", ERROR, "'c'", "levels"),
    ("an identity of no size", M + "pg.identity('two')", ERROR, "pg.identity", "'two'"),
    ("trials left open", M + "pg.observed('x', pg.Binomial())" + END, ERROR, "x.trials", "must be given"),
    ("a parameter for trials", M + "pg.observed('x', pg.Binomial(trials=pg.param('n')))", ERROR, "x.trials", "never estimated"),
    ("a covariance that is no matrix", M + "pg.observed('x', pg.Normal(mean=pg.diagonal()))", ERROR, "x.mean", "diagonal"),
    # constants
    ("a ragged constant", M + "pg.constant([[1, 2], [3]])", ERROR, "pg.constant", "equal lengths"),
    ("a constant of text", M + "pg.constant('abc')", ERROR, "pg.constant", "'abc'"),
    ("probabilities that sum to more", M + "pg.latent('z', pg.Categorical([0.5, 0.6]))\n" + "m.compile()", ERROR, "z.probs", "sum to one", "declared at"),
    ("a negative probability", M + "pg.latent('z', pg.Categorical([1.5, -0.5]))" + END, ERROR, "z.probs", "non-negative"),
    ("a gated table whose rows do not sum to one", M + "z = pg.latent('z', pg.Categorical(size=2)); pg.observed('x', pg.Categorical(pg.constant([[0.5, 0.5], [0.9, 0.2]])[z]))" + END, ERROR, "x.probs", "sum to one"),
    ("a probability above one", M + "pg.observed('x', pg.Bernoulli(1.5))" + END, ERROR, "x.prob", "between 0 and 1"),
    ("a negative variance", M + "pg.observed('x', pg.Normal(var=-1.0))" + END, ERROR, "x.var", "above zero"),
    ("a covariance that is not positive definite", M + "pg.observed('x', pg.MvNormal(cov=[[1.0, 2.0], [2.0, 1.0]]))" + END, ERROR, "x.cov", "positive definite"),
    ("a table with a gate too few", M + "z = pg.latent('z', pg.Categorical(size=2)); pg.observed('x', pg.Normal(mean=pg.constant([0.0, 1.0, 2.0])[z]))" + END, ERROR, "x.mean", "(3,)", "(2,)"),
    ("a table with an axis too many", M + "pg.latent('z', pg.Categorical([[0.5, 0.5]]))" + END, ERROR, "'z'", "size="),
    ("a table of another size", M + "pg.latent('z', pg.Categorical([0.5, 0.5], size=3))" + END, ERROR, "z.probs", "(2,)", "(3,)"),
    ("an index that is no integer", M + "z = pg.latent('z', pg.Categorical(size=2)); pg.observed('x', pg.Normal(mean=pg.param('a')[pg.constant([0.5, 1.0])[z]]))", ERROR, "integer"),
    ("an index table of the wrong length", M + "z = pg.latent('z', pg.Categorical(size=2)); pg.observed('x', pg.Normal(mean=pg.param('a')[pg.constant([0, 1, 1])[z]]))" + END, ERROR, "'x'", "'z'", "(3,)"),
    # parameters
    ("fixed without value", M + "pg.observed('x', pg.Normal(mean=pg.param('a', fixed=True)))", ERROR, "'a'", "value="),
    ("fixed by a word", M + "pg.observed('x', pg.Normal(mean=pg.param('a', fixed='yes', value=1.0)))" + END, ERROR, "'a'", "fixed=", "'yes'"),
    ("fixed at an impossible value", M + "pg.observed('x', pg.Normal(var=pg.param('a', fixed=True, value=-1.0)))" + END, ERROR, "'a'", "above zero"),
    ("a default start outside its constraint", M + "pg.latent('z', pg.Categorical(pg.param('a', value=[0.5, 0.6])))" + END, ERROR, "'a'", "sum to one"),
    ("a value of the wrong shape", M + "pg.latent('z', pg.Categorical(pg.param('a', value=[0.5, 0.5]), size=3))" + END, ERROR, "'a'", "(3,)", "(2,)"),
    ("a mask of the wrong shape", M + "pg.latent('z', pg.Categorical(pg.param('a', fixed=[True, False], value=0.2), size=3))" + END, ERROR, "'a'", "(3,)", "(2,)"),
    ("a row of zeros", M + "pg.latent('z', pg.Categorical(pg.param('a', zeros=[True, True]), size=2))" + END, ERROR, "'a'", "zeros"),
    ("zeros where no probability is", M + "pg.observed('x', pg.Normal(var=pg.param('a', zeros=True)))" + END, ERROR, "'a'", "zeros"),
    ("fixed entries that sum to more than one", M + "pg.latent('z', pg.Categorical(pg.param('a', fixed=[True, True, False], value=[0.8, 0.8, 0.0]), size=3))" + END, ERROR, "'a'", "sum"),
    ("a parameter in two roles", M + "a = pg.param('a'); pg.observed('x', pg.Normal(a, a))" + END, ERROR, "'a'", "mean", "variance"),
    ("a parameter in two shapes", M + "a = pg.param('a'); z = pg.latent('z', pg.Categorical(a, size=2)); pg.latent('w', pg.Categorical(a, size=3))" + END, ERROR, "'a'", "(2,)", "(3,)"),
    ("a parameter that is iterated over", M + "list(pg.param('a'))", ERROR, "'a'", "iterated"),
    ("a prior of another kind", M + "pg.observed('x', pg.Poisson(pg.param('a', prior=pg.Normal(0.0, 1.0))))" + END, ERROR, "'a'", "rate", "Normal prior"),
    ("an unbounded prior", M + "pg.observed('x', pg.Poisson(pg.param('a', prior=pg.Gamma(0.5, 1.0))))" + END, ERROR, "'a'", "unbounded", "at least 1"),
    ("a prior without values", M + "pg.observed('x', pg.Poisson(pg.param('a', prior=pg.Gamma(2.0))))", ERROR, "'a'", "'rate'", "needs a value"),
    ("a prior outside its constraint", M + "pg.observed('x', pg.Poisson(pg.param('a', prior=pg.Gamma(2.0, -1.0))))" + END, ERROR, "'a'", "'rate'", "-1.0"),
    ("a prior that is no family", M + "pg.observed('x', pg.Poisson(pg.param('a', prior=2.0)))", ERROR, "'a'", "prior", "2.0"),
    ("a prior that does not broadcast", M + "pg.observed('x', pg.Poisson(pg.param('a', prior=pg.Gamma([2.0, 3.0], 1.0))))" + END, ERROR, "'a'", "broadcasts", "(2,)"),
    # gates
    ("a continuous gate", M + "u = pg.observed('u', pg.Normal()); pg.observed('x', pg.Normal(), given=u)", ERROR, "'u'", "continuous", "Categorical"),
    ("a covariate without size as a gate", M + "u = pg.covariate('u'); pg.observed('x', pg.Normal(), given=u)" + END, ERROR, "'u'", "size"),
    ("a parameter as a gate", M + "pg.observed('x', pg.Normal(), given=pg.param('a'))", ERROR, "'a'", "cannot index"),
    ("a gate twice", M + "z = pg.latent('z', pg.Categorical(size=2)); pg.observed('x', pg.Normal(), given=[z, z])", ERROR, "'x'", "'z'", "twice"),
    ("a gate twice in an index", M + "z = pg.latent('z', pg.Categorical(size=2)); pg.param('a')[z, z]", ERROR, "'a'", "'z'", "twice"),
    ("a gate by name in an index", M + "pg.latent('z', pg.Categorical(size=2)); pg.param('a')['z']", ERROR, "'z'", "cannot index"),
    ("a switch with too few families", M + "z = pg.latent('z', pg.Categorical(size=3)); pg.observed('x', pg.switch(z, pg.Normal(), pg.Normal()))" + END, ERROR, "'x'", "'2'", "'3'"),
    ("a switch with one family", M + "z = pg.latent('z', pg.Categorical(size=1)); pg.switch(z, pg.Normal())", ERROR, "'1'", "switch"),
    ("a switch by a table", M + "z = pg.latent('z', pg.Categorical(size=3)); pg.switch(pg.constant([0, 1, 1])[z], pg.Normal(), pg.Normal())", ERROR, "pg.switch", "table", "for each value"),
    ("a latent switch", M + "z = pg.latent('z', pg.Categorical(size=2)); pg.latent('w', pg.switch(z, pg.Bernoulli(), pg.Bernoulli()))", ERROR, "'w'", "switch"),
    ("a size that nothing tells", M + "z = pg.latent('z', pg.Categorical()); pg.observed('x', pg.Normal(), given=z)" + END, ERROR, "'z'", "size="),
    # time
    ("first= without looking back", T + "pg.latent('s', pg.Categorical(size=2), first=pg.Categorical(size=2))", ERROR, "'s'", "first=", "after="),
    ("first= of another family", T + "pg.latent('s', pg.Categorical(size=2), after='s', first=pg.Bernoulli())", ERROR, "'s'", "'Categorical'", "'Bernoulli'"),
    ("first= of another size", T + "pg.latent('s', pg.Categorical(size=2), after='s', first=pg.Categorical(size=3))" + END, ERROR, "s.first", "'2'", "'3'"),
    ("too many first steps", T + "pg.latent('s', pg.Categorical(size=2), after='s', first=[pg.Categorical(size=2)] * 2)", ERROR, "'s'", "'1'", "'2'"),
    ("a stationary first step of another chain", T + "pg.latent('s', pg.Categorical(size=2), after='s'); pg.latent('b', pg.Categorical(size=2), given=pg.prev('s'), first='stationary')", ERROR, "'b'", "stationary", "prev b", "prev s"),
    ("a stationary first step of a coupled chain", T + "pg.latent('s', pg.Categorical(size=2), given=pg.prev('b'), after='s', first='stationary')", ERROR, "'s'", "more than its own last value", "prev b"),
    ("a stationary first step two steps back", T + "pg.latent('s', pg.Categorical(size=2), after=['s', pg.prev('s', 2)], first='stationary')", ERROR, "'s'", "prev s (2)"),
    ("a stationary first step of counts", T + "pg.observed('s', pg.Poisson(), after='c', first='stationary')", ERROR, "'s'", "Categorical or Bernoulli", "Poisson"),
    ("a stationary switch", T + "z = pg.latent('z', pg.Categorical(size=2)); pg.observed('y', pg.switch(z, pg.Bernoulli(), pg.Bernoulli()), after='y', first='stationary')", ERROR, "'y'", "switch"),
    ("another word in first=", T + "pg.latent('s', pg.Categorical(size=2), after='s', first='steady')", ERROR, "first=", "'s'", "steady"),
    ("a stationary chain of two classes", T + "pg.latent('s', pg.Categorical(pg.param(zeros=1 - np.eye(2) > 0), size=2), after='s', first='stationary')" + END, ERROR, "'s'", "{0}' and '{1}"),
    ("a known table of two classes", T + "pg.latent('s', pg.Categorical(pg.constant([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])[pg.prev('s')], size=3), first='stationary')" + END, ERROR, "'s'", "{0, 1}' and '{2}"),
    # durations
    ("a duration with continuous support", T + "pg.latent('s', pg.Categorical(size=3), after='s', duration=pg.Exponential())", ERROR, "'s'", "Exponential", "whole numbers"),
    ("a duration that is a point", T + "pg.latent('s', pg.Categorical(size=3), after='s', duration=pg.Dirac(3))", ERROR, "'s'", "Dirac", "Categorical"),
    ("a duration of rows of counts", T + "pg.latent('s', pg.Categorical(size=3), after='s', duration=pg.Multinomial(size=3))", ERROR, "'s'", "Multinomial"),
    ("a duration that is a vector", T + "pg.latent('s', pg.Categorical(size=3), after='s', duration=pg.Poisson(size=2))", ERROR, "'s'", "of vectors", "size=2"),
    ("a duration that is a number", T + "pg.latent('s', pg.Categorical(size=3), after='s', duration=20)", ERROR, "duration= of node 's'", "'20'"),
    ("a duration without after=", T + "pg.latent('s', pg.Categorical(size=3), duration=pg.Poisson())", ERROR, "'s'", "does not look back", "after=\"s\""),
    ("a duration outside a sequence", M + "pg.latent('s', pg.Categorical(size=3), duration=pg.Poisson())", ERROR, "'s'", "does not look back"),
    ("a duration of a single value", T + "pg.latent('s', pg.Categorical(size=1), after='s', duration=pg.Poisson())", ERROR, "'s'", "single value", "at least 2"),
    ("a duration of a single value that a table shows", T + "pg.latent('s', pg.Categorical(pg.param(value=[[1.0]])), after='s', duration=pg.Poisson())" + END, ERROR, "'s'", "single value"),
    ("a duration of a Bernoulli chain", T + "pg.latent('s', pg.Bernoulli(), after='s', duration=pg.Poisson())", ERROR, "'s'", "latent Categorical", "Bernoulli"),
    ("a duration two steps back", T + "pg.latent('s', pg.Categorical(size=3), after=['s', pg.prev('s', 2)], duration=pg.Poisson())", ERROR, "'s'", "prev s (2)"),
    ("a duration of a coupled chain", T + "pg.latent('s', pg.Categorical(size=3), given=pg.prev('b'), after='s', duration=pg.Poisson())", ERROR, "'s'", "prev b"),
    ("a known diagonal under a duration", T + "pg.latent('s', pg.Categorical(pg.constant([[0.5, 0.5], [1, 0]])[pg.prev('s')], size=2), duration=pg.Poisson())" + END, ERROR, "'s'", "follows itself", "'0.5'"),
    ("a fixed diagonal under a duration", T + "pg.latent('s', pg.Categorical(pg.param(fixed=True, value=[[0.5, 0.5], [1, 0]]), size=2), after='s', duration=pg.Poisson())" + END, ERROR, "'s'", "'s.probs'", "follows itself", "zeros on the diagonal"),
    ("zeros of another shape under a duration", T + "pg.latent('s', pg.Categorical(pg.param(zeros=[[True] * 3] * 5), size=3), after='s', duration=pg.Poisson())" + END, ERROR, "'s.probs'", "(3, 3)", "(5, 3)"),
    ("a duration without a longest value", T + "pg.latent('s', pg.Categorical(size=3), after='s', duration=pg.Categorical())" + END, ERROR, "'s'", "longest", "size="),
    ("a duration over tied rows", T + "pg.latent('s', pg.Categorical(pg.param('a')[pg.constant([0, 0, 1])[pg.prev('s')]], size=3), duration=pg.Poisson())", ERROR, "'s'", "indexed by a constant", "pg.prev('s')"),
    ("a covariate in a duration", T + "x = pg.covariate('x'); pg.latent('s', pg.Categorical(size=3), after='s', duration=pg.Binomial(trials=x))", ERROR, "s.duration.trials", "'x'"),
    ("a duration that looks back", T + "pg.latent('s', pg.Categorical(size=3), after='s', duration=pg.Poisson(pg.param('r')[pg.prev('s')]))", ERROR, "s.duration.rate", "looks back", "prev s"),
    ("a chain beside one with durations", T + "s = pg.latent('s', pg.Categorical(size=3), after='s', duration=pg.Poisson()); b = pg.latent('b', pg.Categorical(size=2), after='b'); pg.observed('y', pg.Normal(), given=[s, b])" + END, pg.IntractableError, "'s'", "prev b", "explicit durations", "pg.latent(\"s\", pg.Categorical(size=3), after=\"s\")"),
    ("a latent of the step that gates one with durations", T + "w = pg.latent('w', pg.Categorical(size=2)); pg.latent('s', pg.Categorical(size=3), given=w, after='s', duration=pg.Poisson())" + END, pg.IntractableError, "'s'", "'w'", "explicit durations"),
    ("a latent of the step that gates a duration", T + "w = pg.latent('w', pg.Categorical(size=2)); pg.latent('s', pg.Categorical(size=3), after='s', duration=pg.Poisson(pg.param('r')[w]))" + END, pg.IntractableError, "'s'", "'w'", "explicit durations"),
    ("looking back outside a sequence", M + "pg.latent('s', pg.Categorical(size=2), after='s')", ERROR, "'s'", "pg.sequence"),
    ("looking back at an unknown node", T + "pg.latent('s', pg.Categorical(size=2), given=pg.prev('states'))", ERROR, "'s'", "'states'", "not declared"),
    ("looking back at a continuous node", T + "pg.observed('x', pg.Normal(), given=pg.prev('x'))", ERROR, "'x'", "continuous"),
    ("a lag of zero", T + "pg.prev('s', 0)", ERROR, "'0'", "lag"),
    ("looking back inside a plate inside a sequence", T + "\n with pg.plate('p', size=2): pg.latent('s', pg.Categorical(size=2), after='s')", ERROR, "'s'", "plate inside a sequence", "put the plate outside"),
    # expressions
    ("an unbounded latent", M + "pg.latent('f', pg.Poisson())" + END, pg.IntractableError, "'f'", "Poisson", "infinitely many", "pg.latent('f', pg.Normal())"),
    ("an array times a parameter", M + "pg.observed('y', pg.Normal(mean=np.ones(3) @ pg.param('a')))", ERROR, "y.mean", "table"),
    ("a product of parameters", M + "pg.observed('y', pg.Normal(mean=pg.param('a') * pg.param('b')))", ERROR, "y.mean", "two parameters", "'a'", "'b'"),
    ("a product of nodes", M + "f = pg.latent('f', pg.Normal(0.0, 1.0)); g = pg.latent('g', pg.Normal(0.0, 1.0)); pg.observed('y', pg.Normal(mean=f * g))", ERROR, "y.mean", "two nodes", "'f'", "'g'"),
    ("a sum below the line", M + "x = pg.covariate('x'); pg.observed('y', pg.Normal(mean=pg.param('a') / (x + 1.0)))", ERROR, "y.mean", "divides by a sum"),
    ("a parameter below the line", M + "x = pg.covariate('x'); pg.observed('y', pg.Normal(mean=x / pg.param('a')))", ERROR, "y.mean", "divides by a parameter"),
    ("a parameter without a name in an expression", M + "x = pg.covariate('x'); pg.observed('y', pg.Normal(mean=pg.param() * x))", ERROR, "y.mean", "no name"),
    ("a sum as a variance", M + "x = pg.covariate('x'); pg.observed('y', pg.Normal(var=pg.param('a') * x + 1.0))", ERROR, "y.var", "holds a sum"),
    ("an expression in a known slot", M + "x = pg.covariate('x'); pg.observed('y', pg.Binomial(trials=2 * x))", ERROR, "y.trials", "never estimated"),
    ("an expression in a family without linear mean", M + "x = pg.covariate('x'); pg.observed('y', pg.LogNormal(mean=pg.param('a') * x))" + END, ERROR, "'y'", "LogNormal", "linear mean"),
    ("a contraction with what is not known to be a vector", M + "w = pg.covariate('w'); b = pg.latent('b', pg.MvNormal(size=2)); pg.observed('y', pg.Normal(mean=w @ b))" + END, ERROR, "y.mean", "'w'", "'b'", "compile with data"),
    ("a word in an expression", M + "pg.observed('y', pg.Normal(mean=pg.param('a') + 'b'))", ERROR, "y.mean", "'b'"),
    ("a covariate of an inner scope", M + "\n with pg.plate('p'): x = pg.covariate('x')\n pg.observed('y', pg.Normal(mean=pg.param('a') * x))", ERROR, "'y'", "'x'", "'p'"),
    ("a category in a mean", M + "f = pg.latent('f', pg.Categorical(size=2)); pg.observed('y', pg.Normal(mean=f))" + END, ERROR, "'y'", "'f'", "categories", "pg.param('effect')[f]"),
)  # fmt: skip
def test_is_refused(case: Case) -> None:
    check(case)


@cases(
    ("twenty coupled latents", "; ".join(f"a{k} = pg.latent('a{k}', pg.Categorical(size=3))" for k in range(15)) + "; pg.observed('x', pg.Bernoulli(), given=[" + ", ".join(f"a{k}" for k in range(15)) + "])", pg.IntractableError, "'a0'", "'a14'", "14,348,907", "1,000,000", "pg.observed(\"x\", pg.Bernoulli"),
    ("one latent of many values", "z = pg.latent('z', pg.Categorical(size=2_000_000)); pg.observed('x', pg.Bernoulli(), given=z)", pg.IntractableError, "'z'", "2,000,000", "pg.latent(\"z\", pg.Categorical(size=1000000))"),
)  # fmt: skip
def test_a_clique_beyond_the_limit_is_refused(case: Case) -> None:
    check(case._replace(code=M + case.code + END))


def with_gate(model: pg.Model, name: str, gate: str) -> ModelRecord:
    """The record of a model with another gate of one node, as it might stand in a file."""
    record = model.record
    nodes = {node.name: node for node in record.nodes}
    slots = {k: replace(s, gates=(Gate("node", gate),)) for k, s in nodes[name].leaf.slots.items()}
    nodes[name] = replace(nodes[name], components=(replace(nodes[name].leaf, slots=slots),))
    return replace(record, nodes=tuple(nodes.values()))


@pytest.mark.parametrize(
    ("gate", "words"), [("b", ("circle", "'a", "prev")), ("c", ("'a'", "'c'", "not part"))]
)
def test_a_record_that_does_not_fit_is_refused(gate: str, words: tuple[str, ...]) -> None:
    with pg.Model("pair") as model:
        a = pg.latent("a", pg.Categorical(size=2))
        pg.latent("b", pg.Categorical(size=2), given=a)
    with pytest.raises(pg.DeclarationError) as caught:
        build_graph(with_gate(model, "a", gate), model.families)
    for word in words:
        assert word in str(caught.value)
