"""Settings of the suite: how many random graphs are drawn, always the same ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

DEFAULT_GRAPHS = 320
RANDOM_TESTS = 24
"""Number of tests that share the random graphs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--graphs N`: draw about N random graphs in all."""
    parser.addoption("--graphs", type=int, default=DEFAULT_GRAPHS, help="number of random graphs")


def pytest_configure(config: pytest.Config) -> None:
    """One profile for all property tests."""
    settings.register_profile(
        "pgem",
        derandomize=True,
        deadline=None,
        database=None,
        max_examples=max(1, config.getoption("--graphs") // RANDOM_TESTS),
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("pgem")
