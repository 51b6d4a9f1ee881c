"""A family from its density, written as a formula: what `pg.family_from_density` is."""

from __future__ import annotations

import hashlib
import keyword
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from pgem.arrays import Floats, Mask
from pgem.bridges import _derived_family as derived
from pgem.bridges._derivation import Derivation, Recipe
from pgem.bridges._derived_family import DerivedFamily
from pgem.bridges._formula import parse, sympy_module
from pgem.bridges._maximum import closed_forms
from pgem.bridges._meaning import PLAIN, Meaning, meaning_of
from pgem.bridges._numbers import can_evaluate
from pgem.bridges._separation import separate
from pgem.errors import DeclarationError, did_you_mean
from pgem.families import Slot, Support, _derived, supports

VALUES: Mapping[str, tuple[dict[str, bool], Support, tuple[float, ...]]] = {
    "real": ({"real": True}, supports.REALS, (-1.3, 0.4, 2.0)),
    "positive": ({"positive": True}, supports.POSITIVE, (0.3, 0.7, 2.0)),
    "nonnegative": ({"nonnegative": True}, supports.NON_NEGATIVE, (0.3, 0.7, 2.0)),
    "unit": ({"positive": True}, supports.UNIT_INTERVAL, (0.3, 0.7, 0.5)),
    "count": ({"integer": True, "nonnegative": True}, supports.COUNTS, (1, 2, 5)),
    "positive_count": ({"integer": True, "positive": True}, supports.POSITIVE_COUNTS, (1, 2, 5)),
    "binary": ({"integer": True, "nonnegative": True}, supports.BINARY, (0, 1, 0)),
}
"""Kind of the value → assumptions on its symbol, support, and values of it."""
SLOTS: Mapping[str, tuple[dict[str, bool], tuple[float, ...]]] = {
    "real": ({"real": True}, (-0.6, 0.8, 0.1)),
    "positive": ({"positive": True}, (0.8, 1.7, 2.6)),
    "unit": ({"positive": True}, (0.3, 0.6, 0.45)),
    "probability": ({"positive": True}, (0.3, 0.6, 0.45)),
}
"""Kind of a slot → assumptions on its symbol, and values to try it at."""
CLOSE = 1e-6

Kind = str | tuple[float, float] | range


def family_from_density(
    density: str, *, x: Kind, name: str | None = None, **slots: str
) -> type[DerivedFamily]:
    """A family class, derived from a density that is written as a formula.

    `Rayleigh2 = pg.family_from_density("x / s**2 * exp(-x**2 / (2*s**2))", x="positive",
    s="positive")` stands in declarations as the families of the shelf do: `Rayleigh2(s=…)`, and
    `Rayleigh2.explain()` tells what was derived.  The text is parsed, never evaluated.

    Args:
        density: a formula in `x` and the slots: numbers, + - * / **, pi, exp, log, sqrt, abs, sin,
            cos, gamma, loggamma, factorial, binomial, beta, besseli(0, ·).
        x: the values: "real", "positive", "nonnegative", "unit", "count", "positive_count",
            "binary", an interval (low, high), or a range of whole numbers.
        name: of the class, under which declarations are stored; by default from the formula.
        slots: each parameter's kind: "real", "positive", "unit" or "probability".

    Raises:
        DeclarationError: a piece that is not allowed, a term that couples the value with a slot
            (no exponential family), or a density that does not integrate to one.
        MissingExtraError: SymPy is not installed.
    """
    sympy_module()
    kind = tuple(x) if isinstance(x, list) else x
    _support(kind)
    for slot, what in slots.items():
        _check_slot(slot, what)
    if not slots:
        raise DeclarationError("a density needs at least one slot", advice="as s='positive'")
    if not isinstance(density, str):
        parse(density, {})
    label = _label(name, density, kind, slots)
    return _make(density, kind, label, tuple(slots.items()))


