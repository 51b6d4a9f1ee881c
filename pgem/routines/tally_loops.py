"""The loops behind `tally.py`, compiled by Numba when first called and then kept on disk."""

from __future__ import annotations

import numpy as np

from pgem.routines.loops import compiled

ZERO, ONE = np.uint64(0), np.uint64(1)
BLOCK = np.uint64(512)
"""Rows at a time, so that they stay in the processor's first cache."""


@compiled
def total(codes, joint, out):  # type: ignore[no-untyped-def]
    """Fill `out` [K, n] with the sums of `joint` [K, codes] over `codes` [groups, n]."""
    groups, n_rows, states = np.uint64(len(codes)), np.uint64(codes.shape[1]), np.uint64(len(out))
    for first in range(ZERO, n_rows, BLOCK):
        last = min(first + BLOCK, n_rows)
        for k in range(states):
            for n in range(first, last):
                out[k, n] = joint[k, codes[ZERO, n]]
            for g in range(ONE, groups):
                for n in range(first, last):
                    out[k, n] += joint[k, codes[g, n]]


@compiled
def count(codes, weights, joint):  # type: ignore[no-untyped-def]
    """Add `weights` [K, n] to the rows of `joint` [codes, K] by `codes` [groups, n]."""
    groups, n_rows = np.uint64(len(codes)), np.uint64(codes.shape[1])
    states = np.uint64(len(weights))
    rows = np.empty((BLOCK, states))
    for first in range(ZERO, n_rows, BLOCK):
        last = min(first + BLOCK, n_rows)
        for k in range(states):
            for n in range(first, last):
                rows[n - first, k] = weights[k, n]
        for n in range(first, last):
            for g in range(groups):
                cell = codes[g, n]
                for k in range(states):
                    joint[cell, k] += rows[n - first, k]
