"""Logistic regression as a plain model beside the encoders."""

import numpy as np
import scipy.optimize

from medpatch_jax.evaluate import metrics
from medpatch_jax.input import discretise

PENALTIES = (1.0, 10.0, 100.0, 1000.0)


def regression(X, y, penalty):
  """Logistic regression with an L2 penalty: (weights f64[F], bias)."""

  def loss(w):
    z = X @ w[:-1] + w[-1]
    value = np.logaddexp(0, z).sum() - y @ z + penalty / 2 * w[:-1] @ w[:-1]
    error = 1 / (1 + np.exp(-z)) - y
    return value, np.append(X.T @ error + penalty * w[:-1], error.sum())

  found = scipy.optimize.minimize(
    loss, np.zeros(X.shape[1] + 1), jac=True, method="L-BFGS-B"
  )
  return found.x[:-1], found.x[-1]


def logits(X, y, split):
  """Logits f64[N] of the test rows by logistic regression."""
  train, validation = split == "train", split == "validation"

  def said(learn, apply, penalty):
    x = X[:, ~np.isnan(X[learn]).all(axis=0)]
    mean, std = np.nanmean(x[learn], axis=0), np.nanstd(x[learn], axis=0)
    std, _ = discretise.scale(mean, std)
    Z = np.nan_to_num((x - mean[None]) / std[None])  # Missing: the mean.
    w, bias = regression(Z[learn], y[learn], penalty)
    return Z[apply] @ w + bias

  best = max(
    PENALTIES,
    key=lambda p: scores(said(train, validation, p), y[validation])[0],
  )
  return said(train | validation, split == "test", best)


def scores(logits, label):
  """(AUROC, AUPRC)."""
  one = np.asarray(logits)[:, None], np.asarray(label)[:, None]
  return float(metrics.auroc(*one)[0]), float(metrics.auprc(*one)[0])
