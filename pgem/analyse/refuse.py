"""What happens at an obstacle: the compiler stops at the first, the report collects them all."""

from __future__ import annotations

from collections.abc import Callable

from pgem.errors import IntractableError

Refuse = Callable[[IntractableError], None]
"""Told of an obstacle: raises it, or takes note of it; then what follows is thrown away."""


def stop(problem: IntractableError) -> None:
    """Raise the obstacle."""
    raise problem
