"""Raw input as tokens, for HEALNet without pretrained encoders.

MedPatch's Table C6 sets HEALNet on raw input beside HEALNet on encoders. A
series gives its hours, a film its cells of averaged pixels with where they
are in both directions, a note its pieces as learned vectors.

Dims: B stays, T tokens, D token width, S pixels a side, W windows, L pieces.
"""

import math

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax.encode import summary
from medpatch_jax.schema import Encoded


def _encoded(tokens, mask):
  tokens = jnp.where(mask[:, :, None], tokens, 0.0)
  return Encoded(
    tokens=tokens, mask=mask, summary=summary.mean(tokens, mask)
  ), {}


class Series(nn.Module):
  """An hour is a token."""

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """x f32[B T F], mask bool[B T] -> (Encoded with tokens f32[B T F], {})."""
    return _encoded(fields["x"], fields["mask"] & present[:, None])


class Image(nn.Module):
  """A cell of averaged pixels is a token, with its place in two directions.

  Every pixel of 384 x 384 would make 147,456 tokens.

  Attributes:
    side: cells a side; S must be a multiple of it, or no larger.
    bands: Fourier bands of each direction, as in `healnet.fourier`.
  """

  side: int = 48
  bands: int = 4

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """image u8[B S S] -> (Encoded with tokens f32[B side^2 D], {})."""
    image = fields["image"].astype(jnp.float32) / 127.5 - 1.0
    S = image.shape[1]
    side = min(self.side, S)
    if S % side:
      raise ValueError(f"films of {S} pixels do not divide into {side} cells.")
    cell = einops.reduce(
      image, "B (Y y) (X x) -> B (Y X) 1", "mean", Y=side, X=side
    )
    place = jnp.linspace(-1.0, 1.0, side)
    scale = jnp.linspace(1.0, 5.0, self.bands)
    angle = place[:, None] * scale[None] * math.pi
    one = jnp.concatenate(
      [jnp.sin(angle), jnp.cos(angle), place[:, None]], axis=1
    )
    grid = jnp.concatenate(
      [
        einops.repeat(one, "Y F -> (Y X) F", X=side),
        einops.repeat(one, "X F -> (Y X) F", Y=side),
      ],
      axis=1,
    )
    grid = jnp.broadcast_to(grid[None], (image.shape[0], *grid.shape))
    tokens = jnp.concatenate([cell, grid], axis=2)
    mask = jnp.broadcast_to(present[:, None], tokens.shape[:2])
    return _encoded(tokens, mask)


class Pieces(nn.Module):
  """A piece is a token, its windows one after the other.

  Attributes:
    vocab_size: pieces.
    width: D.
  """

  vocab_size: int
  width: int = 128

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """piece i32[B W L], mask bool[B W L] -> (Encoded, f32[B W*L D], {})."""
    mask = fields["mask"] & present[:, None, None]
    piece = jnp.where(mask, fields["piece"], 0)
    piece, mask = (
      einops.rearrange(a, "B W L -> B (W L)") for a in (piece, mask)
    )
    embed = nn.Embed(
      self.vocab_size,
      self.width,
      embedding_init=jax.nn.initializers.normal(0.02),
      name="words",
    )
    return _encoded(embed(piece), mask)
