"""Tokens that another model made, read from the records, to the joint width.

Dims: B stays, T tokens, D width of the tokens, E joint width.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax.encode.summary import summarise
from medpatch_jax.schema import Encoded


class Embedding(nn.Module):
  """Tokens of mean 0 and variance 1 each, as they are; summary is their mean.

  The model that made them is frozen: nothing but the projection is trained.
  The norm has no parameters, so that embeddings of any scale start alike.

  Attributes:
    joint_width: E.
    released: names of behaviours; none counts.
    dtype: of the matrix products.
  """

  joint_width: int = 512
  released: tuple[str, ...] = ()
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """Encodes x f32[B T D] with mask bool[B T], present bool[B].

    Returns:
      (Encoded with tokens f32[B T D], {}).
    """
    mask = fields["mask"] & present[:, None]
    tokens = nn.LayerNorm(
      epsilon=1e-6, use_bias=False, use_scale=False, use_fast_variance=False
    )(fields["x"].astype(jnp.float32))
    tokens = jnp.where(mask[:, :, None], tokens, 0.0)
    project = nn.Dense(self.joint_width, dtype=self.dtype, name="project")
    summary = summarise(tokens, mask, project, "mean")
    return Encoded(tokens=tokens, mask=mask, summary=summary), {}
