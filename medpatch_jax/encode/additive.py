"""Hourly vitals and labs -> an additive model of what was measured so far.

Dims: B stays, T hours, F columns, V variables that are numbers, S statistics
(5 V + F), K pieces, E joint width.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from medpatch_jax.encode.ehr import token_mask
from medpatch_jax.schema import Encoded

# Knots nearer to each other than this leave no piece between them.
APART = 1e-6


class Additive(nn.Module):
  """A generalised additive model with pairwise interactions as an encoder.

  Of each variable that is a number the mean, standard deviation, least,
  greatest and count of its measurements so far, and of each column the value of
  the hour, are cut into pieces at quantiles (Gorishniy et al. 2022, section
  3.2.1: piecewise linear encoding). A token is a function of each, which may
  bend at any knot, plus one of each two (Lou et al. 2013), products of two sums
  as in a factorization machine (Rendle 2010). It knows no order of time. On the
  Challenge 2012 the average of its and an LSTM's predictions is ahead of each
  alone (docs/challenge2012.md).

  Attributes:
    measured: V pairs of columns of x: a number, and its mask.
    width: E.
    pieces: K of each statistic.
    dropout: of the pieces, in training.
    released: names of METHOD.md; padding_tokens and absent_tokens count.
    dtype: of the matrix products.
  """

  measured: tuple[tuple[int, int], ...]
  width: int = 512
  pieces: int = 16
  dropout: float = 0.2
  released: tuple[str, ...] = ()
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """Encodes x f32[B T F] with mask bool[B T], present bool[B].

    Returns:
      (Encoded with tokens f32[B T E], summary that of the last hour, {}).
    """
    real, counted = token_mask(fields["mask"], present, self.released)
    found = statistics(fields["x"], real, self.measured)
    # Taken from the train split (`quantiles`); as they are, those of a normal
    # distribution. Nothing learns them.
    knots = self.param("knots", _normal, (found.shape[-1], self.pieces + 1))
    knots = jax.lax.stop_gradient(knots)
    linear = nn.Dense(self.width, dtype=self.dtype, name="linear")
    # Starts without interactions.
    zeros = nn.initializers.zeros
    other = nn.Dense(
      self.width, dtype=self.dtype, kernel_init=zeros, name="other"
    )

    def encoded(some, of):
      one, two = (f(of).astype(jnp.float32) for f in (linear, other))
      return jnp.where(some[..., None], one * (1.0 + two), 0.0)

    last = cut(at_last(found, real), knots)
    last = nn.Dropout(self.dropout, deterministic=not train)(last)
    tokens = encoded(counted, cut(found, knots))
    summary = encoded(real.any(axis=1), last)
    return Encoded(tokens=tokens, mask=counted, summary=summary), {}


def statistics(x, real, measured):
  """Of every hour f32[B T S], from x f32[B T F] of the real hours bool[B T].

  Of a variable that was not measured yet all five are 0.
  """
  x = jnp.where(real[:, :, None], x, 0.0)
  number, mask = np.array(measured, np.int32).reshape(-1, 2).T
  value, there = x[:, :, number], x[:, :, mask] > 0
  count = jnp.cumsum(there.astype(jnp.float32), axis=1)

  def mean_of(value):
    total = jnp.cumsum(jnp.where(there, value, 0.0), axis=1)
    return total / jnp.maximum(count, 1.0)

  # From the first one, so that equal measurements deviate by exactly 0.
  first = there.argmax(axis=1)[:, None]
  off = value - jnp.take_along_axis(value, first, axis=1)
  std = jnp.sqrt(jnp.maximum(mean_of(off**2) - mean_of(off) ** 2, 0.0))
  least = jax.lax.cummin(jnp.where(there, value, jnp.inf), axis=1)
  most = jax.lax.cummax(jnp.where(there, value, -jnp.inf), axis=1)
  least, most = (jnp.where(count > 0, a, 0.0) for a in (least, most))
  return jnp.concatenate([mean_of(value), std, least, most, count, x], axis=2)


def at_last(found, real):
  """f32[B T S] -> f32[B S] of each stay's last real hour, the first if none."""
  hour = jnp.arange(real.shape[1], dtype=jnp.int32)
  last = jnp.where(real, hour[None], 0).max(axis=1)
  return jnp.take_along_axis(found, last[:, None, None], axis=1)[:, 0]


def cut(found, knots):
  """f32[... S] -> f32[... S K]: how far a value has come from knot to knot."""
  knots = knots[(None,) * (found.ndim - 1)]
  low, length = knots[..., :-1], jnp.diff(knots, axis=-1)
  some = length > APART
  part = (found[..., None] - low) / jnp.where(some, length, 1.0)
  part = jnp.where(some, jnp.clip(part, 0.0, 1.0), 0.0)
  return part.reshape(*found.shape[:-1], -1)


def quantiles(found: np.ndarray, pieces: int) -> np.ndarray:
  """Knots f32[S K+1] that cut statistics f32[N S] into as many stays each."""
  share = np.linspace(0.0, 1.0, pieces + 1)
  return np.quantile(found, share, axis=0).T.astype(np.float32)


def _normal(rng, shape):
  """Quantiles f32[S K+1] of normal distributions, 4 for infinity."""
  del rng
  share = jnp.linspace(0.0, 1.0, shape[1])
  knots = jnp.clip(jax.scipy.stats.norm.ppf(share), -4.0, 4.0)
  return jnp.broadcast_to(knots, shape)
