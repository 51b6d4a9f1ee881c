r"""The symbols of a derivation: a letter per scope's index, a letter per node's value.

`x_{n,i}` is node `x` of member `i` of unit `n`; `k` stands for a value of a latent node, `k'` for
its value one step earlier; parameters keep their public names, `\texttt{x.mean}[k]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pgem.analyse import Analysis, Var, is_axis
from pgem.declare import UNIT, Gate, NodeRecord
from pgem.plan.latex import letters_of

INDEX_LETTERS = "ijlhquvw"
VALUE_LETTERS = "kljhqucdefgw"
DATA = r"\mathcal{D}"

Times = Mapping[str, str]
"""Sequence → the step that is meant (`t` where nothing is said)."""


class Notation:
    """Symbols of one model; no two the same."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.graph = analysis, analysis.graph
        self.names = {name: symbol_of(name) for name in [*self.graph.nodes, *self.graph.covariates]}
        self.taken = {symbol for symbol in self.names.values() if len(symbol) == 1}
        self.indices = {UNIT: self._fresh("nmu")}
        for name, scope in self.graph.scopes.items():
            if name == UNIT:
                continue
            own = name if len(name) == 1 else ""
            self.indices[name] = self._fresh(
                own + ("t" if scope.kind == "sequence" else "") + INDEX_LETTERS
            )
        self.values = {
            name: self._fresh(VALUE_LETTERS)
            for name in [*self.graph.nodes, *self.graph.covariates]
            if name in self.graph.covariates or self.graph.is_finite(name)
        }

        self.segments = {
            name: (self._fresh("ghiuvw"), self._fresh("duvw"))
            for name, node in self.graph.nodes.items()
            if node.duration is not None
        }

    def _fresh(self, wanted: str) -> str:
        for letter in wanted:
            if letter not in self.taken:
                self.taken.add(letter)
                return letter
        self.taken.add(spare := f"k_{{{len(self.taken)}}}")
        return spare

    def is_latent(self, gate: Gate) -> bool:
        """Whether a gate is summed over."""
        return gate.kind == "node" and is_axis(self.graph, self.analysis.schema, gate.name)

    # --- variables ----------------------------------------------------------------------------

    def variable(
        self, name: str, lag: int = 0, *, unit: bool = True, times: Times | None = None
    ) -> str:
        """A node or covariate with its indices: `s_{n,t-1}`."""
        home = (self.graph.nodes.get(name) or self.graph.covariates[name]).scope
        places = [self.place(s, lag if s == home else 0, times) for s in self.graph.path(home)]
        marks = places if unit else places[1:]
        return self.names[name] + (f"_{{{','.join(marks)}}}" if marks else "")

    def place(self, scope: str, lag: int = 0, times: Times | None = None) -> str:
        """The index of a scope, some steps back; in a tree `pa(i)`, the parent's."""
        letter = (times or {}).get(scope, self.indices[scope])
        if not lag:
            return letter
        if self.graph.scopes[scope].kind == "tree":
            return rf"\text{{pa}}({letter})"
        return str(int(letter) - lag) if letter.isdigit() else f"{letter}-{lag}"

    def gate(self, gate: Gate, *, unit: bool = True, times: Times | None = None) -> str:
        """What stands between the brackets of a parameter: a variable, an index, a table."""
        if gate.kind == "plate":
            return self.indices[gate.name]
        if gate.kind == "constant":
            inner = ",".join(self.gate(g, unit=unit, times=times) for g in gate.gates)
            return rf"\text{{table}}({inner})"
        return self.variable(gate.name, gate.lag, unit=unit, times=times)

    def var(self, var: Var, times: Times | None = None) -> str:
        """A variable of the posterior, of one unit whose index is left out."""
        return self.variable(var.node, var.lag, unit=False, times=times)

    def variables(self, axes: Iterable[Var], times: Times | None = None) -> str:
        """A list of variables by axis number."""
        positions = self.analysis.schedule.positions
        return ", ".join(self.var(v, times) for v in sorted(axes, key=positions.__getitem__))

    def value(self, gate: Gate) -> str:
        """The letter of a gate's value; a prime for each step back."""
        if gate.kind == "plate":
            return self.indices[gate.name]
        return self.values[gate.name] + "'" * gate.lag

    # --- conditionals -------------------------------------------------------------------------

    def conditional(
        self, node: str, *, unit: bool = True, times: Times | None = None, most_lag: int = 99
    ) -> str:
        """`p(x_n | z_n)`, with the gates that look back at most `most_lag` steps."""
        own = self.variable(node, unit=unit, times=times)
        given = self.givens(node, unit=unit, times=times, most_lag=most_lag)
        return f"p({own} \\mid {given})" if given else f"p({own})"

    def givens(
        self, node: str, *, unit: bool = True, times: Times | None = None, most_lag: int = 99
    ) -> str:
        """Gates, parents and covariates of a node as a list of variables."""
        record = self.graph.nodes[node]
        gates = record.steady_gates() if most_lag == 99 else record.gates()
        pairs = [(g.name, g.lag) for g in gates if g.kind != "plate"]
        pairs += [*record.parents(), *((name, 0) for name in covariates_of(record))]
        return ", ".join(
            self.variable(name, lag, unit=unit, times=times)
            for name, lag in dict.fromkeys(pairs)
            if lag <= most_lag
        )

    def parameter(self, name: str, inside: Sequence[str] = ()) -> str:
        """A parameter by its public name, with what indexes it."""
        return rf"\texttt{{{escape(name)}}}" + (f"[{', '.join(inside)}]" if inside else "")

    # --- sums ---------------------------------------------------------------------------------

    def indices_of(self, scope: str, without: Iterable[str] = ()) -> list[str]:
        """The indices of a scope's rows, outermost first, some left out."""
        return [self.indices[s] for s in self.graph.path(scope) if s not in set(without)]

    def data(self) -> str:
        """Everything observed of unit n."""
        return f"{DATA}_{{{self.indices[UNIT]}}}"


def covariates_of(node: NodeRecord) -> list[str]:
    """Covariates that are multiplied into the slots of a node."""
    times = [s.times for leaf in node.components for s in leaf.slots.values() if s.times]
    return list(dict.fromkeys(name for t in times for name in (*t.covariates, *t.over)))


def symbol_of(name: str) -> str:
    """A node as a symbol: single letters as they are, longer names upright."""
    return name if len(name) == 1 else rf"\mathrm{{{escape(name)}}}"


def escape(name: str) -> str:
    """A name inside LaTeX text."""
    return name.replace("_", r"\_")


def avoid(letter: str, taken: Iterable[str]) -> str:
    """A letter, or the next free one of the pool."""
    taken = set(taken)
    if letter not in taken:
        return letter
    return next((other for other in VALUE_LETTERS if other not in taken), f"{letter}''")


def clashes(formula: str, symbols: Iterable[str]) -> bool:
    """Whether a formula uses one of these letters for something of its own."""
    return bool((letters_of(formula) - {"x"}) & set(symbols))
