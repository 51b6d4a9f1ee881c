"""References between nodes: gates live in enclosing scopes, looking back stays in one scope."""

from __future__ import annotations

from collections.abc import Container, Mapping

from pgem.declare.records import CovariateRecord, Gate, NodeRecord, ScopeRecord
from pgem.errors import DeclarationError

Nodes = Mapping[str, NodeRecord]
Scopes = Mapping[str, ScopeRecord]
Covariates = Mapping[str, CovariateRecord]


def scope_path(scopes: Scopes, scope: str) -> list[str]:
    """A scope and all that enclose it, innermost first."""
    path = [scope]
    while scopes[path[-1]].parent:
        path.append(scopes[path[-1]].parent)
    return path


def check_gates(node: NodeRecord, nodes: Nodes, scopes: Scopes, covariates: Covariates) -> None:
    """The gates of a node are declared, in its own scope or around it.

    Raises:
        DeclarationError: one is not.
    """
    path = scope_path(scopes, node.scope)
    for gate in node.gates():
        home = _home(gate, node, nodes, covariates)
        if home is not None and home not in path:
            raise DeclarationError(
                f"node '{node.name}' is gated by '{gate.name}', which lives in "
                f"{scopes[home].kind} '{home}'",
                where=node.origin,
                expected=f"a gate of the same or an outer scope ({', '.join(path)})",
                advice=f"declare '{node.name}' inside '{home}', or move '{gate.name}' out",
            )
        if gate.lag:
            _check_lag(node, gate.name, gate.lag, scopes)
    _check_parents(node, nodes, scopes, covariates, path)


def _check_parents(
    node: NodeRecord, nodes: Nodes, scopes: Scopes, covariates: Covariates, path: list[str]
) -> None:
    """What is multiplied into a slot lives in the node's own scope or around it."""
    for leaf in (*node.components, *node.firsts):
        for slot in leaf.slots.values():
            if slot.times is None:
                continue
            homes = {
                name: covariates[name].scope for name in (*slot.times.covariates, *slot.times.over)
            }
            if slot.times.parent in nodes:
                homes[slot.times.parent] = nodes[slot.times.parent].scope
            elif slot.times.parent and not slot.times.lag:
                raise DeclarationError(
                    f"node '{node.name}' depends on '{slot.times.parent}', which is not part of "
                    "this model",
                    where=node.origin,
                    advice="declare it earlier in the same `with pg.Model(...)` block",
                )
            for name, home in homes.items():
                if home not in path:
                    raise DeclarationError(
                        f"node '{node.name}' depends on '{name}', which lives in "
                        f"{scopes[home].kind} '{home}'",
                        where=node.origin,
                        expected=f"something of the same or an outer scope ({', '.join(path)})",
                        advice=f"declare '{node.name}' inside '{home}', or move '{name}' out",
                    )
            if slot.times.lag:
                _check_lag(node, slot.times.parent, slot.times.lag, scopes)


def _home(gate: Gate, node: NodeRecord, nodes: Nodes, covariates: Covariates) -> str | None:
    if gate.kind == "plate":
        return gate.name
    if gate.kind == "covariate":
        return covariates[gate.name].scope if gate.name in covariates else ""
    if gate.name in nodes:
        return nodes[gate.name].scope
    if gate.lag:
        return None  # checked when the model is closed
    raise DeclarationError(
        f"node '{node.name}' is gated by '{gate.name}', which is not part of this model",
        where=node.origin,
        advice="declare it earlier in the same `with pg.Model(...)` block",
    )


def _check_lag(node: NodeRecord, target: str, lag: int, scopes: Scopes) -> None:
    scope = scopes[node.scope]
    if scope.kind == "tree" and lag > 1:
        raise DeclarationError(
            f"node '{node.name}' looks back further than to the parent in tree '{scope.name}'",
            where=node.origin,
            expected=f"pg.prev('{target}'), the value at the parent",
            received=f"lag '{lag}'",
        )
    if scope.looks_back:
        return
    around = [scopes[name] for name in scope_path(scopes, node.scope)[1:]]
    kind = next((outer.kind for outer in around if outer.looks_back), "")
    problem = (
        f"node '{node.name}' looks back inside a plate inside a {kind}"
        if kind
        else f"node '{node.name}' looks back to '{target}' outside a sequence"
    )
    kind = kind or "sequence"
    raise DeclarationError(
        problem,
        where=node.origin,
        expected=f"pg.prev(...) and after= directly inside pg.{kind}(...)",
        advice=_turned_around(node, kind, around)
        or f"with pg.{kind}('time'): pg.{node.kind}('{node.name}', ...)",
    )


def _turned_around(node: NodeRecord, kind: str, around: list[ScopeRecord]) -> str:
    """A node that looks back in a sequence inside its plate, as code."""
    outer = next((scope for scope in around if scope.looks_back), None)
    if outer is None:
        return ""
    given = {k: v for k, v in node.leaf.settings.items() if v is not None}
    settings = "".join(f", {name}={value!r}" for name, value in given.items())
    if any(gate.lag for gate in node.gates()):
        family, after = f"pg.{node.leaf.family}({settings[2:]})", f", after='{node.name}'"
    else:
        mean = f"pg.param('slope') * pg.prev('{node.name}')"
        family, after = f"pg.{node.leaf.family}(mean={mean}{settings})", ""
    lines = [
        "put the plate outside:",
        "with pg.Model('model') as model:",
        f"    with pg.plate('{node.scope}'):",
        f"        with pg.{kind}('{outer.name}'):",
        f"            pg.{node.kind}('{node.name}', {family}{after})",
    ]
    return "\n    ".join(lines)


def check_lags(nodes: Nodes, scopes: Scopes, finite: Container[str]) -> None:
    """Nodes that are looked back at exist, in the same sequence or tree, and are discrete.

    Raises:
        DeclarationError: one does not, or is not.
    """
    for node in nodes.values():
        for name, lag in node.parents():
            if lag:
                _check_target(node, name, nodes, scopes)
        for gate in node.gates():
            if not gate.lag:
                continue
            _check_target(node, gate.name, nodes, scopes)
            if gate.name not in finite:
                raise DeclarationError(
                    f"node '{node.name}' is gated by the earlier value of '{gate.name}', "
                    "which is continuous or unbounded",
                    where=node.origin,
                    advice="gate by a Categorical or Bernoulli node",
                )


def _check_target(node: NodeRecord, name: str, nodes: Nodes, scopes: Scopes) -> None:
    target = nodes.get(name)
    if target is None or target.scope != node.scope:
        raise DeclarationError(
            f"node '{node.name}' looks back to '{name}', which is no node of "
            f"{scopes[node.scope].kind} '{node.scope}'",
            where=node.origin,
            received="a name that is not declared"
            if target is None
            else f"a node of '{target.scope}'",
        )
