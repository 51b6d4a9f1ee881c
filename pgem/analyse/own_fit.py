"""Blocks of families that bring their own fit: all slots of a cell are learned together."""

from __future__ import annotations

from collections.abc import Sequence

from pgem.analyse.layout import Layout, ParamLayout, Settled
from pgem.errors import DeclarationError


def check_own_fit(params: Sequence[ParamLayout], keys: Sequence[str], layout: Layout) -> None:
    """Every cell's slots are free, and cells share all of their slots or none.

    Raises:
        DeclarationError: a slot is fixed, bounded or has a prior, or is tied or gated otherwise.
    """
    for param in params:
        if param.prior is not None:
            raise _refuse(f"parameter '{param.name}' has a prior", param)
        if param.lower is not None:
            raise _refuse(f"parameter '{param.name}' has a lower bound", param)
        if param.fixed.any():
            raise _refuse(f"parameter '{param.name}' is fixed in part", param)
    settled = [layout.components[key] for key in keys]
    names = {p.name for p in params}
    for one in settled:
        _check_slots(one, names, params[0])
    if len({(type(one.family), *_reads(one).items()) for one in settled}) > 1:
        listed = ", ".join(f"'{key}'" for key in keys)
        raise _refuse(f"nodes {listed} share some parameters, but not all", params[0])
    _check_rows(settled, params)


def _check_slots(settled: Settled, names: set[str], param: ParamLayout) -> None:
    key, family = settled.component.key, settled.family
    if not family.own_fit:
        raise _refuse(f"parameter '{param.name}' also stands in '{key}' of another family", param)
    for name, slot in settled.component.leaf.slots.items():
        if slot.kind != "param" or slot.name not in names:
            raise _refuse(f"slot '{key}.{name}' is given", param)
        if slot.structure != "full":
            raise _refuse(f"slot '{key}.{name}' is {slot.structure}", param)
    if len(set(_reads(settled).values())) < len(_reads(settled)):
        raise _refuse(f"two slots of '{key}' are the same parameter", param)


def _reads(settled: Settled) -> dict[str, str]:
    return {name: slot.name for name, slot in settled.component.leaf.slots.items()}


def _check_rows(settled: Sequence[Settled], params: Sequence[ParamLayout]) -> None:
    """A row of one parameter always meets the same row of every other."""
    slots = list(_reads(settled[0]))
    met = {
        rows
        for one in settled
        for rows in zip(*(one.cells.rows[slot].tolist() for slot in slots), strict=True)
    }
    for place, slot in enumerate(slots):
        if len({rows[place] for rows in met}) < len(met):
            key = settled[0].component.key
            raise _refuse(f"slot '{key}.{slot}' is gated otherwise than the others", params[0])


def _refuse(problem: str, param: ParamLayout) -> DeclarationError:
    return DeclarationError(
        f"{problem}: slots of a two-function family must be gated alike: fit returns them together",
        where=param.origin,
        expected="all slots free, without priors and bounds, under the same gates and ties",
        advice="leave the slots empty, or give the family's sufficient statistics "
        "(docs/how-to/add-a-family.md)",
    )
