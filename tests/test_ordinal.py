"""Scores of buckets against scikit-learn, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from medpatch_jax.evaluate import bootstrap, calibration, ordinal
from medpatch_jax.train import losses


def test_kappa_is_that_of_scikit_learn():
  rng = np.random.default_rng(0)
  truth = rng.integers(0, 6, 300)
  guess = np.clip(truth + rng.integers(-2, 3, 300), 0, 5)
  cells = np.zeros((6, 6))
  np.add.at(cells, (truth, guess), 1)
  wanted = cohen_kappa_score(truth, guess, weights="linear")
  assert ordinal.kappa(cells) == pytest.approx(wanted, abs=1e-12)
  assert ordinal.kappa(np.diag([3.0, 2, 5])) == 1
  assert np.isnan(ordinal.kappa(np.diag([4.0, 0, 0])))


def test_one_against_rest_keeps_the_softmax():
  logits = np.random.default_rng(1).normal(0, 8, (50, 10)).astype(np.float32)
  logits[0] += 500  # Nothing overflows.
  wanted = jax.nn.softmax(jnp.array(logits, jnp.float32), axis=1)
  found = calibration.probability(ordinal.one_against_rest(logits))
  np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-7)


def test_deviation_and_intervals_by_hand():
  """Twelve rows of three patients; those of one are 10 hours off each."""
  label = np.tile(np.eye(3), (4, 1))
  logits = label * 5.0
  logits[:4] = [0, 0, 9]
  hours = np.tile([10.0, 30.0, 50.0], 4)
  patient = np.repeat([0, 1, 2], 4)
  draws = bootstrap.draw(patient, 200)
  found = ordinal.build(logits, label, hours, [10, 30, 50], draws)
  # Of the first four rows 40, 20, 0 and 40 hours off.
  assert found["deviation"]["value"] == pytest.approx(100 / 12)
  assert found["deviation"]["low"] == 0
  assert found["deviation"]["high"] == pytest.approx(25)
  assert 0 < found["kappa"]["value"] < found["kappa"]["high"] == 1
  few = ordinal.build(logits[:0], label[:0], hours[:0], [10, 30, 50], draws)
  assert few == {"kappa": None, "deviation": None}


def test_loss_of_classes():
  logits = jnp.array([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]])
  label = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
  total, count = losses.softmax(logits, label, jnp.array([1.0, 1.0, 0.0]))
  assert count == 2
  wanted = np.log(2) + np.log(1 + np.exp(2))
  assert float(total) == pytest.approx(wanted, rel=1e-6)
