"""AUROC and AUPRC, exact, per label, with row weights.

AUROC counts a tied pair as one half. AUPRC is average precision, the step
integral of precision over recall (scikit-learn's `average_precision_score`),
not the trapezoid, which is too high. Both depend on the order of the scores
only, so logits serve as well as probabilities, and better: probabilities
near 1 round into ties. METHOD.md section 8.

Dims: N rows, C labels, P distinct scores that a positive row has, R sets of
row weights.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ranking:
  """One label's rows sorted by falling score, ties grouped.

  Sorted once, it can be scored under any number of row weights: only the
  groups of equal score that hold a positive row enter either metric.

  Attributes:
    order: i64[N], rows by falling score.
    positive: i64[n], places in `order` that hold a positive row.
    start: i64[P], first place of each group that holds a positive row.
    end: i64[P], last place of each such group.
    last: i64[P], of `positive`, the index of each group's last.
  """

  order: np.ndarray
  positive: np.ndarray
  start: np.ndarray
  end: np.ndarray
  last: np.ndarray


def rank(score: np.ndarray, label: np.ndarray) -> Ranking:
  """Sorts score f[N] of rows with label [N] in {0, 1}."""
  order = np.argsort(-score, kind="stable")
  sorted_score = score[order]
  positive = np.flatnonzero(label[order] == 1)
  changes = sorted_score[1:] != sorted_score[:-1]
  first = np.flatnonzero(np.append(True, changes))
  group = np.searchsorted(first, positive, side="right") - 1
  bounds = np.append(first, len(score))
  last = np.flatnonzero(np.diff(group, append=-1) != 0)
  group = group[last]
  return Ranking(order, positive, bounds[group], bounds[group + 1] - 1, last)


def score_weighted(
  ranking: Ranking, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Scores one label under R sets of row weights at once.

  Args:
    ranking: the label's rows, from `rank`.
    weight: [R N] not negative, in the order of the rows (not of the ranks).
      Of an unsigned type the sums stay in that type and have to fit it.

  Returns:
    AUROC f64[R] and AUPRC f64[R], NaN where a class has no weight.
  """
  sums = weight.dtype if weight.dtype.kind == "u" else np.float64
  weight = np.take(weight, ranking.order, axis=1)
  seen = np.cumsum(weight, axis=1, dtype=sums)
  hits = np.cumsum(weight[:, ranking.positive], axis=1, dtype=sums)

  total = seen[:, -1].astype(np.float64)
  at_end = seen[:, ranking.end].astype(np.float64)
  at_start = np.where(
    ranking.start > 0, seen[:, ranking.start - 1], np.zeros((), sums)
  ).astype(np.float64)
  true_at_end = hits[:, ranking.last].astype(np.float64)
  true_here = np.diff(true_at_end, axis=1, prepend=0.0)
  positives = true_at_end[:, -1] if len(ranking.last) else np.zeros_like(total)
  negatives = total - positives

  # Negatives above a group and within it; the latter half lost, half won.
  false_above = at_start - (true_at_end - true_here)
  false_at_end = at_end - true_at_end
  lost = (false_above + false_at_end) / 2
  defined = (positives > 0) & (negatives > 0)
  pairs = np.where(defined, positives * negatives, np.nan)
  won = np.sum(true_here * (negatives[:, None] - lost), axis=1)
  precision = true_at_end / np.maximum(at_end, np.finfo(np.float64).tiny)
  gained = np.sum(true_here * precision, axis=1)
  return won / pairs, gained / np.where(defined, positives, np.nan)


def check(
  logits: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Drops rows of weight 0 and refuses what cannot be scored.

  Args:
    logits: f[N C]; rows of weight 0 may hold anything.
    label: [N C] in {0, 1}.
    weight: f[N], or None for all ones.

  Returns:
    The rows that are left: logits f[n C] and label [n C].

  Raises:
    ValueError: shapes differ, a logit is NaN, a label is neither 0 nor 1.
  """
  logits, label = np.asarray(logits), np.asarray(label)
  if logits.ndim != 2 or logits.shape != label.shape:
    raise ValueError(
      f"logits are {logits.shape} and labels {label.shape}; both must be"
      " [rows, labels]."
    )
  if weight is not None:
    weight = np.asarray(weight)
    if weight.shape != logits.shape[:1] or (weight < 0).any():
      raise ValueError(
        f"weight is {weight.shape} with minimum {weight.min(initial=0)}; it"
        f" must be {logits.shape[:1]} and not negative."
      )
    logits, label = logits[weight > 0], label[weight > 0]
  logits = logits.astype(np.result_type(logits, np.float32), copy=False)
  if (nans := int(np.isnan(logits).any(axis=1).sum())) > 0:
    raise ValueError(f"{nans} of {len(logits)} rows have a logit that is NaN.")
  if not np.isin(label, (0, 1)).all():
    raise ValueError("labels must be 0 or 1.")
  return logits, label


def scores(
  logits: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """AUROC f64[C] and AUPRC f64[C] of logits f[N C]; arguments as `check`.

  NaN marks a label without both classes; `mean` leaves it out.
  """
  kept, label = check(logits, label, weight)
  row_weight = np.ones(len(kept))
  if weight is not None:
    row_weight = np.asarray(weight, np.float64)
    row_weight = row_weight[row_weight > 0]
  if not len(kept):
    nothing = np.full(kept.shape[1], np.nan)
    return nothing, nothing.copy()
  pairs = [
    score_weighted(rank(kept[:, c], label[:, c]), row_weight[None])
    for c in range(kept.shape[1])
  ]
  auroc, auprc = np.array(pairs)[:, :, 0].T
  return auroc, auprc


def auroc(logits, label, weight=None) -> np.ndarray:
  """AUROC f64[C], NaN without both classes; arguments as `check`."""
  return scores(logits, label, weight)[0]


def auprc(logits, label, weight=None) -> np.ndarray:
  """AUPRC f64[C], NaN without both classes; arguments as `check`."""
  return scores(logits, label, weight)[1]


def mean(values: np.ndarray) -> tuple[float | None, int]:
  """Mean of values f64[C] that are defined, and how many are not."""
  defined = ~np.isnan(values)
  left_out = int((~defined).sum())
  if not defined.any():
    return None, left_out
  return float(values[defined].mean()), left_out


def summary(
  logits: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, float | int | None]:
  """What training watches; arguments as `check`.

  Returns:
    `auroc` and `auprc`, means over the labels with both classes (None if
    there is none), and `undefined`, the number of labels left out.
  """
  roc, prc = scores(logits, label, weight)
  (roc_mean, left_out), (prc_mean, _) = mean(roc), mean(prc)
  return {"auroc": roc_mean, "auprc": prc_mean, "undefined": left_out}
