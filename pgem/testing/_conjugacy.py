"""Do multipliers of slots, and the maps of a conjugate latent, say what the density says?"""

from __future__ import annotations

import numpy as np

from pgem.arrays import Floats
from pgem.families._parts import flat_rows
from pgem.families._scaled import UNTOUCHED, scaled
from pgem.testing._case import Case
from pgem.testing._report import Fault, Skip

CLOSE = 1e-8


def check_multipliers(case: Case) -> str:
    """The density with a multiplier beside a slot is the one with the product in it."""
    slots = [slot for slot in case.family.slots if slot.multiplier is not None]
    if not slots:
        raise Skip("no slot may be multiplied")
    by = np.asarray(case.generator(7).gamma(2.0, 0.5, case.n_rows))
    for slot in slots:
        made = scaled(case.family, slot.name, UNTOUCHED)
        data = made.observe(case.data.x, {**case.data.known, "multiplier": by})
        for index in case.cells:
            here = case.cell(index)
            found = made.log_density(data, here)[:, 0]
            for row in range(case.n_rows):
                single = case.rows(case.data, np.array([row]))
                product = {**here, slot.name: here[slot.name] * by[row]}
                wanted = case.family.log_density(single, product)[0, 0]
                if not abs(found[row] - wanted) <= CLOSE * (1 + abs(wanted)):
                    raise Fault(
                        f"multiplier of slot '{slot.name}'",
                        f"at {case.data.x[row]} times {by[row]:.3g} it gives {found[row]:.6g}, the "
                        f"density of the product {wanted:.6g}",
                    )
    return ", ".join(slot.name for slot in slots)


def check_latent(case: Case) -> str:
    """E[T] and the slots of natural parameters, and the rise of A."""
    family = case.family
    if not family.is_conjugate:
        raise Skip("it is integrated out nowhere")
    slots = {name: case.slots[name] for name in case.estimated}
    eta = family.natural_parameters(**slots)
    for name, value in zip(family.estimable, family.from_natural(*eta), strict=True):
        _compare("from_natural", value, slots[name])
    mean = np.concatenate([flat_rows(part) for part in family.mean_statistics(*eta)], axis=1)
    _compare("mean_statistics", mean, flat_rows(family.expected_features(case.slots))[:, 1:])
    step = tuple(0.7 * part for part in eta)
    before = np.asarray(family.log_partition(*eta))
    after = np.asarray(family.log_partition(*(a + b for a, b in zip(eta, step, strict=True))))
    _compare("partition_rise", family.partition_rise(eta, step), after - before)
    return "conjugate"


def _compare(culprit: str, found: Floats, wanted: Floats) -> None:
    gap = float(np.abs(found - wanted).max())
    if not gap <= CLOSE * (1 + float(np.abs(wanted).max())):
        raise Fault(culprit, f"differs from what the density gives by up to {gap:.3g}")
