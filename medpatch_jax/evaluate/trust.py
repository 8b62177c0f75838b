"""Whether a model's probabilities can be acted on, as JSON-ready values.

Labels without both classes are left out of every mean and counted. What would
tell a small number of cases (which stays have them, how many lie in a bin) is
not there for labels with 1 to 10 cases, or so many stays without one.

Dims: N stays, C labels.
"""

import dataclasses

import numpy as np

from medpatch_jax.evaluate import (
  bootstrap,
  calibration,
  decision,
  disclosure,
  metrics,
  selective,
)
from medpatch_jax.evaluate.cells import intervals, number


def build(
  logits: np.ndarray, label: np.ndarray, draws: np.ndarray, few=None
) -> dict:
  """Calibration, selective prediction and net benefit of one head.

  Args:
    logits: f[N C].
    label: [N C] in {0, 1}.
    draws: u[R N] of `bootstrap.draw`.
    few: bool[C], labels with few cases, or others; by default told by rows.

  Returns:
    `calibration`, `selective` and `net_benefit`; each None if the stays are
    too few to be shown.
  """
  label = np.asarray(label)
  if len(label) < disclosure.SMALLEST_CELL:
    return dict.fromkeys(("calibration", "selective", "net_benefit"))
  positives = (label == 1).sum(axis=0)
  defined = (positives > 0) & (positives < len(label))
  shown = defined & ~(disclosure.few(label) if few is None else few)
  prob = calibration.probability(logits)
  return {
    "calibration": _calibration(prob, label, draws, defined, shown),
    "selective": _selective(logits, label, shown),
    "net_benefit": _net_benefit(prob, label, shown),
  }


def _calibration(prob, label, draws, defined, shown):
  brier = np.where(defined, calibration.brier(prob, label), np.nan)
  under = calibration.brier_resampled(prob, label, draws)
  under = np.where(defined, under, np.nan)
  ece = np.where(defined, calibration.ece(prob, label), np.nan)
  curve = calibration.reliability(prob, label)
  per_label = [
    {
      "brier": cell,
      "ece": number(error),
      "predicted": float(prob[:, c].mean()) if shown[c] else None,
      "observed": float((label[:, c] == 1).mean()) if shown[c] else None,
      "reliability": _bins(curve, c) if shown[c] else None,
    }
    for c, (cell, error) in enumerate(zip(intervals(brier, under), ece))
  ]
  mean, left_out = metrics.mean(brier)
  return {
    "brier": intervals([mean], bootstrap.nanmean(under))[0],
    "ece": metrics.mean(ece)[0],
    "undefined": left_out,
    "per_label": per_label,
  }


def _bins(curve, c):
  """One label's reliability curve, its bins merged until none is small."""
  merged = calibration.merge(curve, c, disclosure.SMALLEST_CELL)
  return {
    name: getattr(merged, name).reshape(-1).tolist()
    for name in ("edges", "count", "predicted", "observed")
  }


def _selective(logits, label, shown):
  curve = selective.curve(logits, label)
  positives = (label == 1).sum(axis=0)
  kept = curve.cases * positives
  enough = shown & ~disclosure.small(kept)
  few_left = disclosure.small(positives - kept)
  # Where no case is found the wrong ones are the cases that are kept.
  told = {
    "risk": enough & ~(few_left & (curve.missed == 1)),
    "cases": enough & ~few_left,
    "missed": enough,
  }
  hidden = {
    name: np.where(known, getattr(curve, name), np.nan)
    for name, known in told.items()
  }
  failed = selective.failures(dataclasses.replace(curve, **hidden))
  return {
    "coverage": curve.coverage.tolist(),
    # Numbers of labels, the rarest first.
    "failures": [
      int(c) for c in np.argsort(positives, kind="stable") if failed[c]
    ],
    "per_label": [
      {
        **{k: [number(v) for v in hidden[k][:, c]] for k in hidden},
        "area": number(curve.area[c]) if shown[c] else None,
        "excess": number(curve.excess[c]) if shown[c] else None,
      }
      for c in range(label.shape[1])
    ],
  }


def _net_benefit(prob, label, shown):
  found = decision.net_benefit(prob, label)
  return {
    "threshold": found.threshold.tolist(),
    "per_label": [
      {
        "model": found.model[:, c].tolist() if shown[c] else None,
        "everyone": found.everyone[:, c].tolist() if shown[c] else None,
      }
      for c in range(label.shape[1])
    ],
  }
