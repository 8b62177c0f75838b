"""Which modalities a stay has -> a prediction (METHOD.md section 5)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax.layers import Classifier


class Missingness(nn.Module):
  """LayerNorm and Dense on the presence vector: absence is informative.

  Dims: B stays, M modalities, C labels.

  Attributes:
    num_labels: C.
    dtype: of the computation.
  """

  num_labels: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, present):
    """present bool[B M] -> logits f32[B C]."""
    x = present.astype(jnp.float32)
    return Classifier(self.num_labels, self.dtype, name="classifier")(x)
