"""Parameters that --authors brings, in the place of trained ones."""

import jax
import numpy as np

from experiments.training import initial
from experiments.training.run import Run, once
from medpatch_jax import calibrate
from medpatch_jax.export import authors, released


@once
def tree(run: Run) -> dict:
  """What --authors holds, as export/released.py lays it out.

  Raises:
    ValueError: a model of another kind, size or task.
  """
  return authors.read(run.config.authors, form(run), run.config.sizes.width)


def form(run: Run) -> released.Form:
  """What the authors' names of this run's parameters depend on."""
  config = run.config
  return released.Form(
    config.modalities,
    len(run.labels),
    fuser=config.fuser,
    without=config.without,
    flag=config.flag_order,
  )


def unimodal(run: Run, m: str) -> dict:
  """Parameters of stage 1's model from --authors, where late's classifiers are."""
  like = initial.blank_unimodal(run, m)
  given = tree(run)
  classifier = given["medpatch"].get(f"classifier_{m}", like["classifier"])
  found = {"encoder": given["encoder"][m], "classifier": classifier}
  return _like(run, like, found, f"encoder {m}")


def confidence(run: Run, m: str) -> dict:
  """Parameters of `confidence` from --authors."""
  found = tree(run)["confidence"][m]
  return _like(run, initial.confidence(run, m), found, f"confidence {m}")


def temperature(run: Run, m: str) -> calibrate.Temperature:
  """Temperatures from --authors; positions past their table are divided by 1."""
  table = np.asarray(tree(run)["temperature"][m], np.float32)
  return calibrate.Temperature(table, np.ones(table.shape[1], np.float32))


def medpatch(run: Run) -> dict:
  """Parameters of stage 3's model from --authors."""
  return _like(run, initial.blank_medpatch(run), tree(run)["medpatch"])


def _like(run: Run, like, found, what: str = "fusion"):
  """`found`, if it has the paths and shapes of `like`.

  Raises:
    ValueError: names the first that differ, both shapes and what to do.
  """
  shapes = [
    {jax.tree_util.keystr(k): np.shape(x) for k, x in flat}
    for flat in map(jax.tree_util.tree_leaves_with_path, (like, found))
  ]
  for path in sorted(set(shapes[0]) | set(shapes[1])):
    want, got = (s.get(path, "none") for s in shapes)
    if want != got:
      raise ValueError(
        f"{run.config.authors}: {what}{path} has shape {got}, this run's model"
        f" {want}; pass the --preset, --bert and --vit sizes it was made with."
      )
  return found
