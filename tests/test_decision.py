"""Net benefit by hand and from scikit-learn's confusion matrix."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from medpatch_jax.evaluate import decision


def test_by_hand():
  prob = np.array([[0.9], [0.6], [0.3], [0.1]])
  label = np.array([[1], [0], [1], [0]])
  found = decision.net_benefit(prob, label, threshold=(0.5, 0.25))
  # At 0.5: one found, one alarm that weighs 1; at 0.25: two, and 1/3.
  np.testing.assert_allclose(found.model[:, 0], [0, (2 - 1 / 3) / 4])
  np.testing.assert_allclose(found.everyone[:, 0], [0, (2 - 2 / 3) / 4])


def test_equals_the_confusion_matrix_of_scikit_learn():
  rng = np.random.default_rng(0)
  label = (rng.random((150, 2)) < [0.1, 0.5]).astype(int)
  prob = np.round(np.clip(rng.random(label.shape) * 0.7 + 0.3 * label, 0, 1), 1)
  found = decision.net_benefit(prob, label)
  for k, t in enumerate(found.threshold):
    for c in range(2):
      _, alarms, _, hits = confusion_matrix(
        label[:, c], prob[:, c] >= t, labels=[0, 1]
      ).ravel()
      want = hits / 150 - alarms / 150 * t / (1 - t)
      assert found.model[k, c] == pytest.approx(want)


def test_who_knows_all_gains_the_prevalence_and_nobody_gains_more():
  label = np.arange(20)[:, None] < 4
  found = decision.net_benefit(label.astype(float), label)
  np.testing.assert_allclose(found.model, 4 / 20)
  assert (found.everyone <= found.model).all()


def test_padding_and_refusals():
  prob, label = np.array([[0.9], [0.2]]), np.array([[1], [1]])
  found = decision.net_benefit(prob, label, np.array([1, 0]), (0.5,))
  np.testing.assert_allclose(found.model, 1)
  assert np.isnan(decision.net_benefit(prob[:0], label[:0]).model).all()
  with pytest.raises(ValueError, match=r"in \(0, 1\)"):
    decision.net_benefit(prob, label, threshold=(1.0,))
