"""The test result: a JSON-ready value that `table.text` prints.

METHOD.md section 8: every number is a mean over the labels with both
classes, its interval from resampling patients. Each unimodal model is scored
on the stays that have its modality, beside the model on the same stays. The
model's number is that of the head chosen on validation; what the released
code would report, the best of its heads on test, is there too, named
optimistic. Cells of fewer than 11 stays hold no numbers.

Dims: N stays, M modalities, C labels, R resamples.
"""

import numpy as np

from medpatch_jax.evaluate import bootstrap, metrics, significance

SMALLEST_CELL = 11
HIDDEN = "<11"
RELEASED_CHOICE = ("high", "low", "late", "combined", "reduced")


def build(
  logits: dict[str, np.ndarray],
  label: np.ndarray,
  present: np.ndarray,
  subject: np.ndarray,
  *,
  label_names: tuple[str, ...],
  modalities: tuple[str, ...],
  chosen: str,
  bayes: dict[str, np.ndarray] | None = None,
  title: str = "MedPatch",
  split: str = "test",
  resamples: int = 1000,
  seed: int = 0,
) -> dict:
  """Scores every head of a model on one split.

  Args:
    logits: name -> f[N C]. A name in `modalities` is that unimodal model,
      whose rows without the modality are never read; all others are heads.
    label: [N C] in {0, 1}.
    present: bool[N M], columns in the order of `modalities`.
    subject: [N] patient of each stay.
    label_names: C names.
    modalities: M names.
    chosen: the head that is the model's number, chosen on validation.
    bayes: best possible logits f[N C], under "all" from everything present
      and under a modality's name from that alone; any may be left out.
    title: name of the model.
    split: name of the split, for the heading.
    resamples: of patients, for the intervals.
    seed: of the resampling.

  Returns:
    A dict of JSON types: `heads`, `unimodal`, `model`, `optimistic`,
    `bayes`, `per_label`, `patterns` and what describes them.

  Raises:
    ValueError: shapes or names do not fit each other.
  """
  bayes = bayes or {}
  _check(logits, label, present, subject, label_names, modalities)
  if chosen not in logits:
    raise ValueError(f"head {chosen!r} is not among {sorted(logits)}.")
  if unknown := set(bayes) - {"all", *modalities}:
    raise ValueError(
      f"bayes has {sorted(unknown)}; known are 'all' and {modalities}."
    )
  cells = _Cells(np.asarray(label), np.asarray(subject), resamples, seed)
  every = np.ones(len(label), bool)
  heads = [name for name in logits if name not in modalities]
  scored = {name: cells.score(logits[name], every) for name in heads}
  if chosen not in scored:
    scored[chosen] = cells.score(logits[chosen], every)

  def bound(name, rows):
    return cells.score(bayes[name], rows) if name in bayes else None

  return {
    "title": title,
    "split": split,
    "stays": count(len(label)),
    "patients": count(len(np.unique(subject))),
    "labels": list(label_names),
    "modalities": list(modalities),
    "resamples": resamples,
    "seed": seed,
    "chosen": chosen,
    "model": scored[chosen],
    "heads": [{"head": name, **scored[name]} for name in heads],
    "optimistic": _optimistic(scored),
    "bayes": bound("all", every),
    "unimodal": [
      _beside(cells, name, logits, chosen, np.asarray(present)[:, m], bound)
      for m, name in enumerate(modalities)
      if name in logits
    ],
    "per_label": [
      {"label": name, "positives": count(int(positives))}
      for name, positives in zip(label_names, np.sum(label == 1, axis=0))
    ],
    "patterns": [
      {
        "modalities": [m for m, p in zip(modalities, pattern) if p],
        **cells.score(logits[chosen], rows),
        "bayes": bound("all", rows),
      }
      for pattern, rows in patterns(present)
    ],
  }


def patterns(present: np.ndarray) -> list[tuple[tuple[bool, ...], np.ndarray]]:
  """Each pattern of presence and its rows bool[N], the most frequent first."""
  unique, place, count = np.unique(
    np.asarray(present, bool), axis=0, return_inverse=True, return_counts=True
  )
  place = place.reshape(-1)
  order = np.argsort(-count, kind="stable")
  return [(tuple(unique[i].tolist()), place == i) for i in order]


