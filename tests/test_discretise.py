"""Discretiser and normaliser against golden numbers and a plain loop."""

import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpatch_jax.input import discretise, variables

GOLDEN = pathlib.Path(__file__).parent / "golden"


def _event_rows(table, X):
  """Rows of the example file -> hour, variable, value arrays, row by row."""
  events = []
  for row in X:
    for i, v in enumerate(table):
      word = str(row[i + 1])
      if word:
        value = v.classes.index(word) if v.classes else float(word)
        events.append((float(row[0]), i, value))
  hour, variable, value = zip(*events)
  return np.array(hour), np.array(variable), np.array(value, np.float64)


@pytest.mark.parametrize(
  "case",
  ["ts1_previous_endnone", "used_ts1_previous_end48", "used_ts1_previous_end8"],
)
def test_matches_released_discretiser(case):
  golden = np.load(GOLDEN / f"discretizer__{case}.npz")
  table = variables.published()
  hour, variable, value = _event_rows(table, golden["in/X"])
  end = float(golden["in/end"])
  end = hour.max() if np.isnan(end) else end
  grid, offset = discretise.discretise(
    np.zeros(len(hour), np.int64), hour, variable, value, np.array([end]), table
  )
  np.testing.assert_allclose(grid, golden["out/data"].astype(float), rtol=1e-6)
  assert offset.tolist() == [0, len(golden["out/data"])]


def test_columns_are_the_released_ones():
  golden = np.load(GOLDEN / "discretizer__ts1_previous_endnone.npz")
  theirs = [
    str(c).replace("Glascow", "Glasgow").replace("Heart Rate", "Heart rate")
    for c in golden["out/header"]
  ]
  assert variables.columns() == theirs
  assert len(theirs) == 76
  np.testing.assert_array_equal(
    variables.continuous(), golden["out/continuous_columns"]
  )


def test_matches_released_normaliser():
  golden = np.load(GOLDEN / "normalizer__fit.npz")
  moments = discretise.Moments()
  for name in ("x0", "x1", "x2"):
    moments.add(golden[f"in/{name}"])
  np.testing.assert_allclose(moments.mean, golden["out/means"], rtol=1e-9)
  np.testing.assert_allclose(moments.std(), golden["out/stds"], rtol=1e-7)
  np.testing.assert_allclose(
    (golden["in/x0"] - moments.mean[None]) / moments.std()[None],
    golden["out/transform_x0"],
    atol=1e-6,
  )


@pytest.mark.parametrize(
  "mean, std, wanted",
  [
    (0.21, 0.0, 1),
    (0.1, 1e-9, 1),  # Rounding of float32.
    (1e5, 0.02, 1),
    (0.0, 1e-9, 1),
    (1e5, 20.0, 20),
    (0.0, 1e-3, 1e-3),
    (7.4, 1e-4, 1e-4),
    (-40.0, 1e-5, 1),
  ],
)
def test_a_spread_of_rounding_is_none(mean, std, wanted):
  divisor, flat = discretise.scale(np.array([mean]), np.array([std]))
  assert divisor[0] == wanted and flat[0] == (wanted == 1)


def test_a_million_equal_values_have_no_spread():
  moments = discretise.Moments()
  rows = np.full((100_003, 2), np.float32(0.1))
  rows[::2, 1] = np.nextafter(np.float32(0.1), np.float32(1))
  for _ in range(10):
    moments.add(rows)
  assert discretise.scale(moments.mean, moments.std(0.0))[1].all()


def test_normalised_columns_are_the_released_ones():
  golden = np.load(GOLDEN / "discretizer__used_ts1_previous_end48.npz")
  data = golden["out/data"].astype(float)
  columns = variables.continuous()
  mean, std = golden["in/means"][columns], golden["in/stds"][columns]
  data[:, columns] = (data[:, columns] - mean[None]) / std[None]
  np.testing.assert_allclose(data, golden["out/normalized"], atol=1e-6)


def _loop(stay, hour, variable, value, end, table):
  """The same in plain Python, one stay and one hour at a time."""
  grids = []
  normal = variables.normals(table)
  for s, length in enumerate(end):
    last = list(normal)
    for t in range(int(length + 1 - 1e-6)):
      row, mask = [], [0.0] * len(table)
      for who, when, what, number in zip(stay, hour, variable, value):
        inside = -1e-6 < when < length + 1e-6
        if who == s and inside and int(when - 1e-6) == t:
          last[what], mask[what] = number, 1.0
      for i, v in enumerate(table):
        if v.classes:
          row += [float(j == last[i]) for j in range(len(v.classes))]
        else:
          row.append(last[i])
      grids.append(row + mask)
  return np.array(grids, np.float32).reshape(-1, len(variables.columns(table)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(1, 4))
def test_equals_a_plain_loop(seed, events, stays):
  rng = np.random.default_rng(seed)
  table = variables.VARIABLES
  stay = rng.integers(0, stays, events)
  # Whole hours among them, and hours outside the series.
  hour = np.round(rng.uniform(-1, 9, events) * 4) / 4
  variable = rng.integers(0, len(table), events)
  classes = np.array([max(1, len(v.classes)) for v in table])
  value = np.floor(rng.uniform(0, classes[variable]))
  end = rng.choice([0.5, 1.0, 3.25, 8.0], stays)
  grid, offset = discretise.discretise(stay, hour, variable, value, end, table)
  np.testing.assert_array_equal(
    grid, _loop(stay, hour, variable, value, end, table)
  )
  np.testing.assert_array_equal(np.diff(offset), discretise.bins(end))


def test_moments_do_not_cancel():
  rows = 1e8 + np.arange(10.0)[:, None]
  moments = discretise.Moments()
  for part in np.split(rows, [1, 4]):
    moments.add(part)
  np.testing.assert_allclose(moments.std(), np.std(np.arange(10.0), ddof=1))
