"""Between the released code's parameters and ours, for golden files."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

# Run once each, these programs are not worth optimising: compiling takes
# nearly all of the time.
QUICK = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
}


class Names:
  """Which of their parameters is which of ours, and how it is laid out.

  A transform takes their array to ours and is undone by `back`.
  """

  def __init__(self):
    self.entries = []

  def add(self, theirs, ours, to=lambda a: a, back=lambda a: a):
    self.entries.append((theirs, tuple(ours.split("/")), to, back))

  def dense(self, theirs, ours, bias=True):
    self.add(f"{theirs}.weight", f"{ours}/kernel", np.transpose, np.transpose)
    if bias:
      self.add(f"{theirs}.bias", f"{ours}/bias")

  def norm(self, theirs, ours):
    self.add(f"{theirs}.weight", f"{ours}/scale")
    self.add(f"{theirs}.bias", f"{ours}/bias")

  def classifier(self, theirs, ours):
    self.norm(f"{theirs}.layernorm", f"{ours}/norm")
    self.dense(f"{theirs}.fc", f"{ours}/dense")

  def lstm(self, theirs, ours):
    for part, name in (("ih", "input"), ("hh", "recurrent")):
      weight = f"{theirs}.weight_{part}_l0"
      self.add(weight, f"{ours}/kernel_{name}", np.transpose, np.transpose)
      self.add(f"{theirs}.bias_{part}_l0", f"{ours}/bias_{name}")

  def params(self, arrays):
    """Their parameters as ours: {path: array}."""
    return {
      path: jnp.asarray(to(arrays[f"param/{theirs}"]))
      for theirs, path, to, _ in self.entries
    }

  def gradients(self, arrays, grads):
    """{tensor: (ours, theirs)} of grads {path: array} the file holds.

    An empty one of theirs means there is none: ours must be zero.
    """
    pairs = {}
    for theirs, path, _, back in self.entries:
      if (key := f"grad/{theirs}") in arrays:
        got, want = back(np.asarray(grads[path])), arrays[key]
        pairs[key] = got, (want if want.size else np.zeros_like(got))
    return pairs


def names_in(arrays, start):
  """Names of the parameters that start so."""
  return [k for k in arrays if k.startswith(f"param/{start}")]


def differentiate(model, names, arrays, loss, more=None):
  """Applies a model and its loss to a file's parameters.

  Args:
    model: any module.
    names: `Names` of its parameters.
    arrays: the file.
    loss: (function that applies the model) -> (loss, anything).
    more: {path: array}, parameters that `names` does not know.

  Returns:
    (what `loss` returns beside the loss, pairs of loss and gradients,
    gradients {path: array}).

  Raises:
    ValueError: the file has a gradient of a parameter that `names` does not
      know, unless there are `more`.
  """
  flat = names.params(arrays) | (more or {})

  def objective(flat):
    variables = {"params": traverse_util.unflatten_dict(flat)}
    return loss(lambda *a, **kw: model.apply(variables, *a, **kw))

  value_and_grad = jax.value_and_grad(objective, has_aux=True)
  compiled = jax.jit(value_and_grad, compiler_options=QUICK)
  (value, found), grads = compiled(flat)
  pairs = {}
  if "loss/loss" in arrays:
    pairs["loss/loss"] = np.asarray(value), arrays["loss/loss"]
  pairs |= names.gradients(arrays, grads)
  there = {k: v for k, v in arrays.items() if k.startswith("grad/")}
  left = {k: v for k, v in there.items() if k not in pairs}
  # Parameters of theirs that are not used have an empty gradient.
  pairs |= {k: (v, v) for k, v in left.items() if not v.size}
  if not more and (left := set(there) - set(pairs)):
    raise ValueError(f"gradients of unknown parameters: {sorted(left)}.")
  return found, pairs, grads


def bce(logits, label):
  label = jnp.reshape(label, logits.shape)
  return optax.sigmoid_binary_cross_entropy(logits, label).mean()
