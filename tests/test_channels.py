"""A stored series -> what the encoder reads."""

import json

import numpy as np
import pytest

from medpatch_jax.input import channels, examples

NAMES = ("Rhythm->a", "Rhythm->b", "Pulse", "mask->Rhythm", "mask->Pulse")
MEAN = np.array([0, 0, 80, 0, 0], np.float32)
STD = np.array([1, 1, 10, 1, 1], np.float32)
STORED = np.array(
  [[1, 0, 80, 0, 0], [1, 0, 90, 1, 1], [0, 1, 90, 1, 0], [0, 1, 10, 0, 1]],
  np.float32,
)


def read(**flags):
  return channels.Channels(NAMES, MEAN, STD, **flags)


def test_staleness_by_hand():
  measured = np.array([[0, 1], [1, 0], [0, 0], [1, 0]])
  found = channels.staleness(measured, hours=2.0)
  decay = 1 - np.exp(-np.arange(4) / 2)
  np.testing.assert_allclose(found[:, 0], [1, 0, decay[1], 0], rtol=1e-6)
  np.testing.assert_allclose(found[:, 1], decay, rtol=1e-6)


def test_plain_channels_are_z_scores_of_numbers():
  x = read()(STORED)["x"]
  np.testing.assert_array_equal(x[:, 2], [0, 1, 1, -7])
  np.testing.assert_array_equal(x[:, [0, 1, 3, 4]], STORED[:, [0, 1, 3, 4]])
  assert x.dtype == np.float32
  assert read(clip_z=5.0)(STORED)["x"][3, 2] == -5


def test_each_flag_adds_its_channels_in_the_order_of_their_names():
  """By hand; a variable of classes has a mask and no number."""
  whole = read(clip_z=5.0, staleness=True, deviation=True)
  one = 1 - np.exp(-1 / 8)
  want = {
    "stalemask->Rhythm": [1, 0, 0, one],
    "stalemask->Pulse": [1, 0, one, 0],
    "deviation->Pulse": [0, 1, 1, 5],
  }
  assert whole.columns() == (*NAMES, *want)
  x = whole(STORED)["x"]
  np.testing.assert_allclose(x[:, 5:].T, list(want.values()), rtol=1e-6)
  for name in channels.ADDED:
    alone = read(clip_z=5.0, **{name: True})
    own = [whole.columns().index(column) for column in alone.columns()]
    np.testing.assert_array_equal(alone(STORED)["x"], x[:, own])


@pytest.mark.parametrize("name", channels.ADDED)
def test_an_hour_knows_nothing_later(name):
  rng = np.random.default_rng(0)
  stored = rng.normal(80, 9, (30, 5)).astype(np.float32)
  stored[:, 3:] = rng.random((30, 2)) < 0.3
  made = read(**{name: True})
  whole = made(stored)["x"]
  for end in (1, 7, 29):
    np.testing.assert_array_equal(made(stored[:end])["x"], whole[:end])


def test_padding_of_a_batch_changes_no_hour():
  """Hours that a stay has not are 0 and the others stay as they were."""
  made = read(staleness=True, deviation=True)
  fields = made(STORED)
  shapes = examples.Shapes({"ehr": len(made.columns())}, (8,), 0, 0, 0)
  one = {"inputs": {"ehr": fields}, "present": [True], "label": [0.0]}
  batch = examples.collate([one], 2, {"ehr": "series"}, 1, shapes, ["ehr"])
  x = batch.inputs["ehr"]["x"]
  np.testing.assert_array_equal(x[0, :4], fields["x"])
  assert not x[0, 4:].any() and not x[1].any()


def test_an_exported_model_reads_a_series_as_it_was_trained():
  made = read(clip_z=5.0, deviation=True)
  plain = json.loads(json.dumps(made.to_json()))
  back = channels.Channels.from_json(plain)
  assert back.columns() == made.columns()
  np.testing.assert_array_equal(back(STORED)["x"], made(STORED)["x"])
  for name in channels.ADDED:  # Written before the flags were there.
    del plain[name]
  assert channels.Channels.from_json(plain).columns() == NAMES
