"""Tokens split by confidence and averaged (METHOD.md section 4, paper 3.3)."""

import jax
import jax.numpy as jnp
import numpy as np


def pool(tokens, mask, high, confidence):
  """Means of the high and of the low cluster, for each label.

  Pooling comes before projection: both are linear, so this is the released
  code's project-then-pool without its [B T C E] tensor.

  Dims: B stays, T tokens, D token width, C labels, K = 2 C clusters.

  Args:
    tokens: f32[B T D], finite where masked, as encoders leave them.
    mask: bool[B T], real tokens; the others count for nothing.
    high: bool[B T C], which cluster a token is in for a label.
    confidence: f32[B T C].

  Returns:
    dict with the fields of `schema.Pool` but for the summary: `high`, `low`
    f32[B C D]; `has_high`, `has_low` bool[B C]; `mean_high`, `mean_low`
    f32[B C], the mean confidence. Zeros where a cluster is empty.
  """
  C = high.shape[-1]
  high, confidence = (jnp.swapaxes(x, 1, 2) for x in (high, confidence))
  real = mask[:, None, :]
  weight = jnp.concatenate([real & high, real & ~high], axis=1)
  weight = weight.astype(tokens.dtype)
  confidence = jnp.where(real, confidence, 0.0)
  # Computed once, rather than anew inside each of the three sums.
  weight, confidence = jax.lax.optimization_barrier(
    jax.lax.stop_gradient((weight, confidence))
  )
  # One pass over the tokens for both clusters: "B K T, B T D -> B K D".
  total = weight @ tokens
  count = weight.sum(axis=2)
  confidence = jnp.concatenate([confidence, confidence], axis=1)
  confidence = (weight * confidence).sum(axis=2)
  divisor = jnp.maximum(count, 1.0)
  mean, confidence = total / divisor[:, :, None], confidence / divisor
  has = count > 0
  return {
    "high": mean[:, :C],
    "low": mean[:, C:],
    "has_high": has[:, :C],
    "has_low": has[:, C:],
    "mean_high": confidence[:, :C],
    "mean_low": confidence[:, C:],
  }


def deal(score, mask):
  """A stay's scores dealt out to its tokens anew: the control of patching.

  The order is one for all stays and depends on positions alone, so a stay's
  result does not depend on its batch or padding.

  Args:
    score: f32[B T C].
    mask: bool[B T], real tokens; the others get any score.

  Returns:
    f32[B T C], for each stay and label the same scores at other real tokens.
  """
  draw = np.random.default_rng(0).random(mask.shape[1], np.float32)
  real = jnp.argsort(~mask, axis=1, stable=True)
  order = jnp.argsort(jnp.where(mask, draw, 2.0), axis=1, stable=True)
  # The k-th real token's score goes to the real token drawn k-th.
  place = jnp.argsort(order, axis=1)
  source = jnp.take_along_axis(real, place, axis=1)
  return jnp.take_along_axis(score, source[:, :, None], axis=1)
