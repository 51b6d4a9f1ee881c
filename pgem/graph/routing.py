"""Arrows between nodes: bent as little as is needed to keep clear of everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.graph.picture import Point

Box = tuple[float, float, float, float]

NODE_HIT, TEXT_HIT, NEAR_HIT, OUTSIDE, BEND = 40.0, 6.0, 3.0, 20.0, 30.0
BENDS = tuple(sign * bend for bend in (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8) for sign in (1, -1))
SKEWS = ((1.0, 1.0), (1.5, 0.3), (0.3, 1.5))
LOOPS = (180, 150, 210, 120, 240, 90, 60, 0, 300, 270)
STEPS = 61


@dataclass(frozen=True)
class Link:
    """An arrow to be drawn; `lag` counts the steps that it leads forward in time."""

    source: str
    target: str
    lag: int = 0


@dataclass(frozen=True)
class Boundary:
    """What an arrow ends at: a circle, or a diamond of the same reach."""

    centre: Point
    reach: float
    diamond: bool = False

    def holds(self, points: Floats, margin: float = 0.0) -> Mask:
        """Which points [n, 2] lie inside."""
        away = np.abs(points - np.array(self.centre))
        length = away.sum(axis=1) if self.diamond else np.hypot(away[:, 0], away[:, 1])
        return np.asarray(length < self.reach + margin)


def route(
    links: Sequence[Link],
    boundaries: Mapping[str, Boundary],
    labels: Sequence[Box],
    homes: Mapping[str, Box],
) -> dict[Link, Floats]:
    """A cubic Bézier curve [4, 2] per link, cut off at the boundaries of its ends.

    Args:
        links: straight ones are placed first, then links in time, then loops.
        boundaries: all nodes.
        labels: boxes of text that should stay readable.
        homes: per node the frame around it, which its arrows do not leave.
    """
    placed: dict[Link, Floats] = {}
    taken: list[Floats] = []
    for link in sorted(links, key=lambda link: (link.lag, link.source == link.target)):
        others = [o for name, o in boundaries.items() if name not in (link.source, link.target)]
        best, lowest = np.empty((0, 2)), np.inf
        for curve, cost in sorted(_candidates(link, boundaries), key=lambda option: option[1]):
            if cost >= lowest:
                break
            seen = _free(points(curve), link, boundaries)
            cost += OUTSIDE * _outside(seen, homes.get(link.source))
            cost += _cost(seen, others, labels, taken)
            if cost < lowest:
                best, lowest = curve, cost
        placed[link] = _cut(best, link, boundaries)
        taken.append(points(placed[link]))
    return placed


def points(curve: Floats, times: Floats | None = None) -> Floats:
    """Points on a Bézier curve, [n, 2]."""
    t = np.linspace(0, 1, STEPS)[:, None] if times is None else np.asarray(times)[:, None]
    weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
    return np.asarray(sum(w * p for w, p in zip(weights, curve, strict=True)))


def _candidates(link: Link, boundaries: Mapping[str, Boundary]) -> Iterator[tuple[Floats, float]]:
    """Curves from centre to centre and what their shape costs by itself."""
    start, end = (np.array(boundaries[name].centre) for name in (link.source, link.target))
    if link.source == link.target:
        for rank, angle in enumerate(LOOPS):
            yield _loop(start, boundaries[link.source].reach, angle), 0.5 * rank
        return
    along = end - start
    across = np.array([-along[1], along[0]])
    for bend in BENDS:
        if link.lag and abs(bend) < 0.2:
            continue
        for early, late in SKEWS if bend else SKEWS[:1]:
            middle = 2 / 3 * bend * across
            turns = [start + along / 3 + early * middle, end - along / 3 + late * middle]
            yield np.array([start, *turns, end]), BEND * abs(bend) + 2 * abs(early - late)


def _loop(centre: Floats, reach: float, angle: float) -> Floats:
    sides = np.deg2rad([angle - 38, angle + 38])
    away = np.stack([np.cos(sides), -np.sin(sides)], axis=1)
    return np.array(
        [centre, centre + 2.8 * reach * away[0], centre + 2.8 * reach * away[1], centre]
    )


def _free(on_curve: Floats, link: Link, boundaries: Mapping[str, Boundary]) -> Floats:
    """The points of a curve that are seen: outside its ends."""
    hidden = boundaries[link.source].holds(on_curve) | boundaries[link.target].holds(on_curve)
    return on_curve[~hidden]


def _outside(seen: Floats, home: Box | None) -> float:
    return 0.0 if home is None else float((~_within(seen, home, -4.0)).sum())


def _within(seen: Floats, box: Box, margin: float = 0.0) -> Mask:
    (x0, y0, x1, y1), x, y = box, seen[:, 0], seen[:, 1]
    inside = (x > x0 - margin) & (x < x1 + margin) & (y > y0 - margin) & (y < y1 + margin)
    return np.asarray(inside)


def _cost(
    seen: Floats, nodes: Sequence[Boundary], labels: Sequence[Box], taken: Sequence[Floats]
) -> float:
    cost = sum(NODE_HIT * float(node.holds(seen, 7.0).sum()) for node in nodes)
    cost += sum(TEXT_HIT * float(_within(seen, label).sum()) for label in labels)
    for other in taken:
        gaps = np.linalg.norm(seen[:, None] - other[None], axis=-1).min(axis=1, initial=np.inf)
        cost += NEAR_HIT * float((gaps < 9.0).sum())
    return cost


def _cut(curve: Floats, link: Link, boundaries: Mapping[str, Boundary]) -> Floats:
    """The part of the curve between the boundaries."""
    times = np.linspace(0, 1, 801)
    on_curve = points(curve, times)
    leaves = np.flatnonzero(~boundaries[link.source].holds(on_curve))
    enters = np.flatnonzero(~boundaries[link.target].holds(on_curve, 2.0))
    if not len(leaves) or not len(enters):
        return curve
    return _part(curve, float(times[leaves[0]]), float(times[enters[-1]]))


def _part(curve: Floats, begin: float, end: float) -> Floats:
    """The stretch of a Bézier curve between two times, by its polar form."""
    times = [(begin,) * (3 - k) + (end,) * k for k in range(4)]
    return np.array([_polar(curve, *each) for each in times])


def _polar(curve: Floats, *times: float) -> Floats:
    for t in times:
        curve = (1 - t) * curve[:-1] + t * curve[1:]
    return np.asarray(curve[0])
