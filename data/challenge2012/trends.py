"""Charts -> many numbers a stay, for trees: courses, and what is read together.

Dims: R records, V series, T hours, F features.
"""

import numpy as np

from data.challenge2012 import read, summary

CONSTANT = (*summary.FIXED, "ICUType")
USUAL_WEIGHT = 80.0  # kg, where none is known.
LATE = 24  # Hours at the end that are looked at by themselves.


def features(charts):
  """What a clinician looks at besides single values.

  Of each series and of those of `together` mean, least, greatest, last,
  standard deviation, first and last less first; mean, least and greatest of the
  last day; how many hours have a value, in all and of the last 12; and how long
  ago the last one was.

  Returns:
    f32[R F], NaN where there is nothing to tell it from.
  """
  every = hourly(charts)
  series = {n: x for n, x in every.items() if n not in CONSTANT}
  columns = [known(every[n])[:, -1] for n in CONSTANT]
  measured = ~np.isnan(np.stack(list(series.values())))
  columns += [measured.sum(axis=(0, 2)), measured.any(axis=2).sum(axis=0)]
  for x in [*series.values(), *together(every).values()]:
    columns += course(x)
  return np.stack(columns, axis=1).astype(np.float32)


def hourly(charts):
  """Name -> the last valid value of each hour, f32[R T], NaN if none."""
  keep = summary.valid(charts)
  order = np.lexsort((charts.hour[keep], charts.variable[keep]))
  variable = charts.variable[keep][order]
  hour = np.ceil(charts.hour[keep][order]).astype(np.int64) - 1
  at = charts.row[keep][order], np.clip(hour, 0, read.HOURS - 1)
  value = charts.value[keep][order]
  found = {}
  for i, name in enumerate(read.NAMES):
    first, last = np.searchsorted(variable, [i, i + 1])
    x = np.full((len(charts.record), read.HOURS), np.nan, np.float32)
    # Of values of one hour the last one stays.
    x[at[0][first:last], at[1][first:last]] = value[first:last]
    found[name] = x
  return found


def known(x):
  """f32[R T] -> the value known in each hour: that of it, or the one before."""
  hour = np.where(np.isnan(x), -1, np.arange(x.shape[1])[None])
  hour = np.maximum.accumulate(hour, axis=1)
  found = np.take_along_axis(x, np.maximum(hour, 0), axis=1)
  return np.where(hour < 0, np.nan, found)


def together(every):
  """Name -> what two series say together, f32[R T], NaN where one is unknown."""

  def either(one, other):
    return np.where(np.isnan(every[one]), every[other], every[one])

  now = {n: known(x) for n, x in every.items()}
  pressure = either("SysABP", "NISysABP")
  low, mean = either("DiasABP", "NIDiasABP"), either("MAP", "NIMAP")
  weight = now["Weight"][:, -1:]
  weight = np.where(np.isnan(weight), USUAL_WEIGHT, weight)
  return {
    "systolic": pressure,
    "diastolic": low,
    "mean pressure": mean,
    "pulse pressure": pressure - low,
    "shock index": now["HR"] / np.where(pressure > 0, pressure, np.nan),
    "urine per kg": every["Urine"] / weight,
    "PaO2 / FiO2": every["PaO2"] / now["FiO2"],
    "SaO2 / FiO2": every["SaO2"] / now["FiO2"],
    "BUN / creatinine": every["BUN"]
    / np.where(now["Creatinine"] > 0, now["Creatinine"], np.nan),
    "sodium less bicarbonate": every["Na"] - now["HCO3"],
  }


def course(x):
  """Columns f32[R] of one series f32[R T]."""
  T = x.shape[1]
  measured = ~np.isnan(x)
  count = measured.sum(axis=1)
  last = known(x)[:, -1]
  first = known(x[:, ::-1])[:, -1]
  mean, least, most = _range(x)
  off = np.where(measured, x - mean[:, None], 0.0)
  std = np.sqrt((off**2).sum(axis=1) / np.where(count, count, np.nan))
  ago = np.where(count, measured[:, ::-1].argmax(axis=1), np.nan)
  return [
    *(mean, least, most, last, std, first, last - first),
    *_range(x[:, T - LATE :]),
    *(count, measured[:, T - LATE // 2 :].sum(axis=1), ago),
  ]


def _range(x):
  """Mean, least and greatest f32[R] of what is known; NaN where nothing is."""
  measured = ~np.isnan(x)
  some = measured.any(axis=1)
  total = np.where(measured, x, 0.0).sum(axis=1)
  mean = total / np.where(some, measured.sum(axis=1), np.nan)
  least = np.where(measured, x, np.inf).min(axis=1)
  most = np.where(measured, x, -np.inf).max(axis=1)
  return mean, *(np.where(some, a, np.nan) for a in (least, most))
