"""What a script adds to the listing: the bound data, the EM loop, the command line.

This module is not used by pgem itself: `to_script` copies it, with all that it needs, below the
listing.  Its loop and its verdicts are those of a fit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pgem.arrays import Floats, Integers
from pgem.families import Family, Observations
from pgem.families._link import EveryValue
from pgem.routines import (
    Index,
    Learned,
    NodeData,
    Places,
    RegionData,
    ScopeData,
    Semiring,
    Stats,
    StretchData,
    make_stretches,
)

Arrays = Mapping[str, Any]
Parameters = dict[str, Any]


@dataclass
class Bound:
    """The data as e_step reads them: `data["x"]`, `data.scope("t")`, `data.index("w", "t", 1)`.

    Attributes:
        arrays: the values, by the names below.
        components: component → (family, scope); its values are `x`, the value of each row
            `x rows`, known slots `x known trials`, where it is given `x fact given`; with
            covariates and summed over, which of their rows each row has `x inputs`.
        scopes: scope → (dimensions of its tables, enclosing scope, fixed size); its first rows
            are `t starts`, the parents of a tree's members `cell parents`.
        indices: (name, scope, lag) → number of values; its codes are `w in t lag 1`.
        regions: region → (home scope, chain or None, scopes inside with those around them, node →
            (scope, components)); the rows of a component, if not all, are `f rows f.first`.
        stretched: region that is integrated out stretch by stretch → (sequence, node →
            components); the first row and the length of each stretch, and all of their rows, are
            `y stretches first`, `y stretches length` and `y stretches rows`, the values of a
            component with their holes `y tied`, what its terms are multiplied by
            `y tied known design`, and its rows `y rows y.first`.
    """

    arrays: Arrays
    components: Mapping[str, tuple[Family, str]]
    scopes: Mapping[str, tuple[int, str, int | None]]
    indices: Mapping[tuple[str, str, int], int]
    regions: Mapping[str, tuple[str, str | None, dict[str, str], Mapping[str, Any], Any]] = field(
        default_factory=dict
    )
    stretched: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.arrays["weights"])

    @property
    def weights(self) -> Floats:
        """Weights of the units [n, 1, ...]."""
        weights: Floats = np.asarray(self.arrays["weights"], dtype=float)
        return weights.reshape(-1, *(1,) * (self.scopes["unit"][0] - 1))

    def __getitem__(self, key: str) -> NodeData:
        if key not in self.kept:
            self.kept[key] = self._node(key)
        found: NodeData = self.kept[key]
        return found

    def scope(self, name: str) -> ScopeData:
        """Rows of a plate, sequence or tree."""
        if name not in self.kept:
            n_dims, parent, size = self.scopes[name]
            starts: Integers = np.asarray(self.arrays[f"{name} starts"])
            rows: Integers | None = self.arrays.get(f"{name} parents")
            parents = None if rows is None else np.asarray(rows)
            self.kept[name] = ScopeData(name, starts, n_dims, self.scopes[parent][0], size, parents)
        found: ScopeData = self.kept[name]
        return found

    def region(self, name: str) -> RegionData:
        """Rows of the Gaussian nodes that are integrated out together."""
        if ("region", name) not in self.kept:
            home, chain, around, nodes, given = self.regions[name]
            members = {
                node: (scope, {key: self._rows(name, key) for key in keys})
                for node, (scope, keys) in nodes.items()
            }
            n_rows = self.n_units if home == "unit" else self.scope(home).n_rows
            inside = {scope: self.scope(scope) for scope in around}
            made = RegionData(
                home, n_rows, self.scopes[home][0], chain, inside, around, members, tuple(given),
                self.arrays.get(f"{name} elsewhere"),
            )  # fmt: skip
            self.kept["region", name] = made
        found: RegionData = self.kept["region", name]
        return found

    def stretches(self, name: str) -> StretchData:
        """Steps of a sequence that the holes of a region tie together."""
        if ("stretches", name) not in self.kept:
            sequence, nodes = self.stretched[name]
            members = {
                node: {key: (self._tied(key), self._rows(name, key)) for key in keys}
                for node, keys in nodes.items()
            }
            first, length, rows = (np.asarray(self.arrays[f"{name} stretches {what}"])
                                   for what in ("first", "length", "rows"))  # fmt: skip
            places, scope = Places(first, length, rows), self.scope(sequence)
            made = make_stretches(name, scope, members, places, "row {}".format)
            self.kept["stretches", name] = made
        found: StretchData = self.kept["stretches", name]
        return found

    def _rows(self, name: str, key: str) -> Integers | None:
        """The rows that a component of a region describes; None for all."""
        return self.arrays.get(f"{name} rows {key}")

    def _tied(self, key: str) -> NodeData:
        family, scope = self.components[key]
        x = np.asarray(self.arrays[f"{key} tied"], dtype=float)
        points = Observations(family, x, self._marked(f"{key} tied known "))
        return NodeData(key, family, len(x), self.scopes[scope][0], points)

    def index(self, name: str, scope: str, lag: int) -> Index:
        """Codes of a seen node, covariate or plate, for each row of `scope`."""
        codes: Integers = np.asarray(self.arrays[f"{name} in {scope} lag {lag}"])
        return Index(name, codes, self.indices[name, scope, lag])

    def _node(self, key: str) -> NodeData:
        family, scope = self.components[key]
        known = self._marked(f"{key} known ")
        inputs = self.arrays.get(f"{key} inputs")
        kind = Observations if inputs is None else EveryValue
        points = kind(family, np.asarray(self.arrays[key], dtype=float), known)
        n_rows = self.n_units if scope == "unit" else self.scope(scope).n_rows
        n_dims = self.scopes[scope][0]
        node = NodeData(key, family, n_rows, n_dims, points, self.arrays.get(f"{key} rows"))
        node.inputs = None if inputs is None or not len(inputs) else np.asarray(inputs)
        node.cache.update(self._marked(f"{key} fact "))
        return node

    def _marked(self, mark: str) -> dict[str, Any]:
        """The arrays whose names begin with a mark, by the rest of their names."""
        return {name[len(mark) :]: a for name, a in self.arrays.items() if name.startswith(mark)}


@dataclass
class Outcome:
    """How EM ended.

    Attributes:
        params: the parameters it ended with.
        trace: log-likelihood (with priors, log-posterior) before each M-step; the last entry
            belongs to `params`.
        log_prior: of `params`, 0 without priors.
        verdict: `converged`, `iteration_limit`, `decreased` or `degenerate`.
    """

    params: Parameters
    trace: list[float]
    log_prior: float = 0.0
    verdict: str = "iteration_limit"


def iterate(
    e_step: Callable[..., Floats],
    m_step: Callable[..., Parameters],
    data: Bound,
    learned: Mapping[str, Learned],
    params: Parameters,
    max_iter: int,
    tol: float,
) -> Outcome:
    """EM from the given parameters.

    Raises:
        ValueError: a unit has probability zero at the start.
    """
    semiring, stats = Semiring(), _empty()
    with np.errstate(all="ignore"):
        log_p = e_step(data, params, stats, semiring)
        if (unit := _impossible(log_p, data)) is not None:
            raise ValueError(f"unit {unit} has log-likelihood {log_p[unit]} at the start")
        prior = _log_prior(learned, params)
        outcome = Outcome(params, [_total(log_p, data) + prior], prior)
        for _ in range(max_iter):
            size = float(np.abs(data.arrays["weights"] * _finite(log_p, data)).sum())
            try:
                new = m_step(outcome.params, stats, set())
            except np.linalg.LinAlgError:
                outcome.verdict = "degenerate"
                return outcome
            collapsed = bool(stats.runaways) or _collapsed(new, learned, data.arrays)
            stats = _empty()
            log_p = log_p if collapsed else e_step(data, new, stats, semiring)
            if collapsed or _impossible(log_p, data) is not None:
                outcome.verdict = "degenerate"
                return outcome
            prior = _log_prior(learned, new)
            reached = _total(log_p, data) + prior
            gain = reached - outcome.trace[-1]
            if gain < -1e-10 * (size + float(data.arrays["n_observations"])):
                outcome.verdict = "decreased"
                return outcome
            outcome.params, outcome.log_prior = new, prior
            outcome.trace.append(reached)
            least = max(tol * float(data.arrays["n_observations"]), 1e-15 * size)
            if tol > 0 and gain <= least:
                outcome.verdict = "converged"
                return outcome
    return outcome


def _empty() -> Stats:
    """No statistics yet; the M-step adds those of priors."""
    stats = Stats()
    stats.use_priors = True
    return stats


def _log_prior(learned: Mapping[str, Learned], params: Parameters) -> float:
    """Log-density of all priors."""
    priors = [item.prior for item in learned.values() if item.prior is not None]
    return sum(prior.log_density(params) for prior in priors)


def _finite(log_p: Floats, data: Bound) -> Floats:
    return np.where(np.asarray(data.arrays["weights"]) > 0, log_p, 0.0)


def _total(log_p: Floats, data: Bound) -> float:
    """Σ w log p, where weight 0 times -inf is 0."""
    return float((data.arrays["weights"] * _finite(log_p, data)).sum())


def _impossible(log_p: Floats, data: Bound) -> int | None:
    """The first unit that counts and has no finite log-likelihood."""
    bad = ~np.isfinite(_finite(log_p, data))
    return int(np.argmax(bad)) if bad.any() else None


def _collapsed(params: Parameters, learned: Mapping[str, Learned], arrays: Arrays) -> bool:
    """Whether a parameter is not finite, or a spread has collapsed beside the data's."""
    for name, item in learned.items():
        value = params[name]
        rows = value.reshape(-1, *value.shape[item.n_gates :])
        if not np.isfinite(rows).all():
            return True
        scale = arrays.get(f"{name} scale")
        if scale is not None and np.any(item.role.collapsed(rows, np.asarray(scale))):
            return True
    return False


