"""Scores of subsets of the stays with intervals, small ones suppressed.

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
    rule: disclosure.Rule = disclosure.SECRET,
  ):
    """Draws the patients.

    Args:
      label: [N C] in {0, 1}.
      subject: [N] patient of each stay.
      resamples: how many.
      seed: of the draws.
      work: stays to be scored over all models and subsets, at most; with it
        progress is told.
      rule: what may be shown. A subset of few patients is not scored; a
        label that few of its patients have, or lack, is in no metric of it.
    """
    self.label, self.seed, self.rule = np.asarray(label), seed, rule
    self.patient = np.unique(subject, return_inverse=True)[1].reshape(-1)
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
      `auroc`, `auprc`, `undefined` (labels that are in no mean) and
      `per_label`; each None for a small subset. How many stays it has is for
      the caller to say or to hide.
    """
    if self.small(rows):
      return dict.fromkeys((*METRICS, "undefined", "per_label"))
    points, under = self._resampled(logits, rows)
    mean = under.mean()
    columns = {
      name: intervals(getattr(points, name), getattr(under, name))
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
    if any(self.small(rows) for _, rows in (first, second)):
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

  def people(self, rows) -> int:
    """Patients of a subset bool[N]."""
    return len(np.unique(self.patient[rows]))

  def small(self, rows) -> bool:
    """Whether a subset bool[N] is of nobody, or of too few to be scored."""
    people = self.people(rows)
    return not people or bool(self.rule.hides(people))

  def suppressed(self, logits: np.ndarray, rows) -> np.ndarray:
    """Labels bool[C] of which a head says nothing that may be shown there."""
    if self.rule.open:
      return np.zeros(self.label.shape[1], bool)
    few = disclosure.few(self.label[rows], self.patient[rows])
    return few | disclosure.tables(np.asarray(logits)[rows])

  def _resampled(self, logits, rows):
    """Metrics of every label and under every draw; NaN where suppressed."""
    key = id(logits), rows.tobytes()
    if key not in self._kept:
      values, label = np.asarray(logits)[rows], self.label[rows]
      shown = ~self.suppressed(logits, rows)
      points = np.full((2, len(shown)), np.nan)
      under = np.full((2, len(self.draws), len(shown)), np.nan)
      if shown.any():
        values, label = values[:, shown], label[:, shown]
        points[:, shown] = metrics.scores(values, label)
        found = bootstrap.resample(values, label, self.draws[:, rows])
        under[:, :, shown] = found.auroc, found.auprc
      points, under = (bootstrap.Resampled(*both) for both in (points, under))
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
