"""The test result: a JSON-ready value that `table.text` prints.

METHOD.md section 8: every number is a mean over the labels with both
classes, its interval from resampling patients. Each unimodal model is scored
on the stays that have its modality, beside the model on the same stays. The
model's number is that of the head chosen on validation; what the released
code would report, the best of its heads on test, is there too, named
optimistic. What may be shown of whom is `disclosure`'s rule.
docs/statistics.md describes every field.

Dims: N stays, M modalities, C labels.
"""

import pathlib

import numpy as np

from medpatch_jax import files
from medpatch_jax.evaluate import (
  disclosure,
  ordinal,
  permutation,
  subgroups,
  trust,
)
from medpatch_jax.evaluate.cells import METRICS, Cells, number

# Of results.json what is read without a second look.
FIELDS = {
  "title": (str, None),
  "labels": ([str], None),
  "modalities": ([str], None),
  "chosen": (str, None),
  "resamples": (int, None),
  "model": (dict, None),
  "heads": ([dict], None),
  "unimodal": ([dict], None),
  "patterns": ([dict], None),
  "subgroups": ([dict], None),
  "per_label": ([dict], None),
}
VERSION = 2  # Of the fields; raised when one changes its meaning.
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
  people: dict[str, np.ndarray] | None = None,
  title: str = "MedPatch",
  split: str = "test",
  hourly: bool = False,
  left: tuple | None = None,
  token_calibration: list[dict] | None = None,
  unread: tuple[int, dict] = (0, {}),
  rule: disclosure.Rule = disclosure.SECRET,
  whole: int | None = None,
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
    people: name -> words or numbers [N], as `subgroups.divide` takes them;
      without it there are subgroups by presence only.
    title: name of the model.
    split: name of the split, for the heading.
    hourly: rows are hours of stays.
    left: (hours that are left f[N], hours each label stands for f[C]), where
      the labels are buckets of them.
    token_calibration: {"modality", and under "validation" and "test" what
      `tokens.build` returns}; of a model with token confidence.
    unread: (most windows of notes that are read, modality -> i64[N] windows
      past them), of those modalities that are notes.
    rule: what may be shown of these data.
    whole: rows of the split; N, where every one of them is scored.
    resamples: of patients, for the intervals.
    seed: of the resampling.

  Returns:
    A dict of JSON types: `heads`, `unimodal`, `model`, `optimistic`,
    `bayes`, `per_label`, `buckets`, `patterns`, `subgroups`, `calibration`,
    `selective`, `net_benefit`, `token_calibration`, `unread` and what
    describes them.

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
  label, present = np.asarray(label), np.asarray(present, bool)
  every = np.ones(len(label), bool)
  heads = [name for name in logits if name not in modalities]
  # Every head, each unimodal model beside the whole, presence and people.
  work = len(label) * (len(heads) + 4) + 2 * int(present.sum())
  if bayes:
    work += 2 * (len(label) + int(present.sum()))
  cells = Cells(label, subject, resamples, seed, work, rule)
  size = disclosure.Sizes(rule, subject, whole)
  scored = {name: cells.score(logits[name], every) for name in heads}
  if chosen not in scored:
    scored[chosen] = cells.score(logits[chosen], every)

  def bound(name, rows):
    return cells.score(bayes[name], rows) if name in bayes else None

  found = {
    "version": VERSION,
    "title": title,
    "split": split,
    "unit": "hour" if hourly else "stay",
    "open": rule.open,
    "stays": size.rows,
    "patients": size.people,
    "labels": list(label_names),
    "modalities": list(modalities),
    "resamples": resamples,
    "seed": seed,
    "chosen": chosen,
    "model": scored[chosen],
    "heads": [
      {"head": name, "stays": size.rows, **scored[name]} for name in heads
    ],
    "optimistic": _optimistic(scored),
    "bayes": bound("all", every),
    "unimodal": [
      _beside(cells, name, logits, chosen, rows, size(rows), bound)
      for name, rows in zip(modalities, present.T)
      if name in logits
    ],
    "per_label": [
      {"label": name, "positives": positives}
      for name, positives in zip(label_names, size.labels(label == 1))
    ],
    "buckets": left
    and [
      {"head": name, **_buckets(cells, logits[name], left)} for name in heads
    ],
    **_divisions(
      cells, size, logits[chosen], present, modalities, people, bound
    ),
    **trust.build(logits[chosen], cells),
    "token_calibration": token_calibration,
    "unread": [
      _unread(size, name, unread[0], n) for name, n in unread[1].items()
    ],
  }
  return rule.numbers(found)


