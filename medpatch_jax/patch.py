"""Tokens split by confidence and averaged (METHOD.md section 4, paper 3.3)."""

import jax
import jax.numpy as jnp


def pool(tokens, mask, high, confidence):
  """Means of the high and of the low cluster, for each label.

  Pooling comes before projection: both are linear, so this is the released
  code's project-then-pool without its [B T C E] tensor.

  Dims: B stays, T tokens, D token width, C labels.

  Args:
    tokens: f32[B T D].
    mask: bool[B T], real tokens; the others are never read.
    high: bool[B T C], which cluster a token is in for a label.
    confidence: f32[B T C].

  Returns:
    dict with the fields of `schema.Pool` but for the summary: `high`, `low`
    f32[B C D]; `has_high`, `has_low` bool[B C]; `mean_high`, `mean_low`
    f32[B C], the mean confidence. Zeros where a cluster is empty.
  """
  C = high.shape[-1]
  real = mask[:, :, None]
  tokens = jnp.where(real, tokens, 0.0)
  confidence = jnp.where(real, confidence, 0.0)
  member = jnp.concatenate([real & high, real & ~high], axis=2)
  weight = jax.lax.stop_gradient(member.astype(tokens.dtype))
  # One pass over the tokens for both clusters.
  total = jnp.einsum("BTK,BTD->BKD", weight, tokens)
  confidence = jnp.concatenate([confidence, confidence], axis=2)
  confidence = jnp.where(member, confidence, 0.0).sum(axis=1)
  count = member.sum(axis=1)
  divisor = jnp.maximum(count, 1)
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
