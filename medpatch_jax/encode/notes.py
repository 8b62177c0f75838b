"""A note of any length -> a token per window position (METHOD.md 1, RR, DN).

Dims: B stays, W windows, L window positions (tokens), D encoder width, E joint
width.
"""

from typing import Any

import einops
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.encode.summary import summarise
from medpatch_jax.schema import Encoded


class Bert(nn.Module):
  """BERT's last hidden state, without dropout and without the pooler.

  Attributes:
    vocab_size: pieces.
    positions: longest window.
    width: D.
    depth, heads, mlp: of the blocks (norm after, eps 1e-12).
    dtype: of the matrix products.
    remat: activations of blocks are computed again in the backward pass.
  """

  vocab_size: int
  positions: int = 512
  width: int = 768
  depth: int = 12
  heads: int = 12
  mlp: int = 3072
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(self, piece, mask, train: bool = False):
    """piece i32[B L], mask bool[B L] of the real ones -> f32[B L D].

    Raises:
      ValueError: the window is longer than `positions`.
    """
    L = piece.shape[1]
    if L > self.positions:
      raise ValueError(
        f"windows of {L} pieces given to an encoder with"
        f" positions={self.positions}."
      )
    table = nn.initializers.normal(0.02)  # BERT's own.
    words = self.param("words", table, (self.vocab_size, self.width))
    positions = self.param("positions", table, (self.positions, self.width))
    kinds = self.param("kinds", table, (2, self.width))
    x = jnp.take(words, piece, axis=0, mode="clip") + kinds[None, None, 0]
    x = x + positions[None, :L]
    x = layers.layer_norm(1e-12, self.dtype, "norm")(x)
    return layers.in_parts(Bert._blocks, self, x, mask, train)

  def _blocks(self, x, mask):
    for i in range(self.depth):
      x = layers.block(self.remat)(
        heads=self.heads,
        head_width=self.width // self.heads,
        mlp=self.mlp,
        eps=1e-12,
        post_norm=True,
        dtype=self.dtype,
        name=f"block_{i}",
      )(x, mask, False)
    return x


class Notes(nn.Module):
  """Encodes every window of a note and averages them position by position.

  Attributes:
    vocab_size, positions, width, depth, heads, mlp: of `Bert`.
    joint_width: E.
    pad, cls, sep: ids of the special pieces; [CLS] and [SEP] stand in for an
      absent note with absent_tokens.
    released: names of METHOD.md; padding_tokens and absent_tokens count.
    dtype: of the matrix products.
    remat: activations of blocks are computed again in the backward pass.
  """

  vocab_size: int
  positions: int = 512
  width: int = 768
  depth: int = 12
  heads: int = 12
  mlp: int = 3072
  joint_width: int = 512
  pad: int = 0
  cls: int = 101
  sep: int = 102
  released: tuple[str, ...] = ()
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """Encodes piece i32[B W L] with mask bool[B W L], present bool[B].

    Where BERT is frozen, its tokens [B L D] with mask bool[B L], as an earlier
    call returned them, may be given as `tokens` and `mask` instead.

    Returns:
      (Encoded with tokens f32[B L D], {}).
    """
    if "tokens" in fields:
      mask = fields["mask"] & present[:, None]
      tokens = fields["tokens"].astype(jnp.float32)
      tokens = jnp.where(mask[:, :, None], tokens, 0.0)
    else:
      tokens, mask = self._read(fields, present, train)
    project = nn.Dense(self.joint_width, dtype=self.dtype, name="project")
    summary = summarise(tokens, mask, project, "mean")
    return Encoded(tokens=tokens, mask=mask, summary=summary), {}

  def _read(self, fields, present, train):
    """Tokens f32[B L D] of pieces, averaged over windows; mask bool[B L]."""
    piece, mask = self._input(fields["piece"], fields["mask"], present)
    B, W, L = piece.shape
    hidden = Bert(
      vocab_size=self.vocab_size,
      positions=self.positions,
      width=self.width,
      depth=self.depth,
      heads=self.heads,
      mlp=self.mlp,
      dtype=self.dtype,
      remat=self.remat,
      name="bert",
    )(piece.reshape(B * W, L), mask.reshape(B * W, L), train)
    hidden = einops.rearrange(
      hidden.astype(jnp.float32), "(B W) L D -> B W L D", B=B
    )
    counted = mask
    if "padding_tokens" in self.released:
      counted = jnp.broadcast_to(mask.any(axis=2, keepdims=True), mask.shape)
    hidden = jnp.where(counted[..., None], hidden, 0.0)
    count = jnp.maximum(counted.sum(axis=1), 1)
    return hidden.sum(axis=1) / count[:, :, None], counted.any(axis=1)

  def _input(self, piece, mask, present):
    """Blanks what is padding or absent, so that it cannot be read."""
    mask = mask & present[:, None, None]
    piece = jnp.where(mask, piece, self.pad)
    if "absent_tokens" not in self.released:
      return piece, mask
    position = jnp.arange(piece.shape[2])
    window = jnp.arange(piece.shape[1])
    first = (window[:, None] == 0) & (position[None, :] < 2)
    stand_in = first[None] & ~present[:, None, None]
    special = jnp.where(position == 0, self.cls, self.sep)
    piece = jnp.where(stand_in, special[None, None], piece)
    return piece, mask | stand_in
