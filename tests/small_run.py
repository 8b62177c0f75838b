"""A small twin and runs on it that train in seconds."""

import copy

from absl import flags as absl_flags

from data import build
from experiments import flags
from experiments.config import Config

SMALL = (
  "--epochs=1",
  "--calibration_steps=2",
  "--batch_size=32",
  "--learning_rate=0.01",
)


def records(folder, task="phenotyping", subjects=100):
  """Writes the records of a twin."""
  build.build(
    source="synthetic",
    task=task,
    data_dir=folder,
    subjects=subjects,
    density=0.02,
    quiet=True,
  )


def configuration(data_dir, workdir, *words) -> Config:
  """Of a small run with these flags."""
  if "workdir" not in absl_flags.FLAGS:
    flags.define()
  values = copy.deepcopy(absl_flags.FLAGS)
  values(["train", f"--data_dir={data_dir}", *SMALL, *words])
  return Config.from_flags(values, workdir=workdir)