@lru_cache(maxsize=512)
def _make(
    density: str, x: Kind, name: str, kinds: tuple[tuple[str, str], ...]
) -> type[DerivedFamily]:
    """The class; the same one for the same arguments."""
    sp = sympy_module()
    assumptions, support, values = _support(x)
    symbols = {"x": sp.Symbol("x", **assumptions)}
    symbols |= {slot: sp.Symbol(slot, **SLOTS[kind][0]) for slot, kind in kinds}
    tried = dict(
        zip(symbols.values(), (values, *(SLOTS[kind][1] for _, kind in kinds)), strict=True)
    )
    overcomplete = any(kind in ("unit", "probability") for _, kind in kinds)
    free = [symbols[slot] for slot, _ in kinds]
    form = separate(parse(density, symbols), symbols["x"], free, tried, overcomplete=overcomplete)
    for part in (*form.statistics, *form.natural, form.log_partition, form.log_base):
        if not can_evaluate(part):
            raise DeclarationError(f"the piece '{part}' of the log-density cannot be computed")
    meanings = {slot: meaning_of(symbols[slot], kind, form) for slot, kind in kinds}
    recipe = Recipe(family_from_density, density, x, name, kinds)
    plain = Derivation(recipe, form, meanings)
    first = _class(derived.ByNewton, plain, support)
    slots = _values_to_try(kinds)
    expected = _expectations(first(), slots)
    known = _with_maximum(plain, support, expected, slots)
    found: type[DerivedFamily] = _with_roles(known, support, expected, slots)
    return found


def _class(base: type[DerivedFamily], derivation: Derivation, support: Support) -> Any:
    """A class on this base; it is stored as `pgem.bridges.` and its name."""
    recipe, form = derivation.recipe, derivation.form
    slots = []
    for slot, meaning in derivation.meanings.items():
        others = tuple(other for other in derivation.meanings if other != slot)
        slots.append(Slot(slot, meaning.role, free_of=others if meaning.short else ()))
    names = set(derivation.meanings)
    letters = all(  # each slot is shown by its own letter, which no other slot's role claims
        len(slot) == 1 and slot.isascii() and not (names - {slot}) & set(m.role.symbols)
        for slot, m in derivation.meanings.items()
    )
    body = {
        "__doc__": f"Derived from the density `{recipe.density}`.",
        "__module__": __package__,
        "__qualname__": recipe.name,
        "slots": tuple(slots),
        "support": support,
        "derivation": derivation,
        "rung": base.rung,
        "formula": sympy_module().latex(form.log_density) if letters else "",
    }
    return derived.DerivedClass(recipe.name, (base,), body)


def _with_maximum(
    plain: Derivation, support: Support, expected: Floats, slots: dict[str, Floats]
) -> Any:
    """The class with the candidate that leads from E[T] back to the slots, or with Newton's."""
    for candidate in closed_forms(plain.form):
        kind = _class(derived.ByFormula, replace(plain, maximum=candidate), support)
        back = kind().from_mean(*expected[:, 1:].T)
        if all(np.allclose(a, b, rtol=CLOSE) for a, b in zip(back, slots.values(), strict=True)):
            return kind
    return _class(derived.ByNewton, plain, support)


def _with_roles(kind: Any, support: Support, expected: Floats, slots: dict[str, Floats]) -> Any:
    """The class with the conditional maxima of its slots, if all have one that can be trusted."""
    derivation = kind.derivation
    closed = bool(derivation.maximum)
    base = derived.ByFormulaWithRoles if closed else derived.ByNewtonWithRoles
    if all(meaning.parts for meaning in derivation.meanings.values()):
        found = _class(base, derivation, support)
        if _roles_lead_back(found(), expected, slots):
            return found
    bare = {slot: Meaning(PLAIN[what]) for slot, what in derivation.recipe.kinds}
    kept = {slot: m if m.role.has_spread else bare[slot] for slot, m in derivation.meanings.items()}
    kept = {slot: replace(m, parts=(), short=()) for slot, m in kept.items()}
    return _class(kind.__bases__[0], replace(derivation, meanings=kept), support)


