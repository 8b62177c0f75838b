"""Whether one model beats another on the same stays.

All fusion methods of this field lie within one interval of each other, and
overlapping intervals say little: both models see the same patients, so their
errors move together. What says something is the difference itself, resampled
by patient (`difference`) or by DeLong's closed form (`delong`), corrected for
the number of comparisons (`holm`). METHOD.md section 8.

Dims: N stays, C labels, R resamples, G patients.
"""

import dataclasses
import math

import numpy as np

from medpatch_jax.evaluate import bootstrap, metrics


@dataclasses.dataclass(frozen=True)
class Difference:
  """First model minus second.

  Attributes:
    value: f64[...], NaN where undefined.
    low, high: f64[...], 95 % interval.
    p: f64[...], two-sided, in [0, 1].
  """

  value: np.ndarray
  low: np.ndarray
  high: np.ndarray
  p: np.ndarray


def difference(
  value: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Difference:
  """Paired bootstrap: how often a resample has the other sign.

  Args:
    value: f64[...], the difference on the stays themselves.
    first, second: f64[R ...], a metric of each model under the same draws
      (`bootstrap.resample` with the same counts). Undefined ones are NaN.

  Returns:
    The difference; p = 2 (k + 1) / (n + 1), where k of the n resamples that
    are defined lie on the rarer side of 0 (a difference of 0 on both).
  """
  gap = first - second
  low, high = bootstrap.interval(gap)
  n = (~np.isnan(gap)).sum(axis=0)
  k = np.minimum((gap <= 0).sum(axis=0), (gap >= 0).sum(axis=0))
  p = np.where(n > 0, np.minimum(1.0, 2 * (k + 1) / (n + 1)), np.nan)
  return Difference(np.asarray(value, np.float64), low, high, p)


def delong(
  first: np.ndarray,
  second: np.ndarray,
  label: np.ndarray,
  subject: np.ndarray | None = None,
) -> Difference:
  """Difference of two AUROCs on the same stays, per label.

  DeLong, DeLong and Clarke-Pearson 1988, by the midranks of Sun and Xu 2014;
  with `subject`, Obuchowski's 1997 variance for stays of one patient that
  resemble each other. Where both models order all stays alike p is 1.

  Args:
    first, second: f[N C], logits of the two models.
    label: [N C] in {0, 1}.
    subject: [N] patient of each stay; None takes stays as independent.

  Returns:
    Fields f64[C], NaN for a label with fewer than two stays (patients) of
    either class; p is NaN too where no two stays differ in what they say, as
    of a perfect model against a constant one.
  """
  columns = [
    (np.nan,) * 4 if part is None else _normal(*part.moments())
    for part in _parts(first, second, label, subject)
  ]
  return Difference(*np.array(columns, np.float64).reshape(-1, 4).T)


def delong_mean(
  first: np.ndarray,
  second: np.ndarray,
  label: np.ndarray,
  subject: np.ndarray | None = None,
) -> Difference:
  """Difference of two mean AUROCs; arguments as `delong`.

  Labels of one stay move together, so their variances do not simply add:
  each patient's contributions to all labels are summed before squaring. With
  one label this is `delong`.

  Returns:
    Fields f64[1], over the labels that `delong` defines; NaN if none is.
  """
  parts = [p for p in _parts(first, second, label, subject) if p is not None]
  if not parts:
    return Difference(*np.full((4, 1), np.nan))
  mean = _Part(
    *(
      np.mean([getattr(part, field.name) for part in parts], axis=0)
      for field in dataclasses.fields(_Part)
    )
  )
  return Difference(*np.array([_normal(*mean.moments())]).T)


def holm(p: np.ndarray) -> np.ndarray:
  """Holm's step-down correction of p f64[...]: f64[...], NaN left out.

  The result is the level at which each comparison is still rejected when all
  of them together may err with that probability.
  """
  p = np.asarray(p, np.float64)
  flat = p.reshape(-1)
  known = np.flatnonzero(~np.isnan(flat))
  order = known[np.argsort(flat[known], kind="stable")]
  factor = np.arange(len(order), 0, -1)
  adjusted = np.full(flat.shape, np.nan)
  adjusted[order] = np.minimum(1.0, np.maximum.accumulate(flat[order] * factor))
  return adjusted.reshape(p.shape)


def _components(score, positive):
  """Structural components: each row's share of won pairs, f64[N]."""
  share = np.empty(len(score))
  rows_pos, rows_neg = np.flatnonzero(positive), np.flatnonzero(~positive)
  for own, other, sign in ((rows_pos, rows_neg, 1), (rows_neg, rows_pos, -1)):
    rivals = np.sort(sign * score[other])
    below = np.searchsorted(rivals, sign * score[own], side="left")
    up_to = np.searchsorted(rivals, sign * score[own], side="right")
    share[own] = (below + up_to) / (2 * len(rivals))
  return share


@dataclasses.dataclass(frozen=True)
class _Part:
  """A difference of AUROCs and what each of G patients adds to it.

  `positive` and `negative` f64[G] are sums over the patient's stays of either
  class with the factor of their variance, `cross` f64[2 G] the same two with
  that of their covariance.
  """

  value: float
  positive: np.ndarray
  negative: np.ndarray
  cross: np.ndarray

  def moments(self) -> tuple[float, float]:
    """The difference and its variance (Obuchowski 1997)."""
    variance = (self.positive**2).sum() + (self.negative**2).sum()
    return float(self.value), variance + 2 * np.prod(self.cross, axis=0).sum()


def _parts(first, second, label, subject):
  """Per label a `_Part`, or None with under two patients of either class."""
  first, checked = metrics.check(first, label)
  second, _ = metrics.check(second, label)
  subject = np.arange(len(first)) if subject is None else np.asarray(subject)
  _, group = np.unique(subject, return_inverse=True)
  for c in range(first.shape[1]):
    yield _part(first[:, c], second[:, c], checked[:, c] == 1, group)


def _part(first, second, positive, group):
  """One label's `_Part`."""
  patients = [len(np.unique(group[rows])) for rows in (positive, ~positive)]
  if min(patients) < 2:
    return None
  share = _components(first, positive) - _components(second, positive)
  value = share[positive].mean()
  size = group.max() + 1
  # Sums over each patient's positive and negative stays.
  added = [
    np.bincount(group[rows], share[rows] - value, size) / rows.sum()
    for rows in (positive, ~positive)
  ]
  scaled = [math.sqrt(n / (n - 1)) * sums for n, sums in zip(patients, added)]
  return _Part(value, *scaled, math.sqrt(size / (size - 1)) * np.array(added))


def _normal(value, variance):
  """(value, low, high, p) of a normal difference."""
  spread = math.sqrt(max(variance, 0.0))
  if spread < 1e-12:
    # All pairs agree: no difference, or one of which no spread is known.
    return value, value, value, 1.0 if abs(value) < 1e-12 else np.nan
  p = math.erfc(abs(value) / spread / math.sqrt(2))
  return value, value - 1.959964 * spread, value + 1.959964 * spread, p
