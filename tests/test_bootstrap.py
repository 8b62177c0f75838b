"""Resampling by patient, by hand.

Golden file metrics__* holds the released code's intervals.
"""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medpatch_jax.evaluate import bootstrap


def test_patients_are_drawn_whole():
  subject = np.array([7, 3, 7, 3, 9])
  counts = bootstrap.draw(subject, resamples=200)
  np.testing.assert_array_equal(counts[:, 0], counts[:, 2])
  np.testing.assert_array_equal(counts[:, 1], counts[:, 3])
  # Three patients are drawn each time.
  assert (counts[:, [0, 1, 4]].sum(axis=1) == 3).all()


def test_a_resample_is_the_rows_repeated():
  rng = np.random.default_rng(1)
  subject = rng.integers(60, size=100)
  label = rng.random((100, 2)) < 0.4
  logits = np.round(rng.normal(size=(100, 2)) + label, 1)
  counts = bootstrap.draw(subject, resamples=9, seed=5)
  got = bootstrap.resample(logits, label, counts)
  for r in range(9):
    rows = np.repeat(np.arange(100), counts[r])
    for c in range(2):
      pair = label[rows, c], logits[rows, c]
      assert got.auroc[r, c] == pytest.approx(roc_auc_score(*pair))
      assert got.auprc[r, c] == pytest.approx(average_precision_score(*pair))


def test_same_seed_same_draws_whatever_the_ids():
  subject = np.array([5, 2, 5, 8])
  names = np.array(["e", "b", "e", "h"])
  first = bootstrap.draw(subject, resamples=50, seed=3)
  np.testing.assert_array_equal(first, bootstrap.draw(names, 50, 3))
  assert (first != bootstrap.draw(subject, 50, 4)).any()


def test_undefined_resamples_are_left_out():
  # One positive stay: where its patient is not drawn nothing is defined.
  label = np.array([[1, 0], [0, 0], [0, 0]])
  logits = np.array([[1.0, 0], [0, 0], [2, 0]])
  got = bootstrap.resample(logits, label, bootstrap.draw(np.arange(3), 100))
  assert np.isnan(got.auroc[:, 0]).any() and np.isnan(got.auroc[:, 1]).all()
  low, high = bootstrap.interval(got.auroc)
  assert 0 <= low[0] <= high[0] <= 1
  assert np.isnan([low[1], high[1]]).all()
  np.testing.assert_array_equal(got.mean().auroc[:, 0], got.auroc[:, 0])


def test_counts_fit_their_type():
  """The sum of many stays of one patient does not wrap around."""
  subject = np.zeros(70_000, np.int64)
  counts = bootstrap.draw(subject, resamples=2)
  assert counts.dtype == np.uint32
  label = np.arange(70_000)[:, None] % 2
  logits = np.arange(70_000.0)[:, None]
  got = bootstrap.resample(logits, label, counts)
  np.testing.assert_allclose(got.auroc, 0.5, atol=1e-4)


def test_interval_covers():
  """About 95 of 100 intervals hold the truth of stays that cluster."""
  rng = np.random.default_rng(0)
  subject = np.repeat(np.arange(120), 2)
  hits = 0
  for seed in range(60):
    label = np.repeat(rng.random(120) < 0.5, 2)
    shared = np.repeat(rng.normal(size=120), 2)
    # Two stays of a patient share the score; N(1, 1) against N(0, 1).
    logits = (shared + label)[:, None]
    counts = bootstrap.draw(subject, resamples=300, seed=seed)
    got = bootstrap.resample(logits, label[:, None], counts)
    low, high = bootstrap.interval(got.auroc)
    hits += bool(low[0] <= 0.7602 <= high[0])
  assert 50 <= hits <= 60


def test_refuses():
  with pytest.raises(ValueError, match="1 or more"):
    bootstrap.draw(np.arange(3), resamples=0)
  with pytest.raises(ValueError, match="counts are for 3 rows"):
    bootstrap.resample(
      np.zeros((2, 1)), np.zeros((2, 1)), bootstrap.draw(np.arange(3), 5)
    )
