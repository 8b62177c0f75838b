"""Late weights fitted on stays that no encoder learned from (`late.Stacked`).

On its own training stays an encoder is surer than it may be, each in another
measure, so weights learned there trust what was learned by heart. Here they
are a penalised maximum likelihood on other stays: logistic regression on the
evidence of the sources (stacking; Wolpert 1992). It has one solution, so there
is no learning rate or seed.

Dims: N stays, S sources of which the first M are modalities, P = M (M - 1) / 2
pairs, F = S + P features, C labels.
"""

import dataclasses
import functools

import numpy as np
import scipy.optimize
import scipy.special

from medpatch_jax import late

# Strengths of the penalty: how much it bends the loss, a sum over stays.
OWN = 300.0  # On what a label's weight differs from the mean over labels.
MEAN = 1.0  # On that mean, of a modality.
MORE = 30.0  # On that mean, of what is added: other sources and pairs.
KNOWN = 30.0  # On how far that mean, of a source, moves from a fit of before.
# On how far a label's bias moves from the base rate: without it that of a label
# without a case ran away until the solver gave up.
BIAS = 0.3
FOLDS = 5
# True labels of validation, or false ones if these are fewer, that tell what
# a source is worth; with less of them train has to help.
FEW = 200


@dataclasses.dataclass(frozen=True)
class Stays:
  """What the sources say of stays that no encoder learned from.

  Attributes:
    logits: f32[N S C] of the sources.
    present: bool[N S].
    label: f32[N C] in {0, 1}.
    subject: whose the stays are, i64[N].
    prior: base rate that evidence is measured from, f32[C].
    modalities: M.
    classes: exactly one label is true (softmax), not any of them (sigmoid).
  """

  logits: np.ndarray
  present: np.ndarray
  label: np.ndarray
  subject: np.ndarray
  prior: np.ndarray
  modalities: int
  classes: bool = False

  def take(self, index) -> "Stays":
    """Some of the stays."""
    names = ("logits", "present", "label", "subject")
    return dataclasses.replace(
      self, **{name: getattr(self, name)[index] for name in names}
    )

  def evidence(self) -> np.ndarray:
    """f32[N S C], as of `late.evidence_of`."""
    return np.asarray(late.evidence_of(self.logits, self.present, self.prior))


def fit(stays: Stays, before: dict | None = None, pairs: bool = True) -> dict:
  """Parameters of `late.Stacked`.

  Args:
    stays: to fit them on.
    before: of an earlier fit, on more stays, to which the weights of
      modalities and pairs are drawn instead of to 0.
    pairs: products have weights; else these are 0.

  Returns:
    {prior, center, weight, pair, bias} of f32, of one modality without `pair`.
    A source that never says anything has weight 0; none has one below 0, since
    what speaks against a label can only be believed less.
  """
  S, M = stays.present.shape[1], stays.modalities
  evidence = stays.evidence()
  if before is None:
    some = np.maximum(stays.present[:, :M].sum(axis=0), 1)
    center = evidence[:, :M].sum(axis=0) / some[:, None]
  else:
    center = before["center"]
  together = late.products(evidence[:, :M], stays.present[:, :M], center)
  together = np.asarray(together) if pairs else np.zeros_like(together)
  x = np.concatenate([evidence, together], 1).astype(np.float64)
  # Evidence is in log odds whatever the source; products are not.
  scale = np.sqrt(np.square(x).mean(axis=(0, 2)))
  scale = np.where((np.arange(len(scale)) < S) | (scale == 0), 1.0, scale)
  strength = np.full(len(scale), MORE)
  strength[:M] = MEAN
  toward = np.zeros(x.shape[1:])
  if before is not None:
    toward[:M] = before["weight"][:M]
    toward[S:] = before.get("pair", 0) if pairs else 0
    strength[:M] = KNOWN
  weight, bias = _solve(
    stays, x / scale[:, None], toward * scale[:, None], strength
  )
  weight = weight / scale[:, None]
  found = {
    "prior": stays.prior,
    "center": center,
    "weight": weight[:S],
    "pair": weight[S:],
    "bias": bias,
  }
  return {
    name: np.asarray(v, np.float32) for name, v in found.items() if np.size(v)
  }


