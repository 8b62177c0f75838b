"""A golden file and what its runners share."""

import dataclasses
import functools
import re

import jax
import numpy as np
import optax

from medpatch_jax import schema
from medpatch_jax.encode import ehr, tokens
from medpatch_jax.export import names

# Inputs of the files that hold one whole model.
INPUTS = {"x", "y", "seq_lengths", "rr", "dn"} | {
  f"{m}_{f}" for m in schema.MODALITIES for f in ("tokens", "present")
}


# Compiling takes most of the time of a comparison, running hardly any.
jit = functools.partial(
  jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


class NotUnderstood(ValueError):
  """A file holds something that no runner knows."""


@dataclasses.dataclass(frozen=True)
class File:
  """A golden file.

  Attributes:
    tensors: {key: array}.
    meta: its JSON, and the kind of the file.
    groups: those that were looked at.
  """

  tensors: dict[str, np.ndarray]
  meta: dict
  groups: set[str] = dataclasses.field(default_factory=set)

  @property
  def kind(self) -> str:
    return self.meta["kind"]

  @property
  def args(self) -> dict:
    return self.meta.get("args") or {}

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    """{name: array} of the keys `prefix/name`."""
    start = f"{prefix}/"
    self.groups.add(prefix)
    return {
      k.removeprefix(start): v
      for k, v in self.tensors.items()
      if k.startswith(start)
    }

  @property
  def inputs(self) -> dict[str, np.ndarray]:
    return self.group("in")

  @property
  def params(self) -> dict[str, np.ndarray]:
    return self.group("param")


def labels(file):
  """in/y -> f32[B C]."""
  return label_of(file.inputs)


def label_of(inputs):
  """y -> f32[B C], also where the released code squeezed a batch of one.

  Args:
    inputs: {name: array} of a file, `y` among them.
  """
  y = np.asarray(inputs["y"], np.float32)
  others = [v for k, v in inputs.items() if k != "y"]
  rows = max(others, key=np.ndim).shape[0]
  return y.reshape(rows, -1)


def order(text):
  """`EHR-CXR` -> ("ehr", "cxr")."""
  return tuple(m.lower() for m in text.split("-"))


def modalities(file):
  """(modalities in our order, in the order of their flag)."""
  flag = order(file.args["modalities"])
  unknown = set(flag) - set(schema.MODALITIES)
  if unknown:
    raise NotUnderstood(f"modalities {sorted(unknown)}")
  return tuple(m for m in schema.MODALITIES if m in flag), flag


def known(file, inputs):
  """Refuses inputs that the runner would not use."""
  unknown = set(file.inputs) - set(inputs)
  if unknown:
    raise NotUnderstood(f"inputs {names.listed(unknown)}")


def present(file, modality, B):
  """Presence bool[B] of a modality."""
  given = file.inputs
  if f"{modality}_present" in given:
    return np.atleast_1d(given[f"{modality}_present"])
  if modality in ("rr", "dn") and modality in given:
    return np.array([bool(note.strip()) for note in given[modality]])
  return np.ones(B, bool)


def fields(file, modality):
  """Inputs of a modality's encoder."""
  given = file.inputs
  if modality == "ehr":
    hours = np.arange(given["x"].shape[1])
    lengths = np.atleast_1d(given["seq_lengths"])
    mask = hours[None] < lengths[:, None]
    # As wide as the longest stay, whatever the width of the array.
    longest = int(lengths.max())
    return {"x": given["x"][:, :longest], "mask": mask[:, :longest]}
  x = given[f"{modality}_tokens"]
  return {"tokens": x, "mask": np.ones(x.shape[:2], bool)}


def encoder(modality, width, released, summary="first", note="mean"):
  """The encoder that reads `fields`; how a film and a note are summarised."""
  if modality == "ehr":
    return ehr.LSTM(width, released=released)
  how = summary if modality == "cxr" else note
  return tokens.Tokens(width, how, released)


def batch(file, modalities):
  """Everything of a file, as raw input."""
  label = labels(file)
  B = len(label)
  return schema.Batch(
    inputs={m: fields(file, m) for m in modalities},
    present=np.stack([present(file, m, B) for m in modalities], axis=1),
    label=label,
    weight=np.ones(B, np.float32),
  )


def difference(ours, theirs) -> float:
  """max|ours - theirs| / max(max|theirs|, 0.01); inf if shapes differ.

  Axes of length 1 do not count: the released code squeezes labels, and a batch
  of one, away.
  """
  if theirs.size == 0:  # No gradient.
    return 0.0 if ours is None or not np.any(ours) else float("inf")
  if ours is None:
    ours = np.zeros_like(theirs)
  ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
  if np.squeeze(ours).shape != np.squeeze(theirs).shape:
    return float("inf")
  ours = ours.reshape(theirs.shape)
  gap = np.abs(ours - theirs).max()
  return float(gap / max(np.abs(theirs).max(), 0.01))


def load_params(file, entries, drop=()):
  """The file's parameters, less those named `drop`..., as our tree."""
  params = {k: v for k, v in file.params.items() if not k.startswith(drop)}
  try:
    return names.load(params, entries)
  except ValueError as e:
    raise NotUnderstood(str(e)) from None


def finish(file, loss, tree, entries):
  """Our numbers, from loss(tree) -> (value, {name of an output: array})."""
  run = jit(jax.value_and_grad(loss, has_aux=True))
  (value, outputs), grads = run(tree)
  ours = {f"out/{k}": v for k, v in outputs.items()}
  ours["loss/loss"] = value
  return ours | {f"grad/{k}": v for k, v in names.dump(grads, entries).items()}


def probe(*pairs):
  """Files of one module end in a cross-entropy of its features."""
  return sum(
    optax.sigmoid_binary_cross_entropy(a, y.reshape(a.shape)).mean()
    for a, y in pairs
  )


class Read(dict):
  """A file's arrays, which notes the keys that were looked up.

  Attributes:
    keys_read: of those looked up one by one, whatever was iterated over.
  """

  def __init__(self, arrays):
    super().__init__(arrays)
    self.keys_read = set()

  def __getitem__(self, key):
    self.keys_read.add(key)
    return super().__getitem__(key)

  def check(self, spare=()) -> None:
    """Refuses parameters and inputs that nobody looked up.

    Args:
      spare: patterns of keys that the released code does not use either.

    Raises:
      NotUnderstood: naming them.
    """
    left = {k for k in self if k.startswith(("param/", "in/"))}
    left -= self.keys_read
    left = {k for k in left if not any(re.fullmatch(p, k) for p in spare)}
    if left:
      raise NotUnderstood(f"not used: {names.listed(left)}")
