"""Everything a run needs to go on as if it had never stopped."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from medpatch_jax.train import optimizer as optimizers


@flax.struct.dataclass
class State:
  """The part of a run that changes.

  Attributes:
    step: i32[], updates made.
    key: u32[2], raw key data; randomness of a step is a function of it and
      `step`.
    params: parameters that learn, f32.
    opt_state: Adam's moments.
    plateau: state of the learning-rate rule; `plateau.scale` f32[].
    total: f32[], sum of the training loss since the epoch began.
    count: f32[], what `total` is a sum over.
    finite: bool[], False once a loss or gradient was not finite: all else is
      then as it was before that step, and stays so.
  """

  step: jax.Array
  key: jax.Array
  params: Any
  opt_state: Any
  plateau: Any
  total: jax.Array
  count: jax.Array
  finite: jax.Array


def create(params, optimizer: optax.GradientTransformation, seed: int) -> State:
  """The state before the first step."""
  return State(
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key_data(jax.random.key(seed, impl="threefry2x32")),
    params=params,
    opt_state=optimizer.init(params),
    plateau=optimizers.plateau().init(params),
    total=jnp.zeros(()),
    count=jnp.zeros(()),
    finite=jnp.ones((), bool),
  )
