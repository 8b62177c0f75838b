"""All predictions of a stay -> one (METHOD.md section 6, paper 3.5)."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Late(nn.Module):
  """Averages every prediction with learned weights, skipping absent sources.

  Dims: B stays, S sources (modalities, then missingness, low, high), C labels.

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
