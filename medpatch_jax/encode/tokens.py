"""Stands in for an encoder where the tokens are already at hand."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax.encode.summary import summarise
from medpatch_jax.schema import Encoded


class Tokens(nn.Module):
  """Takes an encoder's tokens as its input: for tests and benchmarks.

  Dims: B stays, T tokens, D token width, E joint width.

  Attributes:
    joint_width: E.
    summary: "first" or "mean".
    released: names of METHOD.md; padding_tokens and absent_tokens count.
    dtype: of the projection.
  """

  joint_width: int
  summary: str = "mean"
  released: tuple[str, ...] = ()
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """fields {tokens f32[B T D], mask bool[B T]}, present bool[B] -> Encoded.

    The second result is empty: nothing happens in between.
    """
    del train
    mask = fields["mask"]
    if "padding_tokens" in self.released:
      mask = jnp.ones_like(mask)
    if "absent_tokens" not in self.released:
      mask = mask & present[:, None]
    tokens = jnp.where(mask[:, :, None], fields["tokens"], 0.0)
    project = nn.Dense(self.joint_width, dtype=self.dtype, name="project")
    summary = summarise(tokens, mask, project, self.summary)
    return Encoded(tokens=tokens, mask=mask, summary=summary), {}
