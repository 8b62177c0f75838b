"""Intervals from resampling patients with replacement.

Stays of one patient resemble each other, so patients are drawn, not stays: a
patient drawn twice brings every stay twice. A resample is thus a vector of
row weights, and a label that is sorted once is scored under all resamples by
cumulative sums (`metrics.score_weighted`). METHOD.md section 8.

Dims: N stays, S patients, C labels, R resamples.
"""

import concurrent.futures
import dataclasses
import os

import numpy as np

from medpatch_jax.evaluate import metrics

# Bytes of row weights scored at a time by a thread: what is computed from them
# then stays in its cache, which is up to three times as fast.
BLOCK_BYTES = 1 << 19


@dataclasses.dataclass(frozen=True)
class Resampled:
  """Metrics under each resample; NaN where a label lacks a class there.

  Attributes:
    auroc: f64[R C].
    auprc: f64[R C].
  """

  auroc: np.ndarray
  auprc: np.ndarray

  def mean(self) -> "Resampled":
    """Means over the labels that are defined in each resample: f64[R 1]."""
    return Resampled(nanmean(self.auroc), nanmean(self.auprc))


def draw(
  subject: np.ndarray, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
  """Draws patients with replacement.

  The same patients in any order and the same seed give the same draws, so
  two models scored on the same stays are resampled alike (paired).

  Args:
    subject: [N] patient of each stay, any sortable type.
    resamples: how many, 1 or more.
    seed: of the draw.

  Returns:
    u[R N], how often each stay occurs in each resample, in the smallest
    unsigned type that also holds the sum over N.
  """
  if resamples < 1:
    raise ValueError(f"resamples is {resamples}; it must be 1 or more.")
  names, group = np.unique(np.asarray(subject), return_inverse=True)
  generator = np.random.default_rng(seed)
  counts = np.empty((resamples, len(group)), np.uint16)
  largest = 0
  for r in range(resamples):
    drawn = generator.integers(len(names), size=len(names))
    counts[r] = np.bincount(drawn, minlength=len(names))[group]
    largest = max(largest, int(counts[r].sum(dtype=np.int64)))
  return counts.astype(np.min_scalar_type(max(largest, 256)), copy=False)


def resample(
  logits: np.ndarray, label: np.ndarray, counts: np.ndarray
) -> Resampled:
  """Scores every label under every resample.

  Args:
    logits: f[N C], no NaN.
    label: [N C] in {0, 1}.
    counts: u[R N] from `draw`.

  Raises:
    ValueError: see `metrics.check`; or counts are for another number of rows.
  """
  logits, label = metrics.check(logits, label)
  if counts.shape[1] != len(logits):
    raise ValueError(
      f"counts are for {counts.shape[1]} rows, logits have {len(logits)}."
    )
  rows = max(1, BLOCK_BYTES // max(1, counts[:1].nbytes))

  def one(c):
    if not 0 < label[:, c].sum() < len(label):
      return np.full((2, len(counts)), np.nan)
    ranking = metrics.rank(logits[:, c], label[:, c])
    blocks = [
      metrics.score_weighted(ranking, counts[r : r + rows])
      for r in range(0, len(counts), rows)
    ]
    return np.concatenate(blocks, axis=1)

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    scored = np.array(list(pool.map(one, range(logits.shape[1]))))
  return Resampled(scored[:, 0].T, scored[:, 1].T)


def interval(
  values: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
  """Percentile interval over resamples, leaving undefined ones out.

  Args:
    values: f64[R ...].
    level: of the interval, between 0 and 1.

  Returns:
    low f64[...] and high f64[...], NaN where no resample is defined.
  """
  flat = values.reshape(len(values), -1)
  tail = 50 * (1 - level)
  bounds = np.full((2, flat.shape[1]), np.nan)
  for i, column in enumerate(flat.T):
    column = column[~np.isnan(column)]
    if len(column):
      bounds[:, i] = np.percentile(column, [tail, 100 - tail])
  low, high = bounds.reshape(2, *values.shape[1:])
  return low, high


def nanmean(values: np.ndarray) -> np.ndarray:
  """Mean over the last axis f64[R C] -> f64[R 1] without warnings."""
  defined = ~np.isnan(values)
  count = defined.sum(axis=1, keepdims=True)
  total = np.where(defined, values, 0.0).sum(axis=1, keepdims=True)
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)
