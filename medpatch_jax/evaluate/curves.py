"""ROC and precision-recall curves on fixed grids, as JSON-ready values.

Of data that are not open a curve is read at a few thresholds, its shares are
of rounded counts, and a threshold that 1 to 10 patients lie on one side of is
left out (`disclosure`). Labels that are suppressed have no curve.

Dims: N stays, C labels, G points.
"""

import numpy as np

from medpatch_jax.evaluate import disclosure, trust
from medpatch_jax.evaluate.cells import Cells, number

# False positive rates, close together where curves are steep, and recalls.
RATES = np.unique(
  np.round([0, 0.005, 0.01, 0.015, *np.linspace(0.02, 1, 50)], 3)
)
RECALLS = np.round(np.linspace(0.02, 1, 50), 3)
PARTS = 10  # Of data that are not open: thresholds at every tenth stay.


def build(logits: np.ndarray, cells: Cells) -> dict | None:
  """Both curves of one head.

  Args:
    logits: f[N C].
    cells: has labels, patients and what may be shown.

  Returns:
    `roc` {"rate": [G], "per_label": [C of [G] or None], "mean": [G]} of true
    positive rates, `precision` {"recall", ...} likewise; the means are over
    labels that have a curve. None if the stays are too few to be shown.
  """
  every = np.ones(len(cells.label), bool)
  if cells.small(every):
    return None
  cases = (cells.label == 1).sum(axis=0)
  shown = (cases > 0) & (cases < len(every)) & ~cells.suppressed(logits, every)
  each = [
    _one(logits[:, c], cells.label[:, c] == 1, cells) if shown[c] else None
    for c in range(len(shown))
  ]
  return {
    "roc": _together("rate", RATES, each, 0),
    "precision": _together("recall", RECALLS, each, 1),
  }


def _together(name, grid, each, which) -> dict:
  per_label = [pair and pair[which] for pair in each]
  some = [values for values in per_label if values]
  if not some:
    return {name: grid.tolist(), "per_label": per_label, "mean": None}
  whole = np.array(some, np.float64)
  defined = ~np.isnan(whole)
  total = np.where(defined, whole, 0).sum(axis=0)
  # A mean over fewer labels at some points would jump there.
  mean = np.where(defined.all(axis=0), total / len(some), np.nan)
  return {
    name: grid.tolist(),
    "per_label": per_label,
    "mean": [number(value) for value in mean],
  }


def _one(score, case, cells):
  """(true positive rates, precisions) of one label on the grids, or None."""
  if cells.rule.open:
    hits, alarms = exact(score, case)
  else:
    hits, alarms = _rounded(score, case, cells)
    if len(hits) < 3:
      return None
  recall, rate = hits / hits[-1], alarms / alarms[-1]
  # A vertical step counts as reached.
  top = np.append(rate[1:] != rate[:-1], True)
  roc = np.interp(RATES, rate[top], recall[top])
  # The first threshold at which so many of the cases are found. Where there
  # are few thresholds, between two of them the counts are taken as even.
  if cells.rule.open:
    at = np.searchsorted(recall, RECALLS - 1e-9)
    precision = hits[at] / np.maximum(hits[at] + alarms[at], 1)
  else:
    between = [np.interp(RECALLS, recall, x) for x in (hits, alarms)]
    precision = between[0] / (between[0] + between[1])
    precision[RECALLS < recall[1]] = np.nan
  digits = 4 if cells.rule.open else disclosure.DECIMALS
  return [
    [number(value) for value in np.round(values, digits)]
    for values in (roc, precision)
  ]


def exact(score: np.ndarray, case: np.ndarray):
  """Cases and others at or above each distinct score, f64[n] each, from 0."""
  order = np.argsort(-score, kind="stable")
  last = np.append(score[order][1:] != score[order][:-1], True)
  hits, alarms = (
    np.append(0.0, np.cumsum(marks[order])[last]) for marks in (case, ~case)
  )
  return hits, alarms


def _rounded(score, case, cells):
  """As `exact`, at a few thresholds and in rounded counts."""
  cuts = np.quantile(score, 1 - np.arange(1, PARTS) / PARTS)
  points = [(0, 0)]
  for cut in np.unique(cuts)[::-1]:
    acted = score >= cut
    counts = trust.counts(
      cells, (acted & case, acted & ~case), (~acted & case, ~acted & ~case)
    )
    if not np.isnan(counts).any():
      points.append((counts[0], counts[1]))
  whole = trust.counts(cells, (case, ~case))
  points.append(tuple(whole))
  hits, alarms = np.maximum.accumulate(np.array(points, np.float64)).T
  return np.minimum(hits, whole[0]), np.minimum(alarms, whole[1])
