"""Calibration errors against the released code and by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from medpatch_jax.evaluate import bootstrap, calibration


@pytest.mark.parametrize("case", ["c1", "c4"])
@pytest.mark.parametrize("bins", [5, 10, 15])
def test_ece_of_released_code(case, bins):
  with np.load(f"tests/golden/ece__{case}.npz") as golden:
    found = calibration.ece(golden["in/probs"], golden["in/labels"], bins=bins)
    want = golden[f"out/ece_bins{bins}"]
    np.testing.assert_allclose(found, want, atol=1e-7)


def test_ece_by_hand():
  # Confidences .95 .85 (right, wrong) and .65 (right, predicts 0).
  prob = np.array([[0.95], [0.85], [0.35]])
  label = np.array([[1], [0], [0]])
  want = (0.05 + 0.85 + 0.35) / 3
  np.testing.assert_allclose(calibration.ece(prob, label), [want], rtol=1e-6)
  padded = calibration.ece(
    np.append(prob, [[0.1]], axis=0),
    np.append(label, [[1]], axis=0),
    np.array([1, 1, 1, 0]),
  )
  np.testing.assert_allclose(padded, [want], rtol=1e-6)


def test_brier_by_hand():
  prob, label = np.array([[0.5], [1.0]]), np.array([[1], [0]])
  np.testing.assert_allclose(calibration.brier(prob, label), [1.25 / 2])
  assert np.isnan(calibration.brier(prob[:0], label[:0])).all()


def test_reliability_by_hand():
  prob = np.array([[0.0], [0.1], [0.1000001], [0.95]])
  label = np.array([[0], [1], [0], [1]])
  curve = calibration.reliability(prob, label)
  np.testing.assert_array_equal(curve.count[[0, 1, 9], 0], [2, 1, 1])
  np.testing.assert_allclose(curve.observed[[0, 1, 9], 0], [0.5, 0, 1])
  np.testing.assert_allclose(curve.predicted[0], [0.05])
  assert np.isnan(curve.observed[2:9]).all()


def test_probability_overflows_nowhere():
  logits = np.array([-1e4, -1.0, 0, 1.0, 1e4])
  want = [0, 0.26894142, 0.5, 0.73105858, 1]
  np.testing.assert_allclose(calibration.probability(logits), want)


def random_case(rows=400):
  rng = np.random.default_rng(0)
  prob = rng.random((rows, 3))
  return prob, (rng.random(prob.shape) < prob**2).astype(int)


def test_scikit_learn_agrees():
  prob, label = random_case()
  curve = calibration.reliability(prob, label)
  for c in range(3):
    want = brier_score_loss(label[:, c], prob[:, c])
    assert calibration.brier(prob, label)[c] == pytest.approx(want)
    observed, predicted = calibration_curve(label[:, c], prob[:, c], n_bins=10)
    np.testing.assert_allclose(curve.observed[:, c], observed)
    np.testing.assert_allclose(curve.predicted[:, c], predicted)


def test_brier_of_a_resample_is_that_of_the_rows_repeated():
  prob, label = random_case(90)
  counts = bootstrap.draw(np.arange(90) // 2, resamples=70)
  found = calibration.brier_resampled(prob, label, counts)
  for r in (0, 69):
    rows = np.repeat(np.arange(90), counts[r])
    np.testing.assert_allclose(
      found[r], calibration.brier(prob[rows], label[rows])
    )


def test_merged_bins_by_hand():
  # Bins of 12 without a case, 4 and 20 with 2 and 18 cases.
  prob = np.repeat([0.05, 0.45, 0.95], [12, 4, 20])[:, None]
  label = np.repeat([0, 1, 0, 1, 0], [12, 2, 2, 18, 2])[:, None]
  curve = calibration.reliability(prob, label)
  two = calibration.merge(curve, 0, 2)
  np.testing.assert_allclose(two.edges, [0, 0.1, 0.5, 1])
  np.testing.assert_array_equal(two.count[:, 0], [12, 4, 20])
  # Five of either class: the last two bins have four negatives.
  five = calibration.merge(curve, 0, 5)
  np.testing.assert_array_equal(five.count[:, 0], [36])
  np.testing.assert_allclose(five.observed, [[20 / 36]])
  np.testing.assert_allclose(five.predicted, [[prob.mean()]])


def test_no_merged_bin_is_small():
  prob, label = random_case()
  curve = calibration.reliability(prob, label)
  for c in range(3):
    found = calibration.merge(curve, c, 11)
    cases = np.rint(found.observed * found.count)
    for n in (found.count, cases, found.count - cases):
      assert ((n == 0) | (n >= 11)).all()
    assert found.count.sum() == 400 and len(found.edges) == len(cases) + 1
    assert cases.sum() == label[:, c].sum()
