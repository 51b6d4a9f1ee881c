"""How a run can end."""

from __future__ import annotations

STATUSES = {
    "converged": "the objective gains less than the tolerance per observation",
    "iteration_limit": "the iterations ran out before convergence; raise max_iter or tol",
    "decreased": "the objective fell beyond rounding: the best parameters seen are returned",
    "degenerate": "a component collapsed, or a coefficient ran off: the last sound parameters are "
    "returned",
    "stopped": "the callback asked to stop",
}


class Verdict(str):
    """How a fit ended: compares equal to its status, and explains itself.

    Attributes:
        message: what happened, in words.
        detail: the parameter or component concerned.
        notes: remarks that do not change the status, such as rows without data.
    """

    message: str
    detail: str
    notes: tuple[str, ...]

    def __new__(cls, status: str, detail: str = "", notes: tuple[str, ...] = ()) -> Verdict:
        verdict = super().__new__(cls, status)
        verdict.message = f"{STATUSES[status]}{': ' if detail else ''}{detail}"
        verdict.detail, verdict.notes = detail, notes
        return verdict

    def __getnewargs__(self) -> tuple[str, str, tuple[str, ...]]:  # type: ignore[override]
        return str(self), self.detail, self.notes

    def describe(self) -> str:
        """Status, explanation and notes in one text."""
        return "; ".join([f"{self!s} ({self.message})", *self.notes])
