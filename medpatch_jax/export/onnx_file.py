"""The forward pass as an ONNX file, parameters inside: no JAX to run it.

Always in float32, as the parameters are: ONNX Runtime multiplies no matrices
of bfloat16 on a CPU (1.32: "Could not find an implementation for MatMul"), and
ONNX's Einsum does not take them.
"""

import dataclasses
import importlib.util
import logging

from medpatch_jax.export import programs


def write(architecture, params, head, shapes, hours: int) -> bytes:
  """One ONNX model (opset 23, batch and windows symbolic).

  Its inputs and outputs have the names that `programs.function` gives them.

  Raises:
    ValueError: jax2onnx is not installed.
  """
  check_installed()
  import jax2onnx

  # It warns of every intermediate whose shape it does not write down.
  logging.getLogger("onnx_ir").setLevel(logging.ERROR)
  arguments = programs.like(architecture.kinds, shapes, hours, "b", "w")
  names = sorted(arguments)
  made = programs.function(
    dataclasses.replace(architecture, dtype="float32"), head
  )

  def predict(*values):
    return made(params, dict(zip(names, values)))

  model = jax2onnx.to_onnx(
    predict,
    [arguments[n] for n in names],
    opset=programs.OPSET,
    model_name="medpatch",
    input_names=names,
    output_names=programs.results(architecture),
  )
  _drop_unused(model.graph)
  return model.SerializeToString(deterministic=True)


def check_installed() -> None:
  """Refuses without jax2onnx (ValueError)."""
  if not importlib.util.find_spec("jax2onnx"):
    raise ValueError(
      "--onnx needs the package jax2onnx: pip install 'medpatch-jax[onnx]'."
    )


def _drop_unused(graph) -> None:
  """Drops constants that nothing reads: ONNX Runtime warns of each of them."""
  parts = list(_graphs(graph))
  read = {name for g in parts for node in g.node for name in node.input}
  read |= {out.name for g in parts for out in g.output}
  for g in parts:
    kept = [c for c in g.initializer if c.name in read]
    del g.initializer[:]
    g.initializer.extend(kept)


def _graphs(graph):
  """A graph and those of its loops and branches."""
  yield graph
  for node in graph.node:
    for attribute in node.attribute:
      if attribute.HasField("g"):
        yield from _graphs(attribute.g)
