"""Formulas that families write as text, read as numbers and as LaTeX.

Where a family's code cannot be run on symbols (branches, series, special functions), it writes T
or A once more as a plain formula: `lgamma(eta1) - eta1 * log(-eta2)`.  The conformance kit holds
the formula against the code; the derivation shows it.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pgem.arrays import Floats, log_gamma
from pgem.errors import PgemError
from pgem.families._multigamma import log_multigamma
from pgem.families._symbol import ATOM, PRODUCT, Symbol, to_symbol

OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}


def _bessel(order: Any, k: Any) -> Floats:
    from scipy.special import iv

    return np.asarray(iv(order, k))


def _normal_share(z: Any) -> Floats:
    from scipy.special import ndtr

    return np.asarray(ndtr(z))


def _power_sum(exponent: Any, n: Any) -> Floats:
    pairs = zip(np.ravel(exponent), np.broadcast_to(n, np.size(exponent)), strict=True)
    return np.array([np.sum(np.arange(1.0, last + 1) ** power) for power, last in pairs])


def _quadratic(vector: Any, matrix: Any) -> Floats:
    return np.asarray(np.einsum("ci,cij,cj->c", vector, np.linalg.inv(matrix), vector))


NUMBERS: dict[str, Callable[..., Any]] = {
    "log": np.log,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "cos": np.cos,
    "sin": np.sin,
    "lgamma": log_gamma,
    "sum": lambda x: np.sum(x, axis=-1),
    "norm": lambda *x: (
        np.sqrt(sum(np.square(part) for part in x)) if len(x) > 1 else np.linalg.norm(x[0], axis=-1)
    ),
    "det": lambda x: np.linalg.det(x),
    "inv": lambda x: np.linalg.inv(x),
    "dot": lambda matrix, vector: np.einsum("cij,cj->ci", matrix, vector),
    "quadratic": _quadratic,
    "lmgamma": lambda a, size: log_multigamma(np.asarray(a), size),
    "bessel": _bessel,
    "normal": _normal_share,
    "power_sum": _power_sum,
}


def _indexed(x: Symbol) -> str:
    return x.latex.replace(r"\eta", r"\eta_k")


LATEX: dict[str, Callable[..., Symbol]] = {
    "log": lambda x: x.log(),
    "exp": lambda x: x.exp(),
    "sqrt": lambda x: x.root(),
    "cos": lambda x: x.cos(),
    "sin": lambda x: x.sin(),
    "lgamma": lambda x: x.log_gamma(),
    "sum": lambda x: Symbol(rf"\sum_k {Symbol(_indexed(x), x.rank).at(PRODUCT)}", PRODUCT),
    "norm": lambda *x: (
        Symbol(rf"|({', '.join(p.latex for p in x)})|")
        if len(x) > 1
        else Symbol(rf"|{x[0].latex}|")
    ),
    "det": lambda x: Symbol(rf"|{x.latex}|"),
    "inv": lambda x: Symbol(rf"{x.at(ATOM)}^{{-1}}", PRODUCT),
    "dot": lambda matrix, vector: matrix * vector,
    "quadratic": lambda v, m: Symbol(rf"{v.at(ATOM)}^T {m.at(ATOM)}^{{-1}} {v.at(ATOM)}", PRODUCT),
    "lmgamma": lambda a, size: Symbol(rf"\log \Gamma_{size.latex}({a.latex})", PRODUCT),
    "bessel": lambda order, k: Symbol(rf"I_{{{order.latex}}}({k.latex})"),
    "normal": lambda z: Symbol(rf"\Phi({z.latex})"),
    "power_sum": lambda power, n: Symbol(rf"\sum_{{j = 1}}^{n.latex} j^{{{power.latex}}}"),
}


def as_numbers(formula: str, names: Mapping[str, Any]) -> Any:
    """The value of a formula.

    Args:
        formula: numbers, names, + - * / **, and the functions of `NUMBERS`.
        names: arrays by name.

    Raises:
        PgemError: something else is in it.
    """
    with np.errstate(all="ignore"):
        return _walk(ast.parse(formula, mode="eval").body, {**names, "pi": np.pi}, NUMBERS)


def as_latex(formula: str, names: Mapping[str, Symbol]) -> str:
    """A formula in LaTeX.

    Args:
        formula: as for `as_numbers`.
        names: symbols by name.

    Raises:
        PgemError: something that is no formula is in it.
    """
    known = {**names, "pi": Symbol(r"\pi")}
    found: str = to_symbol(_walk(ast.parse(formula, mode="eval").body, known, LATEX)).latex
    return found


def _walk(node: ast.AST, names: Mapping[str, Any], words: Mapping[str, Callable[..., Any]]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return to_symbol(node.value) if words is LATEX else node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_walk(node.operand, names, words))
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = _walk(node.left, names, words), _walk(node.right, names, words)
        return OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in words:
        return words[node.func.id](*(_walk(part, names, words) for part in node.args))
    raise PgemError(
        f"a family's formula holds '{ast.unparse(node)}'",
        expected=f"numbers, {', '.join(names)}, + - * / **, {', '.join(words)}",
    )
