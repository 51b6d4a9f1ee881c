"""The E-step as text: tables and eliminations forward, posteriors and statistics in reverse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

import numpy as np

from pgem.analyse import (
    Analysis,
    Climb,
    Collect,
    Eliminate,
    Factor,
    Region,
    Scan,
    Segments,
    Var,
    is_axis,
)
from pgem.declare import UNIT, Gate, NodeRecord, SlotRecord
from pgem.graph import Component
from pgem.plan.naming import WIDTH, Names, axis_name, call, clique_name, var_name

CONDITIONALS = ("node", "region", "conjugate")
"""Kinds of factors that are densities, and lead to statistics."""


class EStepWriter:
    """Writes the E-step of one analysis."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.graph, self.layout = analysis.graph, analysis.layout
        self.positions = analysis.schedule.positions
        self.names = Names()
        self.body: list[str] = []
        self.loads: dict[str, str] = {}
        self.posterior: dict[Factor, str] = {}
        self.axis_names = {
            var: self.names(axis_name(var), ("axis", var)) for var in self.ordered(self.positions)
        }

    def lines(self) -> list[str]:
        """The function."""
        schedule = self.analysis.schedule
        last = None
        for factor in schedule.factors:
            if factor.scope != last:
                self.heading(factor.scope)
                last = factor.scope
            self.table(factor)
        for step in schedule.steps:
            self.forward(step)
        self.body.append("")
        self.say("the log-likelihood of every unit")
        roots = [self.table_name(f) for f in schedule.roots]
        self.put("log_p", "total", ["data.n_units", *roots], "[n]")
        self.body += ["", "# in reverse: posteriors and expected statistics"]
        forward = len(self.body)
        self.reverse()
        if len(self.body) == forward:
            del self.body[-2:]
        queries = ", answers" if self.analysis.schema.queries else ""
        text = '"""Add the expected statistics of one shard; return log p of every unit [n]."""'
        loads = [f"{name} = {code}" for name, code in self.loads.items()]
        weight = "weight = data.weights  # [n, 1, ...]"
        lines = [text, *loads, weight, *self.body, "return log_p"]
        head = f"def e_step(data, params, stats, semiring{queries}):"
        return [head, *(f"    {line}".rstrip() for line in lines)]

    # --- tables -------------------------------------------------------------------------------

    def heading(self, scope: str) -> None:
        """A comment line that opens a scope."""
        kind = self.graph.scopes[scope].kind
        words = {"unit": "every unit", "sequence": f"every step of {scope}"}
        self.body.append("")
        self.say(words.get(kind, f"every member of {scope}"))

    def table(self, factor: Factor) -> None:
        """The table of a conditional, of evidence, or of a query."""
        name, shape = self.table_name(factor), self.shape_of(factor.axes, factor.scope)
        if factor.kind == "query":
            rows = "data.n_units" if factor.scope == UNIT else f"{self.scope(factor.scope)}.n_rows"
            axes = [self.axis_names[v] for v in self.ordered(factor.axes)]
            dims = str(n_dims(self.analysis, factor.scope))
            self.put(name, "query", [rows, dims, *axes], f"{shape} zeros")
        elif factor.kind == "region":
            self.region(factor, name, shape)
        elif factor.kind == "stretch":
            self.stretches(factor, name)
        elif factor.kind == "conjugate":
            self.conjugate(factor, name, shape)
        elif factor.kind == "evidence":
            own = self.axis_names[Var(factor.node)]
            arguments = [self.load(factor.node), own]
            self.put(name, "evidence", arguments, f"{shape} 0 where given, else -inf")
        else:
            routine, arguments = self.conditional(factor)
            self.put(name, routine, arguments, f"{shape} log {self.conditional_name(factor.node)}")

    def region(self, factor: Factor, name: str, shape: str) -> None:
        """The table of Gaussian nodes that are integrated out together."""
        region = next(r for r in self.analysis.regions if r.name == factor.node)
        data = self.names(f"{region.name}_region", ("region", region.name))
        self.loads.setdefault(data, f'data.region("{region.name}")')
        axes = ", ".join(self.axis_names[v] for v in self.ordered(factor.axes))
        seen = [n for n in region.nodes if self.graph.nodes[n].kind == "observed"]
        given = " | " + ", ".join(map(str, self.ordered(factor.axes))) if factor.axes else ""
        along = f", all along {region.chain}" if region.chain else ""
        along += f", where holes of {region.around} tie no steps together" if region.around else ""
        self.say(
            f"{shape} log p({', '.join(seen)}{given}), {', '.join(region.random)} integrated out"
            + along
        )
        parts = [data, f"[{axes}]", *self.gaussians(region)]
        self.body += [f"{name} = integrate(", *(f"    {part}" for part in _with_commas(parts)), ")"]

    def stretches(self, factor: Factor, name: str) -> None:
        """Tables of the stretches of a sequence that holes tie together."""
        region = next(r for r in self.analysis.regions if r.name == factor.node)
        data = self.names(f"{region.name}_stretches", ("stretches", region.name))
        self.loads.setdefault(data, f'data.stretches("{region.name}")')
        nodes = [n.name for n in self.graph.nodes_of(region.chain)]
        own = [v for v in self.ordered(self.positions) if v.node in nodes]
        by_lag = [
            ", ".join(self.axis_names[v] for v in reversed(own) if v.node == node)
            for node in dict.fromkeys(v.node for v in own)
        ]
        given = ", ".join(map(str, self.ordered(factor.axes)))
        self.say(
            f"where holes tie steps together: log p({', '.join(region.nodes)} | all {given} there)"
        )
        parts = [data, f"[{', '.join(f'[{axes}]' for axes in by_lag)}]", *self.gaussians(region)]
        self.body += [f"{name} = stretches(", *(f"    {part}" for part in _with_commas(parts)), ")"]

    def gaussians(self, region: Region) -> list[str]:
        """All conditionals of a region, in order of declaration."""
        own = [c.node for c in self.graph.components.values() if c.node in region.nodes]
        return [text for name in dict.fromkeys(own) for text in self.gaussians_of(name)]

    def gaussians_of(self, name: str) -> list[str]:
        """The conditionals of a node of a region: those of a switch together."""
        leaves = [self.gaussian(component) for component in self.graph.leaves_of(name)]
        switch, scope = self.graph.nodes[name].switch, self.graph.nodes[name].scope
        if switch is not None:
            leaves = [nested_call("switched", [self.gate(switch, scope), *leaves])]
        return leaves + [self.gaussian(component) for component in self.graph.firsts_of(name)]

    def conjugate(self, factor: Factor, name: str, shape: str) -> None:
        """The table of a latent that is integrated out under conjugate children."""
        block = next(c for c in self.analysis.conjugates if c.name == factor.node)
        given = " | " + ", ".join(map(str, self.ordered(factor.axes))) if factor.axes else ""
        self.say(f"{shape} log p({', '.join(block.children)}{given}), {block.name} integrated out")
        parts = [self.beside(self.graph.nodes[block.name], "prior")]
        parts += self.messages(block.children, block.home)
        self.body += [f"{name} = conjugate(", *(f"    {part}" for part in _with_commas(parts)), ")"]

    def messages(self, children: Iterable[str], home: str) -> list[str]:
        """What the children in a scope, and those in the scopes inside, say of a latent."""
        nodes = [self.graph.nodes[name] for name in children]
        found = [self.beside(node, "message") for node in nodes if node.scope == home]
        for scope in self.graph.children(home):
            below = [n.name for n in nodes if scope in self.graph.path(n.scope)]
            if below:
                inner = [self.scope(scope), *self.messages(below, scope)]
                found.append(nested_call("inside", inner))
        return found

    def beside(self, node: NodeRecord, routine: str) -> str:
        """A latent or what a child says of it: its component, or what picks it."""
        leaves = [self.part(routine, component) for component in self.graph.leaves_of(node.name)]
        steady = leaves[0]
        if node.switch is not None:
            steady = nested_call("either", [self.gate(node.switch, node.scope), *leaves])
        if not node.lag():
            return steady
        firsts = [self.part(routine, component) for component in self.graph.firsts_of(node.name)]
        numbered = [self.step_number(node.scope), *(firsts or ["None"] * node.lag())]
        return nested_call("staged", [*numbered, steady])

    def step_number(self, scope: str) -> str:
        """The number of each step from 0, or in a tree that of each member's ancestors."""
        number = "depth" if self.graph.scopes[scope].kind == "tree" else "number"
        return f"{self.scope(scope)}.{number}"

    def part(self, routine: str, component: Component) -> str:
        """`prior(u, shape=...)` or `message(x, rate=...)`."""
        slots = [
            f"{name}={self.multiplied(component, name, slot)}"
            for name, slot in component.leaf.slots.items()
            if slot.kind != "covariate"
        ]
        return "\n".join(call(routine, [self.load(component.key), *slots]))

    def multiplied(self, component: Component, name: str, slot: SlotRecord) -> str:
        """A slot, with the latent that multiplies it, divides it, or is all of it."""
        latent = slot.times.parent if slot.times else ""
        if latent not in {c.name for c in self.analysis.conjugates}:
            return self.slot(component, name, slot)
        if is_whole(slot):
            return self.load(latent)
        routine = "over" if slot.times and slot.times.inverse else "times"
        return f"{routine}({self.slot(component, name, slot)}, {self.load(latent)})"

    def gaussian(self, component: Component) -> str:
        """One conditional of a region."""
        arguments = [self.load(component.key)]
        for name, slot in component.leaf.slots.items():
            arguments.append(f"{name}={self.slot(component, name, slot)}")
        return "\n".join(call("gaussian", arguments))

    def conditional(self, factor: Factor) -> tuple[str, list[str]]:
        """Routine and arguments of a node's log-table."""
        node = self.graph.nodes[factor.node]
        leaves = [self.leaf(component) for component in self.graph.leaves_of(node.name)]
        routine, arguments = leaves[0]
        if node.switch is not None:
            parts = [f"{r}({', '.join(a)})" for r, a in leaves]
            routine, arguments = "choose", [self.gate(node.switch, factor.scope), *parts]
        if not node.lag():
            return routine, arguments
        firsts = [self.leaf(component) for component in self.graph.firsts_of(node.name)]
        parts = [f"{r}({', '.join(a)})" for r, a in firsts] or ["None"] * node.lag()
        steady = f"{routine}({', '.join(arguments)})"
        return "steps", [self.step_number(factor.scope), *parts, steady]

    def leaf(self, component: Component) -> tuple[str, list[str]]:
        """`density(...)` or `table(...)` of one component."""
        arguments = [self.load(component.key)]
        axis = is_axis(self.graph, self.analysis.schema, component.node)
        if axis:
            arguments.append(self.axis_names[Var(component.node)])
        return "table" if axis else "density", arguments + self.slots(component)

    def slots(self, component: Component) -> list[str]:
        """`name=at(...)` of every slot."""
        return [
            f"{name}={self.slot(component, name, slot)}"
            for name, slot in component.leaf.slots.items()
            if slot.kind != "covariate"
        ]

    def slot(self, component: Component, slot_name: str, slot: SlotRecord) -> str:
        """`at(params, name, gates...)`."""
        scope = self.graph.nodes[component.node].scope
        if slot.kind == "stationary":
            steady = self.graph.components[component.node]
            table = self.slot(steady, slot_name, steady.leaf.slots[slot_name])
            prev = self.gate(Gate("node", component.node, 1), scope)
            return f"stationary({table}, {prev})"
        gates = "".join(f", {self.gate(gate, scope)}" for gate in slot.gates)
        if slot.kind == "param":
            return f'at(params, "{slot.name}"{gates})'
        return f'at(CONSTANTS, "{component.key}.{slot_name}"{gates})'

    def gate(self, gate: Gate, scope: str) -> str:
        """An axis, an index or a pick."""
        if gate.kind == "constant":
            inner = "".join(f", {self.gate(part, scope)}" for part in gate.gates)
            return f"pick({np.asarray(gate.table).tolist()}{inner}, size={gate.size})"
        if gate.kind == "node" and is_axis(self.graph, self.analysis.schema, gate.name):
            return self.axis_names[Var(gate.name, gate.lag)]
        wanted = f"{'prev_' * gate.lag}{gate.name}_code"
        name = self.names(wanted, ("index", gate.name, gate.lag, scope))
        self.loads[name] = f'data.index("{gate.name}", "{scope}", {gate.lag})'
        return name

    # --- forward ------------------------------------------------------------------------------

    def forward(self, step: Eliminate | Collect | Scan) -> None:
        """An elimination, a product over members, or a scan."""
        self.body.append("")
        name = self.table_name(step.message)
        inputs = [self.table_name(f) for f in step.inputs]
        shape = self.shape_of(step.message.axes, step.message.scope)
        if is_last(step, self.analysis):
            (var,) = step.clique
            self.say(f"sum out {var}, and add what p({var} | data) adds to the statistics")
            arguments = [self.axis_names[var], "weight", "stats", "semiring", *inputs]
            self.put(name, "sum_out", arguments, shape)
        elif isinstance(step, Eliminate):
            given = self.names(f"{var_name(step.var)}_given", ("given", step.var))
            self.say(f"sum out {step.var}: the message, and p({step.var} | the others)")
            arguments = [self.axis_names[step.var], *inputs]
            shapes = f"{shape}, {self.shape_of(step.clique, step.message.scope)}"
            self.put(f"{name}, {given}", "semiring.eliminate", arguments, shapes)
        elif isinstance(step, Collect):
            self.say(f"the product over {step.scope}")
            self.put(name, "collect", [self.scope(step.scope), *inputs], shape)
        elif isinstance(step, Segments):
            self.forward_segments(step, name, inputs, shape)
        else:
            self.forward_scan(step, name, inputs, shape)

    def forward_segments(self, step: Segments, name: str, inputs: list[str], shape: str) -> None:
        """A sequence of segments."""
        lasting = self.graph.components[step.duration]
        scope, table = self.scope(step.scope), self.duration_name(step)
        self.say(
            f"log p(a segment of {step.state} lasts d steps) and log p(at least d), d = 1, 2, …"
        )
        self.put(table, "durations", [self.load(lasting.key), scope, *self.slots(lasting)], "")
        self.say(f"along {step.scope}: sum out where segments begin, and {step.state} in each;")
        self.say("the end of the sequence may cut the last one off")
        arguments = [scope, "semiring", inputs[0], f"[{', '.join(inputs[1:])}]", table]
        arguments += [self.axis_names[step.shift[step.state]], self.axis_names[step.state]]
        if step.outer:
            arguments.append(f"outer=[{', '.join(self.axis_names[v] for v in step.outer)}]")
        arguments += self.tied_steps(step)
        chain = self.names(f"chain_{step.label}", ("chain", step))
        self.put(chain, "segments", arguments, "")
        self.body.append(f"{name} = {chain}.message  # {shape}")

    def duration_name(self, step: Segments) -> str:
        """The identifier of a chain's log-probabilities of durations."""
        return self.names(f"log_{step.duration}", ("durations", step))

    def forward_scan(self, step: Scan, name: str, inputs: list[str], shape: str) -> None:
        """A sequence or tree."""
        climbs = isinstance(step, Climb)
        chain = self.names(f"{'tree' if climbs else 'chain'}_{step.label}", ("chain", step))
        order = ", ".join(self.axis_names[v] for v in step.sum_out)
        pairs = [f"{self.axis_names[a]}: {self.axis_names[b]}" for a, b in step.shift.items()]
        renamed = ", ".join(f"{a} becomes {b}" for a, b in step.shift.items())
        arguments = [
            self.scope(step.scope),
            "semiring",
            f"[{', '.join(inputs)}]",
            f"sum_out=[{order}]",
            f"shift={{{', '.join(pairs)}}}",
        ]
        if step.outer:
            arguments.append(f"outer=[{', '.join(self.axis_names[v] for v in step.outer)}]")
        arguments += self.tied_steps(step)
        names = ", then ".join(map(str, step.sum_out))
        if climbs:
            self.say(f"up {step.scope}, the children's messages times the tables: sum out {names};")
            self.say(f"at the parent {renamed}")
        else:
            self.say(f"along {step.scope}: sum out {names};")
            self.say(f"then {renamed}")
        self.put(chain, "tree" if climbs else "scan", arguments, "")
        self.body.append(f"{name} = {chain}.message  # {shape}")

    def tied_steps(self, step: Scan) -> list[str]:
        """The tables over several steps of a sequence."""
        tied = ", ".join(self.table_name(f) for f in step.stretches)
        return [f"stretches=[{tied}]"] if tied else []

    # --- reverse ------------------------------------------------------------------------------

    def reverse(self) -> None:
        """Posteriors of every table, and what they add to."""
        schedule = self.analysis.schedule
        for factor in schedule.roots:
            self.give(factor, "weight", ())
        for step in reversed(schedule.steps):
            self.reverse_step(step)
        for factor in schedule.factors:
            if factor.kind == "query":
                self.body.append(f'answers["{factor.name}"] = {self.posterior[factor]}')

    def reverse_step(self, step: Eliminate | Collect | Scan) -> None:
        """Posteriors of a step's inputs from that of its message."""
        if is_last(step, self.analysis) or step.message not in self.posterior:
            return  # `sum_out` has added what its tables tell
        incoming = self.posterior[step.message]
        if isinstance(step, Collect):
            name = self.names(f"post_{step.scope}", ("post", step))
            shape = self.shape_of(step.message.axes, step.scope)
            self.put(name, "spread", [self.scope(step.scope), incoming], shape)
            for factor in step.inputs:
                self.give(factor, name, step.message.axes)
        elif isinstance(step, Eliminate):
            given = self.names.given["given", step.var]
            order = self.ordered(step.clique)
            name = self.names(f"post_{clique_name(order)}", ("post", step))
            shape = self.shape_of(step.clique, step.message.scope)
            text = f"{shape} p({', '.join(map(str, order))} | data)"
            self.body.append(f"{name} = {incoming} * {given}  # {text}")
            for factor in step.inputs:
                self.give(factor, name, step.clique)
        else:
            self.reverse_scan(step, incoming)

    def reverse_scan(self, step: Scan, incoming: str) -> None:
        """Posteriors of a sequence's or tree's tables."""
        chain = self.names.given["chain", step]
        names = [self.names(f"post_{self.table_name(f)}", ("post", step, f)) for f in step.inputs]
        targets = ", ".join(names) + ("," if len(names) == 1 else "")
        if len(targets) > WIDTH - 40:
            targets = f"({targets})"
        self.say("the posterior of each table's axes")
        self.body.append(f"{targets} = {chain}.backward({incoming})")
        for k, (factor, name) in enumerate(zip(step.inputs, names, strict=True)):
            self.posterior[factor] = name
            if factor.kind in CONDITIONALS:
                self.add_statistics(factor, f", summed={chain}.is_summed({k})")
        for factor in step.stretches:
            name = self.table_name(factor)
            self.body.append(f"stats.add({name}, {chain}.along({name}))")
        if isinstance(step, Segments):
            self.say("segments by duration; cut ones count at the durations expected of them")
            table = self.duration_name(step)
            self.body.append(f"stats.add({table}, {chain}.lasting, summed=True)")

    def give(self, factor: Factor, posterior: str, axes: Iterable[Var]) -> None:
        """Hand a posterior to an input: reduced to its axes, or turned into statistics."""
        if set(axes) - set(factor.axes):
            kept = "".join(f", {self.axis_names[v]}" for v in self.ordered(factor.axes))
            posterior = f"keep({posterior}{kept})"
        self.posterior[factor] = posterior
        if factor.kind in CONDITIONALS:
            self.add_statistics(factor, "")

    def add_statistics(self, factor: Factor, tail: str) -> None:
        """`stats.add(...)`."""
        posterior = self.posterior[factor]
        self.body.append(f"stats.add({self.table_name(factor)}, {posterior}{tail})")

    # --- small things -------------------------------------------------------------------------

    def put(self, target: str, routine: str, arguments: list[str], shape: str) -> None:
        """An assignment with its shape as a comment."""
        lines = call(f"{target} = {routine}", arguments)
        if len(lines) == 1 and len(lines[0]) + len(shape) + 8 <= WIDTH and shape:
            self.body.append(f"{lines[0]}  # {shape}")
        else:
            self.body += [*([f"# {shape}"] if shape else []), *lines]

    def say(self, comment: str) -> None:
        """A comment line."""
        self.body.append(f"# {comment}")

    def load(self, key: str) -> str:
        """The identifier of a component's data."""
        name = self.names(key, ("node", key))
        self.loads.setdefault(name, f'data["{key}"]')
        return name

    def scope(self, scope: str) -> str:
        """The identifier of a scope's rows."""
        name = self.names(scope, ("scope", scope))
        self.loads.setdefault(name, f'data.scope("{scope}")')
        return name

    def table_name(self, factor: Factor) -> str:
        """The identifier of a log-table."""
        named = factor.kind in CONDITIONALS
        wanted = f"log_{factor.name}" if named else factor.name
        if factor.kind == "stretch":
            wanted = f"log_{factor.name}_stretches"
        return self.names(wanted, factor)

    def conditional_name(self, node: str) -> str:
        """`p(x | z)`."""
        given = ", ".join(given_names(self.graph.nodes[node]))
        return f"p({node} | {given})" if given else f"p({node})"

    def ordered(self, axes: Iterable[Var]) -> list[Var]:
        """Variables by axis number."""
        return sorted(axes, key=self.positions.__getitem__)

    def shape_of(self, axes: Iterable[Var], scope: str) -> str:
        """Rows and axes (axes of size 1 are left out)."""
        rows = "n" if scope == UNIT else scope
        return "[" + ", ".join([rows, *(str(v) for v in self.ordered(axes))]) + "]"


