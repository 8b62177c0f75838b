"""Tokens of a modality -> one vector for its classifier (METHOD.md 1)."""

import jax.numpy as jnp


def mean(tokens, mask):
  """Mean of tokens f32[B T D] over mask bool[B T] -> f32[B D], 0 if none."""
  tokens = jnp.where(mask[:, :, None], tokens, 0.0)
  count = jnp.maximum(mask.sum(axis=1), 1)
  return tokens.sum(axis=1) / count[:, None]


def summarise(tokens, mask, project, how: str):
  """Reduces tokens and projects the result to the joint width.

  Projection and mean are linear and commute; reducing first is cheaper.

  Args:
    tokens: f32[B T D].
    mask: bool[B T].
    project: D -> E, a bound nn.Dense.
    how: "first" (the class token) or "mean" (over the mask).

  Returns:
    f32[B E], zeros where no token is real.
  """
  x = tokens[:, 0] if how == "first" else mean(tokens, mask)
  some = mask.any(axis=1, keepdims=True)
  return jnp.where(some, project(x), 0.0).astype(jnp.float32)
