"""The kit names what is wrong: each family here breaks one fact or method."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from pgem.families import (
    Beta,
    Binomial,
    Exponential,
    Family,
    Gamma,
    Laplace,
    LogNormal,
    Normal,
    Poisson,
    Slot,
    VonMises,
    Weibull,
)
from pgem.families._family import BINARY, REALS, Support
from pgem.families._roles import PROB, RATE, VARIANCE
from pgem.families.roles import Multiplier
from pgem.testing import check_family


class NoTwin:
    """Takes the comparison with scipy away, so that only the family's own facts judge."""

    def scipy_twin(self, stats, **slots):
        return None


class WrongBase(Poisson):
    def log_base_measure(self, x, **known):
        return np.zeros_like(x)


class WrongFormula(Beta):
    written: ClassVar[dict[str, str]] = {"A": "lgamma(eta1) + lgamma(eta2)"}


class WrongInformation(Gamma):
    def fisher_information(self, slots):
        return 2 * super().fisher_information(slots)


class ConstantBase(Normal):
    def log_density(self, data, slots):
        return super().log_density(data, slots) + 0.1

    def log_base_measure(self, x, **known):
        return 0.1 + 0 * x


class WrongPartition(Poisson):
    def log_partition(self, *eta):
        return 0.9 * np.exp(eta[0])


class WrongStatistic(Exponential):
    def sufficient_statistics(self, x, **known):
        return (np.sqrt(x),)


class WrongNatural(Exponential):
    def natural_parameters(self, **slots):
        return (-(slots["rate"] ** 1.1),)


class BiasedMap(Gamma):
    def from_mean(self, *mean):
        shape, rate = super().from_mean(*mean)
        return 1.01 * shape, rate


class NarrowSupport(Poisson):
    support = BINARY

    def draw(self, generator, slots):
        return super().draw(generator, slots)


class WideSupport(Exponential):
    support = REALS


class WrongRole(Gamma):
    def role_statistics(self, slot, stats, slots, origin, *, cancel):
        first, second = super().role_statistics(slot, stats, slots, origin, cancel=cancel)
        return (1.01 * first, second) if slot == "rate" else (first, second)


class StaleOrigin(Normal):
    """Forgets that the mean has moved since the statistics were taken."""

    def role_statistics(self, slot, stats, slots, origin, *, cancel):
        here = origin if slot == "var" else slots
        return super().role_statistics(slot, stats, here, origin, cancel=cancel)


class WrongDraw(Exponential):
    def draw(self, generator, slots):
        return 1.2 * super().draw(generator, slots)


class WrongTail(Exponential):
    """Right mean and variance, wrong distribution."""

    def draw(self, generator, slots):
        mean = 1 / slots["rate"]
        return mean + mean * generator.choice([-1.0, 1.0], size=mean.shape)


class OneParameterForAll(Poisson):
    def draw(self, generator, slots):
        return generator.poisson(slots["rate"][:1], slots["rate"].shape).astype(float)


class WrongMoments(Gamma):
    def moments(self, slots):
        mean, variance = super().moments(slots)
        return mean, variance * 1.05


class MinimalBernoulli(Family):
    """The logit form: infinite at 0 and 1."""

    slots = (Slot("prob", PROB),)
    support = BINARY

    def domain(self):
        return np.array([0.0, 1.0])

    def sufficient_statistics(self, x, **known):
        return (x,)

    def natural_parameters(self, **slots):
        return (np.log(slots["prob"] / (1 - slots["prob"])),)

    def log_partition(self, *eta):
        return np.logaddexp(0, eta[0])

    def from_mean(self, *mean):
        return mean


class NanAtZero(Poisson):
    def coefficients(self, slots):
        with np.errstate(all="ignore"):
            spoiled = 0 * np.log(slots["rate"]).reshape(len(slots["rate"]), -1).sum(axis=1)
            return super().coefficients(slots) + spoiled[:, None]


class CountsMissing(Poisson):
    def features(self, data):
        x = np.where(data.observed, data.x, 0.0)
        return np.stack([np.ones_like(x), x], axis=-1).reshape(len(x), -1)

    def log_density(self, data, slots):
        here = data.observed.reshape(len(data.x), -1).all(axis=1)
        return np.where(here[:, None], super().log_density(data, slots), 0.0)


class DensityOfMissing(Poisson):
    def log_density(self, data, slots):
        return super().log_density(data, slots) - 1.0 * np.isnan(data.x).reshape(-1, 1)


class UnweightedCounts(Poisson):
    def accumulate(self, data, weights, slots):
        return super().accumulate(data, np.sqrt(weights), slots)


class LostSum(Exponential):
    def accumulate(self, data, weights, slots):
        (table,) = super().accumulate(data, weights, slots)
        return (table + 1.0,)