def is_last(step: Eliminate | Collect | Scan, analysis: Analysis) -> TypeGuard[Eliminate]:
    """Whether a step's posterior is known at once, and leads to nothing but statistics."""
    return (
        isinstance(step, Eliminate)
        and step.message in analysis.schedule.roots
        and step.message.scope == UNIT
        and len(step.clique) == 1
        and not analysis.schema.queries
        and all(_tells(factor, step.clique, analysis) for factor in step.inputs)
    )


def _tells(factor: Factor, clique: Iterable[Var], analysis: Analysis) -> bool:
    """Whether a factor is a conditional given these variables, or a product of such ones."""
    if factor.kind in CONDITIONALS:
        return set(factor.axes) == set(clique)
    steps = analysis.schedule.steps
    made = next((s for s in steps if isinstance(s, Collect) and s.message is factor), None)
    return made is not None and all(_tells(f, clique, analysis) for f in made.inputs)


def is_whole(slot: SlotRecord) -> bool:
    """Whether a node is multiplied into a slot, and no number or parameter with it."""
    times = slot.times
    alone = slot.kind == "constant" and not slot.gates and slot.value == 1.0
    return alone and times is not None and bool(times.parent) and not times.inverse


def given_names(node: NodeRecord) -> list[str]:
    """What a node's distribution depends on: gates, parents, covariates."""
    names = [str(gate) for gate in node.gates()]
    for leaf in node.components:
        for slot in leaf.slots.values():
            if slot.times is not None:
                parent = Gate("node", slot.times.parent, slot.times.lag)
                names += [str(parent)] if parent.name else []
                names += [*slot.times.covariates, *slot.times.over]
    return list(dict.fromkeys(names))


def n_dims(analysis: Analysis, scope: str) -> int:
    """Dimensions of a table of a scope: rows, then every variable of the scopes around it."""
    path, nodes = analysis.graph.path(scope), analysis.graph.nodes
    return 1 + sum(nodes[v.node].scope in path for v in analysis.schedule.positions)


def nested_call(head: str, arguments: list[str]) -> str:
    """A call whose arguments may run over several lines."""
    if any("\n" in argument for argument in arguments):
        body = [f"    {line}" for line in _with_commas(arguments)]
        return "\n".join([f"{head}(", *body, ")"])
    return "\n".join(call(head, arguments))


def _with_commas(parts: Iterable[str]) -> list[str]:
    """Arguments that may run over several lines, each followed by a comma."""
    return "\n".join(f"{part}," for part in parts).split("\n")
