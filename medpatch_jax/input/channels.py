"""A stored series -> what its encoder reads.

Dims: T hours, F columns as stored, V variables.
"""

import dataclasses

import numpy as np

# What can be added, by the names of the flags.
ADDED = ("staleness", "history", "deviation")
MASK = "mask->"


@dataclasses.dataclass(frozen=True)
class Channels:
  """How an encoder reads a series: z-scored, with channels added.

  Every hour's channels are of that hour and those before.

  Attributes:
    names: F, of the columns as stored.
    mean, std: f32[F], 0 and 1 where a column is not z-scored.
    clip_z: z-scores beyond it are cut, None for none.
    staleness: of every mask the time since the last measurement.
    history: of every number the mean, min, max and number of its measurements
      so far.
    deviation: of every number the distance of its z-score from 0. Risk rises
      to both sides of many of them.
  """

  names: tuple[str, ...]
  mean: np.ndarray
  std: np.ndarray
  clip_z: float | None = None
  staleness: bool = False
  history: bool = False
  deviation: bool = False

  @classmethod
  def from_json(cls, plain: dict) -> "Channels":
    """From the field `series` of an exported model's config.json."""
    return cls(
      tuple(plain["columns"]),
      np.asarray(plain["mean"], np.float32),
      np.asarray(plain["std"], np.float32),
      plain["clip_z"],
      # Models written before a flag was there are without it.
      **{name: plain.get(name, False) for name in ADDED},
    )

  def to_json(self) -> dict:
    return {
      "columns": list(self.names),
      "mean": self.mean.tolist(),
      "std": self.std.tolist(),
      "clip_z": self.clip_z,
      **{name: getattr(self, name) for name in ADDED},
    }

  def masks(self) -> list[int]:
    """Columns that tell what was measured in an hour."""
    return [i for i, name in enumerate(self.names) if name.startswith(MASK)]

  def numbers(self) -> list[tuple[int, int]]:
    """(column, column of its mask) of each variable that is a number."""
    column = {name: i for i, name in enumerate(self.names)}
    pairs = [(self.names[i].removeprefix(MASK), i) for i in self.masks()]
    return [(column[name], i) for name, i in pairs if name in column]

  def columns(self) -> tuple[str, ...]:
    """Names of what is read, in order."""
    masks = [self.names[i] for i in self.masks()]
    numbers = [self.names[i] for i, _ in self.numbers()]
    found = [*self.names]
    if self.staleness:
      found += [f"stale{name}" for name in masks]
    if self.history:
      what = ("mean", "min", "max", "count")
      found += [f"{w}->{name}" for w in what for name in numbers]
    if self.deviation:
      found += [f"deviation->{name}" for name in numbers]
    return tuple(found)

  def __call__(self, stored) -> dict[str, np.ndarray]:
    """f32[T F] as in the record -> x f32[T, as many as `columns`]."""
    x = (stored - self.mean[None]) / self.std[None]
    if self.clip_z is not None:
      x = np.clip(x, -self.clip_z, self.clip_z)
    pairs = np.array(self.numbers(), np.int64).reshape(-1, 2)
    value, measured = x[:, pairs[:, 0]], stored[:, pairs[:, 1]]
    parts = [x]
    if self.staleness:
      parts.append(staleness(stored[:, self.masks()]))
    if self.history:
      parts.append(history(value, measured))
    if self.deviation:
      parts.append(np.abs(value))
    return {"x": np.concatenate(parts, axis=1, dtype=np.float32)}


def staleness(measured, hours: float = 8.0) -> np.ndarray:
  """Time since the last measurement, f32[T V] in [0, 1].

  0 in an hour with a measurement, 1 - exp(-h / `hours`) h hours later, 1
  before the first. Che et al. 2018 (GRU-D) let a model learn the decay; here
  it is an input.
  """
  T = len(measured)
  hour = np.arange(T)[:, None]
  last = np.maximum.accumulate(np.where(measured > 0, hour, -1), axis=0)
  past = np.where(last < 0, np.inf, hour - last)
  return (1.0 - np.exp(-past / hours)).astype(np.float32)


def history(value, measured) -> np.ndarray:
  """What was measured up to each hour, f32[T 4V].

  Of value f32[T V] in the hours where `measured` [T V] is above 0: mean, min,
  max, and the logarithm of 1 + their number; the first three are 0 before
  there is one. A summary of a whole stay is the last row.
  """
  seen = measured > 0
  count = np.cumsum(seen, axis=0)
  total = np.cumsum(np.where(seen, value, 0.0), axis=0, dtype=np.float64)
  low = np.minimum.accumulate(np.where(seen, value, np.inf), axis=0)
  high = np.maximum.accumulate(np.where(seen, value, -np.inf), axis=0)
  known = [
    np.where(count > 0, found, 0.0)
    for found in (total / np.maximum(count, 1), low, high)
  ]
  return np.concatenate([*known, np.log1p(count)], axis=1, dtype=np.float32)
