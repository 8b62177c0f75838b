"""One LSTM layer over masked steps.

Dims: B rows, T steps, D input width, H hidden width.
"""

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
    # One product for all steps; only the recurrence is left to the scan.
    gates = einops.rearrange(x @ kernel, "B T G -> T B G").astype(jnp.float32)
    states = _recur(gates + bias[None, None], recurrent, mask.T)
    real = mask.T[:, :, None]
    tokens = einops.rearrange(jnp.where(real, states, 0.0), "T B H -> B T H")
    return tokens, states[-1]


def _cell(h, c, gate, recurrent):
  """One step: state f32[B H] twice -> (h, c, the activations f32[B H])."""
  z = gate + (h.astype(recurrent.dtype) @ recurrent).astype(jnp.float32)
  i, f, g, o = jnp.split(z, 4, axis=-1)
  i, f, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jax.nn.sigmoid(o)
  g = jnp.tanh(g)
  c = f * c + i * g
  t = jnp.tanh(c)
  return o * t, c, (i, f, g, o, t)


@jax.custom_vjp
def _recur(gates, recurrent, real):
  """Runs gates f32[T B 4H] under real bool[T B] -> states h f32[T B H].

  Its gradient is written out for the recurrent kernel's sake: one product
  after the scan, where autodiff adds a [H 4H] matrix up at every step.
  """

  def step(state, inputs):
    gate, real = inputs
    h, c, _ = _cell(*state, gate, recurrent)
    state = tuple(jnp.where(real[:, None], a, b) for a, b in zip((h, c), state))
    return state, state[0]

  return jax.lax.scan(step, _start(gates), (gates, real))[1]


def _start(gates):
  zeros = jnp.zeros((gates.shape[1], gates.shape[2] // 4), jnp.float32)
  return zeros, zeros


def _recur_forward(gates, recurrent, real):
  def step(state, inputs):
    gate, real = inputs
    h, c, activations = _cell(*state, gate, recurrent)
    new = tuple(jnp.where(real[:, None], a, b) for a, b in zip((h, c), state))
    return new, (new[0], state, activations)

  _, (states, before, activations) = jax.lax.scan(
    step, _start(gates), (gates, real)
  )
  return states, (recurrent, real, before, activations)


def _recur_backward(saved, d_states):
  recurrent, real, before, activations = saved

  def step(carry, inputs):
    d_h, d_c = carry
    d_state, real, (_, c), (i, f, g, o, t) = inputs
    d_h = d_h + d_state
    d_cell = d_c + d_h * o * (1 - t * t)
    d_z = [
      d_cell * g * i * (1 - i),
      d_cell * c * f * (1 - f),
      d_cell * i * (1 - g * g),
      d_h * t * o * (1 - o),
    ]
    real = real[:, None]
    d_z = jnp.where(real, jnp.concatenate(d_z, axis=-1), 0.0)
    back = (d_z.astype(recurrent.dtype) @ recurrent.T).astype(jnp.float32)
    d_h = jnp.where(real, back, d_h)
    d_c = jnp.where(real, d_cell * f, d_c)
    return (d_h, d_c), d_z

  zeros = jnp.zeros_like(before[0][0])
  _, d_gates = jax.lax.scan(
    step, (zeros, zeros), (d_states, real, before, activations), reverse=True
  )
  d_recurrent = jnp.einsum("TBH,TBG->HG", before[0], d_gates)
  return d_gates, d_recurrent.astype(recurrent.dtype), None


_recur.defvjp(_recur_forward, _recur_backward)
