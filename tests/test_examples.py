"""A stored series -> what the encoder reads."""

import numpy as np

from medpatch_jax.export import warm
from medpatch_jax.input import examples, variables


def test_staleness_by_hand():
  measured = np.array([[0, 1], [1, 0], [0, 0], [1, 0]])
  found = examples.staleness(measured, hours=2.0)
  decay = 1 - np.exp(-np.arange(4) / 2)
  np.testing.assert_allclose(found[:, 0], [1, 0, decay[1], 0], rtol=1e-6)
  np.testing.assert_allclose(found[:, 1], decay, rtol=1e-6)


def test_history_by_hand():
  value = np.array([[4, 1], [2, 7], [9, 7], [6, 3]], np.float32)
  measured = np.array([[0, 1], [1, 0], [0, 0], [1, 1]])
  mean, low, high, count = np.split(examples.history(value, measured), 4, 1)
  np.testing.assert_allclose(mean, [[0, 1], [2, 1], [2, 1], [4, 2]])
  np.testing.assert_allclose(low, [[0, 1], [2, 1], [2, 1], [2, 1]])
  np.testing.assert_allclose(high, [[0, 1], [2, 1], [2, 1], [6, 3]])
  np.testing.assert_allclose(
    count, np.log([[1, 2], [2, 2], [2, 2], [3, 3]]), rtol=1e-6
  )


def test_history_of_an_hour_knows_nothing_later():
  rng = np.random.default_rng(0)
  value = rng.normal(size=(30, 5)).astype(np.float32)
  measured = rng.random((30, 5)) < 0.3
  whole = examples.history(value, measured)
  for end in (1, 7, 29):
    part = examples.history(value[:end], measured[:end])
    np.testing.assert_array_equal(part, whole[:end])


def test_series_is_normalised_cut_and_gets_its_staleness():
  stored = np.array([[90, 1], [400, 0]], np.float32)
  mean, std = np.array([80, 0], np.float32), np.array([10, 1], np.float32)
  plain = examples.series(stored, mean, std)["x"]
  np.testing.assert_array_equal(plain, [[1, 1], [32, 0]])
  x = examples.series(stored, mean, std, masks=[1], most=5)["x"]
  stale = 1 - np.exp(-1 / 8)
  np.testing.assert_allclose(x, [[1, 1, 0], [5, 0, stale]], rtol=1e-6)
  assert x.dtype == np.float32


def test_history_is_of_z_scores_and_padding_leaves_it():
  """A number with its mask, and a variable of classes, which has none."""
  names = ["Rhythm->a", "Rhythm->b", "Pulse", "mask->Rhythm", "mask->Pulse"]
  numbers = variables.numbers(names)
  assert numbers == [(2, 4)] and variables.masks(names) == [3, 4]
  stored = np.array(
    [[1, 0, 90, 1, 1], [0, 1, 90, 1, 0], [0, 1, 400, 0, 1]], np.float32
  )
  mean, std = np.array([0, 0, 80, 0, 0]), np.array([1, 1, 10, 1, 1])
  fields = examples.series(stored, mean, std, most=5, numbers=numbers)
  own = np.log([2, 2, 3])
  np.testing.assert_allclose(
    fields["x"][:, 5:], np.stack([[1, 1, 3], [1, 1, 1], [1, 1, 5], own], 1)
  )
  assert warm.columns(names, staleness=False, history=True) == [
    *names, "mean->Pulse", "min->Pulse", "max->Pulse", "count->Pulse",
  ]  # fmt: skip
  shapes = examples.Shapes(9, (8,), 0, 0, 0)
  one = {"inputs": {"ehr": fields}, "present": [True], "label": [0.0]}
  batch = examples.collate([one], 2, {"ehr": "series"}, 1, shapes, ["ehr"])
  np.testing.assert_array_equal(
    batch.inputs["ehr"]["x"][0, :3], fields["x"].astype(np.float32)
  )
  assert not batch.inputs["ehr"]["x"][0, 3:].any()
