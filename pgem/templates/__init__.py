"""Shelf of templates: named models in the public language, one a file.

A template declares its nodes in the model that is open, and returns its latent nodes, so that more
can be hung on them; with no model open it returns a new `Model`.  `prefix=` is put before every
name, so that a template can be used twice.  Mixtures name their nodes `z` and `x`, chains `s` and
`y`, sequences `t`, plates `item`.  A template of your own is a function under `@template`.
"""

from pgem.templates.beta_binomial import beta_binomial
from pgem.templates.dirichlet_multinomial import dirichlet_multinomial
from pgem.templates.factorial_hmm import factorial_hmm
from pgem.templates.gmm_hmm import gmm_hmm
from pgem.templates.hmm import hmm
from pgem.templates.kmeans import kmeans
from pgem.templates.latent_class import latent_class
from pgem.templates.mixture import mixture
from pgem.templates.mixture_of_hmms import mixture_of_hmms
from pgem.templates.naive_bayes import naive_bayes
from pgem.templates.negative_binomial import negative_binomial
from pgem.templates.student_t import student_t
from pgem.templates.template import template
from pgem.templates.zero_inflated import zero_inflated

__all__ = [
    "beta_binomial",
    "dirichlet_multinomial",
    "factorial_hmm",
    "gmm_hmm",
    "hmm",
    "kmeans",
    "latent_class",
    "mixture",
    "mixture_of_hmms",
    "naive_bayes",
    "negative_binomial",
    "student_t",
    "template",
    "zero_inflated",
]
