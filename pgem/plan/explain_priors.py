r"""What priors add to the M-step formulas: numbers where all rows have the same, else letters.

`rate = (2 + Σ_n x_n) / (1 + Σ_n 1)` under `Gamma(3, 1)`.  Slots that differ by row are written as
the letter of the family's formula with a subscript, `a_0[k]`; their values stand in the listing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgem.analyse import ParamLayout
from pgem.analyse.priors import at_one
from pgem.arrays import Floats
from pgem.families._roles import COVARIANCE, MEAN, VARIANCE
from pgem.plan.explain_model import listed
from pgem.plan.latex import replace_letters
from pgem.plan.notation import Notation
from pgem.plan.page import Page
from pgem.plan.symbolic import (
    pseudo_statistics_of,
    role_statistic_of,
    scaled_symbols,
    slot_letters,
)
from pgem.routines import Prior, Times


def prior_parts(
    notation: Notation, param: ParamLayout, letters: Sequence[str], own: str, *, cancels: bool
) -> list[list[str]]:
    """What its own prior and those that it stands in add to each part of its statistic."""
    found = []
    if param.prior is not None:
        found.append(_own_parts(notation, param.prior, letters, own, cancels=cancels))
    for other in notation.analysis.layout.params.values():
        links = {} if other.prior is None else other.prior.links
        for slot, link in links.items():
            if link.name == param.name:
                found.append(_linked_parts(notation, param, other, slot, letters))
    return found


def write_priors(page: Page, notation: Notation) -> None:
    """Which parameters have a prior, and what it changes."""
    params = notation.analysis.layout.params.values()
    told = [_described(notation, p, p.prior) for p in params if p.prior is not None]
    if told:
        page.say(
            f"Priors: {listed(told)}. Each adds to the sums that its parameter, and those in its "
            "slots, are solved from, and what never falls is the log-likelihood plus the "
            "log-priors (the posterior mode, MAP)."
        )
    if any(p.prior is not None and p.fixed.any() for p in params):
        page.say(
            "In rows that are fixed in part a prior is the density of the free entries given the "
            "fixed ones."
        )
    bounded = [f"`{p.name}`" for p in params if p.lower is not None]
    if bounded:
        page.say(
            f"Entries of {listed(bounded)} below their lower bound are raised to it: with a single "
            "peak in each entry, $Q$ is largest there."
        )


def _described(notation: Notation, param: ParamLayout, prior: Prior) -> str:
    """`var` InverseGamma(shape = 1.5, scale = 2)."""
    names = slot_letters(prior.family)
    shown = []
    for slot, held in prior.slots.items():
        if isinstance(held, Times):
            text = _times(notation, held, ())
        else:
            number = _number(held)
            text = f"{names[slot]}_0" if number is None else number
        shown.append(rf"\mathrm{{{slot}}} = {text}")
    kind = type(prior.family).__name__
    return rf"`{param.name}` ~ {kind}$({', '.join(shown)})$"


# --- seen from the parameter --------------------------------------------------------------------


def _own_parts(
    notation: Notation, prior: Prior, letters: Sequence[str], own: str, *, cancels: bool
) -> list[str]:
    """The pseudo-statistics of a prior."""
    ones = at_one(notation.analysis.layout.params)
    numbers = [_number(part) for part in prior.on_value(ones, cancel=cancels)]
    free_of = prior.free_of if cancels else ()
    depends = any(slot not in free_of for slot in prior.links)
    inside = [*letters, *([own] if own else [])]
    formulas = _formulas(notation, prior, inside, len(letters), free_of) or [
        rf"\text{{prior}}_{k}" for k in range(len(numbers))
    ]
    unit = " I" if prior.family.event_ndim > 1 else ""
    return [
        formula if depends or number is None else number + unit * (k > 0)
        for k, (number, formula) in enumerate(zip(numbers, formulas, strict=True))
    ]


def _formulas(
    notation: Notation,
    prior: Prior,
    letters: Sequence[str],
    n_gates: int,
    free_of: tuple[str, ...],
) -> list[str]:
    """The family's `pseudo_statistics`, run on symbols, or as it writes them; else nothing."""
    names, values = slot_letters(prior.family), {}
    for slot, held in prior.slots.items():
        if isinstance(held, Times):
            one = slot in free_of
            values[slot] = _factor(held) if one else _times(notation, held, letters)
        else:
            values[slot] = _number(held) or _letter(names[slot], held, letters, n_gates)
    if not prior.family.pseudo_formula:
        return pseudo_statistics_of(prior.family, values)
    inside = {names[slot]: text for slot, text in values.items()}
    return [replace_letters(part, inside) for part in prior.family.pseudo_formula]


