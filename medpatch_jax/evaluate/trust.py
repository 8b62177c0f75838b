"""Whether a model's probabilities can be acted on, as JSON-ready values.

Labels without both classes are left out of every mean and counted, and so are
those that are suppressed (`disclosure`). Of the others no count of patients
is told either, of cases found or missed, of false alarms or of a bin: where it
is not open data, shares are of rounded counts, and those of few patients are
not there.

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
from medpatch_jax.evaluate.cells import Cells, intervals, number


def build(logits: np.ndarray, cells: Cells) -> dict:
  """Calibration, selective prediction and net benefit of one head.

  Args:
    logits: f[N C].
    cells: has labels, patients, draws and what may be shown.

  Returns:
    `calibration`, `selective` and `net_benefit`; each None if the stays are
    too few to be shown.
  """
  label = cells.label
  every = np.ones(len(label), bool)
  if cells.small(every):
    return dict.fromkeys(("calibration", "selective", "net_benefit"))
  positives = (label == 1).sum(axis=0)
  shown = (positives > 0) & (positives < len(label))
  shown &= ~cells.suppressed(logits, every)
  prob = calibration.probability(logits)
  return {
    "calibration": _calibration(prob, cells, shown),
    "selective": _selective(logits, cells, shown),
    "net_benefit": _net_benefit(prob, cells, shown),
  }


def _calibration(prob, cells, shown):
  label = cells.label
  brier = np.where(shown, calibration.brier(prob, label), np.nan)
  under = calibration.brier_resampled(prob, label, cells.draws)
  under = np.where(shown, under, np.nan)
  ece = np.where(shown, calibration.ece(prob, label), np.nan)
  curve = calibration.reliability(prob, label)
  per_label = [
    {
      "brier": cell,
      "ece": number(error),
      "predicted": float(prob[:, c].mean()) if shown[c] else None,
      "observed": _observed(cells, c) if shown[c] else None,
      "reliability": _bins(curve, prob, cells, c) if shown[c] else None,
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


def _observed(cells, c):
  """Share of the stays that have a label."""
  positives = int((cells.label[:, c] == 1).sum())
  if not cells.rule.open:
    positives = int(disclosure.step(positives))
  return min(1.0, positives / len(cells.label))


def _bins(curve, prob, cells, c):
  """One label's reliability curve, its bins merged until none is small."""
  smallest = disclosure.SMALLEST_CELL
  if cells.rule.open:
    merged = calibration.merge(curve, c, smallest)
  else:
    edges = curve.edges[1:-1]
    patients = np.zeros((2, len(edges) + 1, cells.patient.max() + 1), bool)
    place = np.searchsorted(edges, prob[:, c], side="left")
    patients[(cells.label[:, c] == 1).astype(int), place, cells.patient] = True
    merged = _rounded(calibration.merge(curve, c, smallest, patients))
  return {
    name: getattr(merged, name).reshape(-1).tolist()
    for name in ("edges", "count", "predicted", "observed")
  }


def _rounded(curve):
  """A curve of one label in rounded counts of cases and of others."""
  cases = np.rint(curve.count * np.nan_to_num(curve.observed)).astype(np.int64)
  rounded = disclosure.step(cases)
  count = rounded + disclosure.step(curve.count - cases)
  observed = rounded / np.where(count > 0, count, np.nan)
  return dataclasses.replace(curve, count=count, observed=observed)


def _selective(logits, cells, shown):
  label = cells.label
  curve = selective.curve(logits, label)
  found = {n: getattr(curve, n) for n in ("risk", "cases", "missed")}
  found |= {"area": curve.area, "excess": curve.excess}
  for c in range(label.shape[1]):
    if shown[c] and not cells.rule.open:
      rates = _rates(logits[:, c], label[:, c] == 1, cells, curve.coverage)
      for name, values in rates.items():
        found[name][:, c] = values
  risky = np.isnan(found["risk"][0])  # What all errors are is not shown.
  for name, values in found.items():
    whole = name in ("area", "excess")
    values[..., ~shown | (risky if whole else False)] = np.nan
  failed = selective.failures(dataclasses.replace(curve, **found))
  positives = (label == 1).sum(axis=0)
  return {
    "coverage": curve.coverage.tolist(),
    # Numbers of labels, the rarest first.
    "failures": [
      int(c) for c in np.argsort(positives, kind="stable") if failed[c]
    ],
    "per_label": [
      {
        name: [number(v) for v in values[:, c]]
        if values.ndim == 2
        else number(values[c])
        for name, values in found.items()
      }
      for c in range(label.shape[1])
    ],
  }


def _rates(logits, case, cells, coverage):
  """One label's shares at each coverage from rounded counts, f64[K] each.

  A share is NaN where 1 to 10 patients are in it, or not.
  """
  order = np.argsort(-np.abs(logits), kind="stable")
  said = logits >= 0
  out = {name: np.full(len(coverage), np.nan) for name in ("risk", "cases")}
  out["missed"] = out["risk"].copy()
  for k, share in enumerate(coverage):
    kept = np.zeros(len(case), bool)
    kept[order[: int(round(share * len(case)))]] = True
    found, missed, rest, alarms, quiet = counts(
      cells,
      (kept & case & said, kept & case & ~said, case & ~kept),
      (kept & ~case & said, kept & ~case & ~said),
    )
    cases = found + missed
    if cases > 0:
      out["missed"][k] = missed / cases
    out["cases"][k] = cases / (cases + rest)
    stays = cases + alarms + quiet
    # Where no case is found the wrong ones are the cases that are kept.
    if stays > 0 and not np.isnan(rest):
      out["risk"][k] = (missed + alarms) / stays
  return out


def counts(cells, *sets):
  """Stays of each set bool[N], rounded; NaN where of 1 to 10 patients."""
  marks = [one for some in sets for one in some]
  return [
    np.nan
    if cells.rule.hides(cells.people(rows))
    else disclosure.step(rows.sum())
    for rows in marks
  ]


def _net_benefit(prob, cells, shown):
  label = cells.label
  found = decision.net_benefit(prob, label)
  model, everyone = found.model, found.everyone
  cost = decision.odds(found.threshold)
  if not cells.rule.open:
    for c in np.flatnonzero(shown):
      case = label[:, c] == 1
      for k, acted in enumerate(found.acted[:, :, c]):
        hits, alarms, *others = counts(
          cells, (acted & case, acted & ~case), (case & ~acted, ~case & ~acted)
        )
        benefit = (hits - cost[k] * alarms) / len(case)
        model[k, c] = np.nan if np.isnan(others).any() else benefit
      share = _observed(cells, c)
      everyone[:, c] = share - cost * (1 - share)
  return {
    "threshold": found.threshold.tolist(),
    "per_label": [
      {
        "model": [number(v) for v in model[:, c]] if shown[c] else None,
        "everyone": everyone[:, c].tolist() if shown[c] else None,
      }
      for c in range(label.shape[1])
    ],
  }
