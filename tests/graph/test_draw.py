"""The plate diagram: what must be in it, and what must not touch."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pgem as pg
from pgem.graph import ModelGraph, build_graph
from pgem.graph.draw import compose, draw, find_links
from pgem.graph.layout import Block, arrange, crossings, frame, make_layers, order_layers
from pgem.graph.picture import Circle, Curve, Picture, Rectangle, Text
from pgem.graph.routing import Boundary, Link, points, route


def mixture() -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=3))
        pg.observed("x", pg.MvNormal(), given=z)
    return model


def hmm() -> pg.Model:
    with pg.Model("hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        pg.observed("y", pg.Poisson(), given=s)
    return model


def tree() -> pg.Model:
    with pg.Model("tree") as model:
        c = pg.latent("c", pg.Categorical(size=2))
        with pg.tree("cell"):
            s = pg.latent("s", pg.Categorical(size=3), given=c, after="s")
            pg.observed("y", pg.Poisson(), given=s)
    return model


def factorial() -> pg.Model:
    with pg.Model("factorial") as model, pg.sequence("t"):
        chains = [pg.latent(k, pg.Categorical(size=2), after=k) for k in "abc"]
        pg.observed("y", pg.Normal(), given=chains)
    return model


def coupled() -> pg.Model:
    with pg.Model("coupled") as model, pg.sequence("t"):
        a = pg.latent("a", pg.Categorical(size=2), after=["a", "b"])
        b = pg.latent("b", pg.Categorical(size=2), after=["b", "a"])
        pg.observed("y", pg.Normal(), given=a)
        pg.observed("w", pg.Poisson(), given=b)
    return model


def multilevel() -> pg.Model:
    with pg.Model("multilevel") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        with pg.plate("patient"):
            c = pg.latent("c", pg.Categorical(size=4), given=g)
            with pg.plate("item", size=20) as item:
                pg.observed("x", pg.Categorical(size=3), given=[c, item])
    return model


def gmm_hmm() -> pg.Model:
    with pg.Model("gmm_hmm") as model, pg.sequence("t"):
        s = pg.latent("s", pg.Categorical(size=3), after="s")
        k = pg.latent("k", pg.Categorical(size=2), given=s)
        pg.observed("x", pg.MvNormal(), given=[s, k])
    return model


def second_order() -> pg.Model:
    with pg.Model("second order <&>") as model:
        who = pg.covariate("who", size=3)
        with pg.sequence("day"):
            n = pg.covariate("trials")
            table = pg.param("A")[who, pg.prev("s"), pg.prev("s", 2)]
            s = pg.latent("s", pg.Categorical(table, size=2))
            pg.observed("successes", pg.Binomial(trials=n), given=[s, pg.prev("s")])
    return model


def tied() -> pg.Model:
    with pg.Model("tied") as model:
        allele = pg.param("allele")
        mother = pg.latent("mother", pg.Categorical(allele, size=2))
        father = pg.latent("father", pg.Categorical(allele, size=2))
        table = np.full((2, 2, 4), 0.25)
        pg.observed("group", pg.Categorical(pg.constant(table)[mother, father], size=4))
    return model


def busy() -> pg.Model:
    with pg.Model("busy") as model:
        g = pg.latent("g", pg.Categorical(size=2))
        h = pg.latent("h", pg.Categorical(size=2), given=g)
        k = pg.latent("k", pg.Categorical(size=2), given=[g, h])
        pg.observed("v", pg.Normal(), given=[g, k])
        with pg.plate("visit"):
            c = pg.latent("c", pg.Categorical(size=4), given=[g, h])
            d = pg.latent("d", pg.Categorical(size=4), given=c)
            pg.observed("x", pg.Normal(), given=[c, d, g])
            with pg.plate("item", size=5) as item:
                pg.observed("q", pg.Bernoulli(), given=[d, item])
            with pg.sequence("t"):
                s = pg.latent("s", pg.Categorical(size=2), given=c, after="s")
                pg.observed("w", pg.Normal(), given=[s, h])
    return model


MAKERS = [
    mixture, hmm, tree, factorial, coupled, multilevel, gmm_hmm, second_order, tied, busy,
]  # fmt: skip
each_model = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def graph_of(make: Callable[[], pg.Model]) -> ModelGraph:
    model = make()
    return build_graph(model.record, model.families)


def texts(picture: Picture) -> list[str]:
    return [shape.text for shape in picture.shapes if isinstance(shape, Text)]


def circles(picture: Picture) -> list[Circle]:
    return [shape for shape in picture.shapes if isinstance(shape, Circle)]


def test_trees_are_tinted_like_sequences() -> None:
    picture = compose(graph_of(tree))
    assert "cell: a tree" in texts(picture)
    (like,) = [s.paint for s in compose(graph_of(hmm)).shapes if isinstance(s, Rectangle)][1:2]
    assert like in [s.paint for s in picture.shapes if isinstance(s, Rectangle)]


@each_model
def test_every_name_is_written(make: Callable[[], pg.Model]) -> None:
    graph = graph_of(make)
    written = texts(compose(graph))
    for name in (graph.name, *graph.nodes, *graph.covariates):
        assert name in written
    for name, scope in graph.scopes.items():
        caption = f"{name} = 1, 2, …" if scope.kind == "sequence" else name
        assert any(text.startswith(caption) for text in written)


@each_model
def test_nothing_overlaps_and_all_is_on_the_page(make: Callable[[], pg.Model]) -> None:
    picture = compose(graph_of(make))
    for one, other in itertools.combinations(circles(picture), 2):
        assert math.dist(one.centre, other.centre) > one.radius + other.radius + 10
    for circle in circles(picture):
        assert circle.radius < circle.centre[0] < picture.width - circle.radius
        assert circle.radius < circle.centre[1] < picture.height - circle.radius


@each_model
def test_arrows_keep_clear_of_other_nodes(make: Callable[[], pg.Model]) -> None:
    picture = compose(graph_of(make))
    for curve in (shape for shape in picture.shapes if isinstance(shape, Curve)):
        seen = points(np.array(curve.points))
        assert (seen > 0).all()
        assert (seen < (picture.width, picture.height)).all()
        for circle in circles(picture):
            distance = np.hypot(*(seen - circle.centre).T)
            ends = min(distance[0], distance[-1]) < circle.radius + 14
            assert ends or distance.min() > circle.radius


@each_model
def test_plates_hold_their_nodes_and_no_others(make: Callable[[], pg.Model]) -> None:
    graph = graph_of(make)
    picture = compose(graph)
    boxes = [s for s in picture.shapes if isinstance(s, Rectangle) and s.width > 30]
    found = []
    for box in boxes:
        (x0, y0), held = box.corner, 0
        for x, y in (circle.centre for circle in circles(picture)):
            held += x0 < x < x0 + box.width and y0 < y < y0 + box.height
        found.append(held)
    below = {s: [b for b in graph.scopes if s in graph.path(b)] for s in graph.scopes}
    expected = [sum(len(graph.nodes_of(b)) for b in below[s]) for s in graph.scopes]
    assert sorted(found) == sorted(expected)


@each_model
def test_svg_is_sound_xml(make: Callable[[], pg.Model], tmp_path: Path) -> None:
    path = draw(graph_of(make), tmp_path / "model.svg")
    root = ElementTree.parse(path).getroot()
    assert root.tag.endswith("svg")
    assert float(root.attrib["width"]) > 100


def test_png_shows_the_same(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = draw(graph_of(hmm), tmp_path / "model.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pg.PgemError, match=r"(?s)'mixture'.*\.svg or \.png.*'\.gif'"):
        draw(graph_of(mixture), tmp_path / "model.gif")


def test_links_in_time_are_dashed() -> None:
    curves = [s for s in compose(graph_of(coupled)).shapes if isinstance(s, Curve)]
    assert [curve.paint.dashed for curve in curves].count(True) == 4


def test_observed_nodes_are_shaded() -> None:
    fills = [circle.paint.fill for circle in circles(compose(graph_of(mixture)))]
    assert len(set(fills)) == 2


def test_links_keep_lagged_and_unlagged_apart() -> None:
    found = find_links(graph_of(second_order))
    assert Link("s", "successes", 0) in found
    assert Link("s", "successes", 1) in found
    assert Link("s", "s", 2) in found
    assert Link("trials", "successes", 0) in found
    assert "lag 2" in texts(compose(graph_of(second_order)))


def test_a_tied_parameter_is_drawn_once() -> None:
    found = find_links(graph_of(tied))
    assert {link.target for link in found if link.source == "allele"} == {"mother", "father"}
    assert find_links(graph_of(mixture)) == [Link("z", "x", 0)]


def test_layers_follow_the_longest_path() -> None:
    layers = make_layers(["a", "b", "c", "d"], [("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")])
    assert layers == [["a"], ["b", "d"], ["c"]]


def test_order_removes_crossings() -> None:
    links = [("a", "y"), ("b", "x")]
    layers = [["a", "b"], ["x", "y"]]
    assert crossings(layers, links) == 1
    assert crossings(order_layers(layers, links), links) == 0


def test_blocks_stand_apart_and_children_below_the_middle() -> None:
    def dot(name: str) -> Block:
        return Block(10, 10, 10, 10, {name: (0.0, 0.0)})

    block = arrange({n: dot(n) for n in "abc"}, [("a", "c"), ("b", "c")])
    (ax, ay), (bx, _), (cx, cy) = (block.points[n] for n in "abc")
    assert bx - ax >= 20
    assert cx == pytest.approx((ax + bx) / 2)
    assert cy > ay + 20


def test_a_frame_is_wide_enough_for_its_caption() -> None:
    block = frame(Block(5, 5, 5, 5, {"a": (0.0, 0.0)}), "plate", 200.0)
    x0, _, x1, _ = block.frames["plate"]
    assert x1 - x0 >= 200


def test_a_route_bends_around_a_node() -> None:
    nodes = {"a": Boundary((0, 0), 10), "b": Boundary((0, 100), 10), "c": Boundary((0, 200), 10)}
    link = Link("a", "c")
    seen = points(route([link], nodes, [], {})[link])
    assert np.hypot(*(seen - (0, 100)).T).min() > 10
    assert np.hypot(*seen[0]) == pytest.approx(10, abs=1)


def test_matplotlib_and_networkx_wait() -> None:
    code = (
        "import sys, pgem.graph.draw; "
        "assert not {'matplotlib', 'networkx'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
