"""LaTeX as text."""

from __future__ import annotations

import pytest

from pgem.plan.latex import letters_of, plain, plain_text, replace_letters


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\sum_{n,i} p(z_{n} = k \mid \mathcal{D}_{n}) \, x_{n}", "Σ_{n,i} p(z_n = k | D_n) x_n"),
        (r"\frac{a b}{c}", "a b / c"),
        (r"\frac{a + b}{c d}", "(a + b) / (c d)"),
        (r"\frac{p(a) \, q(b)}{\mu_{c}(d)}", "p(a) q(b) / μ_c(d)"),
        (r"-\tfrac12 \log |2\pi V|", "-½ log |2π V|"),
        (r"(x - m)^T V^{-1} (x - m)", "(x - m)ᵀ V⁻¹ (x - m)"),
        (r"\log \tbinom{n}{x}", "log binom(n, x)"),
        (r"\texttt{a\_b.mean}[k']", "a_b.mean[k']"),
        (r"x^{t+1}", "x^{t+1}"),
        (r"\mathcal{D}_{\le t}", "D_{≤t}"),
        (r"\sqrt{\frac{a}{b}}", "√(a / b)"),
        (r"\kappa \cos(x - \mu)", "κ cos (x - μ)"),
    ],
)
def test_plain(latex: str, text: str) -> None:
    assert plain(latex) == text


def test_sentences_keep_their_words() -> None:
    assert plain_text(r"Sum out $z_{n}$ of `x`.") == "Sum out z_n of 'x'."


def test_letters_inside_commands_stay() -> None:
    assert replace_letters(r"\log x + \text{x}", {"x": "y"}) == r"\log y + \text{x}"
    assert letters_of(r"a \log b - \Gamma(a)") == {"a", "b"}
    assert letters_of(r"\kappa \cos x") == {r"\kappa", "x"}
