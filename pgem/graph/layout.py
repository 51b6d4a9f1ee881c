"""Where nodes and plates go: layers from parents to children, plates nested.

A scope is laid out by itself, its inner scopes being blocks of a known size, and is then a block
of the scope around it.  Arrows only lead inwards, so the blocks of a scope form a directed acyclic
graph; links to earlier steps are left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pgem.graph.picture import Point

Frame = tuple[float, float, float, float]
Edge = tuple[str, str]
Layers = list[list[str]]

PADDING = 20.0
CAPTION = 18.0
GAP_X = 34.0
GAP_Y = 42.0


@dataclass(frozen=True)
class Block:
    """A node or a laid-out scope; everything is relative to its anchor.

    Attributes:
        left, right, up, down: how far it reaches from the anchor.
        points: centres of the nodes inside.
        frames: x0, y0, x1, y1 of the scopes inside, outer before inner.
    """

    left: float
    right: float
    up: float
    down: float
    points: Mapping[str, Point] = field(default_factory=dict)
    frames: Mapping[str, Frame] = field(default_factory=dict)


def arrange(items: Mapping[str, Block], edges: Sequence[Edge]) -> Block:
    """Lay out the blocks of one scope; the anchor is the middle of the first layer.

    Args:
        items: nodes and inner scopes, in the order of declaration.
        edges: pairs of nodes, each inside one of the items.
    """
    home = {node: name for name, block in items.items() for node in block.points}
    inside = [(u, v) for u, v in edges if u in home and v in home and home[u] != home[v]]
    links = [(home[u], home[v]) for u, v in inside]
    layers = order_layers(make_layers(list(items), links), links)
    columns = _columns(layers, items, inside, home)
    rows = _rows(layers, items)
    return _join(items, {name: (columns[name], rows[name]) for name in items})


def frame(block: Block, name: str, caption_width: float) -> Block:
    """Put a plate or sequence around a block, with room for its caption below."""
    spare = max(0.0, caption_width + 16 - (block.left + block.right + 2 * PADDING)) / 2
    left, right = block.left + PADDING + spare, block.right + PADDING + spare
    up, down = block.up + PADDING, block.down + PADDING + CAPTION
    own = {name: (-left, -up, right, down)}
    framed = Block(left, right, up, down, block.points, own | dict(block.frames))
    return _shifted(framed, (left - right) / 2, 0.0)


def make_layers(names: Sequence[str], links: Sequence[Edge]) -> Layers:
    """Longest-path layers; whatever has no parent stands just above its first child."""
    import networkx as nx

    dag = nx.DiGraph()
    dag.add_nodes_from(names)
    dag.add_edges_from(links)
    level = {name: k for k, layer in enumerate(nx.topological_generations(dag)) for name in layer}
    for name in names:
        if dag.in_degree(name) == 0 and dag.out_degree(name) > 0:
            level[name] = min(level[child] for child in dag.successors(name)) - 1
    layers: Layers = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for name in names:
        layers[level[name]].append(name)
    return layers


def order_layers(layers: Layers, links: Sequence[Edge], sweeps: int = 6) -> Layers:
    """Order each layer by the mean place of its neighbours, and keep the fewest crossings."""
    best, fewest = layers, crossings(layers, links)
    for sweep in range(sweeps):
        layers = _swept(layers, links, downwards=sweep % 2 == 0)
        found = crossings(layers, links)
        if found < fewest:
            best, fewest = layers, found
    return best


def crossings(layers: Layers, links: Sequence[Edge]) -> int:
    """How many pairs of links cross."""
    place = {name: (k, i) for k, layer in enumerate(layers) for i, name in enumerate(layer)}
    spans = [(place[u], place[v]) for u, v in links]
    return sum(
        (a[1] - c[1]) * (b[1] - d[1]) < 0
        for n, (a, b) in enumerate(spans)
        for c, d in spans[:n]
        if a[0] == c[0] and b[0] == d[0]
    )


def _swept(layers: Layers, links: Sequence[Edge], *, downwards: bool) -> Layers:
    new = [list(layer) for layer in layers]
    order = range(len(new)) if downwards else range(len(new) - 1, -1, -1)
    for k in order:
        place = {name: i - len(layer) / 2 for layer in new for i, name in enumerate(layer)}
        means = {
            name: _mean([place[o] for o in _neighbours(name, links, downwards)], place[name])
            for name in new[k]
        }
        new[k].sort(key=means.__getitem__)
    return new


def _neighbours(name: str, links: Sequence[Edge], parents: bool) -> list[str]:
    return [u if parents else v for u, v in links if (v if parents else u) == name]


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _columns(
    layers: Layers, items: Mapping[str, Block], edges: Sequence[Edge], home: Mapping[str, str]
) -> dict[str, float]:
    """Each item under or over the middle of its neighbours, as far as there is room."""
    x = dict.fromkeys(items, 0.0)
    for sweep in range(8):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [_wish(name, items, edges, home, x) for name in layer]
            x.update(zip(layer, _spread(wanted, [items[name] for name in layer]), strict=True))
    return x


def _wish(
    name: str,
    items: Mapping[str, Block],
    edges: Sequence[Edge],
    home: Mapping[str, str],
    x: Mapping[str, float],
) -> float:
    def port(node: str) -> float:
        return items[home[node]].points[node][0]

    ends = [(u, v) if home[u] == name else (v, u) for u, v in edges if name in (home[u], home[v])]
    return _mean([x[home[far]] + port(far) - port(near) for near, far in ends], x[name])


def _spread(wanted: Sequence[float], blocks: Sequence[Block]) -> list[float]:
    """Places nearest to the wanted ones, in order and apart (pooled adjacent violators)."""
    offsets = [0.0]
    for here, after in itertools.pairwise(blocks):
        offsets.append(offsets[-1] + here.right + GAP_X + after.left)
    pools: list[list[float]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append([want - offset])
        while len(pools) > 1 and _mean(pools[-2], 0) > _mean(pools[-1], 0):
            last = pools.pop()
            pools[-1] += last
    level = [_mean(pool, 0) for pool in pools for _ in pool]
    return [base + offset for base, offset in zip(level, offsets, strict=True)]


def _rows(layers: Layers, items: Mapping[str, Block]) -> dict[str, float]:
    y, rows = 0.0, {}
    for k, layer in enumerate(layers):
        if k:
            y += GAP_Y + max(items[name].up for name in layer)
        rows.update(dict.fromkeys(layer, y))
        y += max(items[name].down for name in layer)
    return rows


def _join(items: Mapping[str, Block], places: Mapping[str, Point]) -> Block:
    moved = [_shifted(items[name], *places[name]) for name in items]
    points = {name: point for block in moved for name, point in block.points.items()}
    frames = {name: box for block in moved for name, box in block.frames.items()}
    return Block(
        max(block.left for block in moved),
        max(block.right for block in moved),
        max(block.up for block in moved),
        max(block.down for block in moved),
        points,
        frames,
    )


def _shifted(block: Block, dx: float, dy: float) -> Block:
    """The block seen from an anchor that it stands (dx, dy) away from."""
    points = {name: (x + dx, y + dy) for name, (x, y) in block.points.items()}
    frames = {n: (a + dx, b + dy, c + dx, d + dy) for n, (a, b, c, d) in block.frames.items()}
    return Block(block.left - dx, block.right + dx, block.up - dy, block.down + dy, points, frames)
