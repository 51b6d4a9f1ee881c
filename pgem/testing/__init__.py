"""Conformance kits, for our tests and for the tests of people who extend pgem.

from pgem.testing import check_family

def test_rayleigh():
    check_family(Rayleigh)
"""

from pgem.testing._kit import check_family
from pgem.testing._report import Check, Report

__all__ = ["Check", "Report", "check_family"]
