"""MedPatch in JAX and Flax: confidence-guided fusion of clinical data."""


def load(folder):
  """Opens an exported model (docs/export.md) for prediction from raw input.

  Args:
    folder: as `python -m experiments.export` wrote it.

  Returns:
    `predict.model.Model`, with `predict(stay)` and `predict_batch(stays)`.

  Raises:
    ValueError: no such folder, or one that was changed or damaged.
  """
  # Here, so that one part of the package can be had without all others.
  from medpatch_jax.predict.model import Model

  return Model(folder)
