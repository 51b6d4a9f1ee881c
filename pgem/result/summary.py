"""A fit in plain text: how it ended, its criteria, and each parameter as a labelled table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pgem.analyse import ParamLayout
from pgem.arrays import Floats

if TYPE_CHECKING:
    from pgem.result.fit import Fit

WIDTH = 100
"""Columns of text: wider tables go on below."""
MOST_ROWS = 200
"""Rows of one parameter that are shown."""


def summary(fit: Fit) -> str:
    """The verdict, the criteria and all parameters (see `Fit.summary`)."""
    lines = [f"{fit.record.name}: {fit.verdict!s}", f"  {fit.verdict.message}"]
    lines += [f"  note: {note}" for note in fit.verdict.notes]
    lines += ["", *_criteria(fit)]
    for name, layout in fit.program.params.items():
        lines += ["", *_parameter(fit, name, layout)]
    return "\n".join(lines) + "\n"


def entries(fit: Fit) -> list[tuple[str, tuple[int, ...], float]]:
    """All parameter entries as (name, index, value), in the order of `Fit.covariance`."""
    return [
        (name, place, float(fit.params[name][place]))
        for name in fit.program.params
        for place in np.ndindex(np.shape(fit.params[name]))
    ]


def _criteria(fit: Fit) -> list[str]:
    rows = [("log-likelihood", _decimals(fit.log_likelihood))]
    if fit.objective != fit.log_likelihood:
        rows.append(("objective", _decimals(fit.objective)))
    rows += [
        ("AIC", _decimals(fit.aic)),
        ("BIC", _decimals(fit.bic)),
        ("ICL", _decimals(fit.icl)),
        ("parameters", f"{fit.n_parameters}"),
        ("observations", f"{fit.n_observations:.12g}"),
        ("iterations", f"{fit.iterations}"),
    ]
    wide = max(len(value.partition(".")[0]) for _, value in rows)
    return [f"  {name:<16}{' ' * (wide - len(value.partition('.')[0]))}{value}"
            for name, value in rows]  # fmt: skip


def _decimals(value: float) -> str:
    return f"{value:.4f}"


# --- tables -------------------------------------------------------------------------------------


def _parameter(fit: Fit, name: str, layout: ParamLayout) -> Iterator[str]:
    """A title with the axes, then a number, a row, or one matrix per outer index."""
    value = np.asarray(fit.params[name])
    note = "" if layout.is_free else "  (fixed)"
    axes = _axis_titles(layout)
    if value.ndim == 0:
        yield f"{name} = {_number(float(value))}{note}"
        return
    yield f"{name} [{', '.join(axes)}]{note}"
    labels = [_labels(fit, layout, axis) for axis in range(value.ndim)]
    shown = 0
    for place in np.ndindex(value.shape[:-2]):
        if shown >= MOST_ROWS:
            yield f"  … the rest in fit.params['{name}']"
            return
        if place:
            yield "  " + ", ".join(
                f"{axes[k]} = {labels[k][index]}" for k, index in enumerate(place)
            )
        table = value[place]
        rows = labels[-2] if value.ndim > 1 else [""]
        yield from _table(np.atleast_2d(table)[: MOST_ROWS - shown], rows, labels[-1])
        shown += len(np.atleast_2d(table))
    if shown > MOST_ROWS:
        yield f"  … {shown - MOST_ROWS} more rows in fit.params['{name}']"


def _axis_titles(layout: ParamLayout) -> list[str]:
    return list(layout.axes)


def _labels(fit: Fit, layout: ParamLayout, axis: int) -> list[str]:
    """Labels along an axis: the levels of a node, or 0, 1, 2, …"""
    size = layout.shape[axis]
    if axis < layout.n_gates:
        key, slot = layout.uses[0]
        gate = fit.program.analysis.layout.components[key].component.leaf.slots[slot].gates[axis]
        name = gate.name
    else:
        node = fit.program.parts[layout.uses[0][0]].node
        name = node if fit.program.outline.nodes[node].finite else ""
    levels = fit.levels.get(name) or _declared_levels(fit, name)
    if levels is None or len(levels) != size:
        return [str(k) for k in range(size)]
    return [str(level) for level in levels]


def _declared_levels(fit: Fit, name: str) -> Sequence[Any] | None:
    place = fit.program.outline.nodes.get(name) or fit.program.outline.covariates.get(name)
    return None if place is None else place.levels


def _table(values: Floats, rows: Sequence[str], columns: Sequence[str]) -> Iterator[str]:
    """Right-aligned numbers under their labels, continued below where the text gets too wide."""
    texts = [_column(values[:, k]) for k in range(values.shape[1])]
    left = max(len(row) for row in rows)
    wide = max([len(c) for c in columns] + [len(text) for column in texts for text in column])
    most = max(1, (WIDTH - left - 2) // (wide + 2))
    for start in range(0, len(columns), most):
        part = slice(start, start + most)
        head = "".join(f"  {label:>{wide}}" for label in columns[part])
        yield f"  {'':<{left}}{head}"
        for k, label in enumerate(rows[: len(values)]):
            yield f"  {label:<{left}}" + "".join(f"  {text[k]:>{wide}}" for text in texts[part])


def _column(values: Floats) -> list[str]:
    """Numbers with the same decimals, so that they line up."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0.0))
    if largest and not 1e-3 <= largest < 1e7:
        return [f"{value:.4g}" for value in values]
    size = int(np.floor(np.log10(largest))) if largest else 0
    decimals = max(0, min(4, 4 - size))
    return [_fixed(float(value), decimals) for value in values]


def _fixed(value: float, decimals: int) -> str:
    """Fixed point; what would vanish in it is shown by its size."""
    if not np.isfinite(value):
        return f"{value:g}"
    if value and abs(value) < 0.5 * 10.0**-decimals:
        return f"{value:.0e}"
    return f"{value:.{decimals}f}"


def _number(value: float) -> str:
    return _column(np.array([value]))[0]
