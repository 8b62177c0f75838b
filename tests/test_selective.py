"""Risk against coverage: by hand, against scikit-learn, and its failures."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from medpatch_jax.evaluate import selective


def column(*values):
  return np.array(values, np.float64)[:, None]


def test_by_hand():
  # By falling confidence: no (right), yes (right), no (missed), yes (alarm).
  logits, label = column(-4, 3, -2, 1), column(0, 1, 1, 0)
  found = selective.curve(logits, label, coverage=(1.0, 0.75, 0.5, 0.25))
  np.testing.assert_allclose(found.risk[:, 0], [2 / 4, 1 / 3, 0, 0])
  np.testing.assert_allclose(found.cases[:, 0], [1, 1, 1 / 2, 0])
  np.testing.assert_allclose(found.missed[:3, 0], [1 / 2, 1 / 2, 0])
  assert np.isnan(found.missed[3, 0])  # No case is kept.
  np.testing.assert_allclose(found.area, [(0 + 0 + 1 / 3 + 1 / 2) / 4])
  np.testing.assert_allclose(found.excess, [0], atol=1e-12)


def test_wrong_order_has_excess():
  # The only error is the most confident: area (1 + 1/2) / 2, best (0 + 1/2) / 2.
  found = selective.curve(column(-2, 1), column(1, 1) * [[1], [1]])
  assert np.isnan(found.area).all()  # One class only.
  found = selective.curve(column(-2, -1), column(1, 0))
  np.testing.assert_allclose(found.area, [0.75])
  np.testing.assert_allclose(found.excess, [0.5])


def test_ties_count_in_proportion_whatever_the_order():
  logits, label = column(2, -2, 2, -2), column(1, 1, 0, 0)
  found = [
    selective.curve(logits[o], label[o], coverage=(0.5,))
    for o in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2])
  ]
  for one in found:
    np.testing.assert_allclose([one.risk, one.cases, one.missed], 0.5)


@pytest.mark.parametrize("kept", [1.0, 0.8, 0.5])
def test_risk_is_one_minus_the_accuracy_of_scikit_learn(kept):
  rng = np.random.default_rng(0)
  label = rng.random((200, 3)) < [0.1, 0.3, 0.6]
  logits = rng.normal(size=label.shape) + label
  found = selective.curve(logits, label, coverage=(kept,))
  for c in range(3):
    rows = np.argsort(-np.abs(logits[:, c]))[: int(kept * 200)]
    right = accuracy_score(label[rows, c], logits[rows, c] >= 0)
    assert found.risk[0, c] == pytest.approx(1 - right)


def test_a_rare_label_looks_better_by_losing_its_cases():
  """A model that never sees the cases: errors fall, none is found."""
  rng = np.random.default_rng(1)
  label = (rng.random((2000, 2)) < [0.03, 0.4]).astype(float)
  logits = np.stack(
    [
      -4 + rng.normal(size=2000) + 1.5 * label[:, 0],
      -2 + 0.3 * rng.normal(size=2000) + 4 * label[:, 1],
    ],
    axis=1,
  )
  found = selective.curve(logits, label)
  np.testing.assert_array_equal(selective.failures(found), [True, False])
  assert found.cases[2, 0] < 0.6 and found.missed[2, 0] > 0.99


def test_padding_and_labels_without_both_classes():
  logits, label = column(-4, 3, -2, np.nan), column(0, 1, 1, 1)
  weight = np.array([1, 1, 1, 0])
  found = selective.curve(logits, label, weight, (1.0,))
  np.testing.assert_allclose(found.risk, [[1 / 3]])
  nothing = selective.curve(np.zeros((0, 2)), np.zeros((0, 2)))
  assert np.isnan(nothing.risk).all() and not selective.failures(nothing).any()
  with pytest.raises(ValueError, match=r"\(0, 1\]"):
    selective.curve(logits[:2], label[:2], coverage=(0.0,))