def pay(stays: Stays) -> bool:
  """Whether products of two modalities are worth having.

  They are if they lower the loss on patients that the weights were not fitted
  on, by more than one standard error of the mean over patients. Products of
  sources that say little are small, and their weights large and of chance;
  without this rule two sources of noise spoil the others.
  """
  if stays.modalities < 2:
    return False
  gain = loss(stays, unseen(stays, pairs=False)) - loss(stays, unseen(stays))
  _, patient = np.unique(stays.subject, return_inverse=True)
  each = np.bincount(patient, gain) / np.bincount(patient)
  return bool(each.mean() > each.std() / np.sqrt(len(each)))


def loss(stays: Stays, logits) -> np.ndarray:
  """Loss f64[N] of each stay, a sum over labels, of logits f32[N C]."""
  z = np.asarray(logits, np.float64)
  if stays.classes:
    return scipy.special.logsumexp(z, axis=1) - (z * stays.label).sum(axis=1)
  return (np.logaddexp(0, z) - z * stays.label).sum(axis=1)


def unseen(
  stays: Stays, before: dict | None = None, pairs: bool = True
) -> np.ndarray:
  """Logits f32[N C], each stay's by weights fitted on other patients' stays.

  Args:
    stays, before, pairs: as of `fit`.
  """
  fold = folds(stays.subject, FOLDS)
  out = np.zeros(stays.label.shape, np.float32)
  module = late.Stacked(stays.modalities)
  for k in np.unique(fold):
    here, other = stays.take(fold == k), stays.take(fold != k)
    params = {"params": fit(other, before, pairs)}
    out[fold == k] = module.apply(params, here.logits, here.present)[0]
  return out


def folds(subject, count: int) -> np.ndarray:
  """Part i64[N] in [0, count) of each stay, the same for all of a patient."""
  return np.unique(subject, return_inverse=True)[1] % count


def _solve(stays: Stays, x, toward, strength):
  """Weights f64[F C] and biases f64[C] of the least penalised loss.

  The penalty on the weights of a feature is OWN / 2 times their squared
  distance from their mean, and strength / 2 times the squared mean; that on a
  bias is BIAS / 2 times its square.

  Args:
    stays: their labels.
    x: features f64[N F C].
    toward: where weights are counted from, f64[F C].
    strength: f64[F].
  """
  label = stays.label.astype(np.float64)
  _, F, C = x.shape
  S = stays.present.shape[1]
  probability = scipy.special.expit
  if stays.classes:
    probability = functools.partial(scipy.special.softmax, axis=1)

  def objective(flat):
    weight, bias = flat[: F * C].reshape(F, C), flat[F * C :]
    z = np.einsum("nfc,fc->nc", x, weight) + stays.prior + bias
    total = loss(stays, z).sum()
    wrong = probability(z) - label
    mean = (weight - toward).mean(axis=1, keepdims=True)
    own = weight - toward - mean
    total += OWN / 2 * np.square(own).sum()
    total += (strength / 2 * np.square(mean[:, 0])).sum()
    total += BIAS / 2 * np.square(bias).sum()
    slope = np.einsum("nfc,nc->fc", x, wrong)
    slope += OWN * own + strength[:, None] * mean / C
    return total, np.concatenate(
      [slope.ravel(), wrong.sum(axis=0) + BIAS * bias]
    )

  bounds = [(0, None)] * (S * C) + [(None, None)] * ((F - S + 1) * C)
  start = np.concatenate([toward.ravel(), np.zeros(C)])
  found = scipy.optimize.minimize(
    objective,
    start,
    jac=True,
    method="L-BFGS-B",
    bounds=bounds,
    options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-7},
  )
  return found.x[: F * C].reshape(F, C), found.x[F * C :]
