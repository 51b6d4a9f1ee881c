"""Sizes of everything: values, vectors, parameters, and the cells of each component."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pgem.analyse.given import (
    check_constant,
    check_domain,
    check_index,
    fixed_and_value,
    lower_bound,
)
from pgem.analyse.linear import has_terms, make_linear, own_axes
from pgem.analyse.links import coefficient_slots, link_of, make_linked, reference_category
from pgem.analyse.multiplied import make_scaled
from pgem.analyse.priors import with_priors
from pgem.analyse.regions import Region, is_random
from pgem.analyse.segments import check_known_table, with_zero_diagonal
from pgem.arrays import Floats, Mask
from pgem.declare import Gate, SlotRecord, slot_of
from pgem.errors import DeclarationError
from pgem.families import Family, Slot
from pgem.families._roles import Role
from pgem.gating import Cells, Pick, make_cells
from pgem.graph import Component, Key, ModelGraph, Schema
from pgem.routines import Prior, closed_classes, listed_classes, transition_tables


@dataclass(frozen=True, eq=False)
class ParamLayout:
    """Shape, constraint and uses of one parameter.

    Attributes:
        name: public name.
        shape: sizes of its gates, then of its own axes (0 where only data can tell).
        n_own: number of own axes.
        role: constraint and conditional maximiser.
        structure: `full`, `diagonal` or `spherical`.
        uses: components and slots that it stands in.
        fixed: mask of entries that are not learned.
        value: fixed values and default start, or None.
        is_start: whether the value is a start for the free entries too.
        axes: what each axis runs over, for reports.
        origin: where it was declared.
        prior: its prior, or None.
        lower: what its entries are at least, or None.
    """

    name: str
    shape: tuple[int, ...]
    n_own: int
    role: Role
    structure: str
    uses: tuple[tuple[Key, str], ...]
    fixed: Mask
    value: Floats | None
    axes: tuple[str, ...]
    origin: str
    prior: Prior | None = None
    lower: Floats | None = None
    is_start: bool = True

    @property
    def n_gates(self) -> int:
        """Number of gate axes."""
        return len(self.shape) - self.n_own

    @cached_property
    def is_free(self) -> bool:
        """Whether anything of it is learned."""
        return not bool(self.fixed.all()) if self.fixed.size else True

    @property
    def n_free(self) -> int:
        """Number of free coordinates."""
        return self.role.n_free(self.fixed)


@dataclass(frozen=True, eq=False)
class Settled:
    """A component with its family settled and its cells counted."""

    component: Component
    family: Family
    cells: Cells


@dataclass(frozen=True)
class Transitions:
    """Where a chain's transition table stands.

    Attributes:
        key: component of the steady step.
        slot: its slot.
        param: the parameter in it, or "" for a known table.
    """

    key: Key
    slot: str
    param: str


@dataclass(frozen=True, eq=False)
class Layout:
    """All sizes.

    Attributes:
        sizes: number of values per discrete node, plate and covariate that may index.
        components: settled components by key.
        params: parameters by name.
        stationary: first step that follows from a transition table → where that table stands.
    """

    sizes: dict[str, int]
    components: dict[Key, Settled]
    params: dict[str, ParamLayout]
    stationary: dict[Key, Transitions]


def make_layout(graph: ModelGraph, schema: Schema, regions: Sequence[Region] = ()) -> Layout:
    """Settle sizes, families and parameter shapes.

    Raises:
        DeclarationError: a size is missing, or two uses of a parameter disagree.
    """
    sizes = find_sizes(graph, schema)
    components = {}
    families = _families(graph, schema, sizes, regions)
    for key, component in graph.components.items():
        family = families[key]
        _check_given(graph, component, family, sizes)
        slots = {
            name: [gate_token(gate) for gate in slot.gates]
            for name, slot in component.leaf.slots.items()
            if slot.kind != "covariate"
        }
        cells = make_cells(slots, lambda gate: _size(gate, sizes))
        components[key] = Settled(component, family, cells)
        node = graph.nodes[component.node]
        if node.duration is not None and key == node.name:
            check_known_table(component, node, _size_of(sizes), slots)
        _check_switch(graph, component, sizes)
    params = {name: _param(name, graph, components, sizes) for name in graph.params}
    gates = {name: _use_gates(params[name], components) for name in params}
    params = with_priors(params, graph.params, graph.families, gates)
    follows = {key: found for key in components if (found := _transitions(graph, key))}
    for key, found in follows.items():
        _check_unique(graph.components[key], found, components[found.key], params, sizes)
    return Layout(sizes, components, params, follows)


def _transitions(graph: ModelGraph, key: Key) -> Transitions | None:
    """The table that a first step follows from, if it follows from one."""
    component = graph.components[key]
    for name, slot in component.leaf.slots.items():
        if slot.kind == "stationary":
            steady = graph.components[component.node]
            table = steady.leaf.slots[name]
            return Transitions(steady.key, name, table.name if table.kind == "param" else "")
    return None


def _check_unique(
    first: Component,
    found: Transitions,
    steady: Settled,
    params: Mapping[str, ParamLayout],
    sizes: Mapping[str, int],
) -> None:
    """Structural zeros leave one closed class of states."""
    slot = steady.component.leaf.slots[found.slot]
    table = np.asarray(slot.value if slot.kind == "constant" else 0.5, dtype=float)
    held = np.ones(table.shape, dtype=bool)
    if found.param:
        layout = params[found.param]
        held, table = layout.fixed, np.full(layout.shape, 0.5)
        table = table if layout.value is None else np.where(held, layout.value, table)
    prev = Gate("node", first.node, 1)
    gates = tuple(gate_token(gate) for gate in slot.gates)
    for rows in transition_tables(np.where(held, table, 0.5), gates, prev, _size_of(sizes)):
        classes = closed_classes(rows > 0)
        if len(classes) > 1:
            raise DeclarationError(
                f"node '{first.node}' has first='stationary', but its transition table has no "
                "unique stationary distribution",
                where=params[found.param].origin if found.param else None,
                expected="one closed class of states",
                received=f"closed classes {listed_classes(classes)}",
                advice="leave first= out for a free first distribution",
            )


def _size_of(sizes: Mapping[str, int]) -> Callable[[Any], int]:
    return lambda gate: sizes[gate.name]


def _families(
    graph: ModelGraph, schema: Schema, sizes: Mapping[str, int], regions: Sequence[Region]
) -> dict[Key, Family]:
    """The families of all components, those with linear means replaced by their terms."""
    lengths = _vector_lengths(graph, schema)
    found = {
        key: _settle_duration(component, graph)
        if component.is_duration
        else _settle(component, sizes, lengths)
        for key, component in graph.components.items()
    }
    inside = {name for region in regions for name in region.nodes}

    def length(name: str) -> int | None:
        if name in graph.covariates:
            return schema.vectors.get(name)
        family = found[graph.leaves_of(name)[0].key]
        return family.event_shape[-1] if family.event_shape else None

    products = {key for key, c in graph.components.items() if has_terms(c) or c.node in inside}
    linear = {
        key for key in products if found[key].gaussian or graph.components[key].node in inside
    }
    linked = {key for key, c in graph.components.items() if link_of(c) is not None}
    linear = _tied(graph, linear | linked, found) - linked
    for key in linear | products | linked:
        component = graph.components[key]
        where = graph.nodes[component.node].origin
        if key in linked:
            make: Any = make_linked
        else:
            make = make_linear if key in linear or _holds_sum(component) else make_scaled
        family = make(component, found[key], length, lambda n: is_random(graph, schema, n), where)
        family.owner = key
        found[key] = family
    return {key: _with_tied_slots(graph.components[key], family) for key, family in found.items()}


def _holds_sum(component: Component) -> bool:
    """Whether a mean is written as terms."""
    return any(slot_of(name) != name for name in component.leaf.slots)


def _with_tied_slots(component: Component, family: Family) -> Family:
    """A family that knows that one parameter stands in several of its slots, where it can."""
    written = component.leaf.slots
    for slot in written.values():
        same = [n for n, s in written.items() if s.kind == "param" and s == slot]
        if len(same) > 1 and slot.times is None:
            tied = family.with_tied(tuple(same))
            if isinstance(tied, Family):
                return tied
    return family


def _tied(graph: ModelGraph, linear: set[Key], families: Mapping[Key, Family]) -> set[Key]:
    """Components that share a mean with a linear one are solved as linear ones too."""
    means = {
        key: {s.name for n, s in c.leaf.slots.items() if s.kind == "param" and slot_of(n) == "mean"}
        for key, c in graph.components.items()
        if families[key].gaussian
    }
    for key, component in graph.components.items():
        terms = [component.leaf.slots[name] for name in coefficient_slots(component)]
        if terms:
            means[key] = {slot.name for slot in terms if slot.kind == "param"}
    while new := {
        key
        for key, names in means.items()
        if key not in linear and names & set().union(*(means.get(k, set()) for k in linear))
    }:
        linear = linear | new
    return linear


def _vector_lengths(graph: ModelGraph, schema: Schema) -> dict[str, int]:
    """Lengths of vector-valued nodes, from their data, their settings, or what they multiply."""
    found = dict(schema.vectors)
    for name in graph.nodes:
        components = [*graph.leaves_of(name), *graph.firsts_of(name)]
        shown = [c.family.size or _shown_vector(graph, c) for c in components]
        size = next((s for s in shown if s), None)
        if size is not None:
            found.setdefault(name, size)
    for component in graph.components.values():
        for slot in component.leaf.slots.values():
            times = slot.times
            if times is None or not times.contracts or slot.kind == "param" or not times.parent:
                continue
            known = [found[c] for c in times.covariates if c in found]
            if known and graph.components[times.parent].family.event_ndim:
                found.setdefault(times.parent, known[0])
    for name, node in graph.nodes.items():
        family = graph.leaves_of(name)[0].family
        vector = node.kind == "latent" and family.event_ndim and not graph.is_finite(name)
        if vector and name not in found:
            raise DeclarationError(
                f"latent node '{name}': the length of its vectors is not known",
                where=node.origin,
                advice=f"give size=: pg.{type(family).__name__}(size=...)",
            )
    return found


def _check_given(
    graph: ModelGraph, component: Component, family: Family, sizes: Mapping[str, int]
) -> None:
    """Tables of constants, in slots and as indices, have the right shapes and values."""
    origin = graph.nodes[component.node].origin
    if graph.is_finite(component.node) and not component.is_duration:
        check_domain(component.key, family, sizes[component.node], origin)
    for name, slot in component.leaf.slots.items():
        for gate in slot.gates:
            check_index(component.node, gate, sizes, origin)
        if slot.kind == "constant" and not (slot.times is not None and slot.times.parent):
            gates = _gate_sizes(slot, sizes)
            own = family.own_shape(name)
            known = _is_unlearned(graph, component)
            full = f"{component.key}.{name}"
            check_constant(full, slot, family, own, gates, origin, unlearned=known)


def _is_unlearned(graph: ModelGraph, component: Component) -> bool:
    """Whether a latent's conditional holds nothing but known values.

    Without noise it has no density to learn from, but it may still be integrated over.
    """
    known = (
        slot.kind == "constant" or (slot.kind == "param" and graph.params[slot.name].fixed is True)
        for slot in component.leaf.slots.values()
    )
    return graph.nodes[component.node].kind == "latent" and all(known)


def vector_sizes(graph: ModelGraph, params: Mapping[str, Any]) -> dict[str, int]:
    """Lengths of vectors that the parameters show, for nodes without data."""
    found = {}
    for component in graph.components.values():
        for slot in component.family.slots:
            for name, record in component.leaf.slots.items():
                given = params.get(record.name, 0.0) if record.kind == "param" else 0.0
                size = _vector_axis(slot, name, record, given)
                if size is not None:
                    found[component.node] = size
    return found


def _vector_axis(slot: Slot, name: str, record: SlotRecord, value: Any) -> int | None:
    """The length of the vector of a node that a value in one of its slots shows."""
    shape: tuple[int, ...] = np.shape(value)[len(record.gates) :]
    if slot.axes[:1] != "d" or (slot_of(name) != slot.name and name != slot.name) or not shape:
        return None
    if record.times is not None and record.times.contracts:
        return int(shape[0]) if len(shape) == 2 else None
    return int(shape[-1])


def gate_token(gate: Gate) -> Any:
    """A gate as `make_cells` takes it."""
    if gate.kind != "constant":
        return Gate(gate.kind, gate.name, gate.lag)
    return Pick(
        np.asarray(gate.table), tuple(gate_token(inner) for inner in gate.gates), gate.size or 1
    )


def _size(gate: Gate, sizes: Mapping[str, int]) -> int:
    return sizes[gate.name]


def find_sizes(graph: ModelGraph, schema: Schema) -> dict[str, int]:
    """Number of values of every discrete variable, plate and covariate that may index.

    Raises:
        DeclarationError: neither declaration nor data tell one of them.
    """
    sizes = {n: s.size for n, s in graph.scopes.items() if s.size is not None}
    sizes |= {n: s for n in graph.covariates if (s := _covariate_size(graph, schema, n))}
    for name, node in graph.nodes.items():
        if not graph.is_finite(name):
            continue
        family = graph.components[name].family
        levels = family.settings.get("levels")
        domain = family.domain()
        size = len(domain) if domain is not None else len(levels) if levels else None
        size = size or _shown_size(graph, name) or schema.sizes.get(name)
        if size is None:
            raise DeclarationError(
                f"node '{name}': its number of categories is not known",
                where=node.origin,
                advice="give size= or levels=, or compile with data",
            )
        sizes[name] = int(size)
    return sizes


def _covariate_size(graph: ModelGraph, schema: Schema, name: str) -> int | None:
    """Number of values of a covariate that indexes; None for one that does not."""
    covariate = graph.covariates[name]
    users = [n for n in graph.nodes.values() if name in {g.name for g in n.gates()}]
    size = covariate.size or schema.sizes.get(name)
    if users and size is None:
        raise DeclarationError(
            f"node '{users[0].name}' is gated by covariate '{name}', whose number of values is not "
            "known",
            where=covariate.origin,
            advice="give size= or levels=, or compile with data",
        )
    return size


def _shown_size(graph: ModelGraph, name: str) -> int | None:
    """A size that a fixed table in the node's first slot shows."""
    for component in [*graph.leaves_of(name), *graph.firsts_of(name)]:
        shown = _shown_in(graph, component)
        if shown is not None:
            return shown
    return None


