"""Boosted trees, and the numbers of a stay that they read."""

import dataclasses
import warnings

import numpy as np
import pytest

from data.challenge2012 import read, trends
from experiments.real import linear, trees
from tests import challenge_files

ONE = trees.Settings(
  trees=1, depth=1, rate=0.5, columns=1.0, rows=2.0, l2=2.0, least=0.4
)


def test_one_split_by_hand():
  X = np.array([[1.0], [2], [3], [4], [np.nan], [1]])
  y = np.array([0.0, 0, 1, 1, 0, 0])
  found = trees.logits(X, y, np.array([[2.0], [9], [np.nan]]), 0, ONE)
  p = 1 / 3  # Before; the cut lies between 2 and 3, what is missing below.
  start, h = np.log(p / (1 - p)), p * (1 - p)
  low = start - 0.5 * (4 * p) / (4 * h + 2)
  high = start + 0.5 * (2 * (1 - p)) / (2 * h + 2)
  np.testing.assert_allclose(found, [low, high, low])


def test_what_two_columns_say_together_and_what_is_missing():
  rng = np.random.default_rng(0)
  X = rng.normal(size=(1200, 4))
  y = ((X[:, 0] > 0) == (X[:, 1] > 0)).astype(float)
  X[:, 2] = np.where(rng.random(1200) < 0.5, np.nan, 0.0)
  y = np.where(np.isnan(X[:, 2]), y, 0.0)
  X[:, 3] = np.nan
  few = dataclasses.replace(trees.Settings(), trees=40, rate=0.2, columns=0.8)
  found = trees.logits(X[:800], y[:800], X[800:], 1, few)
  assert linear.scores(found, y[800:])[0] > 0.97
  again = trees.logits(X[:800], y[:800], X[800:], 1, few)
  np.testing.assert_array_equal(found, again)
  other = trees.logits(X[:800], y[:800], X[800:], 2, few)
  assert (found != other).any()


def test_nothing_to_split_by_gives_the_share_of_deaths():
  whole = dataclasses.replace(trees.Settings(), rows=2.0)
  X, y = np.full((8, 2), 3.0), np.arange(8) % 4 == 0
  found = trees.logits(X, y, np.ones((3, 2)), 0, whole)
  np.testing.assert_allclose(found, np.log(1 / 3))


def _charts(*rows):
  """`read.Charts` of two stays: (name, hour, value) of the first, none."""
  return read.Charts(
    record=np.array([1, 2]),
    letter=np.array(["a", "a"]),
    death=np.zeros(2),
    row=np.zeros(len(rows), np.int64),
    hour=np.array([hour for _, hour, _ in rows], float),
    variable=np.array([read.NAMES.index(n) for n, *_ in rows], np.int64),
    value=np.array([value for *_, value in rows], float),
  )


def test_a_course_by_hand():
  charts = _charts(
    ("HR", 0.2, 60), ("HR", 0.7, 70), ("HR", 20, 100), ("HR", 40, 82),
    ("SysABP", 40, 0), ("NISysABP", 40, 164), ("Age", 0, 50),
  )  # fmt: skip
  every = trends.hourly(charts)
  assert np.flatnonzero(~np.isnan(every["HR"][0])).tolist() == [0, 19, 39]
  found = np.array(trends.course(every["HR"]))
  x = np.array([70.0, 100, 82])
  want = [x.mean(), 70, 100, 82, x.std(), 70, 12, 82, 82, 82, 3, 1, 8]
  np.testing.assert_allclose(found[:, 0], want, rtol=1e-6)
  nothing = found[:, 1]
  assert (nothing[[10, 11]] == 0).all()
  assert np.isnan(np.delete(nothing, [10, 11])).all()
  # A pressure of 0 is none, so the cuff's is taken.
  shock = trends.together(every)["shock index"][0]
  assert np.flatnonzero(~np.isnan(shock)).tolist() == [39]
  assert shock[39] == pytest.approx(0.5)


def test_features_of_every_stay_without_a_warning(tmp_path):
  sets = challenge_files.charts()
  nothing = challenge_files.record(699, age=-1, gender=-1, icu=-1)
  sets["c"][699] = nothing
  charts = read.read(challenge_files.write(tmp_path, sets))
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    found = trends.features(charts)
  assert found.shape[0] == 182 and not np.isinf(found).any()
  known = found[~np.isnan(found).all(axis=1)]
  # Of the stay of whom nothing is known, only counts are.
  assert set(found[-1][~np.isnan(found[-1])]) == {0}
  assert len(known) == 182
