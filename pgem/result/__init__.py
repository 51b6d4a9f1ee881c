"""Stage 7 of 7 — result: Run → Fit (parameters, posteriors, tables, saving)."""

from pgem.result.cells import cell_slots, full_params
from pgem.result.containers import as_mapping
from pgem.result.fit import Fit
from pgem.result.posterior import Moments, posterior

__all__ = ["Fit", "Moments", "as_mapping", "cell_slots", "full_params", "posterior"]
