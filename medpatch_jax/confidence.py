"""Tokens -> a logit per token and label (METHOD.md section 3, paper 3.2)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn


class Confidence(nn.Module):
  """A linear probe on every token, trained against the stay's own labels.

  Dims: B stays, T tokens, D token width, C labels.

  Attributes:
    num_labels: C.
    dtype: of the matrix product.
  """

  num_labels: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, tokens):
    """tokens f32[B T D] -> logits f32[B T C], before any temperature."""
    logits = nn.Dense(self.num_labels, dtype=self.dtype, name="dense")(tokens)
    return logits.astype(jnp.float32)