def _shown_in(graph: ModelGraph, component: Component) -> int | None:
    """A size that a value in one of a component's slots shows."""
    for slot in component.leaf.slots.values():
        value = slot.value if slot.kind == "constant" else None
        if slot.kind == "param":
            value = graph.params[slot.name].value
        if value is not None and np.ndim(value) == len(slot.gates) + 1:
            return int(np.shape(value)[-1])
    return None


def _settle(
    component: Component,
    sizes: Mapping[str, int],
    lengths: Mapping[str, int],
) -> Family:
    structures = {
        name: slot.structure
        for name, slot in component.leaf.slots.items()
        if slot.structure != "full"
    }
    size = component.family.size
    if size is None and type(component.family).domain is not Family.domain:
        size = sizes.get(component.node) if component.family.settings.keys() else None
    if size is None:
        size = lengths.get(component.node)
    family = component.family.settled(size, structures)
    family.owner = component.key
    return family


def _settle_duration(component: Component, graph: ModelGraph) -> Family:
    """The family of a duration: its number of categories is its own."""
    finite = type(component.family).domain is not Family.domain
    levels = component.family.settings.get("levels")
    size = component.family.size or (len(levels) if levels else None)
    size = size or (_shown_in(graph, component) if finite else None)
    family = component.family.settled(size, {})
    if finite and family.domain() is None:
        raise DeclarationError(
            f"the duration of node '{component.node}' has no longest value",
            where=graph.nodes[component.node].origin,
            advice="give size=, the largest number of steps",
        )
    family.owner = component.key
    return family


