"""The listing: instructions printed as the Python that runs."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pgem.analyse import (
    Analysis,
    Block,
    Collect,
    Eliminate,
    Factor,
    ParamLayout,
    Scan,
    Var,
    is_axis,
)
from pgem.analyse.blocks import ECM, NUMERIC
from pgem.declare import UNIT, Gate, SlotRecord
from pgem.graph import Component

RESERVED = {"data", "params", "stats", "semiring", "answers", "weight", "log_p", "new", "np"}
ROUTINES = (
    "Axis", "Learned", "at", "choose", "climb", "collect", "density", "estimate", "evidence",
    "keep", "maximise", "pick", "query", "scan", "spread", "steps", "sweeps", "table", "total",
)  # fmt: skip


class Names:
    """Python identifiers for nodes, tables and posteriors; no two the same."""

    def __init__(self) -> None:
        self.taken = {*RESERVED, *ROUTINES}
        self.given: dict[Any, str] = {}

    def __call__(self, wanted: str, thing: Any = None) -> str:
        """The identifier of `thing`, made from `wanted` on first use."""
        key = wanted if thing is None else thing
        if key not in self.given:
            name = wanted.replace(".", "_").replace(" ", "_")
            if keyword.iskeyword(name):
                name += "_"
            while name in self.taken:
                name += "_"
            self.taken.add(name)
            self.given[key] = name
        return self.given[key]


class Writer:
    """Turns an analysis into source text."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.graph, self.layout = analysis.graph, analysis.layout
        self.positions = analysis.schedule.positions
        self.names = Names()
        self.lines: list[str] = []
        self.loads: dict[str, str] = {}
        self.posterior: dict[Factor, str] = {}
        self.axis_names = {var: self.names(_constant_name(var), ("axis", var)) for var in
                           sorted(self.positions, key=self.positions.__getitem__)}

    # --- the module ---------------------------------------------------------------------------

    def module(self) -> str:
        """The whole listing."""
        body = self.e_step() + ["", "", *self.m_step()]
        used = [name for name in ROUTINES if any(f"{name}(" in line for line in body)]
        used = sorted({*used, "Learned", *(["Axis"] if self.positions else [])})
        roles = sorted({p.role.__class__.__name__.upper() for p in self.free_params()})
        head = [f'"""EM for the model \'{self.graph.name}\', derived by pgem.', "",
                *self.factorisation(), '"""', ""]
        if any("np." in line for line in [*body, *self.constants()]):
            head += ["import numpy as np", ""]
        if roles:
            head += [f"from pgem.families._roles import {', '.join(roles)}"]
        head += [*_import("pgem.routines", used), ""]
        return "\n".join([*head, *self.constants(), "", "", *body]) + "\n"

    def factorisation(self) -> list[str]:
        """p(x, z) as a product, one line per node."""
        return [f"    {_conditional(self, node)}" for node in self.graph.nodes]

    def constants(self) -> list[str]:
        """Axes, known tables, what every slot reads, and the parameters to be learned."""
        lines = []
        for var, name in self.axis_names.items():
            size = self.layout.sizes[var.node]
            lines.append(f'{name} = Axis({self.positions[var]}, {size}, "{var}")')
        fixed = {
            f"{key}.{slot_name}": slot.value
            for key, settled in self.layout.components.items()
            for slot_name, slot in settled.component.leaf.slots.items()
            if slot.kind == "constant" and slot_name not in settled.family.known_slots
            or slot.kind == "constant" and slot.gates
        }
        if fixed:
            lines += ["CONSTANTS = {", *(f'    "{k}": {_array(v)},' for k, v in fixed.items()), "}"]
        lines += ["READS = {"]
        for key, settled in self.layout.components.items():
            reads = {
                n: s.name for n, s in settled.component.leaf.slots.items() if s.kind == "param"
            }
            if reads:
                lines.append(f'    "{key}": {_mapping(reads)},')
        lines += ["}", "LEARNED = {"]
        for param in self.free_params():
            lines += [f'    "{param.name}": {line}' for line in [self.learned(param)]]
        return [*lines, "}"]

    def free_params(self) -> list[ParamLayout]:
        """Parameters that the M-step solves, in order of declaration."""
        return [p for p in self.layout.params.values() if p.is_free and p.uses]

    def learned(self, param: ParamLayout) -> str:
        """The `Learned` record of a parameter."""
        mask = (
            f"np.array({param.fixed.tolist()})"
            if param.fixed.any()
            else f"np.zeros({param.shape}, dtype=bool)"
        )
        uses = ", ".join(f'("{key}", "{slot}")' for key, slot in param.uses)
        cancels = any(param.name in block.cancels for block in self.analysis.blocks)
        role = param.role.__class__.__name__.upper()
        return (
            f'Learned("{param.name}", {role}, {param.n_gates}, {mask}, ({uses},), {cancels}),'
        )

    # --- E-step -------------------------------------------------------------------------------

    def e_step(self) -> list[str]:
        """The E-step of one shard."""
        schedule = self.analysis.schedule
        last = None
        for factor in schedule.factors:
            if factor.scope != last:
                self.heading(factor.scope)
                last = factor.scope
            self.forward_factor(factor)
        for step in schedule.steps:
            self.forward_step(step)
        self.say("the log-likelihood of every unit")
        roots = "".join(f", {self.table_name(f)}" for f in schedule.roots)
        self.put(f"log_p = total(data.n_units{roots})", "[n]")
        self.lines.append("")
        self.say("posteriors and expected statistics, in reverse")
        for factor in schedule.roots:
            self.posterior[factor] = "weight"
        for step in reversed(schedule.steps):
            self.reverse_step(step)
        for factor in schedule.factors:
            if factor.kind == "node" and factor not in self.added:
                self.add_statistics(factor, summed=False)
            if factor.kind == "query":
                self.answer(factor)
        queries = ", answers" if self.analysis.schema.queries else ""
        signature = f"def e_step(data, params, stats, semiring{queries}):"
        text = '"""Add the expected statistics of one shard; return log p of every unit [n]."""'
        loads = [f"{name} = {code}" for name, code in self.loads.items()]
        weight = ["weight = data.weights  # [n, 1, ...]"]
        return [signature, *(f"    {line}".rstrip() for line in
                             [text, *loads, *weight, *self.lines, "return log_p"])]

    added: set[Factor]

    def heading(self, scope: str) -> None:
        """A comment line that opens a scope."""
        self.lines.append("")
        kind = self.graph.scopes[scope].kind
        self.say("every unit" if scope == UNIT else f"every {'step' if kind == 'sequence' else 'member'} of {scope}")

    def forward_factor(self, factor: Factor) -> None:
        """The table of a conditional, of evidence, or of a query."""
        if not hasattr(self, "added"):
            self.added = set()
        name = self.table_name(factor)
        shape = self.shape(factor)
        if factor.kind == "query":
            dims = self.n_dims(factor.scope)
            rows = "data.n_units" if factor.scope == UNIT else f"{self.scope(factor.scope)}.n_rows"
            axes = "".join(f", {self.axis_names[v]}" for v in self.ordered(factor.axes))
            self.put(f"{name} = query({rows}, {dims}{axes})", shape)
        elif factor.kind == "evidence":
            own = self.axis_names[Var(factor.node)]
            node = self.load(factor.node)
            self.put(f"{name} = evidence({node}, {own})", f"{shape} 0 where given, else -inf")
        else:
            self.put(f"{name} = {self.conditional(factor)}",
                     f"{shape} log {_conditional(self, factor.node)}")

    def conditional(self, factor: Factor) -> str:
        """The expression of a node's log-table."""
        node = self.graph.nodes[factor.node]
        steady = [self.leaf(component) for component in self.graph.leaves_of(node.name)]
        if node.switch is not None:
            gate = self.gate(node.switch, factor.scope)
            code = f"choose({gate}, {', '.join(steady)})"
        else:
            code = steady[0]
        if not node.lag():
            return code
        firsts = [self.leaf(component) for component in self.graph.firsts_of(node.name)]
        firsts = firsts or ["None"] * node.lag()
        return f"steps({self.scope(factor.scope)}.number, {', '.join([*firsts, code])})"

    def leaf(self, component: Component) -> str:
        """`density(...)` or `table(...)` of one component."""
        settled = self.layout.components[component.key]
        record = self.graph.nodes[component.node]
        slots = []
        for slot in settled.family.slots:
            written = component.leaf.slots[slot.name]
            if slot.name in settled.family.known_slots and not written.gates:
                if slot.name == "value":
                    slots.append(f"{slot.name}={self.slot(component, slot.name, written)}")
                continue
            slots.append(f"{slot.name}={self.slot(component, slot.name, written)}")
        node = self.load(component.key)
        arguments = ", ".join(slots)
        if is_axis(self.graph, self.analysis.schema, record.name):
            return f"table({node}, {self.axis_names[Var(record.name)]}, {arguments})"
        return f"density({node}, {arguments})" if arguments else f"density({node})"

    def slot(self, component: Component, slot_name: str, slot: SlotRecord) -> str:
        """`at(params, name, gates...)`."""
        scope = self.graph.nodes[component.node].scope
        gates = "".join(f", {self.gate(gate, scope)}" for gate in slot.gates)
        if slot.kind == "param":
            return f'at(params, "{slot.name}"{gates})'
        return f'at(CONSTANTS, "{component.key}.{slot_name}"{gates})'

    def gate(self, gate: Gate, scope: str) -> str:
        """An axis, an index or a pick."""
        if gate.kind == "constant":
            inner = "".join(f", {self.gate(part, scope)}" for part in gate.gates)
            return f"pick({_plain(gate.table)}{inner}, size={gate.size})"
        if gate.kind == "node" and is_axis(self.graph, self.analysis.schema, gate.name):
            return self.axis_names[Var(gate.name, gate.lag)]
        wanted = f"{'prev_' * gate.lag}{gate.name}"
        name = self.names(f"{wanted}_code", ("index", gate.name, gate.lag, scope))
        self.loads[name] = f'data.index("{gate.name}", "{scope}", {gate.lag})'
        return name

    def forward_step(self, step: Eliminate | Collect | Scan) -> None:
        """An elimination, a product over members, or a scan."""
        self.lines.append("")
        name = self.table_name(step.message)
        inputs = [self.table_name(f) for f in step.inputs]
        shape = self.shape(step.message)
        if isinstance(step, Eliminate):
            given = self.names(f"{_var_name(step.var)}_given", ("given", step.var))
            self.say(f"sum out {step.var}")
            axis = self.axis_names[step.var]
            self.put(f"{name}, {given} = semiring.eliminate({', '.join([axis, *inputs])})",
                     f"{shape}, {self.shape_of(step.clique, step.message.scope)}")
        elif isinstance(step, Collect):
            self.say(f"the product over {step.scope}")
            self.put(f"{name} = collect({', '.join([self.scope(step.scope), *inputs])})", shape)
        else:
            self.forward_scan(step, name, inputs, shape)

    def forward_scan(self, step: Scan, name: str, inputs: list[str], shape: str) -> None:
        chain = self.names(f"chain_{step.scope}", ("chain", step.scope))
        order = ", ".join(self.axis_names[v] for v in step.sum_out)
        shift = ", ".join(f"{self.axis_names[a]}: {self.axis_names[b]}"
                          for a, b in step.shift.items())
        outer = "".join(f"{self.axis_names[v]}, " for v in step.outer).rstrip(", ")
        self.say(f"along {step.scope}: sum out {', then '.join(map(str, step.sum_out))}; "
                 + ", ".join(f"{a} becomes {b}" for a, b in step.shift.items()))
        self.put(f"{chain} = scan(")
        self.put(f"    {self.scope(step.scope)}, semiring, [{', '.join(inputs)}],")
        tail = f", outer=[{outer}]" if outer else ""
        self.put(f"    sum_out=[{order}], shift={{{shift}}}{tail},")
        self.put(")")
        self.put(f"{name} = {chain}.message", shape)

    def reverse_step(self, step: Eliminate | Collect | Scan) -> None:
        """Posteriors of a step's inputs from that of its message."""
        incoming = self.posterior[step.message]
        if isinstance(step, Collect):
            name = self.names(f"post_{step.scope}", ("post", step))
            axes = step.message.axes
            self.put(f"{name} = spread({self.scope(step.scope)}, {incoming})",
                     self.shape_of(axes, step.scope))
            for factor in step.inputs:
                self.give(factor, name, axes)
        elif isinstance(step, Eliminate):
            given = self.names.given[("given", step.var)]
            name = self.names(f"post_{_clique_name(self.ordered(step.clique))}", ("post", step))
            text = ", ".join(str(v) for v in self.ordered(step.clique))
            self.put(f"{name} = {incoming} * {given}",
                     f"{self.shape_of(step.clique, step.message.scope)} p({text} | data)")
            for factor in step.inputs:
                self.give(factor, name, step.clique)
        else:
            self.reverse_scan(step, incoming)

    def reverse_scan(self, step: Scan, incoming: str) -> None:
        chain = self.names.given[("chain", step.scope)]
        names = [self.names(f"post_{self.table_name(f)}", ("post", step, f)) for f in step.inputs]
        self.put(f"{', '.join(names)}{',' if len(names) == 1 else ''} = {chain}.backward({incoming})",
                 "posterior of each table's axes")
        for k, (factor, name) in enumerate(zip(step.inputs, names, strict=True)):
            self.posterior[factor] = name
            if factor.kind == "node":
                self.add_statistics(factor, summed=f"{chain}.is_summed({k})")

    def give(self, factor: Factor, posterior: str, axes: Iterable[Var]) -> None:
        """Hand a posterior to an input: reduced to its axes, or turned into statistics."""
        gone = set(axes) - set(factor.axes)
        if gone:
            kept = "".join(f", {self.axis_names[v]}" for v in self.ordered(factor.axes))
            posterior = f"keep({posterior}{kept})"
        self.posterior[factor] = posterior
        if factor.kind == "node":
            self.add_statistics(factor, summed=False)

    def add_statistics(self, factor: Factor, summed: str | bool) -> None:
        """`stats.add(...)`."""
        self.added.add(factor)
        tail = f", summed={summed}" if summed else ""
        posterior = self.posterior.get(factor, "weight")
        self.put(f"stats.add({self.table_name(factor)}, {posterior}{tail})")

    def answer(self, factor: Factor) -> None:
        """Keep the posterior of a query."""
        self.put(f'answers["{factor.name}"] = {self.posterior[factor]}')

    # --- M-step -------------------------------------------------------------------------------

    def m_step(self) -> list[str]:
        """The M-step."""
        lines = [
            "def m_step(params, stats, empty):",
            '    """The parameters that maximise the expected complete-data log-likelihood."""',
            "    new = dict(params)",
        ]
        for block in self.analysis.blocks:
            lines += self.block(block)
        return [*lines, "    return new"]

    def block(self, block: Block) -> list[str]:
        """One block of parameters."""
        listed = ", ".join(block.params)
        lines = ["", f"    # {listed}: {block.rung}"]
        if block.joint is not None:
            return [*lines, f'    new |= estimate(stats, "{block.joint}", new, READS)']
        keys = "[" + ", ".join(f'"{key}"' for key in block.components) + "]"
        if block.rung == NUMERIC:
            learned = ", ".join(f'LEARNED["{name}"]' for name in block.params)
            return [*lines, f"    new |= climb(stats, {keys}, [{learned}], new, READS)"]
        solves = [
            f'new["{name}"] = maximise(stats, LEARNED["{name}"], new, READS, empty)'
            f"  # {self.layout.params[name].role.formula}"
            for name in block.params
        ]
        if block.rung == ECM:
            body = [f"        {line}" for line in solves]
            return [*lines, f"    for _ in sweeps(stats, {keys}, new, READS):", *body]
        return [*lines, *(f"    {line}" for line in solves)]

    # --- small things -------------------------------------------------------------------------

    def put(self, code: str, shape: str = "") -> None:
        """A line of code with a comment."""
        if not shape:
            self.lines.append(code)
        elif len(code) + len(shape) > 84:
            self.lines += [f"# {shape}", code]
        else:
            self.lines.append(f"{code}  # {shape}")

    def say(self, comment: str) -> None:
        """A comment line."""
        self.lines.append(f"# {comment}")

    def load(self, key: str) -> str:
        """The identifier of a component's data."""
        name = self.names(key, ("node", key))
        self.loads.setdefault(name, f'data["{key}"]')
        return name

    def scope(self, scope: str) -> str:
        """The identifier of a plate's or sequence's rows."""
        name = self.names(scope, ("scope", scope))
        self.loads.setdefault(name, f'data.scope("{scope}")')
        return name

    def table_name(self, factor: Factor) -> str:
        """The identifier of a log-table."""
        wanted = f"log_{factor.name}" if factor.kind == "node" else factor.name
        return self.names(wanted, factor)

    def ordered(self, axes: Iterable[Var]) -> list[Var]:
        """Variables by axis number."""
        return sorted(axes, key=self.positions.__getitem__)

    def n_dims(self, scope: str) -> int:
        """Dimensions of a table of a scope."""
        return n_dims(self.analysis, scope)

    def shape(self, factor: Factor) -> str:
        """The shape of a table, for comments."""
        return self.shape_of(factor.axes, factor.scope)

    def shape_of(self, axes: Iterable[Var], scope: str) -> str:
        """Rows and axes (axes of size 1 are left out)."""
        rows = "n" if scope == UNIT else scope
        return "[" + ", ".join([rows, *(str(v) for v in self.ordered(axes))]) + "]"


