"""The cases: data, a start, one function per system, and an independent log-likelihood.

A system is a function (data, start, iterations) → parameters; all start at the same parameters and
run the same number of iterations without a tolerance.  Libraries are imported by the functions, so
that a process holds only one; a system whose library is not installed is left out.
"""

from __future__ import annotations

from benchmarks import chains, continuous, discrete, floors, gaussian, general
from benchmarks.common import Case, System

MIXTURE: dict[str, System] = {
    "pgem": gaussian.gaussian_pgem, "scikit-learn": gaussian.gaussian_sklearn,
}  # fmt: skip
CLUSTERS: dict[str, System] = {
    "pgem": gaussian.kmeans_pgem, "scikit-learn": gaussian.kmeans_sklearn,
}  # fmt: skip
CHAIN: dict[str, System] = {"pgem": chains.hmm_pgem, "hmmlearn": chains.hmm_hmmlearn}
VECTORS: dict[str, System] = {"pgem": chains.vectors_pgem, "hmmlearn": chains.vectors_hmmlearn}
BATCHES: dict[str, System] = VECTORS | {"dynamax": chains.vectors_dynamax}
CLASSES: dict[str, System] = {
    "pgem": discrete.classes_pgem,
    "NumPy by hand": discrete.classes_numpy,
    "StepMix": discrete.classes_stepmix,
}
SHOWN: dict[str, System] = {"pgem": discrete.classes_pgem, "StepMix": discrete.classes_stepmix}
COUNTS: dict[str, System] = {
    "pgem": discrete.counts_pgem, "NumPy by hand": discrete.counts_numpy,
    "pomegranate": discrete.counts_pomegranate("single"),
    "pomegranate, double precision": discrete.counts_pomegranate("double"),
}  # fmt: skip
DIAMOND: dict[str, System] = {
    "pgem": discrete.diamond_pgem, "NumPy by hand": discrete.diamond_numpy,
    "pgmpy": discrete.diamond_pgmpy,
}  # fmt: skip
FACTORS: dict[str, System] = {
    "pgem": continuous.factors_pgem, "scikit-learn": continuous.factors_sklearn,
}  # fmt: skip
STATES: dict[str, System] = {
    "pgem": continuous.states_pgem, "dynamax": continuous.states_dynamax,
    "statsmodels": continuous.states_statsmodels,
}  # fmt: skip
WAITS: dict[str, System] = {
    "pgem": general.waits_pgem, "pgem by whole tables": general.by_tables(general.waits_pgem),
}  # fmt: skip
MIXTURES: dict[str, System] = {
    "pgem": general.mixtures_pgem,
    "pgem by whole tables": general.by_tables(general.mixtures_pgem),
}
ANALYSERS: dict[str, System] = {
    "pgem": general.analysers_pgem,
    "pgem value by value": general.by_values(general.analysers_pgem),
}
NEEDS = {"scikit-learn": "sklearn", "hmmlearn": "hmmlearn", "StepMix": "stepmix",
         "pgmpy": "pgmpy", "dynamax": "dynamax", "statsmodels": "statsmodels",
         "pomegranate": "pomegranate", "pomegranate, double precision": "pomegranate"}  # fmt: skip
"""System → module that it needs."""

