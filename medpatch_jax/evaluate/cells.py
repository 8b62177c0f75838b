"""Scores of subsets of the stays with intervals, small ones hidden.

Patients are drawn once for all: every model and every subset is scored under
the same draws, so any two of them can be compared.

Dims: N stays, C labels, R resamples.
"""

import logging
import time

import numpy as np

from medpatch_jax.evaluate import bootstrap, disclosure, metrics, significance

METRICS = ("auroc", "auprc")
EVERY = 5.0  # Seconds between two messages.

logger = logging.getLogger("medpatch_jax")


class Cells:
  """Scores models on subsets of one split; each pair of them once."""

  def __init__(
    self,
    label: np.ndarray,
    subject: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    work: int = 0,
    by_patient: bool = False,
  ):
    """Draws the patients.

    Args:
      label: [N C] in {0, 1}.
      subject: [N] patient of each stay.
      resamples: how many.
      seed: of the draws.
      work: stays to be scored over all models and subsets, at most; with it
        progress is told.
      by_patient: rows are many of a patient: a subset is small if of few
        patients.
    """
    self.label, self.seed = np.asarray(label), seed
    self._patient = np.asarray(subject) if by_patient else None
    self.draws = bootstrap.draw(subject, resamples, seed)
    self._kept = {}
    self._work, self._done = work, 0
    self._start = self._told = time.monotonic()

  def score(self, logits: np.ndarray, rows: np.ndarray) -> dict:
    """Both metrics with intervals, mean and per label.

    Args:
      logits: f[N C]; rows outside the subset are never read.
      rows: bool[N], the subset.

    Returns:
      `auroc`, `auprc`, `undefined` and `per_label`; each None for a small
      subset. How many stays it has is for the caller to say or to hide. A
      label with few cases there has no metric of its own: 0.8333 among 14
      stays are 2 cases.
    """
    if self._size(rows) < disclosure.SMALLEST_CELL:
      return dict.fromkeys((*METRICS, "undefined", "per_label"))
    points, under = self._resampled(logits, rows)
    mean = under.mean()
    few = self.few(rows)
    columns = {
      name: intervals(
        np.where(few, np.nan, getattr(points, name)), getattr(under, name)
      )
      for name in METRICS
    }
    return {
      **{
        name: intervals(
          [metrics.mean(getattr(points, name))[0]], getattr(mean, name)
        )[0]
        for name in METRICS
      },
      "undefined": metrics.mean(points.auroc)[1],
      "per_label": [
        {"auroc": roc, "auprc": prc} for roc, prc in zip(*columns.values())
      ],
    }

  def gap(self, first, second) -> dict | None:
    """Metrics of the first minus the second, means over labels.

    Only labels with both classes in both subsets count: a mean over other
    labels would be no difference between the subsets.

    Args:
      first, second: (logits f[N C], rows bool[N]) each.

    Returns:
      Each metric's `value`, `low`, `high`, `p`, and `labels`, how many
      count; None if a subset is small.
    """
    if any(
      self._size(rows) < disclosure.SMALLEST_CELL for _, rows in (first, second)
    ):
      return None
    (a, under_a), (b, under_b) = (
      self._resampled(*pair) for pair in (first, second)
    )
    defined = ~np.isnan(a.auroc - b.auroc)
    found = {"labels": int(defined.sum())}
    for name in METRICS:
      value, _ = metrics.mean(getattr(a, name) - getattr(b, name))
      resampled = [
        np.where(
          defined[None] & ~np.isnan(under_a.auroc - under_b.auroc),
          getattr(under, name),
          np.nan,
        )
        for under in (under_a, under_b)
      ]
      one, two = (bootstrap.nanmean(values) for values in resampled)
      found[name] = difference(
        significance.difference(
          np.array([np.nan if value is None else value]), one, two
        )
      )
    return found

  def _size(self, rows) -> int:
    """Stays of a subset bool[N], or patients."""
    if self._patient is None:
      return int(rows.sum())
    return len(np.unique(self._patient[rows]))

  def few(self, rows) -> np.ndarray:
    """Labels with few cases, or others, in a subset bool[N]: bool[C]."""
    if self._patient is None:
      return disclosure.few(self.label[rows])
    return np.array(
      [
        any(disclosure.small(self._size(rows & (case == v))) for v in (0, 1))
        for case in self.label.T
      ]
    )

  def _resampled(self, logits, rows):
    key = id(logits), rows.tobytes()
    if key not in self._kept:
      values, label = np.asarray(logits)[rows], self.label[rows]
      points = bootstrap.Resampled(*metrics.scores(values, label))
      under = bootstrap.resample(values, label, self.draws[:, rows])
      # The logits are kept too: their id is theirs while they live.
      self._kept[key] = points, under, logits
      self._tell(len(values))
    return self._kept[key][:2]

  def _tell(self, stays):
    self._done += stays
    now = time.monotonic()
    if self._work and now - self._told > EVERY:
      self._told = now
      left = (now - self._start) * max(0, self._work / self._done - 1)
      logger.info("intervals: at most %.0f s left", left)


def number(value) -> float | None:
  """A float of JSON: None for NaN."""
  return None if value is None or np.isnan(value) else float(value)


def intervals(values, resamples: np.ndarray) -> list[dict]:
  """values [C] with 95 % intervals of resamples f64[R C], JSON-ready.

  Where the value is NaN there is no interval either.
  """
  values = np.array([np.nan if v is None else v for v in values], np.float64)
  low, high = bootstrap.interval(np.asarray(resamples))
  low, high = (np.where(np.isnan(values), np.nan, x) for x in (low, high))
  return [
    {"value": number(v), "low": number(a), "high": number(b)}
    for v, a, b in zip(values, low, high)
  ]


def difference(found: significance.Difference, at: int = 0) -> dict:
  """One entry of a difference with fields f64[n], JSON-ready."""
  return {
    name: number(getattr(found, name)[at])
    for name in ("value", "low", "high", "p")
  }