class LetsThrough(Exponential):
    def check_values(self, x, known=None):
        return np.zeros(len(np.asarray(x, dtype=float)), dtype=bool)


class BetweenCoordinates(Exponential):
    """Over a vector, counts only the first coordinate."""

    def log_density(self, data, slots):
        if data.x.ndim == 1:
            return super().log_density(data, slots)
        single = self.settled(None, {})
        rates = {"rate": slots["rate"][:, 0]}
        return single.log_density(single.observe(data.x[:, 0]), rates)


class Unpicklable(Exponential):
    def __init__(self, *values, **named):
        super().__init__(*values, **named)
        self.hook = lambda: None


class FalseFreedom(Gamma):
    """Claims that the rate's maximiser does not need the shape."""

    slots = (Gamma.slots[0], Slot("rate", RATE, free_of=("shape",)))

    def role_statistics(self, slot, stats, slots, origin, *, cancel):
        if slot == "rate" and cancel:
            count, (_, total) = self.totals(stats)
            return count, total
        return super().role_statistics(slot, stats, slots, origin, cancel=cancel)


class MissingJacobian(LogNormal):
    """The density of log x instead of that of x."""

    def log_base_measure(self, x, **known):
        return np.zeros_like(x)


class ForgetsKnown(Laplace):
    def sufficient_statistics(self, x, **known):
        return (np.abs(x),)


class MapWithoutKnown(Weibull):
    def from_mean(self, *mean, **known):
        return mean


class WrongRoot(VonMises):
    """An approximation (Banerjee 2005) in place of the root."""

    def from_mean(self, *mean):
        length = np.hypot(*mean)
        k = length * (2 - length**2) / (1 - length**2)
        return super().from_mean(*mean)[0], k


class WrongPrior(Gamma):
    """Adds a full event too much: the mode becomes the mean."""

    def pseudo_statistics(self, **slots):
        return slots["shape"], slots["rate"]


class NotANumberFromOne(Beta):
    def from_mean(self, *mean):
        a, b = super().from_mean(*mean)
        return np.where(a > 1e9, np.nan, a), b


class WrongMultiplier(Poisson):
    slots = (Slot("rate", RATE, multiplier=Multiplier(scaled=(1,), power=0)),)


class WrongRise(Gamma):
    def partition_rise(self, eta, step):
        return super().partition_rise(eta, step) + step[0]


FAULTS = [
    (WrongMultiplier, "multiplier of slot 'rate'"),
    (WrongRise, "partition_rise"),
    (MissingJacobian, "base measure"),
    (ForgetsKnown, "sufficient statistics T or natural parameters"),
    (MapWithoutKnown, "mean map"),
    (WrongRoot, "mean map"),
    (NotANumberFromOne, "estimate"),
    (WrongPrior, "pseudo_statistics"),
    (WrongBase, "base measure"),
    (WrongFormula, "written formula of A"),
    (WrongInformation, "fisher_information"),
    (ConstantBase, "base measure (or log-partition A, by a constant)"),
    (WrongPartition, "log-partition A"),
    (WrongStatistic, "sufficient statistics T or natural parameters"),
    (WrongNatural, "sufficient statistics T or natural parameters"),
    (BiasedMap, "mean map"),
    (NarrowSupport, "support"),
    (WideSupport, "support"),
    (WrongRole, "role_statistics of slot 'rate'"),
    (StaleOrigin, "role_statistics of slot 'var'"),
    (WrongDraw, "draw"),
    (WrongTail, "draw"),
    (OneParameterForAll, "draw"),
    (WrongMoments, "moments"),
    (MinimalBernoulli, "natural parameters or log-partition A at prob"),
    (NanAtZero, "natural parameters or log-partition A at rate"),
    (CountsMissing, "accumulate: missing values"),
    (DensityOfMissing, "log_density: a missing value"),
    (UnweightedCounts, "accumulate: weights"),
    (LostSum, "accumulate: statistics of two halves"),
    (LetsThrough, "check_values"),
    (BetweenCoordinates, "log_density: over a vector"),
    (Unpicklable, "pickling"),
    (FalseFreedom, "role_statistics of slot 'rate'"),
]


def named(part: object) -> str:
    return getattr(part, "__name__", "-")


