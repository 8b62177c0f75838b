"""A stored series -> what its encoder reads.

Dims: T hours, F columns as stored, V variables.
"""

import dataclasses

import numpy as np

# What can be added, by the names of the flags.
ADDED = ("staleness", "deviation")
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
    deviation: of every number the distance of its z-score from 0. Risk rises
      to both sides of many of them.
  """

  names: tuple[str, ...]
  mean: np.ndarray
  std: np.ndarray
  clip_z: float | None = None
  staleness: bool = False
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

  def of(self, names) -> "Channels":
    """Those of one series: of the columns of these names, in their order."""
    place = {name: i for i, name in enumerate(self.names)}
    at = [place[name] for name in names]
    return dataclasses.replace(
      self, names=tuple(names), mean=self.mean[at], std=self.std[at]
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

  def numbers(self) -> list[int]:
    """Columns of the variables that are numbers: a mask has their name."""
    masks = {self.names[i].removeprefix(MASK) for i in self.masks()}
    return [i for i, name in enumerate(self.names) if name in masks]

  def measured(self) -> list[tuple[int, int]]:
    """Columns of each variable that is a number, and of its mask."""
    return [(i, self.names.index(MASK + self.names[i])) for i in self.numbers()]

  def columns(self) -> tuple[str, ...]:
    """Names of what is read, in order."""
    masks = [self.names[i] for i in self.masks()]
    numbers = [self.names[i] for i in self.numbers()]
    found = [*self.names]
    if self.staleness:
      found += [f"stale{name}" for name in masks]
    if self.deviation:
      found += [f"deviation->{name}" for name in numbers]
    return tuple(found)

  def __call__(self, stored) -> dict[str, np.ndarray]:
    """f32[T F] as in the record -> x f32[T, as many as `columns`]."""
    x = (stored - self.mean[None]) / self.std[None]
    if self.clip_z is not None:
      x = np.clip(x, -self.clip_z, self.clip_z)
    parts = [x]
    if self.staleness:
      parts.append(staleness(stored[:, self.masks()]))
    if self.deviation:
      parts.append(np.abs(x[:, self.numbers()]))
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
