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


def train_step(
  forward, optimizer: optax.GradientTransformation, accumulate: int = 1
):
  """Returns step(state, frozen, batch) -> state, for one device of many.

  Args:
    forward: see above.
    optimizer: of the parameters.
    accumulate: parts of the batch that are computed one after the other and
      added up, to save memory.
  """

  def step(state, frozen, batch):
    key = step_key(state.key, state.step, jax.lax.axis_index(AXIS))

    def total_of(params, batch, key):
      total, count, _ = forward(params, frozen, batch, key)
      return total, count

    found = jax.value_and_grad(total_of, has_aux=True)
    if accumulate == 1:
      (total, count), grads = found(state.params, batch, key)
    else:
      (total, count), grads = _added(
        found, state.params, batch, key, accumulate
      )
    total, count, grads = jax.lax.psum((total, count, grads), AXIS)
    grads = jax.tree.map(lambda g: g / jnp.maximum(count, 1.0), grads)
    size = optax.tree.norm(grads)
    finite = state.finite & jnp.isfinite(total) & jnp.isfinite(size)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    updates = jax.tree.map(lambda u: u * state.plateau.scale, updates)
    new = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
      total=state.total + total,
      count=state.count + count,
    )
    # The host looks rarely; until then nothing is spoilt.
    new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
    return new.replace(finite=finite)

  return step


def step_key(key, step, device):
  """The key of one update on one device.

  Args:
    key: u32[2] of the state.
    step: i32[], updates made.
    device: i32[], number along the axis.
  """
  key = jax.random.wrap_key_data(key, impl="threefry2x32")
  return jax.random.fold_in(jax.random.fold_in(key, step), device)


def _added(found, params, batch, key, parts: int):
  """Sums of `found` over equal parts of a batch's rows, one by one."""
  batch = jax.tree.map(
    lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), batch
  )

  def add(sums, one):
    i, rows = one
    more = found(params, rows, jax.random.fold_in(key, i))
    return jax.tree.map(jnp.add, sums, more), None

  start = ((jnp.zeros(()), jnp.zeros(())), jax.tree.map(jnp.zeros_like, params))
  return jax.lax.scan(add, start, (jnp.arange(parts), batch))[0]


def eval_step(forward):
  """Returns step(params, frozen, batch) -> ((total, count), outputs)."""

  def step(params, frozen, batch):
    total, count, outputs = forward(params, frozen, batch, None)
    return jax.lax.psum((total, count), AXIS), outputs

  return step
