"""Metrics against scikit-learn, hand-made cases and the released code."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medpatch_jax.evaluate import metrics


def column(*values):
  return np.array(values, np.float64)[:, None]


def test_by_hand():
  # Pairs (positive, negative): .9>.8 .9>.1 | .4<.8 .4>.1, so 3 of 4.
  logits, label = column(0.9, 0.8, 0.4, 0.1), column(1, 0, 1, 0)
  np.testing.assert_allclose(metrics.auroc(logits, label), [3 / 4])
  # Precision 1/1 at the first positive, 2/3 at the second.
  np.testing.assert_allclose(metrics.auprc(logits, label), [(1 + 2 / 3) / 2])


def test_ties_count_one_half():
  logits, label = column(1, 1, 1, 1), column(1, 0, 0, 0)
  np.testing.assert_allclose(metrics.auroc(logits, label), [0.5])
  np.testing.assert_allclose(metrics.auprc(logits, label), [0.25])


def test_infinite_logits_tie():
  logits, label = column(np.inf, np.inf, -np.inf, -np.inf), column(1, 0, 1, 0)
  np.testing.assert_allclose(metrics.auroc(logits, label), [0.5])


@pytest.mark.parametrize("decimals", [0, 1, 8])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn(decimals, weighted):
  rng = np.random.default_rng(decimals)
  label = rng.random((300, 4)) < [0.02, 0.3, 0.5, 0.97]
  logits = np.round(rng.normal(size=label.shape) + label, decimals)
  weight = rng.integers(0, 3, 300) * rng.random(300) if weighted else None
  roc, prc = metrics.scores(logits, label, weight)
  for c in range(4):
    pair = label[:, c], logits[:, c]
    want = roc_auc_score(*pair, sample_weight=weight)
    np.testing.assert_allclose(roc[c], want, rtol=1e-12)
    want = average_precision_score(*pair, sample_weight=weight)
    np.testing.assert_allclose(prc[c], want, rtol=1e-12)


def test_padding_rows_change_nothing():
  logits, label = column(0.9, 0.8, 0.4, 0.1), column(1, 0, 1, 0)
  padded = np.append(logits, [[np.nan], [7.0]], axis=0)
  labels = np.append(label, [[0.0], [0.0]], axis=0)
  weight = np.array([1.0, 1, 1, 1, 0, 0])
  assert metrics.summary(padded, labels, weight) == metrics.summary(
    logits, label
  )


def test_label_without_both_classes_is_left_out_and_counted():
  logits = np.array([[1.0, 1, 1], [0, 0, 0]])
  label = np.array([[1, 1, 0], [0, 1, 0]])
  roc, prc = metrics.scores(logits, label)
  np.testing.assert_array_equal(roc, [1, np.nan, np.nan])
  np.testing.assert_array_equal(prc, [1, np.nan, np.nan])
  found = metrics.summary(logits, label)
  assert found == {"auroc": 1.0, "auprc": 1.0, "undefined": 2}


@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_defined_is_none_not_nan(rows):
  found = metrics.summary(np.ones((rows, 2)), np.ones((rows, 2)))
  assert found == {"auroc": None, "auprc": None, "undefined": 2}


def test_released_code():
  with np.load("tests/golden/metrics__computeAUROC_c3.npz") as golden:
    roc, prc = metrics.scores(golden["in/pred"], golden["in/y"])
    np.testing.assert_allclose(roc, golden["out/auc_scores"], rtol=1e-12)
    np.testing.assert_allclose(prc, golden["out/auprc_scores"], rtol=1e-12)
    assert metrics.mean(roc)[0] == pytest.approx(golden["out/auroc_mean"])
    assert metrics.mean(prc)[0] == pytest.approx(golden["out/auprc_mean"])


@pytest.mark.parametrize(
  ("logits", "label", "message"),
  [
    (column(np.nan, 1), column(0, 1), "1 of 2 rows .* NaN"),
    (column(0, 1), column(0, 2), "0 or 1"),
    (column(0, 1), column(0, 1, 1), "both must be"),
    (np.zeros(2), np.zeros(2), "both must be"),
  ],
)
def test_refuses(logits, label, message):
  with pytest.raises(ValueError, match=message):
    metrics.scores(logits, label)


def test_refuses_weights():
  for weight in (np.ones(3), -np.ones(2)):
    with pytest.raises(ValueError, match="weight is"):
      metrics.scores(column(0, 1), column(0, 1), weight)
