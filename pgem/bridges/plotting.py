"""Pictures made with matplotlib: plate diagrams as PNG, and what a fit found.

Figures are made without `pyplot`, so that no backend is chosen and nothing global changes.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from pgem.arrays import Floats
from pgem.bridges._clouds import Cloud, find_clouds
from pgem.errors import MissingExtraError
from pgem.graph.picture import Circle, Curve, Paint, Picture, Polygon, Rectangle, Text

COLOURS = (
    "#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2",
    "#ca8a04", "#db2777", "#4b5563", "#65a30d", "#7c3aed", "#0f766e",
)  # fmt: skip
GREY, INK = "#9ca3af", "#1f2937"
SQUARE = (4.6, 3.6)
MOST_TABLES = 6
MOST_LABELS = 12


# --- fits ---------------------------------------------------------------------------------------


def plot_fit(fit: Any, data: Any, path: str | Path, weights: Any = None) -> Path:
    """A picture of a fit: data and components, parameter tables, and the trace.

    A numeric node in a sequence is shown in time with the means of the decoded states, a vector as
    a scatter with ellipses, a number as a histogram; where no node is numeric, the parameters are
    shown as bars and heat maps.

    Args:
        fit: a fit of a model with discrete latent nodes.
        data: the data it was fitted to.
        path: where to write; the suffix picks the format.
        weights: frequency of each unit.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    clouds = find_clouds(fit, data, weights)[:2]
    tables = [] if clouds else _tables(fit)[:MOST_TABLES]
    panels = [_cloud_panel(cloud) for cloud in clouds] + [_table_panel(*t) for t in tables]
    panels.append(_trace_panel(fit))
    wide = any(cloud.in_time for cloud in clouds)
    figure, axes = _grid(len(panels), wide=wide)
    for panel, axis in zip(panels, axes, strict=True):
        panel(axis)
    figure.suptitle(f"{fit.program.name}: log-likelihood {fit.log_likelihood:,.3f}", fontsize=12)
    path = Path(path)
    figure.savefig(path, dpi=150)
    return path


