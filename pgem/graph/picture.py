"""A drawing as a list of primitives, and its SVG: the same list is what a PNG is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]

FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Paint:
    """How a primitive is painted; `None` leaves the inside or the line out."""

    fill: str | None = None
    line: str | None = "#1f2937"
    width: float = 1.4
    dashed: bool = False


@dataclass(frozen=True)
class Circle:
    """A circle."""

    centre: Point
    radius: float
    paint: Paint


@dataclass(frozen=True)
class Rectangle:
    """A rectangle with round corners, from its upper left corner."""

    corner: Point
    width: float
    height: float
    paint: Paint
    radius: float = 10.0


@dataclass(frozen=True)
class Polygon:
    """A closed polygon."""

    points: tuple[Point, ...]
    paint: Paint


@dataclass(frozen=True)
class Curve:
    """A cubic Bézier curve by its four points."""

    points: tuple[Point, ...]
    paint: Paint


@dataclass(frozen=True)
class Text:
    """One line of text; `at` is its middle in height, `anchor` says where along it.

    A halo keeps it legible where an arrow passes behind.
    """

    at: Point
    text: str
    size: float = 13.0
    anchor: str = "middle"
    colour: str = "#111827"
    bold: bool = False
    halo: bool = False


Shape = Circle | Rectangle | Polygon | Curve | Text


@dataclass(frozen=True)
class Picture:
    """Shapes on a white page, painted in order; y points down."""

    width: float
    height: float
    title: str
    shapes: Sequence[Shape] = field(default_factory=tuple)


def text_width(text: str, size: float) -> float:
    """A safe estimate of the width of a line of text."""
    return 0.58 * size * len(text)


def to_svg(picture: Picture) -> str:
    """The picture as an SVG document."""
    width, height = f"{picture.width:.0f}", f"{picture.height:.0f}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" font-family="{FONT}">'
    )
    page = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    body = [_element(shape) for shape in picture.shapes]
    title = f"<title>{escape(picture.title)}</title>"
    return "\n".join([head, title, page, *body, "</svg>"]) + "\n"


def _element(shape: Shape) -> str:
    if isinstance(shape, Circle):
        x, y = shape.centre
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{shape.radius:.1f}" {_paint(shape.paint)}/>'
    if isinstance(shape, Rectangle):
        x, y = shape.corner
        size = f'width="{shape.width:.1f}" height="{shape.height:.1f}" rx="{shape.radius:.1f}"'
        return f'<rect x="{x:.1f}" y="{y:.1f}" {size} {_paint(shape.paint)}/>'
    if isinstance(shape, Polygon):
        return f'<polygon points="{_points(shape.points)}" {_paint(shape.paint)}/>'
    if isinstance(shape, Curve):
        start, rest = _points(shape.points[:1]), _points(shape.points[1:])
        return f'<path d="M {start} C {rest}" {_paint(shape.paint)}/>'
    return _text(shape)


def _text(shape: Text) -> str:
    x, y = shape.at
    more = ' font-weight="600"' if shape.bold else ""
    if shape.halo:
        more += ' stroke="#ffffff" stroke-width="3" stroke-opacity="0.85" paint-order="stroke"'
    return (
        f'<text x="{x:.1f}" y="{y + 0.35 * shape.size:.1f}" font-size="{shape.size:g}" '
        f'text-anchor="{shape.anchor}" fill="{shape.colour}"{more}>{escape(shape.text)}</text>'
    )


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _paint(paint: Paint) -> str:
    dashes = ' stroke-dasharray="5 4"' if paint.dashed else ""
    line = f'stroke="{paint.line}" stroke-width="{paint.width:g}"{dashes}'
    return f'fill="{paint.fill or "none"}" {line if paint.line else ""}'.rstrip()
