"""Tasks that predict at every hour: a stay's record -> what was known by then.

A row of such a task is an hour of a stay. The record holds the whole stay; a
row sees the series up to its hour, the last film and the reports up to it.

Dims: L labelled hours of a stay, N rows, C labels, S stays.
"""

import numpy as np

from medpatch_jax import schema


def bucket(left) -> np.ndarray:
  """Hours that are left f[...] -> index into `schema.BUCKETS` i64[...]."""
  return np.searchsorted(schema.BUCKET_EDGES, left, side="right")


def labels(stored, classes: bool) -> np.ndarray:
  """Labels as stored -> f32[L C], L being 1 where a stay has one label.

  Args:
    stored: f32[C] of a stay, or f32[L 1]: in {0, 1}, or hours that are left.
    classes: the latter, whose buckets are the C labels.
  """
  stored = np.asarray(stored, np.float32)
  if classes:
    return np.eye(len(schema.BUCKETS), dtype=np.float32)[bucket(stored[:, 0])]
  return stored[None] if stored.ndim == 1 else stored


def rows(first, last, most: int | None):
  """Which hours are rows: all, or at most so many of each stay.

  Of a stay with more hours than `most`, one of each of so many equal parts is
  taken, at a place that depends on the stay alone: early and late hours alike,
  and the same ones in every epoch, so that what is computed of them is kept.

  Args:
    first, last: i64[S], a stay's labelled hours, each whole one from the
      first to the last.
    most: of a stay; None for all.

  Returns:
    (stay i64[N], hour i64[N]), ascending.
  """
  first, last = np.asarray(first, np.int64), np.asarray(last, np.int64)
  length = last - first + 1
  count = length if most is None else np.minimum(length, most)
  stay = np.repeat(np.arange(len(first)), count)
  place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
  shift = np.random.default_rng(0).random(len(first))
  shift = np.where(count < length, shift, 0.0)
  step = (place + shift[stay]) * (length / np.maximum(count, 1))[stay]
  return stay, first[stay] + step.astype(np.int64)


class Cut:
  """Rows of an hourly task by number, from the records of their stays."""

  # What else has to be read to cut a field.
  NEEDS = {
    "ehr": (),
    "cxr": ("cxr_hours",),
    "rr": ("rr_hours", "rr_ends"),
    "label": ("label_hours",),
  }

  @classmethod
  def fields(cls, wanted) -> tuple[str, ...]:
    """`wanted` and what they are cut by."""
    more = (n for name in wanted for n in cls.NEEDS.get(name, ()))
    return tuple(dict.fromkeys((*wanted, *more)))

  def __init__(self, source, stay, hour, wanted, classes: bool):
    """Takes records and says which hour of which is a row.

    Args:
      source: records by number, with `fields(wanted)`.
      stay, hour: i64[N], of each row.
      wanted: fields of a row.
      classes: as `labels`.
    """
    self._source, self._wanted, self._classes = source, wanted, classes
    self._stay, self._hour = stay, hour

  def __len__(self) -> int:
    return len(self._stay)

  def __getitem__(self, row: int) -> dict:
    if not 0 <= row < len(self):
      raise IndexError(row)
    record = self._source[int(self._stay[row])]
    return {
      name: self._field(name, record, int(self._hour[row]))
      for name in self._wanted
    }

  def _field(self, name, record, hour):
    value = record[name]
    if name == "ehr":
      return value[:hour]
    if name == "cxr":
      films = int((record["cxr_hours"] <= hour).sum())
      return value[films - 1] if films else b""
    if name == "rr":
      reports = int((record["rr_hours"] <= hour).sum())
      value = value.decode("utf-8") if isinstance(value, bytes) else value
      return value[: int(record["rr_ends"][reports - 1])] if reports else ""
    if name == "label":
      at = int(np.flatnonzero(record["label_hours"] == hour)[0])
      return labels(value[at : at + 1], self._classes)[0]
    return value