def _letter(letter: str, held: Floats, letters: Sequence[str], n_gates: int) -> str:
    """`a_0`, with the gates by which it differs, and the category."""
    gates = list(letters) if len(held) > 1 else list(letters)[n_gates:]
    return f"{letter}_0[{', '.join(gates)}]" if gates else f"{letter}_0"


def _times(notation: Notation, held: Times, letters: Sequence[str]) -> str:
    """A parameter times its factor."""
    other = notation.analysis.layout.params[held.name]
    name = notation.parameter(held.name, list(letters)[: other.n_gates])
    factor = _factor(held)
    return name if factor == "1" else f"{factor} {name}"


def _factor(held: Times) -> str:
    return _number(held.factor) or "c_0"


# --- seen from a parameter in a slot ------------------------------------------------------------


def _linked_parts(
    notation: Notation, param: ParamLayout, other: ParamLayout, slot: str, letters: Sequence[str]
) -> list[str]:
    """What a pseudo-value adds to the parameter in a slot of its prior, as a node's value would."""
    prior = other.prior
    assert prior is not None
    names, link = slot_letters(prior.family), prior.links[slot]
    gates = list(letters) if param.n_gates else _spare(notation, other)
    inside = {"x": notation.parameter(other.name, gates)}
    for name, held in prior.slots.items():
        if isinstance(held, Times):
            inside[names[name]] = _times(notation, held, gates)
        else:
            inside[names[name]] = _number(held) or _letter(names[name], held, gates, len(gates))
    per_value = role_statistic_of(prior.family, slot, names) or param.role.per_value
    if param.role is MEAN:
        spread = next(names[s.name] for s in prior.family.slots if s.role in (COVARIANCE, VARIANCE))
        per_value = (f"{spread}^{{-1}}", f"{spread}^{{-1}} x")
    zeros = [letter for letter, text in inside.items() if text == "0"]
    for letter in zeros:  # deviations from zero
        per_value = tuple(part.replace(f" - {letter}", "") for part in per_value)
    factor = _factor(link)
    factor = f"({factor})" if factor.startswith("-") else factor
    parts = scaled_symbols(param.role, per_value, factor)
    found = [replace_letters(part, inside) for part in parts]
    if param.n_gates or not gates:
        return found
    return [rf"\sum_{{{', '.join(gates)}}} {part}" for part in found]


def _spare(notation: Notation, param: ParamLayout) -> list[str]:
    key, slot = param.uses[0]
    gates = notation.analysis.layout.components[key].component.leaf.slots[slot].gates
    return [notation.value(gate) if gate.kind != "constant" else "k" for gate in gates]


# --- numbers ------------------------------------------------------------------------------------


def _number(table: Floats) -> str | None:
    """A table as one number, if it is one (or that multiple of the identity)."""
    entries = np.asarray(table, dtype=float)
    if entries.ndim == 3 and entries.shape[1] > 1:
        first = entries[0, 0, 0]
        same = (entries == first * np.eye(entries.shape[1])).all()
    else:
        first = entries.ravel()[0]
        same = (entries == first).all()
    return f"{first:.6g}" if same else None


def add_parts(parts: Sequence[Sequence[str]], k: int) -> list[str]:
    """The k-th part of each; zeros are left out."""
    return [part[k] for part in parts if part[k] != "0"]


def total_of(parts: Sequence[Sequence[str]]) -> list[str]:
    """All parts added up, as one number where they are numbers."""
    found = []
    for part in parts:
        try:
            found.append(f"{sum(map(float, part)):.6g}")
        except ValueError:
            found.append(" + ".join(part))
    return [text for text in found if text != "0"]