def _shown_vector(graph: ModelGraph, component: Component) -> int | None:
    """The length of a vector that a fixed value in one of its slots shows."""
    for slot in component.family.slots:
        for name, record in component.leaf.slots.items():
            value = record.value if record.kind == "constant" else None
            if record.kind == "param":
                value = graph.params[record.name].value
            size = _vector_axis(slot, name, record, 0.0 if value is None else value)
            if size is None and record.kind == "param" and slot.name == name:
                size = _size_of_prior(graph, slot, record.name)
            if size is not None:
                return size
    return None


def _size_of_prior(graph: ModelGraph, place: Slot, name: str) -> int | None:
    """The length of a vector that the prior of a parameter shows, where it stands in a slot."""
    prior = graph.params[name].prior
    if prior is None or place.axes[:1] != "d":
        return None
    for slot in graph.families[prior.family].slots:
        shape = np.shape(prior.slots.get(slot.name, 0.0))
        if slot.axes[:1] == "d" and len(shape) >= len(slot.axes):
            return int(shape[-1])
    return None


def _check_switch(graph: ModelGraph, component: Component, sizes: Mapping[str, int]) -> None:
    node = graph.nodes[component.node]
    if node.switch is None:
        return
    size = node.switch.size or sizes.get(node.switch.name, 0)
    if size != len(node.components):
        raise DeclarationError(
            f"node '{node.name}': the switch lists '{len(node.components)}' families for a gate of "
            f"'{size}' values",
            where=node.origin,
            advice="give one family per value",
        )


