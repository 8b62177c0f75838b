"""The generative model of the twin: priors, strengths, presence.

Labels are independent a priori: phenotype c of an admission is positive with
probability `PREVALENCE[c]`, in-hospital death with `DEATH_RATE` (the published
train prevalences, MIMIC.md section 2). Given its label, every (modality,
label) channel shows k of K evidence items, k ~ Binomial(K, p1) if the label
is positive and Binomial(K, p0) if not, independently of all other channels.
Everything else in the files (calm vitals, anatomy, other sentences, presence,
lengths, ages, number of codes, films and reports outside the window) is
independent of the labels. Hence, with l = (shown items) of the sources that
lie in a task's window,

  logit P(label | sources) = logit(prior) + sum over present modalities of
    llr(k) = k log(p1 / p0) + (K - k) log((1 - p1) / (1 - p0)),

for every presence pattern. `world.py` has worlds in which the items of the
modalities are not independent, and the posterior of each. Where the items are to be found: `vitals.py` (last
hours of the window), `films.py` (one region of the film per label) and
`notes.py` (one sentence per label). An item outside the window, or in a film
or report that no record may use, is a decoy: shown with the label's marginal
rate whatever the label.

Dims: N rows (stays), C labels (25 phenotypes), K slots of a channel.
"""

import dataclasses

import numpy as np

from medpatch_jax import schema

# Published train prevalence of the phenotypes, in the order of the schema.
PREVALENCE = np.array([
  26.9, 5.6, 7.5, 32.6, 20.6, 14.3, 18.9, 10.0, 25.5, 31.1, 11.4, 17.2, 40.5,
  41.8, 37.2, 7.0, 21.5, 12.5, 9.5, 4.8, 6.7, 12.7, 16.0, 15.8, 12.3,
]) / 100  # fmt: skip
DEATH_RATE = 0.125
NUM_PHENOTYPES = len(PREVALENCE)


@dataclasses.dataclass(frozen=True)
class Evidence:
  """Strength of one channel: k of `slots` items are shown.

  Attributes:
    slots: K, number of items that may be shown.
    p1: probability of each item where the label is positive.
    p0: probability of each where it is negative.
  """

  slots: int
  p1: float
  p0: float


# Unimodal Bayes AUROC of a K = 1 channel is (1 + p1 - p0) / 2. Aimed at the
# published unimodal AUROCs (METHOD.md section 8): phenotyping 0.77, 0.72,
# 0.78, 0.86 and mortality 0.86, 0.72, 0.74.
EVIDENCE = {
  "phenotyping": {
    "ehr": Evidence(1, 0.64, 0.10),
    "cxr": Evidence(1, 0.54, 0.10),
    "rr": Evidence(1, 0.66, 0.10),
    "dn": Evidence(1, 0.80, 0.08),
  },
  "in_hospital_mortality": {
    "ehr": Evidence(2, 0.68, 0.16),
    "cxr": Evidence(1, 0.54, 0.10),
    "rr": Evidence(1, 0.58, 0.10),
  },
}


@dataclasses.dataclass(frozen=True)
class Presence:
  """Rates at which a stay has a source; they ignore every label.

  `*_early` is the rate in the first 48 hours of stays at least that long (the
  mortality cohort), `*_late` the rate of a (further) one after hour 48, and
  `*_short` the rate for shorter stays; together they give the published rates
  of phenotyping.
  """

  cxr_early: float = 0.24
  cxr_late: float = 0.06
  cxr_short: float = 0.10
  rr_early: float = 0.86
  rr_late: float = 0.29
  rr_short: float = 0.90
  dn: float = 0.94


def cohort(folk):
  """Stays bool[N] of a people.People that pass each task's cohort rules."""
  return {
    "in_hospital_mortality": folk.cohort & folk.long & ~folk.late_events,
    "phenotyping": folk.cohort,
  }


def prior(task):
  """Returns the prior probability f64[C] of each label of `task`."""
  prior = PREVALENCE if task == "phenotyping" else np.array([DEATH_RATE])
  if len(prior) != len(schema.TASKS[task].labels):
    raise ValueError(f"{task}: {len(prior)} priors for other labels")
  return prior


def prior_logit(task):
  """Prior logit f64[C] of each label of `task`, in the schema's order."""
  p = prior(task)
  return np.log(p / (1 - p))
