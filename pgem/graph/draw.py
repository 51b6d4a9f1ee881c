"""The plate diagram of a model, as SVG or PNG.

Circles are latent nodes, shaded circles observed ones, diamonds covariates; a small square is a
parameter that several nodes share.  Rectangles are plates, tinted ones sequences and trees, in
which dashed arrows come from earlier steps or from the parent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pgem.arrays import Floats
from pgem.errors import PgemError
from pgem.graph import UNIT, ModelGraph
from pgem.graph.layout import PADDING, Block, arrange, frame
from pgem.graph.picture import (
    Circle,
    Curve,
    Paint,
    Picture,
    Point,
    Polygon,
    Rectangle,
    Shape,
    Text,
    text_width,
    to_svg,
)
from pgem.graph.routing import Boundary, Box, Link, route

RADIUS, DIAMOND, SQUARE = 26.0, 33.0, 8.0
NAME, NOTE = 14.0, 11.0
LONGEST = 7
LOOP = 30.0
MARGIN, HEADING = 14.0, 34.0
INK, SHADE, PAPER, TIME, GREY = "#1f2937", "#cbd5e1", "#ffffff", "#0f766e", "#6b7280"


def draw(graph: ModelGraph, path: str | Path) -> Path:
    """Draw the plate diagram of a model.

    Args:
        graph: the model's graph.
        path: where to write; the suffix is `.svg` or `.png` (needs matplotlib).

    Raises:
        PgemError: another suffix.
        MissingExtraError: a PNG without matplotlib.
    """
    path = Path(path)
    if path.suffix not in (".svg", ".png"):
        raise PgemError(
            f"cannot draw model '{graph.name}' to '{path}'",
            expected="a name that ends with .svg or .png",
            received=f"'{path.suffix}'",
        )
    picture = compose(graph)
    if path.suffix == ".png":
        from pgem.bridges.plotting import save_picture

        save_picture(picture, path)
    else:
        path.write_text(to_svg(picture), encoding="utf-8")
    return path


def compose(graph: ModelGraph) -> Picture:
    """The plate diagram as shapes."""
    links = find_links(graph)
    layout = _layout(graph, links)
    shift = (layout.left + MARGIN, layout.up + MARGIN + HEADING)
    places = {n: (x + shift[0], y + shift[1]) for n, (x, y) in layout.points.items()}
    frames = {
        name: (x0 + shift[0], y0 + shift[1], x1 + shift[0], y1 + shift[1])
        for name, (x0, y0, x1, y1) in layout.frames.items()
    }
    boundaries = {name: _boundary(graph, name, at) for name, at in places.items()}
    labels = [_box(text) for name, at in places.items() for text in _notes(graph, name, at)]
    labels += [_box(_caption(graph, name, box)) for name, box in frames.items()]
    homes = {node.name: frames[node.scope] for node in graph.nodes.values()}
    curves = route(links, boundaries, labels, homes)
    shapes: list[Shape] = [Text((MARGIN + 4, MARGIN + 8), graph.name, 15, "start", bold=True)]
    for name, box in frames.items():
        shapes += [_plate(graph, name, box), _caption(graph, name, box)]
    for link, curve in curves.items():
        shapes += _arrow(link, curve)
    for name, at in places.items():
        shapes += [*_node(graph, name, at), *_notes(graph, name, at)]
    width = max(layout.left + layout.right, text_width(graph.name, 15)) + 2 * MARGIN
    height = layout.up + layout.down + 2 * MARGIN + HEADING
    return Picture(width, height, f"plate diagram of {graph.name}", tuple(shapes))


def find_links(graph: ModelGraph) -> list[Link]:
    """All arrows: between nodes, from covariates, and from shared parameters."""
    links = [
        Link(gate.name, name, gate.lag)
        for name, node in graph.nodes.items()
        for gate in node.gates()
        if gate.kind != "plate"
    ]
    known = {*graph.nodes, *graph.covariates}
    links += [
        Link(source, target, lag)
        for source, target, lags in graph.to_networkx().edges(data="lags", default=(0,))
        for lag in lags
        if source in known and target in known
    ]
    links += [Link(name, user) for name, users in _shared(graph).items() for user in users]
    return list(dict.fromkeys(links))


def _shared(graph: ModelGraph) -> dict[str, list[str]]:
    """Parameters that several nodes use, and their users."""
    users: dict[str, list[str]] = {}
    for component in graph.components.values():
        for slot in component.leaf.slots.values():
            if slot.kind == "param" and component.node not in users.setdefault(slot.name, []):
                users[slot.name].append(component.node)
    return {name: nodes for name, nodes in users.items() if len(nodes) > 1}


# --- places -----------------------------------------------------------------------------------


def _layout(graph: ModelGraph, links: list[Link]) -> Block:
    edges = [(link.source, link.target) for link in links if not link.lag]
    loops = Counter(
        link.source
        for link in links
        for other in links
        if link.lag and other.lag and link.source == link.target and link.source in _ends(other)
    )
    items = {name: _space(graph, name, loops) for name in _shared(graph)}
    return arrange({**items, UNIT: _scope(graph, UNIT, edges, loops)}, edges)


def _scope(
    graph: ModelGraph, scope: str, edges: list[tuple[str, str]], loops: Mapping[str, int]
) -> Block:
    inputs = [name for name, record in graph.covariates.items() if record.scope == scope]
    nodes = [node.name for node in graph.nodes_of(scope)]
    items = {name: _space(graph, name, loops) for name in (*nodes, *inputs)}
    for child in graph.children(scope):
        inner = _scope(graph, child, edges, loops)
        if inner.points:
            items[child] = inner
    if not items:
        return Block(0, 0, 0, 0)
    caption = text_width(_scope_text(graph, scope), NOTE)
    return frame(arrange(items, edges), scope, caption)


def _ends(link: Link) -> tuple[str, str]:
    return link.source, link.target


def _space(graph: ModelGraph, name: str, loops: Mapping[str, int]) -> Block:
    """The room that a node takes: its shape, a loop on its left, text on its right."""
    reach = _boundary(graph, name, (0, 0)).reach
    notes = max((_box(text)[2] for text in _notes(graph, name, (0, 0))), default=reach)
    left = reach + (LOOP if loops.get(name) else 0.0)
    up = reach + (LOOP if loops.get(name, 0) > 1 else 0.0)
    return Block(left, max(notes, reach), up, reach, {name: (0.0, 0.0)})


def _boundary(graph: ModelGraph, name: str, at: Point) -> Boundary:
    if name in graph.covariates:
        return Boundary(at, DIAMOND, diamond=True)
    return Boundary(at, RADIUS if name in graph.nodes else SQUARE)


# --- shapes -----------------------------------------------------------------------------------


def _node(graph: ModelGraph, name: str, at: Point) -> Iterator[Shape]:
    x, y = at
    if name in graph.covariates:
        corners = ((x, y - DIAMOND), (x + DIAMOND, y), (x, y + DIAMOND), (x - DIAMOND, y))
        yield Polygon(corners, Paint(SHADE))
    elif name in graph.nodes:
        observed = graph.nodes[name].kind == "observed"
        yield Circle(at, RADIUS, Paint(SHADE if observed else PAPER))
    else:
        yield Rectangle((x - SQUARE, y - SQUARE), 2 * SQUARE, 2 * SQUARE, Paint(INK), 1.5)
    if _fits(graph, name):
        yield Text(at, name, NAME if len(name) < 6 else 12.5)


def _fits(graph: ModelGraph, name: str) -> bool:
    """Whether a name stands inside its shape."""
    return (name in graph.nodes or name in graph.covariates) and len(name) <= LONGEST


def _notes(graph: ModelGraph, name: str, at: Point) -> list[Text]:
    """Text on the right of a node: a name too long for its inside, and its family."""
    lines = [] if _fits(graph, name) else [(name, NAME - 1, INK)]
    if name in graph.nodes:
        lines.append((_family(graph, name), NOTE, GREY))
    reach = _boundary(graph, name, at).reach
    top = at[1] - 8 * (len(lines) - 1)
    return [
        Text((at[0] + reach + 7, top + 16 * k), text, size, "start", colour, halo=True)
        for k, (text, size, colour) in enumerate(lines)
    ]


def _family(graph: ModelGraph, name: str) -> str:
    families = []
    for component in graph.leaves_of(name):
        size = component.leaf.settings.get("size")
        families.append(type(component.family).__name__ + (f" ({size})" if size else ""))
    return " | ".join(families)


def _plate(graph: ModelGraph, name: str, box: Box) -> Rectangle:
    x0, y0, x1, y1 = box
    if graph.scopes[name].looks_back:
        paint = Paint("#f0fdfa", TIME, 1.3)
    else:
        paint = Paint("#f8fafc" if name == UNIT else PAPER, "#94a3b8", 1.2)
    return Rectangle((x0, y0), x1 - x0, y1 - y0, paint)


def _caption(graph: ModelGraph, name: str, box: Box) -> Text:
    colour = TIME if graph.scopes[name].looks_back else GREY
    text = _scope_text(graph, name)
    return Text((box[2] - 10, box[3] - PADDING / 2 - 2), text, NOTE, "end", colour, bold=True)


def _scope_text(graph: ModelGraph, name: str) -> str:
    scope = graph.scopes[name]
    if scope.kind == "sequence":
        return f"{name} = 1, 2, …"
    if scope.kind == "tree":
        return f"{name}: a tree"
    return name if scope.size is None else f"{name} × {scope.size}"


def _box(text: Text) -> Box:
    """Where a line of text is, a little generously."""
    width = text_width(text.text, text.size)
    left = text.at[0] - {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
    return (left - 2, text.at[1] - 0.6 * text.size, left + width + 2, text.at[1] + 0.6 * text.size)


def _arrow(link: Link, curve: Floats) -> Iterator[Shape]:
    colour = TIME if link.lag else INK
    tip, before = curve[3], curve[2]
    along = (tip - before) / (np.linalg.norm(tip - before) or 1.0)
    across = np.array([-along[1], along[0]])
    base = tip - 9 * along
    shaft = np.array([curve[0], curve[1], curve[2] - 4 * along, base])
    yield Curve(_tuples(shaft), Paint(None, colour, dashed=bool(link.lag)))
    head = np.array([tip, base + 4 * across, base - 4 * across])
    yield Polygon(_tuples(head), Paint(colour, colour, 0.8))
    if link.lag > 1:
        chord = curve[[0, 3]].mean(axis=0)
        bulge = 0.75 * (curve[1:3].mean(axis=0) - chord)
        x, y = chord + bulge + 12 * bulge / (np.linalg.norm(bulge) or 1.0)
        yield Text((float(x), float(y)), f"lag {link.lag}", NOTE, colour=TIME, halo=True)


def _tuples(points: Floats) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in points)


__all__ = ["compose", "draw", "find_links"]