CASES = {
    "gaussian-full": Case(
        "Gaussian mixture, 200,000 × 16, 16 full components",
        gaussian.gaussian_data(200_000, full=True), MIXTURE, gaussian.gaussian_log_likelihood,
        5, floors.gaussian, threads=True,
    ),
    "gaussian-plane": Case(
        "Gaussian mixture, 1,000,000 × 2, 4 full components",
        gaussian.gaussian_data(1_000_000, full=True, k=4, d=2), MIXTURE,
        gaussian.gaussian_log_likelihood, 5, floors.gaussian, threads=True,
    ),
    "gaussian-wide": Case(
        "Gaussian mixture, 50,000 × 64, 8 full components",
        gaussian.gaussian_data(50_000, full=True, k=8, d=64), MIXTURE,
        gaussian.gaussian_log_likelihood, 5, floors.gaussian, threads=True,
    ),
    "gaussian-diagonal": Case(
        "Gaussian mixture, 500,000 × 16, 32 diagonal components",
        gaussian.gaussian_data(500_000, full=False, k=32), MIXTURE,
        gaussian.gaussian_log_likelihood, 5, floors.gaussian, threads=True,
    ),
    "k-means": Case(
        "k-means, 500,000 × 16, 32 clusters",
        gaussian.clusters, CLUSTERS, gaussian.kmeans_log_likelihood, 5, floors.clusters,
        threads=True,
    ),
    "hmm-categorical": Case(
        "Categorical HMM, one sequence of 1,000,000 steps, 8 states, 32 symbols",
        chains.symbols(1_000_000, 8, 32), CHAIN, chains.hmm_log_likelihood, 4, floors.chain,
        threads=True,
    ),
    "hmm-many-states": Case(
        "Categorical HMM, one sequence of 200,000 steps, 32 states, 64 symbols",
        chains.symbols(200_000, 32, 64), CHAIN, chains.hmm_log_likelihood, 4, floors.chain,
        threads=True,
    ),
    "hmm-gaussian": Case(
        "Gaussian HMM, one sequence of 200,000 steps, 4 states",
        chains.numbers, CHAIN, chains.hmm_log_likelihood, 5, floors.chain,
        threads=True,
    ),
    "hmm-vectors": Case(
        "Gaussian HMM, 1,000 sequences of 200 steps × 4, 8 states, full covariances",
        chains.vectors(ragged=False), BATCHES, chains.vectors_log_likelihood, 5, floors.chain,
        threads=True,
    ),
    "hmm-ragged": Case(
        "the same with 50 to 350 steps",
        chains.vectors(ragged=True), VECTORS, chains.vectors_log_likelihood, 5, floors.chain,
    ),
    "latent-class": Case(
        "Latent classes, 20,000 × 20 items with 3 answers, 5 classes",
        discrete.answers(20_000, 5, 3), CLASSES, discrete.classes_log_likelihood, 20,
        floors.classes,
    ),
    "latent-class-large": Case(
        "Latent classes, 100,000 × 20 items with 4 answers, 6 classes",
        discrete.answers(100_000, 6, 4), CLASSES, discrete.classes_log_likelihood, 5,
        floors.classes,
    ),
    "latent-class-holes": Case(
        "the same with a fifth of the answers missing",
        discrete.answers(100_000, 6, 4, holes=0.2), SHOWN, discrete.classes_log_likelihood, 5,
        floors.classes,
    ),
    "poisson": Case(
        "Poisson mixture, 1,000,000 counts, 4 components",
        discrete.counts, COUNTS, discrete.counts_log_likelihood, 50, floors.counts,
    ),
    "bayes-net": Case(
        "Bayesian network, 10,000 rows, two hidden ternary nodes of four",
        discrete.diamond, DIAMOND, discrete.diamond_log_likelihood, 50, floors.diamond,
    ),
    "factor-analysis": Case(
        "Factor analysis, 100,000 × 64, 8 factors",
        continuous.factors, FACTORS, continuous.factors_log_likelihood, 10, floors.factors,
    ),
    "state-space": Case(
        "Linear state space, 10,000 steps, 4 states, 8 outputs",
        continuous.states, STATES, continuous.states_log_likelihood, 10, floors.states,
    ),
    "own-family": Case(
        "Mixture of a family of one's own, 500,000 waiting times, 8 components",
        general.waits, WAITS, general.waits_log_likelihood, 5, floors.waits,
    ),
    "mixtures-in-states": Case(
        "HMM with mixtures, one sequence of 100,000 steps × 4, 4 states of 4 full components",
        general.mixtures_in_states, MIXTURES, general.mixtures_log_likelihood, 5, floors.mixtures,
    ),
    "factor-mixture": Case(
        "Mixture of factor analysers, 100,000 × 16, 3 factors, 4 components",
        general.analysers, ANALYSERS, general.analysers_log_likelihood, 5, floors.analysers,
    ),
}  # fmt: skip
