"""Where a loss stopped being finite: the update again, module by module."""

import jax
import numpy as np
from flax import linen as nn

from medpatch_jax.train import step


def culprit(stage, state, parts) -> str:
  """Computes an update again and names what was not finite first.

  Args:
    stage: a `Stage`.
    state: before the update, on the host.
    parts: (device's number along the axis, its rows), of this process.

  Returns:
    Words for a message: a parameter, a field of the batch, a module, the loss,
    or the gradient of a parameter.
  """
  for device, batch in parts:
    key = step.step_key(state.key, state.step, device)
    found = _broken(stage.forward, state.params, stage.frozen, batch, key)
    if found:
      return found
  return "none on the devices of this process"


def _broken(forward, params, frozen, batch, key) -> str:
  """What breaks first in one device's part, or ""; runs without compiling."""
  for what, tree in (("parameter", (params, frozen)), ("input", batch)):
    if path := _first(tree):
      return f"{what} {path}"
  broken = []

  def watch(call, args, kwargs, context):
    result = call(*args, **kwargs)
    if not broken and _first(result):
      name = "/".join(context.module.path) or "the model"
      broken.append(f"output of {name} ({type(context.module).__name__})")
    return result

  with nn.intercept_methods(watch):
    total, _, _ = forward(params, frozen, batch, key)
  if broken:
    return broken[0]
  if _first(total):
    return "the loss, its inputs being finite"
  grads = jax.grad(lambda p: forward(p, frozen, batch, key)[0])(params)
  path = _first(grads)
  return f"gradient of {path}" if path else ""


def _first(tree) -> str:
  """Path of the first leaf that holds a number that is not finite, or ""."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    # Inside a scan or a rematerialised block there are no numbers to see.
    if isinstance(leaf, jax.core.Tracer):
      continue
    leaf = np.asarray(leaf)
    if (
      leaf.dtype.kind not in "biuO"
      and not np.isfinite(leaf.astype(np.float32)).all()
    ):
      return jax.tree_util.keystr(path) or "value"
  return ""
