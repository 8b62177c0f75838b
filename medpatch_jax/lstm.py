"""One LSTM layer over masked steps.

Dims: B rows, T steps, D input width, H hidden width.
"""

import math
from typing import Any

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn


class Lstm(nn.Module):
  """One LSTM layer over masked steps; gates in the order i, f, g, o.

  Two biases that add, as in PyTorch: Adam moves their sum twice as fast as
  one bias, so training as published needs both.

  Attributes:
    width: H.
    dtype: of the matrix products; the state stays float32.
  """

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x, mask):
    """Reads x f32[B T D] at the steps of mask bool[B T].

    A masked step leaves the state as it was; its content is never read.

    Returns:
      (states f32[B T H], zeros at masked steps; last state f32[B H], zeros
      where no step is real).
    """
    H, D = self.width, x.shape[-1]
    glorot, zeros = nn.initializers.glorot_uniform(), nn.initializers.zeros
    kernel = self.param("kernel_input", glorot, (D, 4 * H))
    recurrent = self.param(
      "kernel_recurrent", nn.initializers.orthogonal(), (H, 4 * H)
    )
    bias = self.param("bias_input", zeros, (4 * H,))
    bias = bias + self.param("bias_recurrent", zeros, (4 * H,))
    x, kernel, recurrent = (
      a.astype(self.dtype)
      for a in (jnp.where(mask[:, :, None], x, 0.0), kernel, recurrent)
    )
    # One product for all steps; only the recurrence is left to the loop. Steps
    # are put first while they are narrow, rows and steps are one axis: of two,
    # XLA would turn the gates' gradient around before its product with x.
    T = x.shape[1]
    x = einops.rearrange(x, "B T D -> (T B) D")
    gates = (x @ kernel).astype(jnp.float32) + bias[None]
    gates = einops.rearrange(gates, "(T B) G -> T B G", T=T)
    states, last = _recur(gates, recurrent, mask.T)
    tokens = jnp.where(mask.T[:, :, None], states, 0.0)
    return einops.rearrange(tokens, "T B H -> B T H"), last


@jax.custom_vjp
def _recur(gates, recurrent, real):
  """Runs gates f32[T B 4H] under real bool[T B].

  Steps after the last one that is real in any row are not taken. The gradient
  is written out: the recurrent kernel's is one product after the loop, where
  autodiff adds a [H 4H] matrix up at every step, and what a step's depends on
  is put together on the way forward, so that the way back is short.

  Returns:
    (states h f32[T B H], to be read where real; the last f32[B H]).
  """
  return _forward(gates, recurrent, real)[0]


def _forward(gates, recurrent, real):
  """`_recur` and what `_backward` needs.

  With d the gradient, z the gates and h' the state after a step,
  d_c' += turn d_h', d_z = slope (d_c', d_c', d_c', d_h'), d_c = keep d_c'.
  """
  T, B, G = gates.shape
  gates = jnp.where(real[:, :, None], gates, 0.0)

  def step(t, carry):
    slopes, turns, keeps, states, h, c = carry
    on, z = _at(real, t)[:, None], _at(slopes, t)
    z = z + (h.astype(recurrent.dtype) @ recurrent).astype(jnp.float32)
    i, f, g, o = jnp.split(z, 4, axis=-1)
    i, f, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jax.nn.sigmoid(o)
    g = jnp.tanh(g)
    new = f * c + i * g
    tanh = jnp.tanh(new)
    slope = [
      g * i * (1 - i),
      c * f * (1 - f),
      i * (1 - g * g),
      tanh * o * (1 - o),
    ]
    slope = jnp.where(on, jnp.concatenate(slope, axis=-1), 0.0)
    turn = jnp.where(on, o * (1 - tanh * tanh), 0.0)
    h, c = jnp.where(on, o * tanh, h), jnp.where(on, new, c)
    return (
      _put(slopes, t, slope),
      _put(turns, t, turn),
      _put(keeps, t, jnp.where(on, f, 1.0)),
      _put(states, t + 1, h),
      h,
      c,
    )

  # A step's slopes take the place of its gates; its state is at t + 1.
  zeros = jnp.zeros((T + 1, B, G // 4), jnp.float32)
  start = gates, zeros[1:], zeros[1:], zeros, zeros[0], zeros[0]
  slopes, turns, keeps, states, last, _ = _loop(_taken(real), T, step, start)
  return (states[1:], last), (recurrent, real, slopes, turns, keeps, states)


def _backward(saved, cotangents):
  recurrent, real, slopes, turns, keeps, states = saved
  d_states, d_last = cotangents
  taken = _taken(real)
  # Turned once, not in every step's product.
  turned = jax.lax.optimization_barrier(recurrent.T)

  def step(s, carry):
    d_gates, d_h, d_c = carry
    t = taken - 1 - s
    d_h = d_h + _at(d_states, t)
    d_cell = d_c + d_h * _at(turns, t)
    d_cells = jnp.concatenate([d_cell, d_cell, d_cell, d_h], axis=-1)
    d_z = d_cells * _at(d_gates, t)
    back = (d_z.astype(turned.dtype) @ turned).astype(jnp.float32)
    d_h = jnp.where(_at(real, t)[:, None], back, d_h)
    return _put(d_gates, t, d_z), d_h, d_cell * _at(keeps, t)

  # A step's gradient takes the place of its slopes, which are 0 where none is
  # taken.
  start = slopes, d_last, jnp.zeros_like(d_last)
  d_gates, _, _ = _loop(taken, len(real), step, start)
  # All at once where that is little.
  every = len(real) if len(real) <= 64 else _every(len(real))

  def add(k, total):
    before, d_z = (
      jax.lax.dynamic_slice_in_dim(a, k * every, every).reshape(-1, a.shape[-1])
      for a in (states, d_gates)
    )
    return total + before.T @ d_z

  start = jnp.zeros(recurrent.shape, jnp.float32)
  parts = -(-taken // every)
  d_recurrent = jax.lax.fori_loop(0, parts, add, start)
  return d_gates, d_recurrent.astype(recurrent.dtype), None


_recur.defvjp(_forward, _backward)


def _every(total: int) -> int:
  """Steps after which `_loop` asks whether to go on; divides `total`.

  Not after each: a GPU has to ask the host.
  """
  return math.gcd(total, 16)


def _taken(real):
  """How many steps of real bool[T B] are taken, i32[]."""
  T, every = len(real), _every(len(real))
  step = jnp.arange(1, T + 1, dtype=jnp.int32)
  longest = jnp.where(real.any(axis=1), step, 0).max()
  return -(-longest // every) * every


def _loop(taken, total: int, step, carry):
  """carry = step(t, carry) for t = 0, 1, ... `taken` - 1 of `total`."""
  every = _every(total)

  def some(state):
    t, end, carry = state
    carry = jax.lax.fori_loop(0, every, lambda j, c: step(t + j, c), carry)
    return t + every, end, carry

  if not all(isinstance(n, int) for n in carry[0].shape):
    # A symbolic batch is exported, and jax2onnx takes no loop of unknown end.
    steps = jnp.arange(total, dtype=jnp.int32)
    return jax.lax.scan(lambda c, t: (step(t, c), None), carry, steps)[0]
  start = jnp.zeros_like(taken), taken, carry
  return jax.lax.while_loop(lambda s: s[0] < s[1], some, start)[2]


def _at(array, t):
  return jax.lax.dynamic_index_in_dim(array, t, keepdims=False)


def _put(array, t, value):
  return jax.lax.dynamic_update_index_in_dim(array, value, t, 0)
