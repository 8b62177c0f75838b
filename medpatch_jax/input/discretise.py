"""Events at any time -> one row per hour: last value, one-hot, masks.

Dims: N events, S stays, V variables, T hours (summed over stays), F columns.
Source: the benchmark's discretiser and normaliser
(golden/discretizer__*.npz, normalizer__fit.npz).
"""

import dataclasses

import numpy as np

from medpatch_jax.input import variables as table

# An event on the hour belongs to the hour that ends there.
EDGE = 1e-6
# A standard deviation up to this share of the mean, some eight steps of a
# float32, is rounding; so is one up to the floor of the released normaliser.
ROUNDING, FLOOR = 1e-6, 1e-7


def bins(end):
  """Number of hourly bins up to `end` hours; f64[...] -> i64[...]."""
  return (np.asarray(end, np.float64) + 1.0 - EDGE).astype(np.int64)


def discretise(stay, hour, variable, value, end, variables=table.VARIABLES):
  """Puts the events of S stays on hourly grids.

  Within a bin the last row given wins, so rows come sorted by time (see
  `clean.arrange`). An empty bin repeats the previous value, or holds the
  normal value before the first.

  Args:
    stay: i64[N] in [0, S), which stay an event belongs to.
    hour: f64[N], hours from intime; rows outside (-1e-6, end + 1e-6) are
      ignored.
    variable: i64[N] in [0, V).
    value: f64[N], in the variable's unit, or the index of its class.
    end: f64[S], length of each grid in hours.
    variables: the table the columns come from.

  Returns:
    (grid f32[T F], offset i64[S+1]): rows offset[s]:offset[s+1] are stay s.
    F is 76 with the default table: values and one-hot, then masks.
  """
  length = bins(end)
  offset = np.concatenate([[0], np.cumsum(length)])
  hour = np.asarray(hour, np.float64)
  inside = (hour > -EDGE) & (hour < np.asarray(end)[stay] + EDGE)
  stay, hour = stay[inside], hour[inside]
  row = offset[stay] + np.trunc(hour - EDGE).astype(np.int64)
  V = len(variables)
  cell = row * V + variable[inside]
  latest = np.full(offset[-1] * V, np.nan)
  # NumPy assigns repeated indices in order: the last row given wins.
  latest[cell] = value[inside]
  latest = latest.reshape(-1, V)
  measured = ~np.isnan(latest)
  return _columns(_forward(latest, measured, offset), measured, variables), (
    offset
  )


def _forward(latest, measured, offset):
  """Repeats the last measured value; NaN before a stay's first one."""
  T, V = latest.shape
  start = np.repeat(offset[:-1], np.diff(offset))
  source = np.where(measured, np.arange(T)[:, None], -1)
  source = np.maximum.accumulate(source, axis=0)
  filled = np.take_along_axis(latest, np.maximum(source, 0), axis=0)
  return np.where(source >= start[:, None], filled, np.nan)


def _columns(filled, measured, variables):
  """Values [T V] with NaN for the normal value -> columns f32[T F]."""
  normal = table.normals(variables)
  filled = np.where(np.isnan(filled), normal[None, :], filled)
  first, V = table.starts(variables), len(variables)
  widths = [table.width(v) for v in variables]
  grid = np.zeros((len(filled), sum(widths) + V), np.float32)
  for i, v in enumerate(variables):
    if v.classes:
      chosen = first[i] + filled[:, i].astype(np.int64)
      grid[np.arange(len(grid)), chosen] = 1.0
    else:
      grid[:, first[i]] = filled[:, i]
  grid[:, sum(widths) :] = measured
  return grid


def scale(mean, std):
  """Returns what z-scores divide by: `std`, or 1 of a column without spread.

  A spread that is no more than the rounding of float32 is none: dividing by
  it would make a z-score of 1e6 of the next value that differs.

  Args:
    mean, std: f64[F].

  Returns:
    (f64[F], which columns have no spread bool[F]).
  """
  flat = np.asarray(std) <= np.maximum(ROUNDING * np.abs(mean), FLOOR)
  return np.where(flat, 1.0, std), flat


@dataclasses.dataclass
class Moments:
  """Mean and spread of columns, added up batch by batch in float64.

  The result depends on the order of the batches only within rounding; the
  builder adds them in record order, so that a dataset's bytes do not depend
  on the number of threads.
  """

  count: int = 0
  mean: np.ndarray | float = 0.0
  square: np.ndarray | float = 0.0

  def add(self, rows):
    """Adds rows f[N F]."""
    if not len(rows):
      return
    rows = np.asarray(rows, np.float64)
    mean = rows.mean(axis=0)
    square = np.square(rows - mean[None, :]).sum(axis=0)
    self.merge(Moments(len(rows), mean, square))

  def merge(self, other):
    """Adds what another has seen (Chan's update, which does not cancel)."""
    if not other.count:
      return
    if not self.count:
      self.count, self.mean, self.square = other.count, other.mean, other.square
      return
    total = self.count + other.count
    delta = other.mean - self.mean
    share = self.count * other.count / total
    self.square = self.square + other.square + np.square(delta) * share
    self.mean = self.mean + delta * other.count / total
    self.count = total

  def std(self, floor=FLOOR):
    """Standard deviation f64[F] with N - 1, at least `floor`."""
    variance = self.square / max(self.count - 1, 1)
    return np.maximum(np.sqrt(variance), floor)
