"""Calibration errors against the released code and by hand."""

import numpy as np
import pytest

from medpatch_jax.evaluate import calibration


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
