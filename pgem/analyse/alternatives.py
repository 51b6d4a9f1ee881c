"""The nearest model that compiles, as code, which the refusals of continuous latents end with.

Each function returns a whole small declaration with the names of the refused one, so that it can
be pasted and run; what the refused model has beside the nodes in question is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from keyword import iskeyword

from pgem.declare import NodeRecord, SlotRecord, slot_of
from pgem.graph import ModelGraph

TRIALS = {"trials": "10"}
"""What stands in a slot that must be given."""


def suggest(sentence: str, graph: ModelGraph, lines: list[str]) -> str:
    """A sentence and the model made of these lines."""
    code = [f"with pg.Model({graph.name!r}) as model:", *(f"    {line}" for line in lines)]
    return "\n    ".join([f"{sentence}:", *code])


def gate_outside(graph: ModelGraph, state: str, gate: str, chain: str) -> list[str]:
    """A chain whose regime is the same at all steps."""
    node, index = graph.nodes[state], var(gate)
    size, many = options(graph, node), _is_vector(node)
    slope = f"pg.param('{state}_slope')[{index}] {'@' if many else '*'} pg.prev('{state}')"
    family = node.leaf.family
    first = f"pg.{family}(mean=0.0{size})" if many else f"pg.{family}(0.0, 1.0)"
    lines = [
        category(graph, gate),
        f"with pg.{graph.scopes[chain].kind}('{chain}'):",
        f"    {declared(node)}pg.{family}(mean={slope}{size}), first={first})",
    ]
    children = [n for n in _children(graph, state) if n.kind == "observed" and n.name != state]
    if node.kind == "latent" and children:
        lines.append(f"    {loaded(graph, children[0], node)}")
    return lines


def latent_inside(graph: ModelGraph, latent: str, child: str, gate: str) -> list[str]:
    """A continuous latent of its own for every member."""
    node = graph.nodes[latent]
    lines = [f"with pg.{_kind(graph, gate)}('{graph.nodes[gate].scope}'):"]
    lines.append(f"    {declared(node)}{plain(graph, node)})")
    lines.append(f"    {category(graph, gate)}")
    if _is_gaussian(node):
        lines.append(f"    {loaded(graph, graph.nodes[child], node, gate)}")
        return lines
    name, slot = _slot_of_parent(graph.nodes[child], latent)
    return [*lines, f"    {below(graph, graph.nodes[child], name, slot, gate)}"]


def discrete_parent(graph: ModelGraph, latent: str, child: str) -> list[str]:
    """A latent of five values, each with its own parameters."""
    node = graph.nodes[child]
    return [
        f"{var(latent)} = pg.latent('{latent}', pg.Categorical(size=5))",
        f"{declared(node)}{plain(graph, node)}, given={var(latent)})",
    ]


def indexed_by_document(graph: ModelGraph, child: str) -> list[str]:
    """Shares that are parameters, one row per document: probabilistic latent semantic analysis."""
    node = graph.nodes[child]
    kind, scope = _kind(graph, child), node.scope
    members = [] if scope == "unit" else [f"with pg.{kind}('{scope}'):"]
    indent = "    " * len(members)
    lines = ["document = pg.covariate('document', size=100)", *members]
    lines.append(f"{indent}{declared(node)}{plain(graph, node)}, given=document)")
    words = [n for n in graph.nodes.values() if child in {gate.name for gate in n.gates()}]
    return lines + [
        f"{indent}{declared(word)}{plain(graph, word)}, given={var(child)})" for word in words
    ]


def without(graph: ModelGraph, kept: str, child: str) -> list[str]:
    """The Gaussian one of two latents alone."""
    node = graph.nodes[kept]
    return [f"{declared(node)}{plain(graph, node)})", loaded(graph, graph.nodes[child], node)]


# --- nodes --------------------------------------------------------------------------------------


def var(name: str) -> str:
    """A node's variable."""
    return f"{name}_" if iskeyword(name) else name


def declared(node: NodeRecord) -> str:
    """The beginning of a declaration, up to the family."""
    return f"{var(node.name)} = pg.{node.kind}('{node.name}', "


def options(graph: ModelGraph, node: NodeRecord) -> str:
    """The settings of a node's family, as further arguments."""
    found = {k: v for k, v in node.leaf.settings.items() if v is not None}
    family = graph.leaves_of(node.name)[0].family
    if "size" in family.options and "size" not in found and family.event_ndim:
        found["size"] = 2
    return "".join(f", {name}={value!r}" for name, value in found.items())


def plain(graph: ModelGraph, node: NodeRecord) -> str:
    """A node's family with empty slots."""
    leaf = node.leaf
    known = [f"{name}={value}" for name, value in TRIALS.items() if name in leaf.slots]
    given = options(graph, node)[2:]
    return f"pg.{leaf.family}({', '.join([*known, *([given] if given else [])])})"


def category(graph: ModelGraph, name: str) -> str:
    """A discrete latent without gates."""
    node = graph.nodes[name]
    size = node.leaf.settings.get("size") or 2
    return f"{var(name)} = pg.latent('{name}', pg.Categorical(size={size}))"


def loaded(graph: ModelGraph, child: NodeRecord, latent: NodeRecord, gate: str = "") -> str:
    """A Gaussian child of a Gaussian latent."""
    times = "@" if _is_vector(child) or _is_vector(latent) else "*"
    index = f"[{var(gate)}]" if gate else ""
    mean = f"pg.param('{child.name}_loading'){index} {times} {var(latent.name)}"
    return f"{declared(child)}pg.{child.leaf.family}(mean={mean}{options(graph, child)}))"


def below(graph: ModelGraph, child: NodeRecord, slot: str, written: SlotRecord, gate: str) -> str:
    """A child of a conjugate latent, which stands in one of its slots."""
    assert written.times is not None
    latent = var(written.times.parent)
    if written.times.inverse:
        inside = f"pg.param('{child.name}_scale')[{var(gate)}] / {latent}"
    elif written.kind == "param":
        inside = f"pg.param('{child.name}_{slot}')[{var(gate)}] * {latent}"
    else:
        inside = latent
    known = "".join(f", {k}={v}" for k, v in TRIALS.items() if k in child.leaf.slots)
    return (
        f"{declared(child)}pg.{child.leaf.family}({slot}={inside}{known}{options(graph, child)}))"
    )


# --- facts --------------------------------------------------------------------------------------


def _is_vector(node: NodeRecord) -> bool:
    return "cov" in {slot_of(name) for name in node.leaf.slots}


def _is_gaussian(node: NodeRecord) -> bool:
    return "mean" in {slot_of(name) for name in node.leaf.slots}


def _kind(graph: ModelGraph, name: str) -> str:
    return graph.scopes[graph.nodes[name].scope].kind


def _children(graph: ModelGraph, name: str) -> Iterator[NodeRecord]:
    for node in graph.nodes.values():
        if name in {parent for parent, _ in node.parents()}:
            yield node


def _slot_of_parent(node: NodeRecord, parent: str) -> tuple[str, SlotRecord]:
    for leaf in node.components:
        for name, slot in leaf.slots.items():
            if slot.times is not None and slot.times.parent == parent:
                return slot_of(name), slot
    raise KeyError(parent)
