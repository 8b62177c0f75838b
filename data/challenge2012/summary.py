"""Charts -> one row of numbers a stay, for a model without time.

Dims: R records, N measurements, V variables, F features.
"""

import numpy as np

from data.challenge2012 import read

# Known from the start: taken as they are.
FIXED = ("Age", "Gender", "Height")
WHAT = ("mean", "min", "max", "last", "count")


def valid(charts):
  """Which measurements lie in their variable's range, bool[N]."""
  low = np.full(len(read.NAMES), -np.inf)
  high = np.full(len(read.NAMES), np.inf)
  for name, *limits, _ in read.NUMBERS:
    at = read.NAMES.index(name)
    low[at], high[at] = limits
  value, variable = charts.value, charts.variable
  return (value >= low[variable]) & (value <= high[variable])


def summary(charts):
  """Mean, min, max, last and count of each series, and the fixed values.

  Returns:
    f64[R F]; NaN where nothing was measured, counts then 0.
  """
  R, V = len(charts.record), len(read.NAMES)
  keep = valid(charts)
  cell = charts.row[keep] * V + charts.variable[keep]
  # Stable: of values of one time the last row counts.
  order = np.lexsort((charts.hour[keep], cell))
  cell, value = cell[order], charts.value[keep][order]
  first = np.flatnonzero(np.diff(cell, prepend=-1))
  last = np.append(first[1:], len(cell)) - 1
  out = np.full((len(WHAT), R * V), np.nan)
  count = last - first + 1
  out[0, cell[first]] = np.add.reduceat(value, first) / count
  out[1, cell[first]] = np.minimum.reduceat(value, first)
  out[2, cell[first]] = np.maximum.reduceat(value, first)
  out[3, cell[first]] = value[last]
  out[4] = 0
  out[4, cell[first]] = count
  out = out.reshape(len(WHAT), R, V)
  fixed = [read.NAMES.index(n) for n in FIXED]
  icu = read.NAMES.index("ICUType")
  series = [i for i in range(V) if i not in (*fixed, icu)]
  units = out[3][:, icu, None] == np.array(
    list(read.CLASSES["ICUType"].values())
  )
  return np.concatenate(
    [*out[:, :, series], out[3][:, fixed], units.astype(np.float64)], axis=1
  )