def show(outcome: Outcome, *, as_json: bool) -> str:
    """The end of the trace, the verdict and the parameters."""
    params = {name: np.asarray(value).tolist() for name, value in outcome.params.items()}
    if as_json:
        return json.dumps(
            {
                "log_likelihood": outcome.trace[-1] - outcome.log_prior,
                "objective": outcome.trace[-1],
                "verdict": outcome.verdict,
                "iterations": len(outcome.trace) - 1,
                "trace": outcome.trace,
                "params": params,
            }
        )
    ends = [f"  {k}: {value:.6f}" for k, value in list(enumerate(outcome.trace))[-3:]]
    values = [f"{name} =\n{np.asarray(value)}" for name, value in outcome.params.items()]
    what = "log-posterior" if outcome.log_prior else "log-likelihood"
    return "\n".join([f"{what} after iteration", *ends, outcome.verdict, "", *values])


def run(
    e_step: Callable[..., Floats],
    m_step: Callable[..., Parameters],
    bound: Bound,
    learned: Mapping[str, Learned],
    start: Mapping[str, Any],
    max_iter: int,
    tol: float,
    arguments: Sequence[str] | None = None,
) -> None:
    """The command line: run EM and print the outcome."""
    parser = argparse.ArgumentParser(description="EM, derived by pgem; needs NumPy and SciPy only")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--data", help="an .npz file with the arrays, instead of those inside")
    parser.add_argument("--max-iter", type=int, default=max_iter)
    parser.add_argument("--tol", type=float, default=tol, help="gain per observation")
    chosen = parser.parse_args(arguments)
    if chosen.data:
        with np.load(chosen.data) as file:
            bound.arrays = {name: file[name] for name in file.files}
    if "weights" not in bound.arrays:
        parser.error("this script holds no data: name an .npz file with --data")
    mark = "start "
    from_file = {n[len(mark) :]: bound.arrays[n] for n in bound.arrays if n.startswith(mark)}
    params = {n: np.asarray(v, dtype=float) for n, v in {**start, **from_file}.items()}
    outcome = iterate(e_step, m_step, bound, learned, params, chosen.max_iter, chosen.tol)
    print(show(outcome, as_json=chosen.json))
