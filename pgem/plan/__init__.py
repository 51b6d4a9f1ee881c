"""Stage 4 of 7 — plan: Analysis → Program (the listing that runs, its derivation, its report)."""

from pgem.plan.program import Part, Program, make_program, program_for
from pgem.plan.report import Report

__all__ = ["Part", "Program", "Report", "make_program", "program_for"]
