"""A density written as text → a SymPy expression; the text is parsed, never evaluated.

Only numbers, declared names, `+ - * / **` and the functions of `FUNCTIONS` are let through.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from pgem.errors import DeclarationError, MissingExtraError, did_you_mean

FUNCTIONS: Mapping[str, int] = {
    "exp": 1,
    "log": 1,
    "sqrt": 1,
    "abs": 1,
    "sin": 1,
    "cos": 1,
    "gamma": 1,
    "loggamma": 1,
    "factorial": 1,
    "binomial": 2,
    "beta": 2,
    "besseli": 2,
}
"""What may be called, and with how many arguments."""
LONGEST, LARGEST_POWER, LARGEST_POWER_OF_SUM, LARGEST_ARGUMENT = 2000, 200, 20, 1000
"""Limits on the text, on powers of numbers and on functions of numbers, which are exact."""

ALLOWED = f"numbers, the declared names, + - * / **, pi, {', '.join(FUNCTIONS)}"

OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def sympy_module() -> Any:
    """SymPy, imported when it is needed.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import sympy
    except ImportError:
        raise MissingExtraError("sympy", "sympy", "derive a family from its density") from None
    return sympy


def parse(text: str, symbols: Mapping[str, Any]) -> Any:
    """The expression that a text stands for.

    Args:
        text: a formula.
        symbols: what the names stand for.

    Raises:
        DeclarationError: quoting the piece that is not allowed.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
        raise DeclarationError(
            "a density is a formula",
            expected=f"a text of 1 to {LONGEST} characters, as 'exp(-x / s) / s'",
            received=f"'{str(text)[:60]}'",
        )
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _Reader(symbols).read(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        raise DeclarationError(
            f"the density '{text}' is no formula",
            expected=ALLOWED,
            received=getattr(problem, "msg", None) or str(problem),
        ) from None


class _Reader:
    """One pass over the syntax tree."""

    def __init__(self, symbols: Mapping[str, Any]) -> None:
        self.sp, self.symbols = sympy_module(), symbols

    def read(self, node: ast.expr) -> Any:
        """The expression of a node."""
        match node:
            case ast.Constant(value=value):
                return self._number(node, value)
            case ast.Name(id=name):
                return self._name(name)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -self.read(inner)
            case ast.UnaryOp(op=ast.UAdd(), operand=inner):
                return self.read(inner)
            case ast.BinOp(left=left, op=operator, right=right):
                return self._operation(node, operator, self.read(left), self.read(right))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, arguments)
        return _refuse(node)

    def _number(self, node: ast.expr, value: object) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return _refuse(node)
        if abs(value) > 1e300 or not math.isfinite(value):
            return _refuse(node, "a number of moderate size")
        return self.sp.Rational(repr(value))

    def _name(self, name: str) -> Any:
        if name in self.symbols:
            return self.symbols[name]
        if name == "pi":
            return self.sp.pi
        raise DeclarationError(
            f"the density has the name '{name}', which is not declared",
            expected=", ".join(self.symbols),
            advice=did_you_mean(name, self.symbols) or f"say what it is: {name}='positive'",
        )

    def _operation(self, node: ast.expr, operator: ast.operator, left: Any, right: Any) -> Any:
        if isinstance(operator, ast.Pow):
            if left.is_number and right.is_number and abs(right) > LARGEST_POWER:
                _refuse(node, f"powers of numbers up to {LARGEST_POWER}")
            if left.is_Add and right.is_number and abs(right) > LARGEST_POWER_OF_SUM:
                _refuse(node, f"powers of sums up to {LARGEST_POWER_OF_SUM}")
            return left**right
        if isinstance(operator, ast.BitXor):
            _refuse(node, "a power is written **")
        if type(operator) not in OPERATORS:
            _refuse(node)
        if isinstance(operator, ast.Div) and right == 0:
            _refuse(node, "a quotient with a denominator other than zero")
        return OPERATORS[type(operator)](left, right)

    def _call(self, node: ast.expr, name: str, arguments: list[ast.expr]) -> Any:
        if name not in FUNCTIONS:
            raise DeclarationError(
                f"the density calls '{name}', which is not a function that it may use",
                expected=", ".join(FUNCTIONS),
                received=f"'{ast.unparse(node)}'",
                advice=did_you_mean(name, FUNCTIONS) or None,
            )
        if len(arguments) != FUNCTIONS[name]:
            _refuse(node, f"{name} with {FUNCTIONS[name]} argument(s)")
        values = [self.read(argument) for argument in arguments]
        if any(value.is_number and abs(value) > LARGEST_ARGUMENT for value in values):
            _refuse(node, f"functions of numbers up to {LARGEST_ARGUMENT}")
        if name == "besseli" and values[0] != 0:
            _refuse(node, "besseli(0, ·)")
        return getattr(self.sp, "Abs" if name == "abs" else name)(*values)


def _refuse(node: ast.expr, expected: str = ALLOWED) -> NoReturn:
    raise DeclarationError(
        f"the density has the piece '{ast.unparse(node)}', which is not allowed",
        expected=expected,
    )
