"""Hourly vitals and labs -> a token per hour (METHOD.md section 1, EHR).

Dims: B stays, T hours, F columns (76), E joint width (512).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.schema import Encoded


def token_mask(mask, present, released=()):
  """The hours that count as tokens.

  Args:
    mask: bool[B T], hours that exist.
    present: bool[B].
    released: with "padding_tokens", hours up to the longest stay of the batch
      count for every stay.

  Returns:
    (hours that exist bool[B T], hours that are tokens bool[B T]).
  """
  real = mask & present[:, None]
  if "padding_tokens" not in released:
    return real, real
  hour = jnp.arange(1, mask.shape[1] + 1)
  longest = jnp.where(real, hour[None], 0).max()
  counted = jnp.broadcast_to(hour[None] <= longest, mask.shape)
  if "absent_tokens" not in released:
    counted = counted & present[:, None]
  return real, counted


class LSTM(nn.Module):
  """An LSTM's hidden state of every hour; summary is the last one.

  No projection: the tokens are as wide as the joint module takes them.

  Attributes:
    width: E, hidden width.
    layers: LSTM layers (MedFuse has two).
    dropout: of the summary, in training.
    released: names of METHOD.md; padding_tokens and absent_tokens count.
    dtype: of the matrix products.
  """

  width: int = 512
  layers: int = 1
  dropout: float = 0.0
  released: tuple[str, ...] = ()
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """Encodes x f32[B T F] with mask bool[B T], present bool[B].

    Returns:
      (Encoded with tokens f32[B T E], {}).
    """
    real, counted = token_mask(fields["mask"], present, self.released)
    x = fields["x"]
    for i in range(self.layers):
      x, last = layers.Lstm(self.width, self.dtype, name=f"layer_{i}")(x, real)
    last = nn.Dropout(self.dropout, deterministic=not train)(last)
    return Encoded(tokens=x, mask=counted, summary=last), {}


def sinusoids(length: int, width: int) -> np.ndarray:
  """Sine and cosine of positions at geometric wavelengths, f32[T D].

  Vaswani et al. 2017, section 3.5; sines first, then cosines.
  """
  half = (width + 1) // 2
  rate = np.exp(-np.log(10_000.0) * np.arange(half) / max(half - 1, 1))
  angle = np.arange(length)[:, None] * rate[None]
  table = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
  return table[:, :width].astype(np.float32)


class Transformer(nn.Module):
  """A pre-norm transformer with a class token, which is token 0 and summary.

  Attributes:
    width: E, of the tokens.
    depth, heads, head_width, mlp, dropout: of `layers.Transformer`.
    over: what a token is: an "hours" with sinusoidal positions, or, as in the
      released code, one of the "variables" whose features are its values over
      a fixed number of hours (those that do not exist are 0), with learned
      positions.
    released: names of METHOD.md; padding_tokens and absent_tokens count.
    dtype: of the matrix products.
    remat: activations of blocks are computed again in the backward pass.
  """

  width: int = 512
  depth: int = 4
  heads: int = 4
  head_width: int = 128
  mlp: int = 768
  dropout: float = 0.1
  over: str = "hours"
  released: tuple[str, ...] = ()
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """Encodes x f32[B T F] with mask bool[B T], present bool[B].

    Returns:
      (Encoded with tokens f32[B 1+T E], or f32[B 1+F E] over variables, {}).

    Raises:
      ValueError: `over` is neither "hours" nor "variables".
    """
    if self.over not in ("hours", "variables"):
      raise ValueError(f"over={self.over!r}: wanted 'hours' or 'variables'.")
    real, counted = token_mask(fields["mask"], present, self.released)
    x = jnp.where(real[:, :, None], fields["x"], 0.0)
    if self.over == "variables":
      x = jnp.swapaxes(x, 1, 2)
      some = counted.any(axis=1, keepdims=True)
      counted = jnp.broadcast_to(some, x.shape[:2])
    x = nn.Dense(self.width, dtype=self.dtype, name="embed")(x)
    x = self._positions(x)
    # The class token is a key of every stay, so no softmax is over nothing.
    key = jnp.pad(counted, ((0, 0), (1, 0)), constant_values=True)
    x = layers.Transformer(
      depth=self.depth,
      heads=self.heads,
      head_width=self.head_width,
      mlp=self.mlp,
      dropout=self.dropout,
      dtype=self.dtype,
      remat=self.remat,
      name="transformer",
    )(x, key, train=train)
    mask = key & counted.any(axis=1, keepdims=True)
    x = jnp.where(mask[:, :, None], x, 0.0).astype(jnp.float32)
    return Encoded(tokens=x, mask=mask, summary=x[:, 0]), {}

  def _positions(self, x):
    """x [B T E] -> [B 1+T E]: class token in front, positions added."""
    B, T, E = x.shape
    normal = nn.initializers.normal(1.0)  # As torch.randn in the released code.
    cls = self.param("cls", normal, (E,)).astype(x.dtype)
    cls = jnp.broadcast_to(cls[None, None], (B, 1, E))
    if self.over == "variables":
      positions = self.param("positions", normal, (1 + T, E)).astype(x.dtype)
      return jnp.concatenate([cls, x], axis=1) + positions[None]
    x = x + jnp.asarray(sinusoids(T, E), x.dtype)[None]
    return jnp.concatenate([cls, x], axis=1)
