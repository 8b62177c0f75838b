"""Counts of a build, taken record by record in a fixed order.

Each file of records has a tally of its own; they are added up in order, so
that no number depends on which process counted it, or when.

Dims: T hours (of several stays), F columns, V variables.
"""

import collections

import numpy as np

from data import leakage, records
from data.splits import SPLITS
from medpatch_jax import schema
from medpatch_jax.evaluate import disclosure
from medpatch_jax.input import discretise, hourly
from medpatch_jax.input import variables as table

# Hours from intime to which presence is counted one by one: a week.
HOURS = 168
# What a tally is told, not what it counts.
_GIVEN = (
  *(
    "variables",
    "series",
    "modalities",
    "texts",
    "images",
    "embedded",
    "groups",
    "classes",
    "words_of_notes",
    "pattern",
  ),
)


class Tally:
  """What the metadata and the reports need, added up while writing.

  Memory grows by a few numbers a stay (the index), nothing else. All but the
  last three are of each split.

  Attributes:
    moments: of each series, every column over all hours of the train split.
    measured: moments of each variable's values where measured.
    low, high: of each variable (value, subject) f64[N 2], the least values of
      the 11 patients whose are least, and the greatest, the furthest out first.
    carried: i64[V] hours that repeat a value measured before.
    hours, bits, subjects: of each record: T of its series, 0 without one;
      presence, subject_id.
    characters: of each record, by modality.
    label: i64[C] records with the label, in an hourly task at any hour.
    positive, labelled: i64[C] rows (records, or their hours) with the label;
      rows whose labels are known.
    left: f64[C] sum of the hours left, of buckets of hours.
    first, last, since: of each record of an hourly task, its first and last
      labelled hour; by modality the hour of its first film or report, None
      without.
    words: (kind, word) -> records; of subgroups and age groups.
    said: (kind of notes, word) -> records; of `leakage.words`.
    seen: what -> the first 11 subjects of whom it is so: a modality that a
      stay has or lacks, a label, a subgroup.
    ages: moments of the age.
    leaks: what must be 0, see `quality`.
    by_hour: of each modality i64[HOURS + 1]: records with a measurement in
      the hour, or whose (first) film or note falls in it; the last entry
      takes whatever is later.
    there: of each series i64[HOURS + 1], records of it that last as long.
    cleaned: (variable, what) -> count, of `clean.clean`, and ("carried",
      "in").
    counts: the same of all splits together.
    bad_films: lines, in their table, of unreadable films.
    films: how many were opened.
  """

  def __init__(
    self,
    variables,
    labels,
    kinds=schema.KINDS,
    groups=tuple(records.GROUPS),
    classes=False,
    words=leakage.OUTCOME,
  ):
    """Starts at nothing.

    Args:
      variables: of all series, those of one after those of another; empty
        without one.
      labels: how many.
      kinds: modality -> series, image, text or embedding.
      groups: fields of an example that name a subgroup, or give an age.
      classes: labels are buckets of the hours left.
      words: that are looked for in notes, of `leakage.words`.
    """
    V = len(variables)
    self.classes = classes
    self.variables = variables
    # Of each its variables.
    self.series = table.series(variables)
    self.modalities = tuple(kinds)
    self.texts = tuple(m for m, kind in kinds.items() if kind == "text")
    self.images = tuple(m for m, kind in kinds.items() if kind == "image")
    self.embedded = tuple(m for m, k in kinds.items() if k == "embedding")
    self.groups = groups
    self.words_of_notes, self.pattern = tuple(words), leakage.pattern(words)
    self.said = {s: collections.Counter() for s in SPLITS}
    self.moments = {m: discretise.Moments() for m in self.series}
    self.measured = {
      s: [discretise.Moments() for _ in variables] for s in SPLITS
    }
    self.low, self.high = (
      {s: [np.zeros((0, 2)) for _ in variables] for s in SPLITS}
      for _ in range(2)
    )
    self.carried = {s: np.zeros(V, np.int64) for s in SPLITS}
    self.hours = {s: [] for s in SPLITS}
    self.bits = {s: [] for s in SPLITS}
    self.subjects = {s: [] for s in SPLITS}
    self.characters = {s: {m: [] for m in self.texts} for s in SPLITS}
    self.label = {s: np.zeros(labels, np.int64) for s in SPLITS}
    self.positive = {s: np.zeros(labels, np.int64) for s in SPLITS}
    self.labelled = dict.fromkeys(SPLITS, 0)
    self.left = {s: np.zeros(labels) for s in SPLITS}
    self.first = {s: [] for s in SPLITS}
    self.last = {s: [] for s in SPLITS}
    timed = (*self.images, *self.texts, *self.embedded)
    self.since = {s: {m: [] for m in timed} for s in SPLITS}
    self.words = {s: collections.Counter() for s in SPLITS}
    self.seen = {s: {} for s in SPLITS}
    self.ages = {s: discretise.Moments() for s in SPLITS}
    self.leaks = {s: collections.Counter() for s in SPLITS}
    self.by_hour, self.there = (
      {s: {m: np.zeros(HOURS + 1, np.int64) for m in names} for s in SPLITS}
      for names in (kinds, self.series)
    )
    self.cleaned = {s: collections.Counter() for s in SPLITS}
    self.counts = collections.Counter()
    self.bad_films = []
    self.films = 0

  def add(self, split, example):
    """Adds one example as it is written."""
    self.extend(split, [example])

  def extend(self, split, examples, windows=None):
    """Adds examples as they are written.

    Args:
      split: theirs.
      examples: dicts of consecutive records.
      windows: f64[N], length of each one's window in hours; None where
        nothing is known of it, and no leak is looked for.
    """
    if not examples:
      return
    for m in self.series:
      grids = [e[m] for e in examples]
      length = np.array([len(g) for g in grids])
      subjects = np.array([e["subject_id"] for e in examples], np.float64)
      self._series(split, m, np.concatenate(grids), length, subjects)
    for name in self.groups:
      ages = [e[name] for e in examples if not isinstance(e[name], str)]
      ages = np.array([a for a in ages if not np.isnan(a)], np.float64)
      self.ages[split].add(ages[:, None])
    for example in examples:
      self._record(split, example)
    if windows is not None:
      for example, window in zip(examples, windows):
        self.leaks[split].update(self._leaks(example, window))

  def _series(self, split, m, grid, length, subjects):
    """Counts of a series: hours f32[T F] of stays of the lengths i64[N]."""
    subjects = subjects[length > 0]
    if split == "train":
      self.moments[m].add(grid)
    own, V = self.series[m], len(self.series[m])
    of = self.variables.index(own[0])  # The others follow it.
    first, begin = table.starts(own), np.cumsum(length) - length
    # Of a stay without an hour reduceat would take the next one's first.
    starts = begin[length > 0]
    mask = grid[:, -V:] > 0
    for i in range(V):
      rows = mask[:, i]
      if rows.any():
        value = _value(grid[rows], own[i], first[i])
        self.measured[split][of + i].add(value[:, None])
        series = np.full(len(grid), np.nan)
        series[rows] = value
        # One value of each stay that has one.
        least, greatest = (
          f.reduceat(series, starts) for f in (np.fmin, np.fmax)
        )
        there = ~np.isnan(least)
        pairs = (np.stack([x, subjects], 1)[there] for x in (least, greatest))
        self._extremes(split, of + i, *pairs)
    start = np.repeat(begin, length)
    place = np.arange(len(grid))
    last = np.maximum.accumulate(np.where(mask, place[:, None], -1), axis=0)
    carried = ((last >= start[:, None]) & ~mask).sum(axis=0)
    self.carried[split][of : of + V] += carried
    hour = np.minimum(place - start, HOURS)
    measured = hour[mask.any(axis=1)]
    self.by_hour[split][m] += np.bincount(measured, minlength=HOURS + 1)
    self.there[split][m] += np.bincount(hour, minlength=HOURS + 1)

  def _extremes(self, split, i, least, greatest):
    """Takes pairs (value, subject) f64[N 2] among the extremes."""
    low, high = self.low[split], self.high[split]
    low[i] = _outermost(np.concatenate([low[i], least]), 1)
    high[i] = _outermost(np.concatenate([high[i], greatest]), -1)

  def _record(self, split, example):
    """Counts of one record besides its series."""
    self.hours[split].append(self._length(example))
    bits = sum(int(p) << i for i, p in enumerate(example["present"]))
    self.bits[split].append(bits)
    for m in self.texts:
      self.characters[split][m].append(len(example[m]))
    subject = int(example["subject_id"])
    for m in self.texts:
      for word in leakage.said(example[m], self.pattern):
        self.said[split][m, word] += 1
        self._see(split, _what(f"{m} says", word), subject)
    self.subjects[split].append(example["subject_id"])
    for m, has in zip(self.modalities, example["present"]):
      self._see(split, _what(m, bool(has)), subject)
    self._labels(split, example)
    for name in self.groups:
      word = example[name]
      if not isinstance(word, str):
        word = _age_group(float(word))
      self.words[split][name, word] += 1
      self._see(split, _what(name, word), subject)
    for m in (*self.images, *self.texts, *self.embedded):
      hours = _hours(example, [m])
      first = None
      if len(hours) and not np.isnan(hours).all():
        first = float(np.nanmin(hours))
        self.by_hour[split][m][min(max(int(first), 0), HOURS)] += 1
      if "label_hours" in example:
        self.since[split][m].append(first)

  def _leaks(self, example, window):
    """(what must not be -> whether it is) of one record."""
    # Hours are stored as f32, a second of a month being some 1e-6 of it.
    end = window * (1 + 1e-6)
    # A discharge note has one hour, after the stay.
    notes = [
      m for m in (*self.texts, *self.embedded) if f"{m}_hours" in example
    ]
    hours = {
      "film": _hours(example, self.images),
      "report": _hours(example, notes),
      "hours": example.get("label_hours", np.zeros(0)),
    }
    found = {w: int(np.any((h < 0) | (h > end))) for w, h in hours.items()}
    length = self._length(example)
    return found | {"series": int(length > discretise.bins(window))}

  def _length(self, example):
    """Hours of its series; those that it has are as long as each other."""
    return max((len(example[m]) for m in self.series), default=0)

  def _labels(self, split, example):
    """Counts of one record's labels."""
    rows = hourly.labels(example["label"], self.classes)
    self.labelled[split] += int((~np.isnan(rows).any(axis=1)).sum())
    rows = np.nan_to_num(rows).astype(np.int64)
    cases = rows.max(axis=0)
    self.label[split] += cases
    for c, case in enumerate(cases):
      self._see(split, _what(c, bool(case)), int(example["subject_id"]))
    self.positive[split] += rows.sum(axis=0)
    if self.classes:
      self.left[split] += example["label"][:, 0].astype(np.float64) @ rows
    if "label_hours" in example:
      self.first[split].append(int(example["label_hours"][0]))
      self.last[split].append(int(example["label_hours"][-1]))

  def _see(self, split, what, subject):
    """Keeps a subject of whom something is so, until there are 11."""
    seen = self.seen[split].setdefault(what, [])
    if len(seen) < disclosure.SMALLEST_CELL and subject not in seen:
      seen.append(subject)

  def people(self, split, name, value):
    """Subjects of whom something is so, no more than 11 counted.

    Args:
      split: theirs.
      name: modality, place of a label, or kind of subgroup.
      value: whether they have it, or the word.
    """
    return len(self.seen[split].get(_what(name, value), ()))

  def merge(self, other):
    """Adds what comes after in record order."""
    for m, moments in other.moments.items():
      self.moments[m].merge(moments)
    for s in SPLITS:
      self.ages[s].merge(other.ages[s])
      for i, moments in enumerate(other.measured[s]):
        self.measured[s][i].merge(moments)
        self._extremes(s, i, other.low[s][i], other.high[s][i])
      self.carried[s] += other.carried[s]
      for name in ("label", "positive", "left"):
        getattr(self, name)[s] += getattr(other, name)[s]
      for m, hours in other.since[s].items():
        self.since[s][m].extend(hours)
      for name in ("words", "said", "leaks", "cleaned"):
        getattr(self, name)[s].update(getattr(other, name)[s])
      for name in ("hours", "bits", "subjects", "first", "last"):
        getattr(self, name)[s].extend(getattr(other, name)[s])
      for what, subjects in other.seen[s].items():
        for subject in subjects:
          self._see(s, what, subject)
      for m, values in other.characters[s].items():
        self.characters[s][m].extend(values)
      for m, hours in other.by_hour[s].items():
        self.by_hour[s][m] += hours
      for m, hours in other.there[s].items():
        self.there[s][m] += hours
      self.labelled[s] += other.labelled[s]
    self.counts.update(other.counts)
    self.films += other.films
    self.bad_films = sorted(self.bad_films + other.bad_films)

  def state(self):
    """Everything as a JSON-like dict; numbers keep every bit."""
    return {n: _plain(v) for n, v in vars(self).items() if n not in _GIVEN}

  def set(self, state):
    """Takes the `state` of a tally made like this one; returns itself."""
    for name, value in state.items():
      setattr(self, name, _like(getattr(self, name), value))
    return self

  def normaliser(self):
    """(mean, std) lists over all columns; 0 and 1 where not z-scored.

    Without a record the normal values and 1 stand in, and 1 for the spread
    of a column that has none (`discretise.scale`).
    """
    means, stds = [], []
    for m, own in self.series.items():
      width, moments = len(table.columns(own)), self.moments[m]
      mean, std = np.zeros(width), np.ones(width)
      columns = table.continuous(own)
      numbers = [i for i, v in enumerate(own) if not v.classes]
      if moments.count:
        mean[columns] = moments.mean[columns]
        std[columns] = discretise.scale(
          mean[columns], moments.std(0.0)[columns]
        )[0]
      else:
        mean[columns] = table.normals(own)[numbers]
      means, stds = means + mean.tolist(), stds + std.tolist()
    return means, stds

  def constant(self):
    """Variables that do not vary in train: [{"variable", "why", "done"}]."""
    out = []
    for i, v in enumerate(self.variables):
      if not self._flat(v):
        continue
      never = not self.measured["train"][i].count
      done = "z-scored with a standard deviation of 1"
      if v.classes:
        done = "its categories stay 0 or 1"
      elif never:
        done = f"the normal value {v.normal:g} is its mean, " + done
      why = "never measured in train" if never else "one value in all of train"
      out.append({"variable": v.name, "why": why, "done": done})
    return out

  def _flat(self, v):
    """Whether no column of a variable varies in train."""
    own, moments = self.series[v.modality], self.moments[v.modality]
    if not moments.count:
      return False
    _, flat = discretise.scale(moments.mean, moments.std(0.0))
    first = table.starts(own)[own.index(v)]
    return flat[first : first + table.width(v)].all()

  def bucket_hours(self):
    """Mean hours left in each bucket of the train split; None of other tasks.

    The middle of a bucket that no hour fell in, the edge of the last.
    """
    if not self.classes:
      return None
    edges = np.array((0, *schema.BUCKET_EDGES), np.float64)
    middle = np.append((edges[1:] + edges[:-1]) / 2, edges[-1])
    count = self.positive["train"]
    mean = self.left["train"] / np.maximum(count, 1)
    return np.where(count > 0, mean, middle).tolist()

  def stays(self, split):
    return len(self.hours[split])

  def hours_of(self, split, m):
    """Hours of one series, of all stays."""
    return int(self.there[split][m].sum())

  def present(self, split):
    """Stays that have each modality, in the dataset's order."""
    bits = np.array(self.bits[split], np.int64)
    return [int((bits >> i & 1).sum()) for i in range(len(self.modalities))]

  def index(self):
    """Of each split: hours, presence, subject group, text lengths per record."""
    out = {}
    for s in SPLITS:
      groups = {}
      out[s] = {
        "hours": self.hours[s],
        "present": self.bits[s],
        "subject": [
          groups.setdefault(x, len(groups)) for x in self.subjects[s]
        ],
        "characters": self.characters[s],
      }
      if self.first[s]:
        names = ("first", "last", "since")
        out[s] |= {name: getattr(self, name)[s] for name in names}
    return out


