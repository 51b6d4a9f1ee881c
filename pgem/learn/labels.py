"""Soft labels of latent nodes, which break symmetry for any graph.

Each row of a latent's scope is described by the observed values below it (standardised numbers,
one-hot categories, averaged over plates and sequences of free length); seeds are spread by
k-means++ on randomly scaled descriptions of a sample, a few Lloyd iterations follow, and the labels
are softened with random noise, so that two latents with the same observations start differently.
Descriptions, distances and labels are made some rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.random import Generator

from pgem.arrays import Floats, Integers
from pgem.declare import UNIT
from pgem.errors import FitError
from pgem.families._linear import Linear
from pgem.families._link import Linked
from pgem.run import Bound, ByRow, Codes, blocks_of, codes_type

SAMPLE = 5_000
"""Rows among which seeds are sought."""
LLOYD = 10
"""Iterations of k-means behind a start."""
MOST_COLUMNS = 16
"""Columns that a node with many categories takes: beyond, each category has a random place."""
NOISE = 0.25
"""Share of random noise in the labels."""
AT_ONCE = 1 << 20
"""Entries of labels up to which they are drawn at once and kept; and rows that are shuffled."""
DRAWN = 1 << 13
"""Rows whose noise is drawn together where labels are made as they are read."""


class Labels:
    """Soft labels of many rows, made where they are read: the same ones every time.

    Args:
        codes: the label of every row; None for noise alone.
        n_rows: number of rows.
        size: number of labels.
        share: of noise.
        seed: of the noise.
    """

    def __init__(
        self, codes: Codes | None, n_rows: int, size: int, share: float, seed: int
    ) -> None:
        self.codes, self.shape, self.share, self.seed = codes, (n_rows, size), share, seed

    def __getitem__(self, rows: slice, /) -> Floats:
        low, high, _ = rows.indices(self.shape[0])
        first, last = low // DRAWN, -(-high // DRAWN)
        parts = [self._noise(block) for block in range(first, last)]
        noise = np.concatenate([np.zeros((0, self.shape[1])), *parts])
        noise = noise[low - first * DRAWN : high - first * DRAWN]
        if self.codes is None:
            return noise
        return _softened(self.codes[rows], noise, self.share)

    def _noise(self, block: int) -> Floats:
        generator = np.random.default_rng([self.seed, block])
        return generator.dirichlet(np.ones(self.shape[1]), DRAWN)


def random_labels(bound: Bound, generator: Generator, *, vary: bool = False) -> dict[str, ByRow]:
    """Soft labels for every latent that is summed over.

    Args:
        bound: program and data.
        generator: source of random numbers.
        vary: settle the clusters less, and blur them differently: restarts shall end elsewhere.

    Raises:
        FitError: more values than rows to tell them apart.
    """
    labels: dict[str, ByRow] = {}
    rounds, noise = LLOYD, NOISE
    if vary:
        rounds = int(generator.integers(LLOYD))
        noise = 2 * NOISE * float(generator.beta(0.5, 0.5))  # often hard, often blurred
    sizes = bound.program.analysis.layout.sizes
    for name, node in bound.program.outline.nodes.items():
        if node.kind != "latent" or not node.finite or name in bound.program.schema.given:
            continue
        n_rows, size = bound.columns.n_rows(node.scope), sizes[name]
        if size > n_rows:
            raise FitError(
                f"latent node '{name}' has more values than there are rows to start from",
                where=node.origin,
                expected=f"at most '{n_rows}' values",
                received=f"'{size}'",
                advice="fewer values, more data, or start= with all parameters",
            )
        described = Description(bound, name)
        codes = cluster(described, size, generator, rounds) if described.width else None
        labels[name] = _soften(codes, n_rows, size, generator, noise)
    return labels


def given_labels(values: Any, name: str, bound: Bound) -> Floats:
    """Responsibilities of one latent from the user's labels or [rows, K] table.

    Raises:
        FitError: shape or values do not fit.
    """
    node = bound.program.outline.nodes[name]
    n_rows, size = bound.columns.n_rows(node.scope), bound.program.analysis.layout.sizes[name]
    levels = bound.columns.levels.get(name) or node.levels
    if levels is not None:
        values = _codes_of(values, {level: k for k, level in enumerate(levels)})
    flat = _flat_labels(values, n_rows)
    if flat.ndim == 1 and flat.shape == (n_rows,):
        ok = (flat >= 0) & (flat < size) & (flat == np.floor(flat))
        if ok.all():
            return one_hot_rows(flat, size)
    elif flat.shape == (n_rows, size):
        sums_to_one = np.allclose(flat.sum(axis=1), 1, atol=1e-6)
        if sums_to_one and (flat >= 0).all():
            return flat
    raise FitError(
        f"start value of latent node '{name}' does not fit",
        expected=f"labels 0 … {size - 1} for '{n_rows}' rows, or responsibilities "
        f"[{n_rows}, {size}] whose rows sum to one",
        received=f"an array of shape '{flat.shape}'",
    )


def _codes_of(values: Any, places: Mapping[Any, int]) -> Any:
    """Nested labels as codes; what is no label stays."""
    if isinstance(values, str) or np.ndim(values) == 0:
        plain = values.item() if isinstance(values, np.generic) else values
        return places.get(plain, values)
    return [_codes_of(value, places) for value in values]


def _flat_labels(values: Any, n_rows: int) -> Floats:
    """Labels [rows] or responsibilities [rows, K] without their nesting; empty if no numbers."""
    try:
        if isinstance(values, list | tuple) and values and np.ndim(values[0]) > 0:
            parts = [np.asarray(v, dtype=float) for v in values]
            if len({part.shape[1:] for part in parts}) == 1:
                values = np.concatenate(parts)
        table = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return np.zeros(0)
    if table.size == n_rows and table.shape != (n_rows, 1):
        return table.reshape(-1)
    return table.reshape(-1, table.shape[-1]) if table.ndim > 2 else table


# --- descriptions -------------------------------------------------------------------------------


class Description:
    """One row per row of a latent's scope: the observed values below it, standardised.

    Args:
        bound: program and data.
        latent: the node.
    """

    def __init__(self, bound: Bound, latent: str) -> None:
        self.columns, outline = bound.columns, bound.program.outline
        home = outline.nodes[latent].scope
        self.n_rows = self.columns.n_rows(home)
        self.parts: list[tuple[_Seen, list[str]]] = []
        for name in _descendants(bound, latent):
            scope, path = outline.nodes[name].scope, list[str]()
            while scope not in (home, UNIT):
                path.insert(0, scope)
                scope = outline.scopes[scope].parent
            seen = _Seen(bound, name)
            if scope == home and seen.is_there:
                self.parts.append((seen, path))
        self.sizes = {name: record.size for name, record in outline.scopes.items()}
        self.mean, self.deviation = np.zeros(0), np.zeros(0)
        if self.parts:
            self.mean, self.deviation = _moments(lambda: (self._raw(r) for r in self._runs()))

    @property
    def width(self) -> int:
        """Columns that vary."""
        return int(np.count_nonzero(self.deviation > 0))

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Some rows at a time."""
        for rows in self._runs():
            yield rows, _standard(self._raw(rows), self.mean, self.deviation)

    def _runs(self) -> Iterator[slice]:
        read = sum(seen.n_rows * seen.width for seen, _ in self.parts)
        return blocks_of(self.n_rows, -(-read // max(self.n_rows, 1)))

    def _raw(self, rows: slice) -> Floats:
        """Side by side for members that have a fixed place, the mean otherwise."""
        tables = []
        for seen, path in self.parts:
            spans = [rows]
            for scope in path:
                starts = self.columns.starts[scope]
                spans.append(slice(int(starts[spans[-1].start]), int(starts[spans[-1].stop])))
            values = seen.read(spans[-1])
            for scope, above in zip(reversed(path), reversed(spans[:-1]), strict=True):
                values = self._to_parent(scope, values, above)
            tables.append(values)
        return np.concatenate(tables, axis=1)

    def _to_parent(self, scope: str, values: Floats, above: slice) -> Floats:
        lengths = np.diff(self.columns.starts[scope][above.start : above.stop + 1])
        if self.sizes[scope] is not None:
            return values.reshape(len(lengths), -1)
        total = np.zeros((len(lengths), values.shape[1]))
        np.add.at(total, np.repeat(np.arange(len(lengths)), lengths), values)
        return np.asarray(total / np.maximum(lengths, 1)[:, None])


class _Seen:
    """Values of an observed node as numbers without holes [rows, columns].

    Beside them stand what they are regressed on, and the products of both: components may differ in
    slopes.

    Args:
        bound: program and data.
        name: the node.
    """

    def __init__(self, bound: Bound, name: str) -> None:
        columns, self.beside = bound.columns, bound.beside
        self.n_rows = columns.n_rows(bound.program.outline.nodes[name].scope)
        self.codes, self.numbers = columns.codes.get(name), columns.numbers.get(name)
        self.size = bound.program.analysis.layout.sizes.get(name, 0)
        self.is_there = self.numbers is None or not self.numbers.is_empty
        self.fill = np.zeros(0)
        if self.numbers is not None and self.is_there:
            self.fill = self._mean_of_present()
        parts = [part for part in bound.program.parts.values() if part.node == name]
        found = [(part, part.family) for part in parts if isinstance(part.family, Linear | Linked)]
        self.regressed = found[0] if found and self.is_there else None
        self.scale: tuple[tuple[Floats, Floats], tuple[Floats, Floats]] | None = None
        if self.regressed is not None and self._design(slice(0, 1)).shape[1]:
            runs = list(blocks_of(self.n_rows, self.width))
            self.scale = (
                _moments(lambda: (self._values(rows) for rows in runs)),
                _moments(lambda: (self._design(rows) for rows in runs)),
            )

    @property
    def width(self) -> int:
        """Columns, at most, of which regressors and products are two sets."""
        if self.numbers is None:
            return min(self.size, MOST_COLUMNS)
        beside = 0 if self.regressed is None else self._design(slice(0, 1)).shape[1]
        return self.numbers.width * (1 + beside) + beside

    def read(self, rows: slice) -> Floats:
        """Some rows."""
        values = self._values(rows)
        if self.scale is None:
            return values
        of_values, of_design = self.scale
        design = _standard(self._design(rows), *of_design)
        products = _standard(values, *of_values)[:, :, None] * design[:, None, :]
        return np.concatenate([values, design, products.reshape(len(values), -1)], axis=1)

    def _values(self, rows: slice) -> Floats:
        if self.codes is not None:
            codes = self.codes[rows]
            if self.size <= MOST_COLUMNS:
                return one_hot_rows(codes, self.size)
            places = np.random.default_rng(self.size).normal(size=(self.size + 1, MOST_COLUMNS))
            places[-1] = 0.0  # for holes
            return places[codes]
        assert self.numbers is not None
        values = self.numbers[rows]
        values = values.reshape(len(values), -1)
        return np.where(np.isnan(values), self.fill, values)

    def _design(self, rows: slice) -> Floats:
        assert self.regressed is not None
        return self.beside.design(*self.regressed, rows)["design"]

    def _mean_of_present(self) -> Floats:
        assert self.numbers is not None
        count, total = np.zeros((2, self.numbers.width))
        for rows in self.numbers.blocks():
            values = self.numbers[rows].reshape(-1, self.numbers.width)
            gone = np.isnan(values)
            count += (~gone).sum(axis=0)
            total += np.where(gone, 0.0, values).sum(axis=0)
        return np.asarray(total / np.maximum(count, 1))


def _moments(blocks: Callable[[], Iterable[Floats]]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of every column [F]."""
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for table in blocks():
        count, total = count + len(table), total + table.sum(axis=0)
    mean = total / max(count, 1)
    for table in blocks():
        squares = squares + ((table - mean) ** 2).sum(axis=0)
    return mean, np.sqrt(squares / max(count, 1))


def _standard(table: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Columns that vary, with mean 0 and variance 1."""
    kept = deviation > 0
    return np.asarray((table[:, kept] - mean[kept]) / deviation[kept])


def _descendants(bound: Bound, latent: str) -> list[str]:
    nodes = bound.program.outline.nodes
    below, found = {latent}, []
    while new := [n for n, node in nodes.items() if n not in below and below & set(node.parents)]:
        below |= set(new)
        found += [n for n in new if nodes[n].kind == "observed" and bound.columns.has(n)]
    return found


# --- clusters -----------------------------------------------------------------------------------


def cluster(described: Description, size: int, generator: Generator, rounds: int = LLOYD) -> Codes:
    """k-means++ seeds and a few Lloyd iterations on randomly scaled columns."""
    n_rows, scale = described.n_rows, generator.gamma(2.0, 0.5, described.width)
    if n_rows <= AT_ONCE:
        chosen = generator.permutation(n_rows)[:SAMPLE]
    else:
        chosen = generator.integers(n_rows, size=SAMPLE)
    order = np.argsort(chosen, kind="stable")
    sample = np.empty((len(chosen), described.width))
    for rows, table in described.blocks():
        low, high = np.searchsorted(chosen[order], [rows.start, rows.stop])
        here = order[low:high]
        sample[here] = table[chosen[here] - rows.start] * scale
    centres = _seeds(sample, size, generator)
    for _ in range(rounds):
        codes = _nearest(sample, centres)
        for k in range(size):
            if (codes == k).any():
                centres[k] = sample[codes == k].mean(axis=0)
    centres = centres[np.argsort(centres.sum(axis=1), kind="stable")]
    found = np.empty(n_rows, dtype=codes_type(size))
    for rows, table in described.blocks():
        found[rows] = _nearest(table * scale, centres)
    return Codes(found, is_own=True)


def _seeds(sample: Floats, size: int, generator: Generator) -> Floats:
    """k-means++ (Arthur & Vassilvitskii 2007)."""
    centres = [sample[generator.integers(len(sample))]]
    distance = ((sample - centres[0]) ** 2).sum(axis=1)
    for _ in range(size - 1):
        total = distance.sum()
        weights = distance / total if total > 0 else None
        centres.append(sample[generator.choice(len(sample), p=weights)])
        distance = np.minimum(distance, ((sample - centres[-1]) ** 2).sum(axis=1))
    return np.array(centres)


def _nearest(table: Floats, centres: Floats) -> Integers:
    squares = (centres**2).sum(axis=1) - 2 * table @ centres.T
    return np.asarray(squares.argmin(axis=1))


def one_hot_rows(codes: Floats | Integers, size: int) -> Floats:
    """Codes [N] as rows of zeros with a single one [N, size]."""
    return np.asarray(codes[:, None] == np.arange(size), dtype=float)


def _soften(
    codes: Codes | None, n_rows: int, size: int, generator: Generator, share: float
) -> ByRow:
    if n_rows * size > AT_ONCE:
        return Labels(codes, n_rows, size, share, int(generator.integers(2**62)))
    noise = generator.dirichlet(np.ones(size), n_rows)
    return noise if codes is None else _softened(codes[:], noise, share)


def _softened(codes: Integers, noise: Floats, share: float) -> Floats:
    """Labels as rows of ones and zeros with a share of noise."""
    return (1 - share) * one_hot_rows(codes, noise.shape[1]) + share * noise
