"""A stored series -> what the encoder reads."""

import numpy as np

from medpatch_jax.input import examples


def test_staleness_by_hand():
  measured = np.array([[0, 1], [1, 0], [0, 0], [1, 0]])
  found = examples.staleness(measured, hours=2.0)
  decay = 1 - np.exp(-np.arange(4) / 2)
  np.testing.assert_allclose(found[:, 0], [1, 0, decay[1], 0], rtol=1e-6)
  np.testing.assert_allclose(found[:, 1], decay, rtol=1e-6)


def test_series_is_normalised_cut_and_gets_its_staleness():
  stored = np.array([[90, 1], [400, 0]], np.float32)
  mean, std = np.array([80, 0], np.float32), np.array([10, 1], np.float32)
  plain = examples.series(stored, mean, std)["x"]
  np.testing.assert_array_equal(plain, [[1, 1], [32, 0]])
  x = examples.series(stored, mean, std, masks=[1], most=5)["x"]
  stale = 1 - np.exp(-1 / 8)
  np.testing.assert_allclose(x, [[1, 1, 0], [5, 0, stale]], rtol=1e-6)
  assert x.dtype == np.float32
