"""Random graphs with priors, lower bounds and partly fixed covariances: one M-step is a maximum.

Each case is compared with a numerical optimiser on Q plus the log-priors, started at the same
parameters; both are written without the compiler (`oracle`, `log_priors`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from free import Free
from hypothesis import assume, given
from log_priors import log_prior
from scipy.optimize import minimize
from strategies import KINDS, Case, Floats, cases
from test_random_graphs import OPTIMISED, close, collapses, quiet


def target(case: Case, params: Mapping[str, Floats]) -> float:
    """Q plus the log-priors."""
    return case.oracle.q(params) + log_prior(case.record, case.shapes, params)


def climbed(free: Free, case: Case) -> float:
    """The best that a numerical optimiser reaches from the old parameters."""

    def loss(point: Floats) -> float:
        with np.errstate(all="ignore"):
            try:
                value = -target(case, free.unpack(point))
            except (np.linalg.LinAlgError, ValueError):  # a covariance that is none
                return 1e10
        return value if np.isfinite(value) else 1e10

    found = minimize(loss, free.start, method="L-BFGS-B", bounds=[(-30, 30)] * free.size)
    return -float(found.fun)


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_iteration_maximises_q_and_the_log_priors(kind: str) -> None:
    @given(cases(kind, fitted=True, weighted=True, constrained=True))
    def check(case: Case) -> None:
        assume(case.possible and not collapses(case))
        with quiet():
            fit = case.model.fit(
                case.data, start=case.params, max_iter=1, tol=0, weights=case.weights
            )
        assume(fit.verdict != "degenerate")
        new, old = target(case, fit.params), target(case, case.params)
        assert new >= old - 1e-10 * (1 + abs(old))
        priors = log_prior(case.record, case.shapes, fit.params)
        close(fit.objective - fit.log_likelihood, priors, "log-prior at the end")
        for name, shape in case.shapes.items():
            value = fit.params[name]
            assert (value[shape.held] == case.params[name][shape.held]).all()
            assert shape.lower is None or (value >= shape.lower)[~shape.held].all()
        free = Free(case.shapes, case.params)
        if 0 < free.size <= OPTIMISED:
            assert new >= climbed(free, case) - 1e-7 * (1 + abs(old))

    check()