def _unread(size, name, most, windows):
  """Stays whose notes go on after the windows that are read."""
  stays, windows = size.amount(windows)
  return {"modality": name, "read": most, "stays": stays, "windows": windows}


def _buckets(cells, logits, left):
  """Scores of buckets of hours; None if one of them is suppressed."""
  if cells.suppressed(logits, np.ones(len(logits), bool)).any():
    return dict.fromkeys(("kappa", "deviation"))
  return ordinal.build(logits, cells.label, *left, cells.draws)


def read(path) -> dict:
  """What `build` returned, from results.json.

  Raises:
    ValueError: another version, or no such file.
  """
  path = pathlib.Path(path)
  again = (
    "Delete results.json and results.txt there and score the run again, with"
    f" python -m experiments.evaluate --workdir={path.parent}."
  )
  result = files.read_json(path, dict, again)
  version = result.get("version")
  if version != VERSION:
    raise ValueError(
      f"{path}: is of version {version}, this code reads {VERSION}. {again}"
    )
  files.check(result, FIELDS, path, again)
  return result


def _divisions(cells, size, logits, present, modalities, people, bound):
  """The reported head by presence and by people, each group with its gap."""
  whose = cells.patient, cells.rule
  pattern = subgroups.by_presence(present, modalities, *whose)
  divided = {"": pattern} | subgroups.divide(people or {}, *whose)
  found = {
    name: _gaps(cells, size, logits, groups) for name, groups in divided.items()
  }
  _test(cells, logits, zip(divided.values(), found.values()))
  patterns = [
    {
      **row,
      "modalities": group.modalities and list(group.modalities),
      "bayes": bound("all", group.rows),
    }
    for row, group in zip(found.pop(""), pattern)
  ]
  divisions = [{"by": name, "groups": rows} for name, rows in found.items()]
  return {"patterns": patterns, "subgroups": divisions}


def _gaps(cells, size, logits, groups):
  """Groups of one division, each beside the largest of them."""
  if not groups:
    return []
  largest = max(groups, key=lambda group: group.rows.sum())
  return [
    {
      "group": group.name,
      "stays": size(group.rows),
      **cells.score(logits, group.rows),
      "gap": None
      if group is largest
      else cells.gap((logits, group.rows), (logits, largest.rows)),
    }
    for group in groups
  ]


def _test(cells, logits, divided):
  """Adds to every gap its p, and that after one correction over all gaps.

  Both metrics of all divisions, presence among them. None are shown of a gap
  that is not shown itself; labels that are suppressed in all stays are not
  counted.
  """
  divisions, gaps, told = [], [], []
  for groups, rows in divided:
    tested = [i for i, row in enumerate(rows) if row["gap"]]
    if not tested:
      continue
    largest = int(np.argmax([group.rows.sum() for group in groups]))
    place = np.argmax([group.rows for group in groups], axis=0)
    divisions.append(permutation.Division(place, largest, tuple(tested)))
    told += [rows[i]["gap"]["auroc"]["value"] is not None for i in tested]
    gaps += [rows[i]["gap"] for i in tested]
  shown = ~cells.suppressed(logits, np.ones(len(logits), bool))
  columns = logits[:, shown], cells.label[:, shown]
  if not shown.any():  # Nothing is told of any gap then.
    columns = logits, cells.label
  found = permutation.test(*columns, cells.patient, divisions, seed=cells.seed)
  for gap, shown, *values in zip(gaps, told, found.p, found.adjusted):
    for name, *pair in zip(METRICS, *values):
      pair = [number(p) if shown else None for p in pair]
      gap[name] |= dict(zip(("p", "holm"), pair))


def _beside(cells, name, logits, chosen, rows, stays, bound):
  """A unimodal model and the whole one on the stays with that modality."""
  return {
    "modality": name,
    "stays": stays,
    **cells.score(logits[name], rows),
    "bayes": bound(name, rows),
    "model": cells.score(logits[chosen], rows),
    "model_bayes": bound("all", rows),
    "gain": cells.gap((logits[chosen], rows), (logits[name], rows)),
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
