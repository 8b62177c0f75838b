"""The forward pass as a program of its own: StableHLO, and ONNX where asked.

Flat names stand for trees: "ehr.x" is `inputs["ehr"]["x"]`. Batch and windows
of text are symbolic; hours are not, since calibration has a temperature for
each, so there is one program for each length a series is padded to.

Dims: b stays, w windows.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export

from medpatch_jax import schema
from medpatch_jax.input import examples
from medpatch_jax.pipeline import Architecture

PLATFORMS = ("cpu", "cuda", "tpu")
OPSET = 23


def inputs_of(batch: schema.Batch) -> dict:
  """A batch -> the program's inputs by flat name."""
  flat = {
    f"{m}.{field}": value
    for m, fields in batch.inputs.items()
    for field, value in fields.items()
  }
  return flat | {"present": batch.present}


def function(architecture: Architecture, head: str):
  """(params, inputs by flat name) -> results by flat name."""

  def predict(params, inputs):
    fields: dict[str, dict] = {m: {} for m in architecture.kinds}
    for name, value in inputs.items():
      if name != "present":
        m, field = name.rsplit(".", 1)
        fields[m][field] = value
    # Label and weight are not read.
    label = jnp.zeros((1, len(architecture.labels)))
    batch = schema.Batch(fields, inputs["present"], label, jnp.zeros((1,)))
    outputs, out = architecture.apply(params, batch)
    results = {f"logits.{name}": x for name, x in outputs.items()}
    results["probability"] = architecture.probability(outputs[head])
    results["late_weights"] = out["late_weights"]
    for m in architecture.kinds:
      results[f"confidence.{m}"] = out["confidence"][m]
      results[f"mask.{m}"] = out["mask"][m]
    return results

  return predict


def hours(kinds, shapes: examples.Shapes) -> tuple[int, ...]:
  """Lengths that a program is made for; (0,) where there is no series."""
  return shapes.hour_buckets if "series" in kinds.values() else (0,)


def like(kinds, shapes: examples.Shapes, hours: int, b, w) -> dict:
  """Shapes and dtypes of the inputs, batch `b` and windows `w` of any kind."""
  out = {}
  for m, kind in kinds.items():
    if kind == "series":
      out[f"{m}.x"] = (b, hours, shapes.columns[m]), np.float32
      out[f"{m}.mask"] = (b, hours), np.bool_
    elif kind == "embedding":
      T = shapes.tokens[m]
      out[f"{m}.x"] = (b, T, shapes.columns[m]), np.float32
      out[f"{m}.mask"] = (b, T), np.bool_
    elif kind == "image":
      out[f"{m}.image"] = (b, *(shapes.image_size,) * 2), np.uint8
    else:
      out[f"{m}.piece"] = (b, w, shapes.window), np.int32
      out[f"{m}.mask"] = (b, w, shapes.window), np.bool_
  out["present"] = (b, len(kinds)), np.bool_
  # Not all sizes need be numbers: symbols of jax.export, or names for ONNX.
  return {k: jax.ShapeDtypeStruct(*v) for k, v in out.items()}


def stablehlo(architecture, params, head, shapes, hours: int) -> bytes:
  """One program for every platform, as `jax.export` serialises it.

  Its arguments are {name: array} of params.safetensors and of the inputs; no
  place of any source file is in it.
  """
  b, w = export.symbolic_shape("b, w")
  arguments = like(architecture.kinds, shapes, hours, b, w)
  flat = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype)
    for name, x in traverse_util.flatten_dict(params, sep="/").items()
  }
  predict = function(architecture, head)

  def program(flat, inputs):
    return predict(traverse_util.unflatten_dict(flat, sep="/"), inputs)

  with _nowhere():
    made = export.export(jax.jit(program), platforms=PLATFORMS)
    exported = made(flat, arguments)
    return bytes(exported.serialize())


@contextlib.contextmanager
def _nowhere():
  """Programs lowered inside hold no locations, which are a machine's paths."""
  name = "jax_traceback_in_locations_limit"
  before = getattr(jax.config, name)
  jax.config.update(name, 0)
  try:
    yield
  finally:
    jax.config.update(name, before)


def signature(architecture, shapes, hours: int) -> dict:
  """What goes in beside the parameters and what comes out, by name.

  Of each input its dtype and shape, "b" stays and "w" windows; the order is
  that of the ONNX file's.
  """
  arguments = like(architecture.kinds, shapes, hours, "b", "w")
  return {
    "arguments": [
      {"name": name, "dtype": str(x.dtype), "shape": list(x.shape)}
      for name, x in sorted(arguments.items())
    ],
    "results": results(architecture),
  }


def results(architecture: Architecture) -> list[str]:
  """Names of what `function` returns, sorted."""
  model = architecture.medpatch()
  joint = ("high", "low", "combined", "reduced")
  heads = {*model.sources, "late"}
  if "joint" not in model.without:
    heads |= set(joint)
  each = ("confidence", "mask")
  names = [f"logits.{name}" for name in heads]
  names += [f"{what}.{m}" for what in each for m in architecture.kinds]
  return sorted([*names, "probability", "late_weights"])
