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
# Confidence lies between one half and 1.
EDGES = np.round(np.linspace(0.5, 1.0, 26), 2)


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


class Shares:
  """Counts tokens by their confidence, some stays at a time.

  Over all labels: a token has a confidence for each. `found` tells of each
  bin, and of the high and the low group of each label, how many patients have
  a token there.
  """

  def __init__(self, labels: int, patient: np.ndarray):
    """Takes C and the patient [N] of each stay, in the order of `add`."""
    K = len(EDGES) - 1
    self._patient, self._at = np.asarray(patient), 0
    self._bins = np.zeros((2, K))
    self._in = np.zeros((len(patient), 2, K), bool)
    self._high, self._tokens = np.zeros(labels), 0
    self._side = np.zeros((len(patient), 2, labels), bool)

  def add(self, before, after, high, mask) -> None:
    """Counts the tokens of the next n stays.

    Args:
      before, after: confidences f[n T C].
      high: bool[n T C].
      mask: bool[n T], real tokens.
    """
    here = slice(self._at, self._at + len(mask))
    n, K = len(mask), len(EDGES) - 1
    for w, confidence in enumerate((before, after)):
      place = np.searchsorted(EDGES[1:-1], confidence, side="right")
      flat = (place + K * np.arange(n)[:, None, None])[mask]
      counts = np.bincount(flat.ravel(), minlength=n * K).reshape(n, K)
      self._bins[w] += counts.sum(axis=0)
      self._in[here, w] = counts > 0
    groups = high & mask[:, :, None], ~high & mask[:, :, None]
    self._side[here] = np.stack([group.any(axis=1) for group in groups], 1)
    self._high += groups[0].sum(axis=(0, 1))
    self._tokens += mask.sum()
    self._at = here.stop

  def found(self) -> dict[str, np.ndarray]:
    """Shares of the tokens and patients behind them.

    Returns:
      `bins` f64[2 K], before and after; `high` f64[C]; `bin_patients` i64[2 K];
      `side_patients` i64[2 C], of the high and the low group.
    """
    tokens = max(self._tokens, 1)
    return {
      "bins": self._bins / (tokens * max(len(self._high), 1)),
      "high": self._high / tokens,
      "bin_patients": disclosure.people(self._in, self._patient),
      "side_patients": disclosure.people(self._side, self._patient),
    }


def shares(found: dict, rule=disclosure.SECRET) -> dict:
  """What `Shares` counted as it may be shown, JSON-ready.

  Returns:
    `edges` of the K bins; `before` and `after`, shares of the tokens in each;
    `high`, of each label the share of tokens in the high group. None where 1
    to 10 patients have such a token.
  """

  def shown(values, patients):
    hidden = rule.hides(np.asarray(patients))
    return [number(v) for v in np.where(hidden, np.nan, values)]

  sides = np.asarray(found["side_patients"])
  few = np.where(rule.hides(sides).any(axis=0), 1, disclosure.SMALLEST_CELL)
  out = {"edges": EDGES.tolist(), "high": shown(found["high"], few)}
  for w, name in enumerate(WHEN):
    out[name] = shown(found["bins"][w], found["bin_patients"][w])
  return rule.numbers(out)
