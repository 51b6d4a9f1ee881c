"""The derivation in words and formulas, read off the same analysis as the listing.

Nothing here knows a model by name: the factorisation comes from the graph, the posterior from the
schedule that the listing prints, and the M-step from the blocks, roles and families that solve it.
"""

from __future__ import annotations

from pgem.analyse import Analysis
from pgem.errors import PgemError
from pgem.plan.explain_learning import write_guarantee, write_m_step, write_statistics
from pgem.plan.explain_model import write_conditionals, write_model
from pgem.plan.explain_posterior import write_posterior
from pgem.plan.notation import Notation
from pgem.plan.page import Page

FORMATS = ("text", "markdown")


def explain(analysis: Analysis, format: str = "text") -> str:
    """The derivation of EM for one model.

    Args:
        analysis: what the compiler found out.
        format: `text`, or `markdown` with LaTeX.

    Raises:
        PgemError: another format.
    """
    if format not in FORMATS:
        raise PgemError(
            f"a derivation cannot be written as '{format}'",
            expected=" or ".join(map(repr, FORMATS)),
            received=f"'{format}'",
        )
    page, notation = Page(), Notation(analysis)
    page.title(f"EM for the model '{analysis.graph.name}'")
    write_model(page, notation)
    write_conditionals(page, notation)
    write_posterior(page, notation)
    write_statistics(page, notation)
    write_m_step(page, notation)
    write_guarantee(page, notation)
    return page.text() if format == "text" else page.markdown()