def n_dims(analysis: Analysis, scope: str) -> int:
    """Dimensions of a table of a scope: rows, then every variable of the scopes around it."""
    path = analysis.graph.path(scope)
    variables = [v for v in analysis.schedule.positions if analysis.graph.nodes[v.node].scope in path]
    return 1 + len(variables)


def _conditional(writer: Writer, node: str) -> str:
    gates = ", ".join(str(g) for g in writer.graph.nodes[node].gates())
    return f"p({node} | {gates})" if gates else f"p({node})"


def _constant_name(var: Var) -> str:
    return ("PREV_" if var.lag else "") + var.node.upper() + (f"_{var.lag}" if var.lag > 1 else "")


def _var_name(var: Var) -> str:
    return var.node + (f"_{var.lag}" if var.lag else "")


def _clique_name(clique: Sequence[Var]) -> str:
    name = "_".join(_var_name(v) for v in clique)
    return name if len(name) < 30 else f"clique_{_var_name(clique[0])}"


def _array(value: Any) -> str:
    return f"np.array({np.asarray(value).tolist()})"


def _plain(value: Any) -> str:
    return repr(np.asarray(value).tolist())


def _mapping(values: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{k}": "{v}"' for k, v in values.items()) + "}"


def _import(module: str, names: Sequence[str]) -> list[str]:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= 100:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in names), ")"]
