"""Scores of labels that are buckets of hours, exactly one of which is true.

Cohen's kappa with linear weights of the likeliest bucket, and the mean
absolute deviation of its mean hours from the hours that were left, as the
field reports length of stay (Harutyunyan et al. 2019).

Dims: N rows, K buckets, R resamples.
"""

import numpy as np

from medpatch_jax.evaluate.cells import intervals


def one_against_rest(logits) -> np.ndarray:
  """Logits f[N K] of a softmax -> f[N K] whose sigmoid is its probability.

  So that what is made for labels of their own holds for buckets.
  """
  logits = np.asarray(logits)
  out = np.empty_like(logits)
  for k in range(logits.shape[1]):
    rest = np.delete(logits, k, axis=1)
    top = rest.max(axis=1, keepdims=True)
    total = np.log(np.exp(rest - top).sum(axis=1))
    out[:, k] = logits[:, k] - top[:, 0] - total
  return out


def kappa(cells) -> np.ndarray:
  """Cohen's kappa, linear weights, of counts f64[... K K] -> f64[...].

  Rows are what is true, columns what is said; NaN where chance alone would be
  right throughout.
  """
  cells = np.asarray(cells, np.float64)
  K = cells.shape[-1]
  weight = np.abs(np.arange(K)[:, None] - np.arange(K)[None])
  total = np.maximum(cells.sum(axis=(-2, -1)), 1.0)
  chance = cells.sum(axis=-1)[..., :, None] * cells.sum(axis=-2)[..., None, :]
  expected = (weight * chance).sum(axis=(-2, -1)) / total
  found = (weight * cells).sum(axis=(-2, -1))
  return 1.0 - found / np.where(expected > 0, expected, np.nan)


def build(logits, label, hours, bucket_hours, draws) -> dict:
  """Both scores with intervals, JSON-ready; None without rows.

  Args:
    logits: f[N K].
    label: [N K], one 1 in each row.
    hours: f[N], what was left.
    bucket_hours: f[K], what a bucket stands for: its mean on the train split.
    draws: u[R N] of `bootstrap.draw`.
  """
  N, K = np.shape(logits)
  if not N:
    return dict.fromkeys(("kappa", "deviation"))
  guess, true = np.argmax(logits, axis=1), np.argmax(label, axis=1)
  away = np.abs(np.asarray(bucket_hours, np.float64)[guess] - hours)
  cell = true * K + guess
  under = np.zeros((len(draws), K * K))
  mean = np.zeros(len(draws))
  for r, drawn in enumerate(draws):
    weight = drawn.astype(np.float64)
    under[r] = np.bincount(cell, weight, K * K)
    mean[r] = weight @ away / max(weight.sum(), 1.0)
  point = np.bincount(cell, minlength=K * K).reshape(K, K)
  values = {
    "kappa": (kappa(point), kappa(under.reshape(-1, K, K))),
    "deviation": (away.mean(), mean),
  }
  return {
    name: intervals([value], resampled[:, None])[0]
    for name, (value, resampled) in values.items()
  }
