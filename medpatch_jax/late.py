"""All predictions of a stay -> one (METHOD.md section 6, paper 3.5).

Dims: B stays, M modalities, S sources (modalities, then missingness, low,
high), C labels.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


class Late(nn.Module):
  """Averages every prediction with learned weights, skipping absent sources.

  Attributes:
    released: names of METHOD.md; with late_norm the weights are normalised
      over sources and labels together, which shrinks the logits C-fold.
  """

  released: tuple[str, ...] = ()

  @nn.compact
  def __call__(self, logits, present):
    """Fuses logits f32[B S C] under present bool[B S] into f32[B C].

    `out["weights"]` f32[B S C] is 0 where absent and sums to 1 over S for
    each label, or is 0 throughout where a stay has no source at all.
    """
    _, S, C = logits.shape
    # Started equal; the softmax is the same whatever the common value.
    score = self.param("score", nn.initializers.ones, (S, C))
    real = present[:, :, None]
    logits = jnp.where(real, logits, 0.0)
    if "late_norm" in self.released:
      weight = jnp.where(real, jax.nn.softmax(score, axis=0)[None], 0.0)
      total = weight.sum(axis=(1, 2), keepdims=True)
      weights = weight / (total + 1e-8)
    else:
      # Relative to the largest score present: it alone keeps the sum away
      # from 0.
      bound = jnp.where(real, score[None], -jnp.inf).max(1, keepdims=True)
      bound = jax.lax.stop_gradient(jnp.where(bound > -jnp.inf, bound, 0.0))
      weight = jnp.exp(jnp.where(real, score[None] - bound, -jnp.inf))
      total = weight.sum(axis=1, keepdims=True)
      weights = weight / jnp.where(total > 0, total, 1.0)
    return (weights * logits).sum(axis=1), {"weights": weights}


class LogOddsSum(nn.Module):
  """Adds up what every source says beyond the base rate, with learned weights.

  Bayes' rule for modalities that are independent given the label: the log odds
  of each are the base rate's plus its evidence, and evidence adds up (a product
  of experts; Hinton 2002). A mean instead shrinks what many modalities agree
  on to the size of what one says. Neither the paper nor its code has this.

  Attributes:
    modalities: M; these sources hold the base rate, the others start at 0 and
      only add to it.
  """

  modalities: int

  @nn.compact
  def __call__(self, logits, present):
    """Fuses logits f32[B S C] under present bool[B S] into f32[B C].

    `out["weights"]` f32[B S C] is 0 where absent; it starts at 1 elsewhere.
    """
    _, S, C = logits.shape
    weight = self.param("weight", nn.initializers.ones, (S, C))
    prior = self.param("prior", nn.initializers.zeros, (C,))
    real = present[:, :, None]
    weights = jnp.where(real, weight[None], 0.0)
    counted = weights[:, : self.modalities].sum(axis=1)
    said = (weights * jnp.where(real, logits, 0.0)).sum(axis=1)
    return said + (1 - counted) * prior[None], {"weights": weights}


class Stacked(nn.Module):
  """Adds up evidence, of every source and of any two modalities together.

  Stacking (Wolpert 1992; Breiman 1996): the weights are what each source is
  worth on stays that no encoder learned from (stacking.py), so that one that
  says nothing weighs nothing. A product of the evidence of two modalities
  tells what they show only together, which no sum can: one changes what the
  other means. Neither the paper nor its code has this.

  Attributes:
    modalities: M, the first of the sources.
  """

  modalities: int

  @nn.compact
  def __call__(self, logits, present):
    """Fuses logits f32[B S C] under present bool[B S] into f32[B C].

    `out["weights"]` f32[B S C] is 0 where absent. An absent source adds
    nothing, so a stay without any has the base rate.
    """
    _, S, C = logits.shape
    M = self.modalities
    zeros, ones = nn.initializers.zeros, nn.initializers.ones
    prior = jax.lax.stop_gradient(self.param("prior", zeros, (C,)))
    center = jax.lax.stop_gradient(self.param("center", zeros, (M, C)))
    weight = self.param("weight", ones, (S, C))
    bias = self.param("bias", zeros, (C,))
    evidence = evidence_of(logits, present, prior)
    together = products(evidence[:, :M], present[:, :M], center)
    fused = (weight[None] * evidence).sum(axis=1)
    if M > 1:  # A parameter without numbers could not be saved.
      pair = self.param("pair", zeros, (M * (M - 1) // 2, C))
      fused += (pair[None] * together).sum(axis=1)
    weights = jnp.where(present[:, :, None], weight[None], 0.0)
    return (prior + bias)[None] + fused, {"weights": weights}


def evidence_of(logits, present, prior):
  """What sources say beyond the base rate, f32[B S C]; 0 where absent.

  Args:
    logits: f32[B S C].
    present: bool[B S].
    prior: log odds of each label, f32[C]; of classes, the log.
  """
  return jnp.where(present[:, :, None], logits - prior[None, None], 0.0)


def products(evidence, present, center):
  """Of any two modalities, f32[B M(M-1)/2 C]; 0 where one is absent.

  Args:
    evidence: f32[B M C].
    present: bool[B M].
    center: what a modality says on average, f32[M C]: around it a product
      holds nothing that either says alone.
  """
  real = present[:, :, None]
  centered = jnp.where(real, evidence - center[None], 0.0)
  first, second = np.triu_indices(evidence.shape[1], 1)
  return centered[:, first] * centered[:, second]
