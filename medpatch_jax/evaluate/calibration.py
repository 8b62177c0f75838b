"""How far probabilities can be taken at their word, per label.

The expected calibration error is METHOD.md section 3's: over confidence
max(p, 1 - p), equal bins (lo, hi] over [0, 1] with edges and confidences in
float32 (a confidence of 0.9 falls in another bin in float64), weighted by
count. The reliability curve bins the probability itself, so it shows
separately where a label is over- and underestimated.

Dims: N rows, C labels, K bins.
"""

import dataclasses

import numpy as np

from medpatch_jax.evaluate import metrics


def probability(logits: np.ndarray) -> np.ndarray:
  """Sigmoid in float64 that overflows nowhere: f[N C] -> f64[N C]."""
  logits = np.asarray(logits, np.float64)
  small = np.exp(-np.abs(logits))
  return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def ece(
  prob: np.ndarray,
  label: np.ndarray,
  weight: np.ndarray | None = None,
  bins: int = 10,
) -> np.ndarray:
  """Expected calibration error of the confidence in the likelier class.

  Args:
    prob: f[N C] in [0, 1]; rounded to float32.
    label: [N C] in {0, 1}.
    weight: f[N]; rows of weight 0 are left out, others count alike.
    bins: number of equal bins.

  Returns:
    f64[C]; 0 if there are no rows.

  Raises:
    ValueError: see `metrics.check`.
  """
  prob, label = metrics.check(prob, label, weight)
  prob = prob.astype(np.float32)
  confidence = np.maximum(prob, 1 - prob)
  # A probability of exactly one half predicts the label.
  correct = (prob >= 0.5) == (label == 1)
  edges = _edges(bins)
  # Bin i is (edges[i], edges[i + 1]].
  place = np.searchsorted(edges, confidence, side="left") - 1
  gap = np.zeros(prob.shape[1])
  for i in range(bins):
    inside = place == i
    surplus = np.where(inside, confidence - correct.astype(np.float64), 0.0)
    gap += np.abs(surplus.sum(axis=0))
  return gap / max(1, len(prob))


def _edges(bins: int) -> np.ndarray:
  """Bin edges f32[bins + 1], rounded as torch.linspace rounds them.

  It steps from both ends by a float32 step with one rounding at the end. For
  ten bins that is numpy's linspace; for 15 an edge differs in its last bit,
  and with it the bin of a confidence of exactly 0.6.
  """
  step = float(np.float32(1) / np.float32(bins))
  place = np.arange(bins + 1)
  edges = np.where(
    place < (bins + 1) // 2, step * place, 1 - step * (bins - place)
  )
  return edges.astype(np.float32)


def brier(
  prob: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
  """Mean squared error of prob f[N C] against label [N C]: f64[C].

  Rows of weight 0 are left out; NaN if no row is left.
  """
  prob, label = metrics.check(prob, label, weight)
  if not len(prob):
    return np.full(prob.shape[1], np.nan)
  return np.mean((prob.astype(np.float64) - label) ** 2, axis=0)


def brier_resampled(
  prob: np.ndarray, label: np.ndarray, counts: np.ndarray
) -> np.ndarray:
  """Brier score under every resample.

  Args:
    prob: f[N C] in [0, 1].
    label: [N C] in {0, 1}.
    counts: u[R N] from `bootstrap.draw`.

  Returns:
    f64[R C], NaN where no row is drawn.
  """
  prob, label = metrics.check(prob, label)
  error = (prob.astype(np.float64) - label) ** 2
  out = np.empty((len(counts), prob.shape[1]))
  for r in range(0, len(counts), 64):  # In float64 all draws take 100 MB.
    drawn = counts[r : r + 64].astype(np.float64)
    total = drawn.sum(axis=1, keepdims=True)
    out[r : r + 64] = drawn @ error / np.where(total > 0, total, np.nan)
  return out


@dataclasses.dataclass(frozen=True)
class Reliability:
  """Observed against predicted; NaN in empty bins.

  Attributes:
    edges: f64[K + 1].
    count: i64[K C], rows in each bin (lo, hi]; the first bin includes 0.
    predicted: f64[K C], mean probability of the bin's rows.
    observed: f64[K C], share of them that are positive.
  """

  edges: np.ndarray
  count: np.ndarray
  predicted: np.ndarray
  observed: np.ndarray


def reliability(
  prob: np.ndarray,
  label: np.ndarray,
  weight: np.ndarray | None = None,
  bins: int = 10,
) -> Reliability:
  """Reliability curve of prob f[N C]; arguments as `ece`."""
  prob, label = metrics.check(prob, label, weight)
  prob = prob.astype(np.float64)
  edges = np.linspace(0, 1, bins + 1)
  place = np.maximum(np.searchsorted(edges, prob, side="left") - 1, 0)
  inside = place[None] == np.arange(bins)[:, None, None]
  count = inside.sum(axis=1)
  divisor = np.where(count > 0, count, np.nan)
  predicted = np.where(inside, prob[None], 0.0).sum(axis=1) / divisor
  observed = (inside & (label == 1)[None]).sum(axis=1) / divisor
  return Reliability(edges, count, predicted, observed)


def merge(
  curve: Reliability, c: int, smallest: int, patients=None
) -> Reliability:
  """One label's curve, neighbouring bins merged until none is small.

  Args:
    curve: of all labels.
    c: the label.
    smallest: positives and negatives that a bin must have of either, unless
      it has none.
    patients: bool[2 K P], which patients have a negative and a positive row in
      each bin; then these are what must be as many, not the rows.

  Returns:
    A curve of one label with fewer bins; one bin if nothing else will do.
  """
  count = curve.count[:, c]
  positive = np.rint(np.where(count > 0, count * curve.observed[:, c], 0))
  total = np.where(count > 0, count * curve.predicted[:, c], 0.0)
  rows = np.stack([count, positive, count - positive, total])

  def large(bins):
    total, *each = rows[:3, bins].sum(axis=1)
    if patients is not None:
      total = patients[:, bins].any(axis=(0, 1)).sum()
      each = patients[:, bins].any(axis=1).sum(axis=1)
    return total >= smallest and not any(0 < n < smallest for n in each)

  starts = [0]
  for k in range(1, len(count)):
    if large(slice(starts[-1], k)):
      starts.append(k)
  while len(starts) > 1 and not large(slice(starts[-1], None)):
    starts.pop()
  sums = np.add.reduceat(rows, starts, axis=1)
  divisor = np.where(sums[0] > 0, sums[0], np.nan)
  return Reliability(
    np.append(curve.edges[starts], curve.edges[-1]),
    sums[0].astype(np.int64)[:, None],
    (sums[3] / divisor)[:, None],
    (sums[1] / divisor)[:, None],
  )
