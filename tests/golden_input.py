"""Runs the discretiser and the normaliser on golden files."""

import ast
import re

import numpy as np

from medpatch_jax.input import discretise, variables
from tests.golden_file import NotUnderstood, known

# What the released discretiser is asked for wherever it is used.
SETTINGS = {
  "timestep": 1.0,
  "impute_strategy": "previous",
  "start_time": "zero",
}


def run_discretizer(file, released_names):
  """Rows of a stay's CSV file, in/X -> columns by hour, with normal values.

  Words of `out/header` that are ours count as 0 (see `words`).
  """
  known(file, {"X", "end", "means", "stds"})
  _settings(file.meta.get("covers", ""))
  given, table = file.inputs, variables.published()
  hour, variable, value = events(given["X"], table)
  end = float(given["end"])
  end = hour.max() if np.isnan(end) else end
  stay = np.zeros(len(hour), np.int64)
  grid, _ = discretise.discretise(
    stay, hour, variable, value, np.array([end]), table
  )
  columns = variables.continuous(table)
  ours = {
    "out/data": grid,
    "out/header": variables.columns(table),
    "out/continuous_columns": columns,
    "out/stats": _statistics(grid, hour, end, len(table)),
  }
  if "means" in given:
    normalised = grid.astype(np.float64)
    mean, std = given["means"][columns], given["stds"][columns]
    normalised[:, columns] = (normalised[:, columns] - mean[None]) / std[None]
    ours["out/normalized"] = normalised
  return ours


def _settings(covers: str) -> None:
  """Refuses a discretiser of other settings than the released code's."""
  found = re.search(r"\{.*?\}", covers)
  asked = ast.literal_eval(found[0]) if found else {}
  for name, value in asked.items():
    if SETTINGS.get(name, value) != value:
      raise NotUnderstood(
        f"discretizer of {name} {value!r}, ours has {SETTINGS[name]!r}"
      )


def events(rows, table):
  """Rows of hours and cells -> hour, variable, value arrays, row by row."""
  found = []
  for row in rows:
    for i, v in enumerate(table):
      word = str(row[i + 1])
      if word:
        value = v.classes.index(word) if v.classes else float(word)
        found.append((float(row[0]), i, value))
  hour, variable, value = zip(*found)
  return np.array(hour), np.array(variable), np.array(value, np.float64)


def _statistics(grid, hour, end, count):
  """Stays, and the shares of empty bins and of values never used."""
  measured = grid[:, -count:]
  inside = ((hour > -discretise.EDGE) & (hour < end + discretise.EDGE)).sum()
  empty = (measured.sum(axis=1) == 0).sum()
  unused = inside - measured.sum()
  return np.array([1.0, empty / (len(grid) + 1e-6), unused / (inside + 1e-6)])


def words(ours, theirs):
  """Names of columns as numbers to compare: 0 where they are the same."""
  same = {"Glascow": "Glasgow", "Heart Rate": "Heart rate"}
  wrong = np.ones(len(theirs))
  for i, (a, b) in enumerate(zip(ours, theirs)):
    b = str(b)
    for old, new in same.items():
      b = b.replace(old, new)
    wrong[i] = a != b
  return wrong, np.zeros(len(theirs))


def run_normalizer(file, released_names):
  """Stays in/x0, in/x1 ... -> means and deviations of columns."""
  given = file.inputs
  known(file, {name for name in given if re.fullmatch(r"x\d+", name)})
  stays = sorted(given, key=lambda k: int(k.removeprefix("x")))
  moments = discretise.Moments()
  for name in stays:
    moments.add(given[name])
  ours = {"out/means": moments.mean, "out/stds": moments.std()}
  for name in stays:
    shifted = given[name] - moments.mean[None]
    ours[f"out/transform_{name}"] = shifted / moments.std()[None]
  return ours
