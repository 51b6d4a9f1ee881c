r"""Stand-ins for numbers that write formulas: a family's own code, run on them, tells its LaTeX.

A family's `sufficient_statistics` applied to `Symbol("x")` gives its statistics as formulas, and
its `role_statistics` applied to the features of one value gives what a slot's solution sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pgem.families import Family
from pgem.families._roles import KNOWN, Role
from pgem.families._scaled import Scaled
from pgem.families._symbol import ATOM, PRODUCT, SUM, Symbol, to_symbol
from pgem.families._written import as_latex
from pgem.plan.latex import letters_of

LINEAR, LOG = r"\omega", r"\tau"
"""Stand-ins for the multiplier of a slot and for its logarithm."""


def slot_letters(family: Family) -> dict[str, str]:
    """The letter of each slot in the family's formula."""
    used = letters_of(family.formula)
    letters: dict[str, str] = {}
    for slot in family.slots:
        fitting = [s for s in slot.role.symbols if s in used and s not in letters.values()]
        letters[slot.name] = fitting[0] if fitting else slot.name
    return letters


def statistics_of(family: Family, letters: Mapping[str, str]) -> tuple[str, ...] | None:
    """T(x) as formulas in the letter `x`, or None where the family does not tell.

    Args:
        family: settled or not.
        letters: the letter of each slot.
    """
    slots = _slots(letters)
    known = {name: slots[name] for name in family.known_slots if name in slots}
    code: Any = family.sufficient_statistics
    return _formulas(family, "T", {"x": Symbol("x"), **slots}, lambda: code(Symbol("x"), **known))


def natural_parameters_of(family: Family, letters: Mapping[str, str]) -> tuple[str, ...] | None:
    """η as formulas in the letters of the slots, or None where the family does not tell."""
    slots = _slots(letters)
    given = {slot.name: slots[slot.name] for slot in family.slots if slot.role is not KNOWN}
    known = {n: slots[n] for n in family.known_slots if _is_per_cell(family, n)}
    code: Any = family.natural_parameters
    return _formulas(family, "eta", slots, lambda: code(**given, **known))


def log_partition_of(family: Family, letters: Mapping[str, str], n_statistics: int) -> str:
    """A(η) as a formula, or nothing where the family does not tell."""
    if type(family).log_partition is Family.log_partition:
        return "0"
    eta = eta_symbols(n_statistics)
    slots = _slots(letters)
    known = {n: slots[n] for n in family.known_slots if _is_per_cell(family, n)}
    code: Any = family.log_partition
    found = _formulas(family, "A", {**eta, **slots}, lambda: (code(*eta.values(), **known),))
    return found[0] if found else ""


def eta_symbols(n_statistics: int) -> dict[str, Symbol]:
    """η, or η₁, η₂, …, by their names in written formulas."""
    if n_statistics == 1:
        return {"eta": Symbol(r"\eta")}
    return {f"eta{k + 1}": Symbol(rf"\eta_{k + 1}") for k in range(n_statistics)}


def _formulas(
    family: Family, fact: str, names: Mapping[str, Symbol], code: Callable[[], Any]
) -> tuple[str, ...] | None:
    """A fact as its author wrote it, else as its code writes it."""
    if fact in family.written:
        inside = {"d": Symbol("d"), **names}
        return tuple(as_latex(part.strip(), inside) for part in family.written[fact].split(";"))
    try:
        found = [np.asarray(part, dtype=object).item() for part in code()]
    except Exception:  # whatever real code does with things that are no numbers
        return None
    told = all(isinstance(part, Symbol) for part in found)
    return tuple(part.latex for part in found) if told else None


def _slots(letters: Mapping[str, str]) -> dict[str, Symbol]:
    return {name: Symbol(_shown(letter)) for name, letter in letters.items()}


def _shown(letter: str) -> str:
    """A letter, or a slot's name where its formula has no letter for it."""
    return letter if len(letter) == 1 or "\\" in letter else rf"\text{{{letter}}}"


def _is_per_cell(family: Family, slot: str) -> bool:
    return next(s.per_cell for s in family.slots if s.name == slot)


def features_of(
    family: Family, letters: Mapping[str, str], *, expected: bool
) -> list[Symbol] | None:
    """(1, T(x)) as they are summed: scaled by a multiplier, expected under the posterior.

    Args:
        family: settled or not.
        letters: the letter of each slot.
        expected: whether x is a latent that is integrated out.
    """
    statistics = statistics_of(family, letters)
    if statistics is None:
        return None
    features = [Symbol("1"), *map(_compound, statistics)]
    if expected:
        features[1:] = [Symbol(rf"\mathrm{{E}}[{part.latex}]") for part in features[1:]]
    if isinstance(family, Scaled) and family.rule is not None:
        for j in family.rule.logged:
            features[j] = features[j] + Symbol(LOG)
        for j in family.rule.scaled:
            features[j] = features[j] * Symbol(LINEAR, PRODUCT)
    return features


def role_statistic_of(
    family: Family, slot: str, letters: Mapping[str, str], *, expected: bool = False
) -> tuple[str, ...] | None:
    """What one value adds to the statistic of a slot's role, or None.

    Only families that keep the plain sums of (1, T(x)) can be asked.
    """
    features = features_of(family, letters, expected=expected)
    if features is None or type(family).accumulate is not Family.accumulate:
        return None
    table = np.empty((1, len(features)), dtype=object)
    table[0] = features
    slots = {name: np.array([Symbol(letter)], dtype=object) for name, letter in letters.items()}
    plain = family.settled(None, {})
    try:
        found: Any = plain.role_statistics(slot, (table,), slots, slots, cancel=True)
        return tuple(to_symbol(part.ravel()[0]).latex for part in found)
    except Exception:
        return None


def pseudo_statistics_of(family: Family, slots: dict[str, str]) -> list[str]:
    """What a prior adds to the statistic of its parameter, or nothing where its code does not tell.

    Args:
        family: of the prior.
        slots: what stands in its slots, as formulas.
    """
    symbols: Any = {slot: _compound(text) for slot, text in slots.items()}
    try:
        return [to_symbol(part).latex for part in family.pseudo_statistics(**symbols)]
    except Exception:
        return []


def scaled_symbols(role: Role, parts: tuple[str, ...], factor: str) -> list[str]:
    """A statistic as formulas, for a slot that holds a factor times the parameter."""
    table = tuple(np.array([_compound(part)], dtype=object) for part in parts)
    if factor == "1":
        return list(parts)
    found: Any = role.scaled(table, np.array([Symbol(factor)], dtype=object))
    return [to_symbol(part.ravel()[0]).latex for part in found]


def _compound(latex: str) -> Symbol:
    rank = SUM if any(sign in latex for sign in ("+", " - ")) else PRODUCT if " " in latex else ATOM
    return Symbol(latex, rank)