def _param(
    name: str, graph: ModelGraph, components: Mapping[Key, Settled], sizes: Mapping[str, int]
) -> ParamLayout:
    record = graph.params[name]
    uses: list[tuple[Key, str]] = []
    shapes: dict[tuple[Any, ...], str] = {}
    for key, settled in components.items():
        for slot_name, slot in settled.component.leaf.slots.items():
            if slot.kind == "param" and slot.name == name:
                uses.append((key, slot_name))
                shapes[_use_shape(settled, slot_name, slot, sizes)] = f"{key}.{slot_name}"
    if len(shapes) > 1:
        listed = "; ".join(f"{use}: shape {s[0] + s[1]}, {s[2].name}" for s, use in shapes.items())
        raise DeclarationError(
            f"parameter '{name}' is used in ways that do not agree",
            where=record.origin,
            expected="the same gates' sizes, own axes and role at every use",
            received=listed,
        )
    if not uses:
        raise DeclarationError(
            f"parameter '{name}' stands in no slot of a node, only in a prior",
            where=record.origin,
            advice="give the prior numbers; what only a prior knows cannot be learned",
        )
    gates, own, role, structure = next(iter(shapes))
    shape = gates + own
    key, used = uses[0]
    slot = components[key].component.leaf.slots[used]
    axes = tuple(str(gate) for gate in slot.gates) + own_axes(
        components[key].family, used, components[key].component.node, len(own)
    )
    record = with_zero_diagonal(record, uses, graph, shape)
    fixed, value = fixed_and_value(record, shape, role)
    fixed, value = _without_reference(name, uses, components, fixed, value, record.origin)
    return ParamLayout(
        name,
        shape,
        len(own),
        role,
        structure,
        tuple(uses),
        fixed,
        value,
        axes,
        record.origin,
        lower=lower_bound(record, shape, role, fixed, value),
        is_start=record.value is not None or record.zeros is None,
    )


