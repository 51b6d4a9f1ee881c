"""The M-step: which parameters are solved together, in which order, on which rung of the ladder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgem.analyse.layout import Layout, ParamLayout, Settled
from pgem.analyse.own_fit import check_own_fit
from pgem.analyse.pooling import is_pulled, noise_cancels, of_prior
from pgem.declare import SlotRecord
from pgem.errors import DeclarationError
from pgem.families import Family, Slot
from pgem.families._link import Linked
from pgem.families._roles import MEAN
from pgem.graph import Key

CLOSED, NEWTON, ECM, NUMERIC, OWN_FIT = (
    "closed form",
    "Newton",
    "conditional closed forms in turn (ECM)",
    "numeric",
    "the family's own fit",
)


@dataclass(frozen=True, eq=False)
class Block:
    """Parameters that one solve sees together.

    Attributes:
        params: names, in the order in which they are solved.
        components: keys of the components whose statistics enter.
        rung: how it is solved.
        joint: the component whose mean map solves all of it at once, if any.
        cancels: parameters whose conditional maximum does not involve the slots they are free of.
        regression: coefficients that are solved together, before the others.
        linked: components among them with a link, so that Newton's method solves them.
        firsts: first steps that follow from the block's transition table.
    """

    params: tuple[str, ...]
    components: tuple[Key, ...]
    rung: str
    joint: Key | None
    cancels: frozenset[str]
    regression: tuple[str, ...] = ()
    linked: tuple[Key, ...] = ()
    firsts: tuple[Key, ...] = ()


def make_blocks(layout: Layout) -> list[Block]:
    """Blocks of the free parameters, in order of declaration."""
    free = {name: p for name, p in layout.params.items() if p.is_free}
    groups: list[set[str]] = []
    together = [{s.name for s in _param_slots(settled)} for settled in layout.components.values()]
    together += [{name, *_linked(p)} for name, p in free.items()]
    for names in together:
        names = names & free.keys()
        touching = [group for group in groups if group & names]
        merged = names.union(*touching)
        groups = [group for group in groups if group not in touching]
        if merged:
            groups.append(merged)
    order = list(free)
    groups.sort(key=lambda group: min(order.index(name) for name in group))
    return [_block([free[n] for n in order if n in group], layout) for group in groups]


def _param_slots(settled: Settled) -> list[SlotRecord]:
    return [s for s in settled.component.leaf.slots.values() if s.kind == "param"]


def _linked(param: ParamLayout) -> set[str]:
    """Parameters in the slots of its prior."""
    return set() if param.prior is None else {link.name for link in param.prior.links.values()}


def _block(params: list[ParamLayout], layout: Layout) -> Block:
    names = {p.name for p in params}
    keys = tuple(dict.fromkeys(key for p in params for key, _ in p.uses))
    if any(layout.components[key].family.own_fit for key in keys):
        check_own_fit(params, keys, layout)
        return Block(tuple(p.name for p in params), keys, OWN_FIT, None, frozenset())
    if any(layout.components[key].family.regresses for key in keys):
        return regression_block(params, keys, layout)
    cancels = frozenset(p.name for p in params if _cancels(p, layout))
    firsts = tuple(first for first, table in layout.stationary.items() if table.param in names)
    if firsts:
        _check_alone(params)
        return Block(tuple(names), keys, NUMERIC, None, cancels, firsts=firsts)
    joint = _joint(params, keys, layout)
    if any(not _has_roles(layout.components[key].family) for key in keys):
        rung = layout.components[joint].family.rung if joint else NUMERIC
        return Block(tuple(p.name for p in params), keys, rung, joint, cancels)
    order = _sequence(params, cancels, layout)
    if order is not None:
        newton = any(p.role.formula.endswith("Newton's method") for p in params)
        return Block(order, keys, NEWTON if newton else CLOSED, None, cancels)
    if joint:
        family = layout.components[joint].family
        return Block(tuple(p.name for p in params), keys, family.rung, joint, cancels)
    assert names
    return Block(tuple(p.name for p in params), keys, ECM, None, cancels)


def _check_alone(params: list[ParamLayout]) -> None:
    """A table that settles a stationary first step is solved by itself."""
    if len(params) > 1:
        listed = ", ".join(f"'{p.name}'" for p in params)
        raise DeclarationError(
            f"parameters {listed} are solved together, and one of them is the transition table of "
            "a node with first='stationary'",
            where=params[0].origin,
            advice="leave first= out, or do not share the table with other families",
        )
    if params[0].lower is not None:
        raise DeclarationError(
            f"parameter '{params[0].name}' has lower=, and is the transition table of a node with "
            "first='stationary'",
            where=params[0].origin,
            advice="leave one of the two out",
        )


def regression_block(params: Sequence[ParamLayout], keys: tuple[Key, ...], layout: Layout) -> Block:
    """Coefficients of means and links together, then the rest, in turn if these matter.

    A linked prior may bring parameters of other components in, which are then solved in turn.
    """
    linear = tuple(key for key in keys if layout.components[key].family.regresses)
    coefs = [p for p in params if p.role is MEAN and {key for key, _ in p.uses} <= set(linear)]
    others = [p for p in params if p not in coefs]
    alone = linear == keys and all(p.role is not MEAN for p in others)
    linked = tuple(key for key in keys if isinstance(layout.components[key].family, Linked))
    names = tuple(p.name for p in [*coefs, *others])
    if linked:
        _check_ties(params, layout)
        rung = ECM if (others and coefs) or not alone else NEWTON if coefs else CLOSED
        ready = frozenset(p.name for p in others)
        return Block(names, keys, rung, None, ready, tuple(p.name for p in coefs), linked)
    cancels = alone and noise_cancels(coefs, keys, layout)
    rung = CLOSED if alone and (cancels or not coefs or not others) else ECM
    ready = frozenset(p.name for p in (params if cancels else others if alone else ()))
    return Block(names, keys, rung, None, ready, tuple(p.name for p in coefs))


def _check_ties(params: Sequence[ParamLayout], layout: Layout) -> None:
    """Coefficients of links are shared with other links and with means of Gaussians only."""
    for param in params:
        linked = any(_is_coefficient(layout.components[key], slot) for key, slot in param.uses)
        for key, slot in param.uses:
            family = layout.components[key].family
            if linked and not family.regresses:
                raise DeclarationError(
                    f"parameter '{param.name}' stands in a link and in '{key}.{slot}' of "
                    f"{type(family).__name__}",
                    where=param.origin,
                    expected="uses in links and in means of Normal and MvNormal",
                    advice="give one of them a parameter of its own",
                )


def _is_coefficient(settled: Settled, slot: str) -> bool:
    """Whether a slot is a term of a link."""
    family = settled.family
    return isinstance(family, Linked) and slot in {term.slot for term in family.terms}


def _has_roles(family: Family) -> bool:
    return type(family).role_statistics is not Family.role_statistics


def _joint(params: list[ParamLayout], keys: tuple[Key, ...], layout: Layout) -> Key | None:
    """The one component whose cells map one to one to rows of all its wholly free parameters."""
    plain = all(p.prior is None and p.lower is None and len(p.uses) == 1 for p in params)
    if len(keys) != 1 or not plain or any(p.fixed.any() for p in params):
        return None
    settled = layout.components[keys[0]]
    if not settled.family.has_mean_map:
        return None
    estimable = [s.name for s in settled.family.slots if s.name not in settled.family.known_slots]
    for name in estimable:
        slot = settled.component.leaf.slots[name]
        rows = settled.cells.rows[name]
        if slot.name not in {p.name for p in params} or slot.structure != "full":
            return None  # a value, or a parameter that is wholly fixed
        if len(np.unique(rows)) != len(rows) or len(rows) != settled.cells.n_rows[name]:
            return None
    return keys[0]


def _cancels(param: ParamLayout, layout: Layout) -> bool:
    """Whether the slots that this one is free of are constant within each of its rows."""
    held = param.fixed.reshape(*param.shape[: param.n_gates], -1)
    partly = bool((held.any(axis=-1) & ~held.all(axis=-1)).any())
    if partly or is_pulled(param, layout):
        return False  # what is held pulls on the rest through the other slots
    seen: dict[int, set[Any]] = {}
    for row, identity in of_prior(param, layout):
        seen.setdefault(row, set()).add(identity)
    for key, slot_name in param.uses:
        settled = layout.components[key]
        slot = _slot(settled.family, slot_name)
        for row, identity in _identities(settled, slot_name, slot.free_of):
            seen.setdefault(row, set()).add(identity)
    return all(len(found) <= 1 for found in seen.values())


def _identities(
    settled: Settled, slot: str, others: Iterable[str]
) -> Iterable[tuple[int, tuple[Any, ...]]]:
    rows = settled.cells.rows[slot]
    for cell, row in enumerate(rows.tolist()):
        identity: tuple[Any, ...] = ()
        for other in others:
            record = settled.component.leaf.slots[other]
            owner = record.name or f"{settled.component.key}.{other}"
            identity += ((owner, int(settled.cells.rows[other][cell])),)
        yield row, identity


def _sequence(
    params: list[ParamLayout], cancels: frozenset[str], layout: Layout
) -> tuple[str, ...] | None:
    """An order in which one pass of conditional maxima is the joint maximum, if there is one."""
    left = {p.name: p for p in params}
    order: list[str] = []
    while left:
        ready = [n for n, p in left.items() if not _needs(p, cancels, layout) & left.keys()]
        if not ready:
            return None
        order.append(ready[0])
        del left[ready[0]]
    return tuple(order)


def _needs(param: ParamLayout, cancels: frozenset[str], layout: Layout) -> set[str]:
    """Parameters whose new value must be known before this one is solved."""
    needed = set()
    for key, slot_name in param.uses:
        settled = layout.components[key]
        free_of = _slot(settled.family, slot_name).free_of if param.name in cancels else ()
        for other, record in settled.component.leaf.slots.items():
            if other != slot_name and other not in free_of and record.kind == "param":
                needed.add(record.name)
    for reader in (p for p in layout.params.values() if p.prior is not None):
        assert reader.prior is not None
        links = {slot: link.name for slot, link in reader.prior.links.items()}
        if reader is param:  # the prior of the parameter itself
            free_of = reader.prior.free_of if param.name in cancels else ()
            needed |= {name for slot, name in links.items() if slot not in free_of}
        elif param.name in links.values():  # as a pseudo-value in whose prior it stands
            needed |= {reader.name, *links.values()}
    return needed - {param.name}


def _slot(family: Family, name: str) -> Slot:
    return next(slot for slot in family.slots if slot.name == name)
