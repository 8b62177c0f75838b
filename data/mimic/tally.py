"""Counts of a build, taken record by record in a fixed order.

Dims: S stays, T hours, F columns, V variables.
"""

import collections

import numpy as np

from data import records
from data.splits import SPLITS
from medpatch_jax import schema
from medpatch_jax.input import discretise
from medpatch_jax.input import variables as table


class Tally:
  """What the metadata and the report need, added up while writing.

  Memory grows by a few numbers a stay (the index), nothing else.
  """

  def __init__(
    self,
    variables,
    labels,
    kinds=schema.KINDS,
    groups=tuple(records.GROUPS),
  ):
    """Starts at nothing.

    Args:
      variables: of the series; empty without one.
      labels: how many.
      kinds: modality -> series, image or text.
      groups: fields of an example that name a subgroup, or give an age.
    """
    self.variables = variables
    self.modalities = tuple(kinds)
    self.texts = tuple(m for m, kind in kinds.items() if kind == "text")
    self.groups = groups
    self.moments = discretise.Moments()  # Of every column, train split.
    self.measured = {
      s: [discretise.Moments() for _ in variables] for s in SPLITS
    }
    self.hours = {s: [] for s in SPLITS}
    self.bits = {s: [] for s in SPLITS}
    self.subjects = {s: [] for s in SPLITS}
    self.characters = {s: {m: [] for m in self.texts} for s in SPLITS}
    self.label = {s: np.zeros(labels, np.int64) for s in SPLITS}
    self.labelled = dict.fromkeys(SPLITS, 0)
    self.words = {s: collections.Counter() for s in SPLITS}
    self.ages = {s: discretise.Moments() for s in SPLITS}
    self.counts = collections.Counter()
    self.bad_films = []
    self.films = 0
    self._groups = {s: {} for s in SPLITS}

  def add(self, split, example):
    """Adds one example as it is written."""
    grid = example.get("ehr", np.zeros((0, 0), np.float32))
    if split == "train":
      self.moments.add(grid)
    first = table.starts(self.variables)
    mask = grid[:, -len(self.variables) :] > 0
    for i, moments in enumerate(self.measured[split]):
      rows = mask[:, i]
      if rows.any():
        moments.add(self._value(grid[rows], i, first[i])[:, None])
    self.hours[split].append(len(grid))
    bits = sum(int(p) << i for i, p in enumerate(example["present"]))
    self.bits[split].append(bits)
    for m in self.texts:
      self.characters[split][m].append(len(example[m]))
    group = self._groups[split]
    subject = example["subject_id"]
    self.subjects[split].append(group.setdefault(subject, len(group)))
    self.labelled[split] += not np.isnan(example["label"]).any()
    self.label[split] += np.nan_to_num(example["label"]).astype(np.int64)
    for name in self.groups:
      word = example[name]
      if not isinstance(word, str):
        if not np.isnan(word):
          self.ages[split].add(np.array([[word]]))
        word = _age_group(float(word))
      self.words[split][name, word] += 1

  def _value(self, grid, i, first):
    """A number, or the score of the class that is set."""
    classes = self.variables[i].scores
    if not classes:
      return grid[:, first]
    chosen = grid[:, first : first + len(classes)].argmax(axis=1)
    return np.array(classes)[chosen]

  def index(self):
    """Of each split: hours, presence, subject group, text lengths per record."""
    return {
      s: {
        "hours": self.hours[s],
        "present": self.bits[s],
        "subject": self.subjects[s],
        "characters": self.characters[s],
      }
      for s in SPLITS
    }

  def normaliser(self):
    """(mean, std) lists over all columns; 0 and 1 where not z-scored.

    Without a training record the normal values and 1 stand in.
    """
    width = len(table.columns(self.variables))
    mean, std = np.zeros(width), np.ones(width)
    columns = table.continuous(self.variables)
    numbers = [i for i, v in enumerate(self.variables) if not v.classes]
    if self.moments.count:
      mean[columns] = self.moments.mean[columns]
      std[columns] = self.moments.std()[columns]
    else:
      mean[columns] = table.normals(self.variables)[numbers]
    return mean.tolist(), std.tolist()

  def stays(self, split):
    return len(self.hours[split])

  def present(self, split):
    """Stays that have each modality, in the dataset's order."""
    bits = np.array(self.bits[split], np.int64)
    return [int((bits >> i & 1).sum()) for i in range(len(self.modalities))]


def _age_group(age):
  if np.isnan(age):
    return "unknown"
  edges = ((20, "to 20"), (40, "21-40"), (60, "41-60"), (80, "61-80"))
  return next((name for edge, name in edges if age <= edge), "over 80")