def _roles_lead_back(family: DerivedFamily, expected: Floats, slots: dict[str, Floats]) -> bool:
    for slot, value in slots.items():
        for cancel in (False, True):
            statistic = family.role_statistics(slot, (expected,), slots, slots, cancel=cancel)
            assert statistic is not None
            still = np.zeros(value.shape, dtype=bool)
            with np.errstate(all="ignore"):
                found = family.role_of(slot).maximise(statistic, value * 1.1, still)
            if not np.allclose(found, value, rtol=CLOSE):
                return False
    return True


def _expectations(family: DerivedFamily, slots: dict[str, Floats]) -> Floats:
    """E[φ] [3, P] at the values to try.

    Raises:
        DeclarationError: the density does not have total mass one there.
    """
    rows = []
    for single, cell in family.cells(slots):
        x, mass, _ = _derived.atoms(single, cell)
        total = float(mass.sum())
        if not abs(total - 1) < CLOSE:
            at = ", ".join(f"{name} = {value[0]:g}" for name, value in cell.items())
            raise DeclarationError(
                f"the density '{family.derivation.recipe.density}' has total mass "
                f"{total:.6g}, not 1, at {at}",
                advice=f"correct its factor, or the kind of x, which is now "
                f"'{family.derivation.recipe.x}'",
            )
        rows.append(mass @ single.features_at(x, cell))
    return np.stack(rows)


def _values_to_try(kinds: tuple[tuple[str, str], ...]) -> dict[str, Floats]:
    """Three cells in which the slots do not move together."""
    return {slot: np.roll(SLOTS[kind][1], k) for k, (slot, kind) in enumerate(kinds)}


def _support(x: Kind) -> tuple[dict[str, bool], Support, tuple[float, ...]]:
    if isinstance(x, str) and x in VALUES:
        return VALUES[x]
    if isinstance(x, range) and len(x) > 1 and x.step == 1:
        support = Support(f"whole numbers from {x[0]} to {x[-1]}",
                          partial(_is_in_range, x[0], x[-1]), True, float(x[0]))  # fmt: skip
        return {"integer": True}, support, (x[0], x[-1], x[len(x) // 2])
    if isinstance(x, tuple) and len(x) == 2 and x[0] < x[1] and np.isfinite(x).any():
        low, high = map(float, x)
        middle = (low + high) / 2 if np.isfinite(low + high) else low + 1
        middle = middle if np.isfinite(middle) else high - 1
        support = Support(f"numbers from {low:g} to {high:g}", partial(_is_within, low, high),
                          False, middle)  # fmt: skip
        sign = {"positive": True} if low > 0 else {"nonnegative": True} if low == 0 else {}
        return {"real": True, **sign}, support, (middle, middle, middle)
    raise DeclarationError(
        f"x has the kind '{x}', which is not known",
        expected=f"{', '.join(VALUES)}, an interval (low, high), or a range of whole numbers",
        advice=did_you_mean(x, VALUES) or None,
    )


def _is_in_range(low: int, high: int, x: Floats) -> Mask:
    return np.asarray((x >= low) & (x <= high) & (x == np.floor(x)))


def _is_within(low: float, high: float, x: Floats) -> Mask:
    return np.isfinite(x) & (x >= low) & (x <= high)


def _check_slot(slot: str, kind: object) -> None:
    if not isinstance(kind, str) or kind not in SLOTS:
        raise DeclarationError(
            f"slot '{slot}' has the kind '{kind}', which is not known",
            expected=", ".join(SLOTS),
            advice=did_you_mean(kind, SLOTS) or "write a known whole number into the formula",
        )
    if slot == "size" or slot.startswith("_") or keyword.iskeyword(slot):
        raise DeclarationError(f"slot '{slot}' has a name that is taken", advice="choose another")


def _label(name: str | None, density: str, x: object, slots: Mapping[str, str]) -> str:
    if name is None:
        text = repr((density, x, sorted(slots.items())))
        return f"Density_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise DeclarationError(
            f"the family's name '{name}' is no name of a class", expected="as 'Rayleigh2'"
        )
    return name
