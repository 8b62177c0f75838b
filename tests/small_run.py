"""A small twin and runs on it that train in seconds, or not at all."""

import copy

import jax
import numpy as np
from absl import flags as absl_flags

from data import build
from experiments import flags
from experiments.config import Config
from experiments.training import initial, models
from experiments.training.stages import Stages
from medpatch_jax import calibrate

SMALL = (
  "--epochs=1",
  "--calibration_steps=2",
  "--batch_size=32",
  "--learning_rate=0.01",
)


def records(folder, task="phenotyping", subjects=100, **twin):
  """Writes the records of a twin; `twin` as build.build takes it."""
  build.build(
    source="synthetic",
    task=task,
    data_dir=folder,
    subjects=subjects,
    density=0.02,
    quiet=True,
    **twin,
  )


def configuration(data_dir, workdir, *words) -> Config:
  """Of a small run with these flags."""
  if "workdir" not in absl_flags.FLAGS:
    flags.define()
  values = copy.deepcopy(absl_flags.FLAGS)
  if not any(word.startswith("--model=") for word in words):
    words = ("--cross_fit=0", *words)  # Encoders enough are trained as it is.
  values(["train", f"--data_dir={data_dir}", *SMALL, *words])
  return Config.from_flags(values, workdir=workdir)


def drawn(tree, seed=0, scale=0.3):
  """The tree with normal numbers in place of its leaves' values."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: (scale * rng.normal(size=x.shape)).astype(np.float32), tree
  )


class Untrained(Stages):
  """Stages with drawn results: nothing has to be trained or computed."""

  def encoder(self, m):
    return drawn(initial.blank_unimodal(self.run, m))

  def confidence(self, m):
    return drawn(initial.confidence(self.run, m), scale=3.0)

  def temperature(self, m):
    rng, C = np.random.default_rng(1), len(self.run.labels)
    position = rng.uniform(0.5, 3, (5, C)).astype(np.float32)
    return calibrate.Temperature(position, position[0])

  def pools(self, m, split):
    return self._rows(models.blank_pools(self.run)[m], m, split)

  def encodings(self, m, split):
    return self._rows(models.encoding_fields(self.run, m, split), m, split)

  def _rows(self, fields, m, split):
    """Drawn fields of the stays with the modality, each stay always alike."""
    rng, size = np.random.default_rng(0), self.run.data.size(split)
    rows = self.run.pooled_rows(split, m)
    return {
      name: rng.normal(size=(size, *shape)).astype(kind)[rows]
      for name, (shape, kind) in fields.items()
    }


def init_drawn(module, batch, run, **how):
  """`initial.init` without a program: parameters drawn by their shapes."""
  shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), batch, **how))
  return drawn(shapes["params"])
