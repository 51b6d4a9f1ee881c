"""Settings of the suite: how many random graphs are drawn, always the same ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from paths import NAMES, force

DEFAULT_GRAPHS = 1660
RANDOM_TESTS = 83
"""Number of tests that share the random graphs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--graphs N`, `--shrink`, `--path NAME` and `--update-golden`."""
    parser.addoption(
        "--graphs", type=int, default=DEFAULT_GRAPHS, help="about how many random graphs to draw"
    )
    parser.addoption(
        "--shrink", action="store_true", help="look for the smallest failing random graph (slow)"
    )
    parser.addoption(
        "--path", choices=NAMES, help="leave one way to run a model only (tests/paths.py)"
    )
    parser.addoption(
        "--update-golden", action="store_true", help="write listings and derivations anew"
    )


def pytest_configure(config: pytest.Config) -> None:
    """One profile for all property tests."""
    phases = [Phase.explicit, Phase.generate]
    if config.getoption("--shrink"):
        phases.append(Phase.shrink)
    settings.register_profile(
        "pgem",
        derandomize=True,
        deadline=None,
        database=None,
        max_examples=max(1, config.getoption("--graphs") // RANDOM_TESTS),
        phases=phases,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("pgem")
    config.addinivalue_line("markers", "chooses_path: looks at which path is chosen")
    if config.getoption("--path"):
        force(config.getoption("--path"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--path`, what looks at the choice of paths is left out."""
    if config.getoption("--path"):
        items[:] = [item for item in items if item.get_closest_marker("chooses_path") is None]
