"""Families of one's own with a link."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem.arrays import Floats, safe_log
from pgem.families import Family, Slot
from pgem.families._family import NON_NEGATIVE
from pgem.families._roles import MEAN, RATE, SHAPE


class Decay(Family):
    """An exponential distribution in halves of the time."""

    slots = (Slot("speed", RATE, link="log_speed"),)
    support = NON_NEGATIVE

    def sufficient_statistics(self, x: Floats, **known: Floats) -> tuple[Floats, ...]:
        return (2 * x,)

    def natural_parameters(self, **slots: Floats) -> tuple[Floats, ...]:
        return (-slots["speed"],)

    def log_partition(self, *eta: Floats) -> Floats:
        return -safe_log(-eta[0])

    def log_base_measure(self, x: Floats, **known: Floats) -> Floats:
        return np.full_like(x, np.log(2.0))

    def role_statistics(
        self, slot: str, stats: Any, slots: Any, origin: Any, *, cancel: bool
    ) -> Any:
        count, (total,) = self.totals(stats)
        return count, total


class Two(Decay):
    """A link where it cannot be: a second slot is estimated as well."""

    slots = (Slot("speed", RATE, link="log_speed"), Slot("shape", SHAPE))


class Wrong(Decay):
    """A link on a role that has none."""

    slots = (Slot("speed", MEAN, link="log_speed"),)


def declare(family: Any) -> pg.Model:
    with pg.Model("own") as model:
        z = pg.latent("z", pg.Categorical(size=2))
        eta = pg.param("b")[z] * pg.covariate("x") + pg.param("a")[z]
        slot = "log_speed" if issubclass(family, Decay) else "log_rate"
        pg.observed("y", family(**{slot: eta}))
    return model


def test_a_family_of_ones_own_takes_a_link() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    data = {"x": x, "y": rng.exponential(np.exp(0.5 * x)) * rng.choice([0.2, 3.0], 200)}
    start = {"b": np.array([-0.3, 0.2]), "a": np.array([0.5, -1.0])}
    shifted = {"b": start["b"], "a": start["a"] + np.log(2.0)}
    own = declare(Decay).fit(data, start=start, max_iter=20, tol=0)
    shelf = declare(pg.Exponential).fit(data, start=shifted, max_iter=20, tol=0)
    assert own.trace == pytest.approx(shelf.trace, abs=1e-8)
    assert own.params["a"] + np.log(2.0) == pytest.approx(shelf.params["a"], abs=1e-6)


@pytest.mark.parametrize(("family", "words"), [(Two, "several slots"), (Wrong, "a mean has none")])
def test_links_that_cannot_be_are_refused(family: Any, words: str) -> None:
    with pytest.raises(pg.DeclarationError, match=words):
        declare(family).compile()