def _without_reference(
    name: str,
    uses: Sequence[tuple[Key, str]],
    components: Mapping[Key, Settled],
    fixed: Mask,
    value: Floats | None,
    where: str,
) -> tuple[Mask, Floats | None]:
    """Coefficients of category 0 of a logit are fixed at zero."""
    for key, slot in uses:
        held = reference_category(components[key].family, slot, fixed.shape)
        if value is not None and (value[held] != 0).any():
            raise DeclarationError(
                f"parameter '{name}' has a value for category 0 other than zero",
                where=where,
                expected=f"zero in the first row of the category axis of '{key}.{slot}': the "
                "other rows are relative to it",
                received=f"'{value.tolist()}'",
            )
        fixed = fixed | held
    return fixed, value


def _use_gates(param: ParamLayout, components: Mapping[Key, Settled]) -> set[tuple[Any, ...]]:
    """The gates of each use of a parameter."""
    slots = [components[key].component.leaf.slots[slot] for key, slot in param.uses]
    return {slot.gates for slot in slots}


def _use_shape(
    settled: Settled, slot_name: str, slot: SlotRecord, sizes: Mapping[str, int]
) -> tuple[tuple[int, ...], tuple[int, ...], Role, str]:
    family = settled.family
    gates = _gate_sizes(slot, sizes)
    return gates, family.own_shape(slot_name), family.role_of(slot_name), slot.structure


def _gate_sizes(slot: SlotRecord, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(
        (gate.size or 1) if gate.kind == "constant" else sizes[gate.name] for gate in slot.gates
    )
