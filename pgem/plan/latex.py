r"""LaTeX → plain text, for the few commands that derivations use.

Formulas are written once, in LaTeX; the text derivation shows the same formulas through `plain`.
A command that is not in the tables below prints as its name.
"""

from __future__ import annotations

import re

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_]|\s+|.", re.DOTALL)
GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "eta": "η", "theta": "θ", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ",
    "phi": "φ", "varphi": "φ", "varepsilon": "ε", "Lambda": "Λ", "chi": "χ", "psi": "ψ",
    "omega": "ω",
}  # fmt: skip
SIGNS = GREEK | {
    "sum": "Σ", "prod": "Π", "Gamma": "Γ", "Phi": "Φ", "propto": "∝", "ldots": "…", "mid": "|",
    "|": "‖",
    "le": "≤", "ge": "≥", "in": "∈", "notin": "∉", "sim": "~", "log": "log ", "exp": "exp ",
    "cos": "cos ", "sin": "sin ", "int": "∫ ", "quad": "  ", "cdot": "·",
    ";": " ", ",": " ", "!": "", "Big": "", "big": "", "left": "", "right": "", "textstyle": "",
    "_": "_",
}  # fmt: skip
WRAPPERS = {"mathrm", "text", "texttt", "mathcal", "mathbf", "mathbb", "operatorname"}
SUPERSCRIPTS = str.maketrans("0123456789+-T", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀ")


def plain(latex: str) -> str:
    """A formula as one line of text."""
    text = _Reader(latex.replace("&", "")).expression()
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r"([(\[{]|\{≤) ", r"\1", text)
    return re.sub(r" ([)\],])", r"\1", text).strip()


def plain_text(sentence: str) -> str:
    """A sentence with formulas between dollar signs, as text."""
    parts = re.split(r"\$([^$]*)\$", sentence)
    return "".join(plain(part) if k % 2 else part.replace("`", "'") for k, part in enumerate(parts))


def tokens(latex: str) -> list[str]:
    """Commands, braces and single characters."""
    return TOKEN.findall(latex)


def replace_letters(latex: str, letters: dict[str, str]) -> str:
    """A formula with single letters (not parts of commands or `\\text`) replaced."""
    found, inside = [], 0
    for k, token in enumerate(parts := tokens(latex)):
        wrapped = token == "{" and k > 0 and parts[k - 1].lstrip("\\") in WRAPPERS
        inside += (
            1 if wrapped or (inside and token == "{") else -1 if inside and token == "}" else 0
        )
        found.append(token if inside else letters.get(token, token))
    return "".join(found)


def letters_of(latex: str) -> set[str]:
    """The single letters of a formula, Greek ones as commands."""
    return {
        token
        for token in tokens(latex)
        if (len(token) == 1 and token.isalpha()) or token.lstrip("\\") in GREEK
    }


class _Reader:
    """Recursive descent over tokens."""

    def __init__(self, latex: str) -> None:
        self.tokens, self.place = tokens(latex), 0

    def expression(self) -> str:
        """Everything up to a closing brace or the end."""
        text = ""
        while self.place < len(self.tokens) and self.tokens[self.place] != "}":
            text += self.item()
        return text

    def item(self) -> str:
        """One token with what belongs to it."""
        token = self.tokens[self.place]
        self.place += 1
        if token == "{":
            text = self.expression()
            self.place += 1
            return text
        if token == "_":
            return _lowered(self.argument())
        if token == "^":
            return _raised(self.argument())
        return self.command(token[1:]) if token.startswith("\\") else token

    def argument(self) -> str:
        """The next item, without spaces around it."""
        while self.tokens[self.place].isspace():
            self.place += 1
        return self.item().strip()

    def command(self, name: str) -> str:
        """A command with its arguments."""
        if name in ("frac", "tfrac", "dfrac"):
            above, below = self.argument(), self.argument()
            half = (above, below) == ("1", "2")
            return (
                "½" if half else f"{_bracket(above, below=False)} / {_bracket(below, below=True)}"
            )
        if name in ("binom", "tbinom"):
            return f"binom({self.argument()}, {self.argument()})"
        if name == "sqrt":
            return f"√({self.argument()})"
        if name in WRAPPERS:
            return self.argument()
        return SIGNS.get(name, name)


def _lowered(text: str) -> str:
    return f"_{text}" if len(text) == 1 else f"_{{{text}}}"


def _raised(text: str) -> str:
    if all(sign in "0123456789+-T" for sign in text):
        return text.translate(SUPERSCRIPTS)
    return f"^{text}" if len(text) == 1 else f"^{{{text}}}"


def _bracket(text: str, *, below: bool) -> str:
    """A numerator with a sum, or a denominator of several factors, in brackets."""
    outside = _outside(text)
    sums = any(sign in outside for sign in (" + ", " - ", "Σ", "Π"))
    return f"({text})" if sums or (below and " " in outside) else text


def is_sum(latex: str) -> bool:
    """Whether a formula is a sum or difference outside of brackets."""
    outside = _outside(latex.replace(r"\|", "|"))
    return " + " in outside or (" - " in outside and "|" not in outside)


def _outside(text: str) -> str:
    """A text without what stands in brackets."""
    depth, outside = 0, ""
    for sign in text:
        depth -= sign in ")]}"
        outside += "" if depth else sign
        depth += sign in "([{"
    return outside