@pytest.mark.parametrize(("family", "culprit"), FAULTS, ids=named)
def test_fault_is_caught_and_named(family: type[Family], culprit: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_family(family)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{family.__name__}: wrong {culprit}"), first


ALONE = [
    (WrongBase, "support or base measure"),
    (WrongPartition, "log-partition A"),
    (WideSupport, "support"),
    (NarrowSupport, "base measure, sufficient statistics T or support"),
    (BiasedMap, "mean map"),
]


@pytest.mark.parametrize(("family", "culprit"), ALONE, ids=named)
def test_fault_is_named_without_scipy(family: type[Family], culprit: str) -> None:
    alone = type(f"{family.__name__}Alone", (NoTwin, family), {})
    globals()[alone.__name__] = alone  # so that it can be pickled
    alone.__module__ = __name__
    with pytest.raises(AssertionError, match=f"Alone: wrong {culprit}"):
        check_family(alone)


# --- a plain new family -------------------------------------------------------------------------


class Rayleigh(Family):
    """Fifteen lines: the length of a Gaussian vector in the plane."""

    slots = (Slot("var", VARIANCE),)
    support = Support("numbers above zero", lambda x: np.isfinite(x) & (x > 0))

    def sufficient_statistics(self, x, **known):
        return (x**2,)

    def natural_parameters(self, **slots):
        return (-0.5 / slots["var"],)

    def log_partition(self, *eta):
        return -np.log(-2 * eta[0])

    def log_base_measure(self, x, **known):
        return np.log(x)

    def from_mean(self, *mean):
        return (mean[0] / 2,)


class RayleighByNewton(Rayleigh):
    """The same without its mean map: moments, draws and the M-step are numeric."""

    from_mean = Family.from_mean


class GammaByNewton(Gamma):
    """Two slots, without a mean map and role statistics."""

    from_mean = Family.from_mean
    role_statistics = Family.role_statistics


class GammaByRoles(Gamma):
    """Conditional maximisers only."""

    from_mean = Family.from_mean


class PlainBeta(Family):
    """Two slots, a finite interval, nothing beyond the first four facts."""

    slots = (Slot("a", Gamma.slots[0].role), Slot("b", Gamma.slots[0].role))
    support = Support("numbers between 0 and 1", lambda x: (x > 0) & (x < 1))

    def sufficient_statistics(self, x, **known):
        return np.log(x), np.log1p(-x)

    def natural_parameters(self, **slots):
        return slots["a"], slots["b"]

    def log_partition(self, *eta):
        from scipy.special import betaln

        return betaln(*eta)

    def log_base_measure(self, x, **known):
        return -np.log(x) - np.log1p(-x)


class Logarithmic(Family):
    """Counts from one on: a support that does not begin at zero."""

    slots = (Slot("prob", PROB),)
    support = Support("1, 2, 3, …", lambda x: (x >= 1) & (x == np.floor(x)), True, 1.0)

    def sufficient_statistics(self, x, **known):
        return (x,)

    def natural_parameters(self, **slots):
        return (np.log(slots["prob"]),)

    def log_partition(self, *eta):
        return np.log(-np.log1p(-np.exp(eta[0])))

    def log_base_measure(self, x, **known):
        return -np.log(x)


NEWCOMERS = [Rayleigh, RayleighByNewton, GammaByNewton, GammaByRoles, PlainBeta]


@pytest.mark.parametrize("family", NEWCOMERS)
def test_new_family_conforms_with_what_the_base_derives(family: type[Family]) -> None:
    check_family(family)


def test_new_family_is_short() -> None:
    import inspect

    lines = inspect.getsource(Rayleigh).splitlines()
    code = [line for line in lines if line.strip() and '"""' not in line]
    assert len(code) <= 15


def test_fallback_is_named() -> None:
    assert RayleighByNewton.rung == "numeric Newton"
    assert Rayleigh.rung == "closed form"
    assert Gamma.rung == "Newton"


def test_improper_edge_is_found() -> None:
    """At p = 0 and p = 1 this logarithmic family is not a distribution in its given form."""
    with pytest.raises(AssertionError, match="at prob"):
        check_family(Logarithmic)


# --- how the kit is called ----------------------------------------------------------------------


def test_own_values_may_be_tried() -> None:
    report = check_family(Gamma, {"shape": [0.6, 50.0], "rate": [1e-3, 1e3]})
    assert report.passed and "Newton" in str(report)


def test_own_known_values_may_be_tried() -> None:
    check_family(Binomial, known={"trials": [2.0, 40.0, 0.0]})


def test_report_lists_every_check_and_its_culprit() -> None:
    with pytest.raises(AssertionError) as caught:
        check_family(WrongMoments())
    assert "moments                            FAILED" in str(caught.value)
    assert "pickle and copy                    passed" in str(caught.value)


def test_exception_of_a_family_is_a_finding() -> None:
    class Broken(Exponential):
        def accumulate(self, data, weights, slots):
            raise ZeroDivisionError("no reason")

    with pytest.raises(AssertionError, match="wrong accumulate: ZeroDivisionError: no reason"):
        check_family(Broken)