def _value(grid, variable, first):
  """A number, or the score of the class that is set."""
  classes = variable.scores
  if not classes:
    return grid[:, first].astype(np.float64)
  chosen = grid[:, first : first + len(classes)].argmax(axis=1)
  return np.array(classes)[chosen]


def _outermost(found, sign):
  """The 11 patients' values that are furthest out, the furthest first.

  Args:
    found: (value, subject) f64[N 2]; of each subject one is kept. (Ids beyond
      2^53 may be taken for one another, which hides more, never less.)
    sign: 1 for the least, -1 for the greatest.
  """
  found = found[np.argsort(sign * found[:, 0], kind="stable")]
  first = np.unique(found[:, 1], return_index=True)[1]
  return found[np.sort(first)][: disclosure.SMALLEST_CELL]


def _what(name, value):
  """The key of `Tally.seen`, a word in JSON, too."""
  return f"{name}={value}"


def _plain(value):
  if isinstance(value, discretise.Moments):
    return [value.count, *map(_plain, (value.mean, value.square))]
  if isinstance(value, collections.Counter):
    return list(value.items())
  if isinstance(value, dict):
    return {k: _plain(v) for k, v in value.items()}
  if isinstance(value, list):
    return [_plain(v) for v in value]
  return value.tolist() if isinstance(value, np.ndarray) else value


def _like(empty, value):
  """What `_plain` made `value` of, in the form of an empty tally's."""
  if isinstance(empty, discretise.Moments):
    count, mean, square = value
    return discretise.Moments(count, np.array(mean), np.array(square))
  if isinstance(empty, collections.Counter):
    pairs = ((tuple(k) if isinstance(k, list) else k, n) for k, n in value)
    return collections.Counter(dict(pairs))
  if isinstance(empty, dict):
    return {k: _like(empty.get(k), v) for k, v in value.items()}
  if isinstance(empty, list) and empty:
    return [_like(e, v) for e, v in zip(empty, value)]
  if isinstance(empty, np.ndarray):
    return np.array(value, empty.dtype).reshape(-1, *empty.shape[1:])
  return value


def _hours(example, names):
  """Hours of every film or text of some modalities, f[N]; NaN where absent."""
  found = [example.get(f"{m}_hours", example.get(f"{m}_hour")) for m in names]
  return np.concatenate([np.zeros(0), *map(np.atleast_1d, found)])


def _age_group(age):
  if np.isnan(age):
    return "unknown"
  edges = ((20, "to 20"), (40, "21-40"), (60, "41-60"), (80, "61-80"))
  return next((name for edge, name in edges if age <= edge), "over 80")