def _beside(cells, name, logits, chosen, rows, bound):
  """A unimodal model and the whole one on the stays with that modality."""
  return {
    "modality": name,
    **cells.score(logits[name], rows),
    "bayes": bound(name, rows),
    "model": cells.score(logits[chosen], rows),
    "model_bayes": bound("all", rows),
    "gain": cells.gain(logits[chosen], logits[name], rows),
  }


def _optimistic(scored):
  """The released code's choice: the best of its heads on this very split."""
  known = {
    name: scored[name]["auroc"]["value"]
    for name in RELEASED_CHOICE
    if name in scored and scored[name]["auroc"] is not None
  }
  known = {k: v for k, v in known.items() if v is not None}
  if len(known) < 2:
    return None
  best = max(known, key=known.get)
  return {"head": best, **scored[best]}


class _Cells:
  """Scores subsets of the stays, hiding small ones.

  Draws are made once per subset, so that models are compared under the same
  ones, and a model's resamples on a subset are kept for its differences.
  """

  def __init__(self, label, subject, resamples, seed):
    self._label, self._subject = label, subject
    self._resamples, self._seed = resamples, seed
    self._draws, self._kept = {}, {}

  def _resampled(self, logits, rows):
    key = rows.tobytes()
    if key not in self._draws:
      self._draws[key] = bootstrap.draw(
        self._subject[rows], self._resamples, self._seed
      )
    kept = (id(logits), key)
    if kept not in self._kept:
      values, label = np.asarray(logits)[rows], self._label[rows]
      points = bootstrap.Resampled(*metrics.scores(values, label))
      under = bootstrap.resample(values, label, self._draws[key])
      self._kept[kept] = points, under
    return self._kept[kept]

  def score(self, logits, rows):
    """Both metrics with intervals, mean and per label, of rows bool[N]."""
    stays = int(rows.sum())
    if stays < SMALLEST_CELL:
      nothing = {"auroc": None, "auprc": None, "undefined": None}
      return {"stays": count(stays), **nothing, "per_label": None}
    points, under = self._resampled(logits, rows)
    mean = under.mean()
    columns = {
      name: _intervals(getattr(points, name), getattr(under, name))
      for name in ("auroc", "auprc")
    }
    return {
      "stays": stays,
      **{
        name: _intervals(
          [metrics.mean(getattr(points, name))[0]], getattr(mean, name)
        )[0]
        for name in columns
      },
      "undefined": metrics.mean(points.auroc)[1],
      "per_label": [
        {"auroc": roc, "auprc": prc} for roc, prc in zip(*columns.values())
      ],
    }

  def gain(self, first, second, rows):
    """Mean metrics of first minus second with intervals and p, or None."""
    if rows.sum() < SMALLEST_CELL:
      return None
    (a, under_a), (b, under_b) = (
      self._resampled(logits, rows) for logits in (first, second)
    )
    gains = {}
    for name in ("auroc", "auprc"):
      means = [metrics.mean(getattr(point, name))[0] for point in (a, b)]
      value = np.nan if None in means else means[0] - means[1]
      found = significance.difference(
        np.array([value]),
        getattr(under_a.mean(), name),
        getattr(under_b.mean(), name),
      )
      gains[name] = {
        **_intervals(found.value, None, (found.low, found.high))[0],
        "p": _number(found.p[0]),
      }
    return gains


def _check(logits, label, present, subject, label_names, modalities):
  """Refuses arrays and names that do not fit each other."""
  rows, labels = np.shape(label)
  wanted = {
    "present": (np.shape(present), (rows, len(modalities))),
    "subject": (np.shape(subject), (rows,)),
    "label_names": ((len(label_names),), (labels,)),
    **{
      f"logits {k!r}": (np.shape(v), (rows, labels)) for k, v in logits.items()
    },
  }
  for name, (got, want) in wanted.items():
    if got != want:
      raise ValueError(f"{name} is {got}; labels {(rows, labels)} want {want}.")


def count(stays: int) -> int | str:
  """A count as it may be shown: 0 and 11 or more, else hidden."""
  return HIDDEN if 0 < stays < SMALLEST_CELL else stays


def _number(value) -> float | None:
  return None if value is None or np.isnan(value) else float(value)


def _intervals(values, resamples, bounds=None) -> list[dict]:
  """values [C] with intervals of resamples [R C]: value, low, high each."""
  low, high = bounds or bootstrap.interval(np.asarray(resamples))
  return [
    {"value": _number(v), "low": _number(a), "high": _number(b)}
    for v, a, b in zip(values, low, high)
  ]
