"""The derivation in words and formulas, read off the same analysis as the listing."""

from __future__ import annotations

from pgem.analyse import Analysis


def explain_text(analysis: Analysis) -> str:
    """Placeholder until the writer below is filled in."""
    return analysis.graph.name


def explain_markdown(analysis: Analysis) -> str:
    """Placeholder until the writer below is filled in."""
    return analysis.graph.name
