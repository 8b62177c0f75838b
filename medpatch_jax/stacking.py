"""Late weights fitted on stays that no encoder learned from (`late.Stacked`).

On its own training stays an encoder is surer than it may be, each in another
measure, so weights learned there trust what was learned by heart. Here they
are a penalised maximum likelihood on other stays: logistic regression on the
evidence of the sources (stacking; Wolpert 1992). It has one solution, so there
is no learning rate or seed.

Dims: N stays, S sources of which the first M are modalities, P = M (M - 1) / 2
pairs, F = S + P features, C labels.
"""

import numpy as np
import scipy.optimize
import scipy.special

from medpatch_jax import late

# Strengths of the penalty in units of stays: so many, of which half are
# positive, would count as much. Labels share what a source is worth.
OWN = 300.0  # On what a label's weight differs from the mean over labels.
MEAN = 1.0  # On the mean of a source.
PAIR = 30.0  # On the mean of a pair.
FOLDS = 5


def fit(logits, present, label, prior, modalities: int, classes: bool = False):
  """Parameters of `late.Stacked`.

  Args:
    logits: f32[N S C] of the sources.
    present: bool[N S].
    label: f32[N C] in {0, 1}.
    prior: base rate that evidence is measured from, f32[C].
    modalities: M.
    classes: exactly one label is true (softmax), not any of them (sigmoid).

  Returns:
    {prior, center, weight, pair, bias} of f32. A source that never says
    anything has weight 0; none has one below 0, since what speaks against a
    label can only be believed less.
  """
  logits, label = np.asarray(logits), np.asarray(label, np.float64)
  _, S, C = logits.shape
  prior = np.asarray(prior, np.float32)
  evidence = np.asarray(late.evidence_of(logits, present, prior))
  some = np.maximum(present[:, :modalities].sum(axis=0), 1)
  center = evidence[:, :modalities].sum(axis=0) / some[:, None]
  x = _features(evidence, present, center, modalities)
  # Evidence is in log odds whatever the source; products are not.
  scale = np.sqrt(np.square(x).mean(axis=(0, 2)))
  scale = np.where((np.arange(len(scale)) < S) | (scale == 0), 1.0, scale)
  shrink = np.full(x.shape[1], MEAN)
  shrink[S:] = PAIR
  weight, bias = _solve(x / scale[:, None], label, prior, shrink, S, classes)
  weight = weight / scale[:, None]
  found = {
    "prior": prior,
    "center": center,
    "weight": weight[:S],
    "pair": weight[S:],
    "bias": bias,
  }
  return {name: np.asarray(v, np.float32) for name, v in found.items()}


def unseen(logits, present, label, prior, modalities, classes, subject):
  """Logits f32[N C], each stay's by weights fitted on other patients' stays.

  Args:
    logits, present, label, prior, modalities, classes: as in `fit`.
    subject: whose the stays are, i64[N].
  """
  fold = np.unique(subject, return_inverse=True)[1] % FOLDS
  out = np.zeros(label.shape, np.float32)
  for k in np.unique(fold):
    at, other = fold == k, fold != k
    if not other.any():
      other = at
    params = fit(
      logits[other], present[other], label[other], prior, modalities, classes
    )
    fused, _ = _module(modalities).apply(
      {"params": params}, logits[at], present[at]
    )
    out[at] = fused
  return out


def _module(modalities):
  return late.Stacked(modalities)


def _features(evidence, present, center, modalities):
  """f64[N F C]: evidence, and products of any two modalities'."""
  together = late.products(
    evidence[:, :modalities], present[:, :modalities], center
  )
  return np.concatenate([evidence, np.asarray(together)], 1).astype(np.float64)


def _solve(x, label, prior, shrink, sources: int, classes: bool):
  """Weights f64[F C] and biases f64[C] of the least penalised loss.

  Args:
    x: f64[N F C].
    label: f64[N C].
    prior: f64[C].
    shrink: penalty on the mean of each feature's weights over labels, f64[F].
    sources: the first so many weights are not below 0.
    classes: as in `fit`.
  """
  _, F, C = x.shape
  link = scipy.special.softmax if classes else scipy.special.expit
  # A penalty on weights w of one feature: OWN / 2 of their squared distance
  # from their mean, shrink / 2 of the squared mean.

  def loss(flat):
    weight, bias = flat[: F * C].reshape(F, C), flat[F * C :]
    z = np.einsum("nfc,fc->nc", x, weight) + prior + bias
    wrong = (link(z, axis=1) if classes else link(z)) - label
    if classes:
      total = (scipy.special.logsumexp(z, axis=1) - (z * label).sum(1)).sum()
    else:
      total = (np.logaddexp(0, z) - z * label).sum()
    mean = weight.mean(axis=1, keepdims=True)
    own = weight - mean
    total += OWN / 2 * np.square(own).sum()
    total += (shrink / 2 * np.square(mean[:, 0])).sum()
    slope = np.einsum("nfc,nc->fc", x, wrong)
    slope += OWN * own + shrink[:, None] * mean / C
    return total, np.concatenate([slope.ravel(), wrong.sum(axis=0)])

  bounds = [(0, None)] * (sources * C) + [(None, None)] * (
    (F - sources + 1) * C
  )
  start = np.concatenate([np.repeat(_start(F, sources), C), np.zeros(C)])
  found = scipy.optimize.minimize(
    loss,
    start,
    jac=True,
    method="L-BFGS-B",
    bounds=bounds,
    options={"maxiter": 500},
  )
  return found.x[: F * C].reshape(F, C), found.x[F * C :]


def _start(features: int, sources: int) -> np.ndarray:
  return (np.arange(features) < sources) * 0.5
