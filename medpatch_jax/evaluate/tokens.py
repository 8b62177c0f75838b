"""Calibration error of token confidence, before and after its temperatures.

Expected calibration error of max(p, 1 - p) over all real tokens of the stays
that have the modality (`calibration.ece` has the definition), each token held
against its stay's label. Per label, and the mean over labels. What would tell
a small number of patients is suppressed.

Dims: N stays, C labels.
"""

import numpy as np

from medpatch_jax.evaluate import disclosure, metrics
from medpatch_jax.evaluate.cells import number

WHEN = ("before", "after")


def build(before, after, sure, label, patient, rule=disclosure.SECRET) -> dict:
  """One modality on one split, JSON-ready.

  Args:
    before: f64[C], the error before the temperatures.
    after: f64[C], with them.
    sure: f[N C], mean confidence of each stay's tokens. Where it is the same
      for nearly all stays, the error is the number of cases in disguise.
    label: [N C] in {0, 1}, of the stays with the modality.
    patient: [N].
    rule: what may be shown.

  Returns:
    `before` and `after`, means over labels, `suppressed`, how many labels are
    in neither, and `per_label`; all None if the stays are too few.
  """
  names = (*WHEN, "suppressed", "per_label")
  people = len(np.unique(patient))
  if not people or rule.hides(people):
    return dict.fromkeys(names)
  hidden = np.zeros(np.shape(label)[1], bool)
  if not rule.open:
    hidden = disclosure.few(label, patient) | _constant(sure)
  each = [np.where(hidden, np.nan, error) for error in (before, after)]
  means = [metrics.mean(error)[0] for error in each]
  per_label = [
    dict(zip(WHEN, (number(e) for e in pair))) for pair in zip(*each)
  ]
  return dict(zip(names, (*means, int(hidden.sum()), per_label)))


def _constant(sure):
  """Labels of which 11 stays or more, on average, share a value: bool[C]."""
  values = np.sort(np.round(np.asarray(sure, np.float64), 5), axis=0)
  different = 1 + (values[1:] != values[:-1]).sum(axis=0)
  return different * disclosure.SMALLEST_CELL <= len(values)