def _grid(n_panels: int, *, wide: bool) -> tuple[Any, list[Any]]:
    """A figure and its axes: time series below one another, anything else side by side."""
    figure_type = _figure_type()
    n_columns = 1 if wide else min(3, n_panels)
    n_rows = ceil(n_panels / n_columns)
    width, height = (9.5, 3.0 * n_rows) if wide else (SQUARE[0] * n_columns, SQUARE[1] * n_rows)
    figure = figure_type(figsize=(width, height + 0.4), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    ratios = [3] * (n_rows - 1) + [2] if wide else None
    grid = figure.add_gridspec(n_rows, n_columns, height_ratios=ratios)
    return figure, [figure.add_subplot(grid[divmod(k, n_columns)]) for k in range(n_panels)]


def _cloud_panel(cloud: Cloud) -> Any:
    if cloud.in_time:
        return lambda axis: _series(axis, cloud)
    if cloud.values.shape[1] > 1:
        return lambda axis: _scatter(axis, cloud)
    return lambda axis: _histogram(axis, cloud)


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def _series(axis: Any, cloud: Cloud) -> None:
    """The longest sequence with the mean of its decoded states as steps."""
    rows = cloud.sequence or slice(None)
    y, component = cloud.values[rows, 0], cloud.component[rows]
    t = np.arange(len(y))
    level = cloud.means()[component, 0]
    axis.plot(t, y, color=GREY, linewidth=0.9, zorder=1)
    for k in np.unique(component):
        here = component == k
        axis.scatter(t[here], y[here], s=13, color=_colour(k), zorder=2, label=cloud.labels[k])
    axis.step(t, level, where="mid", color=INK, linewidth=1.5, zorder=3, label="mean of the state")
    _finish(axis, "step", cloud.node)


def _scatter(axis: Any, cloud: Cloud) -> None:
    """The first two coordinates, with ellipses at one and two standard deviations."""
    means, covariances = cloud.means(), cloud.covariances()
    for k, label in enumerate(cloud.labels):
        here = cloud.component == k
        x, y = cloud.values[here, 0], cloud.values[here, 1]
        axis.scatter(x, y, s=11, color=_colour(k), alpha=0.55, linewidths=0, label=label)
        if np.isfinite(covariances[k]).all() and np.isfinite(means[k]).all():
            for radius in (1, 2):
                outline = _ellipse(means[k, :2], covariances[k][:2, :2], radius)
                axis.plot(*outline, color=_colour(k), linewidth=2.2 - 0.7 * radius)
    _finish(axis, f"{cloud.node}[0]", f"{cloud.node}[1]")


def _ellipse(mean: Floats, covariance: Floats, radius: float) -> Floats:
    """Points [2, n] at a Mahalanobis distance from the mean."""
    angles = np.linspace(0, 2 * np.pi, 181)
    values, vectors = np.linalg.eigh(covariance)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    turned = vectors @ (np.sqrt(np.maximum(values, 0))[:, None] * circle)
    return np.asarray(mean[:, None] + radius * turned)


def _histogram(axis: Any, cloud: Cloud) -> None:
    """A histogram whose bars are shared out among the components."""
    x = cloud.values[:, 0]
    whole = bool((x == np.round(x)).all()) and np.ptp(x) <= 60
    if whole:
        edges = np.arange(x.min() - 0.5, x.max() + 1)
    else:
        edges = np.histogram_bin_edges(x, bins=min(60, max(10, round(2 * len(x) ** 0.4))))
    base = np.zeros(len(edges) - 1)
    for k, label in enumerate(cloud.labels):
        share = cloud.weights * cloud.posterior[:, k]
        height, _ = np.histogram(x, edges, weights=share)
        axis.bar(
            edges[:-1], height, np.diff(edges) * (0.86 if whole else 1), bottom=base,
            align="edge", color=_colour(k), alpha=0.75, label=label,
        )  # fmt: skip
        base += height
    if cloud.curves is not None:
        _curves(axis, cloud, float(edges[1] - edges[0]), "o-" if whole else "-")
    _finish(axis, cloud.node, "rows")


def _curves(axis: Any, cloud: Cloud, width: float, style: str) -> None:
    """The components' densities, and their sum, on the scale of the histogram."""
    assert cloud.curves is not None
    grid, density = cloud.curves
    heights = density * cloud.weights.sum() * width
    for k in range(heights.shape[1]):
        axis.plot(grid, heights[:, k], style, color=_colour(k), linewidth=1.3, markersize=3)
    if heights.shape[1] > 1:
        total = heights.sum(axis=1)
        axis.plot(grid, total, style, color=INK, linewidth=1.3, markersize=3, label="all")


def _finish(axis: Any, across: str, up: str) -> None:
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    if len(axis.get_legend_handles_labels()[0]) <= MOST_LABELS + 1:
        axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def _tables(fit: Any) -> list[tuple[str, Floats]]:
    """Parameters that can be shown as one table, those of observed nodes first."""
    kinds = {name: node.kind for name, node in fit.program.outline.nodes.items()}
    found = [
        (name, np.asarray(value, dtype=float))
        for name, value in fit.params.items()
        if np.ndim(value) > 0 and 1 < np.size(value) <= 5000
    ]
    return sorted(found, key=lambda item: kinds.get(item[0].split(".")[0]) == "latent")


def _table_panel(name: str, table: Floats) -> Any:
    if table.ndim == 1:
        return lambda axis: _bars(axis, name, table)
    return lambda axis: _heat_map(axis, name, table)


def _bars(axis: Any, name: str, table: Floats) -> None:
    axis.bar(np.arange(len(table)), table, color=[_colour(k) for k in range(len(table))], alpha=0.8)
    axis.set_xticks(np.arange(len(table)))
    axis.set_title(name, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    if len(table) <= MOST_LABELS:
        for k, value in enumerate(table):
            axis.annotate(f"{value:.3g}", (k, value), ha="center", va="bottom", fontsize=8)


def _heat_map(axis: Any, name: str, table: Floats) -> None:
    """Gates down, the last axis across."""
    flat = table.reshape(-1, table.shape[-1])
    shares = flat.min() >= 0 and flat.max() <= 1
    low, high = (0.0, 1.0) if shares else (flat.min(), flat.max())
    image = axis.imshow(flat, cmap="Blues", vmin=low, vmax=high, aspect="auto")
    axis.figure.colorbar(image, ax=axis, shrink=0.85)
    axis.set_title(f"{name}  {list(table.shape)}", fontsize=10)
    axis.set_xticks(np.arange(flat.shape[1])[:: max(1, flat.shape[1] // MOST_LABELS)])
    axis.set_yticks(np.arange(len(flat))[:: max(1, len(flat) // MOST_LABELS)])
    if flat.size > 80:
        return
    for (row, column), value in np.ndenumerate(flat):
        dark = value > low + 0.6 * (high - low)
        colour = "#ffffff" if dark else INK
        text = f"{value:.2f}" if shares else f"{value:.3g}"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)


def _trace_panel(fit: Any) -> Any:
    trace = np.asarray(fit.trace, dtype=float)

    def panel(axis: Any) -> None:
        axis.plot(np.arange(len(trace)), trace, color=INK, linewidth=1.4)
        axis.scatter([len(trace) - 1], trace[-1:], s=18, color=COLOURS[0], zorder=3)
        axis.ticklabel_format(axis="y", useOffset=False)
        axis.set_title(f"{fit.verdict}".splitlines()[0], fontsize=10)
        axis.set_xlabel("iteration")
        axis.set_ylabel("log-likelihood")
        axis.spines[["top", "right"]].set_visible(False)

    return panel


# --- plate diagrams -----------------------------------------------------------------------------


def save_picture(picture: Picture, path: str | Path) -> None:
    """Write a plate diagram as PNG (or any format of matplotlib's).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = _figure_type()(figsize=(picture.width / 72, picture.height / 72))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_xlim(0, picture.width)
    axis.set_ylim(picture.height, 0)
    axis.set_axis_off()
    for shape in picture.shapes:
        if isinstance(shape, Text):
            _write(axis, shape)
        else:
            axis.add_patch(_patch(shape))
    figure.savefig(path, dpi=150)


def _write(axis: Any, text: Text) -> None:
    from matplotlib import patheffects

    halo = [patheffects.withStroke(linewidth=2.5, foreground="#ffffff", alpha=0.85)]
    axis.text(
        *text.at, text.text, fontsize=0.93 * text.size, color=text.colour, va="center_baseline",
        ha={"start": "left", "middle": "center", "end": "right"}[text.anchor],
        weight="bold" if text.bold else "normal", path_effects=halo if text.halo else [],
    )  # fmt: skip


def _patch(shape: Circle | Rectangle | Polygon | Curve) -> Any:
    from matplotlib import patches
    from matplotlib.path import Path as Outline

    style = _style(shape.paint)
    if isinstance(shape, Circle):
        return patches.Circle(shape.centre, shape.radius, **style)
    if isinstance(shape, Rectangle):
        box = f"round,pad=0,rounding_size={shape.radius}"
        return patches.FancyBboxPatch(
            shape.corner, shape.width, shape.height, boxstyle=box, **style
        )
    if isinstance(shape, Polygon):
        return patches.Polygon(shape.points, closed=True, **style)
    codes = [Outline.MOVETO, *[Outline.CURVE4] * 3]
    return patches.PathPatch(Outline(shape.points, codes), **style)


def _style(paint: Paint) -> dict[str, Any]:
    return {
        "facecolor": paint.fill or "none",
        "edgecolor": paint.line or "none",
        "linewidth": paint.width,
        "linestyle": (0, (3.5, 2.8)) if paint.dashed else "-",
    }


def _figure_type() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError("matplotlib", "plot", "draw pictures") from None
    return Figure


__all__ = ["plot_fit", "save_picture"]
