"""What is gained where a model may stay silent when it is unsure.

Of each label the stays are kept from the most to the least confident,
confidence being max(p, 1 - p); risk is the share of kept stays whose label is
predicted wrongly at p = 0.5. El-Yaniv and Wiener, JMLR 2010; the area under
the curve and its excess over the best order: Geifman and others, ICLR 2019.

Low risk is not enough. Of a rare label a model is most certain where it says
no: what it keeps are the stays without it, and the cases among what it keeps
are those it is sure not to see. So the curve also says which share of the
cases is kept, and which share of those is missed.

Dims: N stays, C labels, K coverages.
"""

import dataclasses

import numpy as np

from medpatch_jax.evaluate import metrics

COVERAGE = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


@dataclasses.dataclass(frozen=True)
class Curve:
  """Risk against coverage; NaN for a label without both classes.

  Attributes:
    coverage: f64[K], share of the stays that is kept.
    risk: f64[K C], share of kept stays predicted wrongly.
    cases: f64[K C], share of the label's cases that is kept.
    missed: f64[K C], share of the kept cases predicted negative; NaN too
      where no case is kept.
    area: f64[C], mean risk over all coverages 1/N, 2/N ... 1.
    excess: f64[C], area above that of the best order (every wrong one last).
  """

  coverage: np.ndarray
  risk: np.ndarray
  cases: np.ndarray
  missed: np.ndarray
  area: np.ndarray
  excess: np.ndarray


def curve(
  logits: np.ndarray,
  label: np.ndarray,
  weight: np.ndarray | None = None,
  coverage=COVERAGE,
) -> Curve:
  """Risk against coverage of every label.

  Stays of equal confidence are kept in proportion, as if in random order.

  Args:
    logits: f[N C]; their size orders the stays as the confidence does, and
      does not round to 1.
    label: [N C] in {0, 1}.
    weight: f[N]; rows of weight 0 are left out, others count alike.
    coverage: K numbers in (0, 1].

  Raises:
    ValueError: see `metrics.check`; or a coverage is out of range.
  """
  logits, label = metrics.check(logits, label, weight)
  coverage = np.asarray(coverage, np.float64)
  if not ((coverage > 0) & (coverage <= 1)).all():
    raise ValueError(f"coverages are {coverage}; each must be in (0, 1].")
  K, C = len(coverage), logits.shape[1]
  risk, cases, missed = np.full((3, K, C), np.nan)
  area, excess = np.full((2, C), np.nan)
  for c in range(C):
    case = label[:, c] == 1
    if not 0 < case.sum() < len(case):
      continue
    wrong = (logits[:, c] >= 0) != case
    kept = _kept(np.abs(logits[:, c]), (wrong, case, case & wrong))
    N = len(case)
    wrong_kept, cases_kept, missed_kept = kept(coverage * N)
    risk[:, c] = wrong_kept / (coverage * N)
    cases[:, c] = cases_kept / case.sum()
    some = cases_kept > 0
    missed[some, c] = missed_kept[some] / cases_kept[some]
    sizes = np.arange(1, N + 1)
    area[c] = np.mean(kept(sizes)[0] / sizes)
    best = np.maximum(0, sizes - (N - wrong.sum())) / sizes
    excess[c] = area[c] - best.mean()
  return Curve(coverage, risk, cases, missed, area, excess)


def failures(found: Curve, at: float = 0.8) -> np.ndarray:
  """Labels whose risk falls at a coverage without fewer cases being missed.

  What is gained there is gained by not speaking of cases.

  Args:
    found: a curve that has the coverages 1 and `at`.

  Returns:
    bool[C], False where the curve is NaN.
  """
  whole, some = (int(np.flatnonzero(found.coverage == x)[0]) for x in (1.0, at))
  risk, missed = found.risk, found.missed
  return (
    (risk[some] < risk[whole])
    & (missed[some] >= missed[whole])
    & (missed[some] > 0)
  )


def _kept(confidence, marks):
  """n f64[K] -> how many of each mark bool[N] the n most confident hold."""
  order = np.argsort(-confidence, kind="stable")
  sorted_ = confidence[order]
  ends = np.flatnonzero(np.append(sorted_[1:] != sorted_[:-1], True)) + 1
  ends = np.append(0, ends)
  sums = [np.append(0, np.cumsum(mark[order]))[ends] for mark in marks]
  return lambda n: [np.interp(n, ends, total) for total in sums]
