"""Whether token confidence tells planted evidence from planted noise.

For data of which it is known, token by token, what there is to be read. A token
is of one kind for each label: that kind is evidence for its own label alone.

Dims: n tokens, C labels, H thresholds.
"""

import numpy as np

from medpatch_jax.evaluate import metrics

# Of a token that is of several kinds, the last counts. "mixed" is a mean over
# noise and something else; "calm" a place where the label would show, and does
# not.
KINDS = ("other", "mixed", "noise", "calm", "evidence")
OTHER, MIXED, NOISE, CALM, EVIDENCE = range(len(KINDS))
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(11, 20))
AUROCS = ("evidence_rest", "evidence_noise", "rest_noise")


def measure(score: np.ndarray, kind: np.ndarray, thresholds=THRESHOLDS) -> dict:
  """Shares of each kind in the low group, and how well the score tells kinds.

  Args:
    score: f[n C], confidence or what stands in for it.
    kind: i8[n C], numbers of `KINDS`.
    thresholds: H; a token below is in the low group.

  Returns:
    Two dicts as of `_one`: `planted_label`, label by label and then the mean
    over labels that have the kind (AUROCs also `per_label`), and
    `mean_over_labels`, of the mean score, where a token is evidence if it is
    for any label.
  """
  each = [_one(*pair, thresholds) for pair in zip(score.T, kind.T)]
  low = {k: np.array([one["low"][k] for one in each], float) for k in KINDS}
  planted = {
    "tokens": {k: sum(one["tokens"][k] for one in each) for k in KINDS},
    "low": {
      k: [metrics.mean(column)[0] for column in x.T] for k, x in low.items()
    },
    **{
      name: metrics.mean(np.array([one[name] for one in each], float))[0]
      for name in AUROCS
    },
  }
  planted["per_label"] = {name: [one[name] for one in each] for name in AUROCS}
  together = _one(score.mean(axis=1), kind.max(axis=1), thresholds)
  return {
    "planted_label": planted,
    "mean_over_labels": together,
  }


def _one(score, kind, thresholds) -> dict:
  """Of one score f[n] and one kind i8[n].

  Returns:
    tokens: kind -> how many; low: kind -> share below each threshold, None
    without any; evidence_rest: probability that a token of evidence has a
    higher score than one of the rest; evidence_noise: than one of noise;
    rest_noise: that one that is no noise has a higher score than one that is.
    None where either is missing.
  """
  of = {k: score[kind == i] for i, k in enumerate(KINDS)}
  shares = {
    k: [float((x < t).mean()) if len(x) else None for t in thresholds]
    for k, x in of.items()
  }
  real = kind == EVIDENCE
  planted = real | (kind == NOISE)
  return {
    "tokens": {k: len(x) for k, x in of.items()},
    "low": shares,
    "evidence_rest": _auroc(score, real),
    "evidence_noise": _auroc(score[planted], real[planted]),
    "rest_noise": _auroc(score, kind != NOISE),
  }


def _auroc(score, positive):
  if positive.all() or not positive.any():  # Neither without tokens.
    return None
  return float(metrics.auroc(score[:, None], positive[:, None])[0])


def markdown(found: dict) -> str:
  """Two tables of what `experiments.confidence` found, as Markdown.

  Args:
    found: thresholds, calibration, and modalities: name -> score -> as
      `measure` returns; a score's name is a kind of calibration or another.
  """
  scores = [
    (m, name, of, result[of])
    for m, named in found["modalities"].items()
    for name, result in named.items()
    for of in ("planted_label", "mean_over_labels")
  ]
  lines = _table(
    (
      "modality",
      "score",
      "of",
      "evidence / rest",
      "evidence / noise",
      "rest / noise",
    ),
    [
      (m, name, of.replace("_", " "), *(_number(x[n]) for n in AUROCS))
      for m, name, of, x in scores
    ],
  )
  shown = {"none": "before", found["calibration"]: "after"}
  rows = [
    (
      m,
      shown[name],
      of.replace("_", " "),
      k,
      f"{x['tokens'][k]:,}",
      *map(_number, x["low"][k]),
    )
    for m, name, of, x in scores
    if name in shown
    for k in KINDS
    if x["tokens"][k]
  ]
  head = ("modality", "temperature", "of", "kind", "tokens")
  names = [f"< {t:.2f}" for t in found["thresholds"]]
  return "\n".join([*lines, "", *_table((*head, *names), rows), ""])


def _table(head, rows):
  rule = ["---"] * len(head)
  return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _number(value):
  return "-" if value is None else f"{value:.3f}"
