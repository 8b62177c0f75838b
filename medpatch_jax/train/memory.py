"""Too little memory for a model: how much it takes and what to lower."""

import contextlib

import jax
import numpy as np

ADVICE = (
  "lower --batch_size, or keep it and pass --accumulate=2 or more; --remat and"
  " --dtype=bfloat16 make activations smaller; more devices share the batch"
)


class TooLittle(ValueError):
  """The model does not fit."""


def size(tree) -> int:
  """Bytes of a tree of arrays."""
  return sum(np.asarray(x).nbytes for x in jax.tree.leaves(tree))


def check(name: str, state, frozen, limit: int | None) -> None:
  """Refuses a stage whose parameters alone do not fit a device.

  Args:
    name: of the stage.
    state, frozen: on the host.
    limit: bytes of a device, None if unknown.

  Raises:
    TooLittle: names the estimate.
  """
  least = _least(state, frozen)
  if limit is not None and least > limit:
    raise TooLittle(
      f"{name}: parameters, their gradients and Adam's moments take"
      f" {_gib(least)} before any activation, a device has {_gib(limit)}: pass a"
      " smaller --preset, or larger devices."
    )


@contextlib.contextmanager
def enough(name: str, state, frozen, limit: int | None, planned=lambda: None):
  """Inside the `with`, a device out of memory is a `TooLittle`.

  Args:
    planned: () -> bytes that a device needs for the activations of the step
      that was tried, None if unknown; asked only then, since it compiles.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    has = "" if limit is None else f" of {_gib(limit)}"
    most = planned()
    rest = "the rest is activations"
    if most is not None:
      rest = f"activations {_gib(most)}"
    raise TooLittle(
      f"{name}: too little memory ({str(error).splitlines()[0]}). Parameters,"
      f" gradients and Adam's moments take {_gib(_least(state, frozen))}{has} on"
      f" each device, {rest}: {ADVICE}."
    ) from error


def _least(state, frozen) -> int:
  return size(state) + size(state.params) + size(frozen)


def _gib(size: int) -> str:
  return f"{size / 2**30:.2f} GiB"
