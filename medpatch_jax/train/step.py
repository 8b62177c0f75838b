"""The one training step and the one evaluation step, written per device.

An objective is a function

  forward(params, frozen, batch, key) -> (total f32[], count f32[], outputs)

with the loss total / count over the batch's real rows or tokens; `key` is
None in evaluation; `outputs` is a dict of arrays with a leading axis of rows.
Sums travel between devices, never means, so that a batch split unevenly by
its real rows gives exactly the gradient of the whole.
"""

import jax
import jax.numpy as jnp
import optax

AXIS = "batch"


def train_step(forward, optimizer: optax.GradientTransformation):
  """Returns step(state, frozen, batch) -> state, for one device of many."""

  def step(state, frozen, batch):
    key = jax.random.wrap_key_data(state.key, impl="threefry2x32")
    key = jax.random.fold_in(key, state.step)
    key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))

    def total_of(params):
      total, count, _ = forward(params, frozen, batch, key)
      return total, count

    (total, count), grads = jax.value_and_grad(total_of, has_aux=True)(
      state.params
    )
    total, count, grads = jax.lax.psum((total, count, grads), AXIS)
    grads = jax.tree.map(lambda g: g / jnp.maximum(count, 1.0), grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    updates = jax.tree.map(lambda u: u * state.plateau.scale, updates)
    return state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
      total=state.total + total,
      count=state.count + count,
    )

  return step


def eval_step(forward):
  """Returns step(params, frozen, batch) -> ((total, count), outputs)."""

  def step(params, frozen, batch):
    total, count, outputs = forward(params, frozen, batch, None)
    return jax.lax.psum((total, count), AXIS), outputs

  return step
