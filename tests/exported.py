"""An exported model with drawn parameters: nothing has to be trained."""

import copy
import pathlib
from unittest import mock

import jax
import numpy as np
from absl import flags as absl_flags

from experiments import export, flags
from experiments.config import Config
from experiments.training import models
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import schema


def stages(data_dir, workdir, *words, task="mine"):
  """An open run, untrained."""
  if "preset" not in absl_flags.FLAGS:
    flags.define()
  values = copy.deepcopy(absl_flags.FLAGS)
  words = (
    f"--data_dir={data_dir}",
    f"--task={task}",
    "--as_published",
    "--head=combined",
    *words,
  )
  values(["train", *words])
  return Stages(Run(Config.from_flags(values, workdir=workdir)))


def drawn(stages, seed: int = 0) -> dict:
  """Parameters of every stage, none of them at a value that hides it."""
  run, whole = stages.run, stages.architecture
  rows = {m: models.example(run, m).inputs[m] for m in whole.kinds}
  one = np.ones((1,), np.float32)
  batch = schema.Batch(rows, np.ones((1, len(rows)), bool), one[None], one)
  shapes = jax.eval_shape(whole.init, jax.random.key(0), batch)
  rng = np.random.default_rng(seed)
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes
  )
  for m in whole.kinds:
    C = len(whole.labels)
    params["temperature"][m] = {
      "position": rng.uniform(0.5, 2, (5, C)).astype(np.float32),
      "label": rng.uniform(0.5, 2, C).astype(np.float32),
    }
  return params


def write(out, stages, params, onnx=()):
  head = {"head": "combined"}
  with (
    mock.patch.object(export, "parameters", lambda _: params),
    mock.patch.object(export.evaluate, "validated", lambda _: head),
  ):
    export.to_folder(stages, out, onnx)
  return pathlib.Path(out)
