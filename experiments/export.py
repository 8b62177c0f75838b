"""Writes a trained run in a form that others can use.

  python -m experiments.export --workdir=RUN --format=authors --out=FILE.pth.tar

authors: a checkpoint that the authors' PyTorch code (nyuad-cai/MedPatch,
f33c5ed) loads, and that `experiments.train --authors=FILE` goes on from.
"""

import pathlib

from absl import flags

from experiments import flags as experiment_flags
from experiments import models
from experiments.config import Config
from experiments.run import Run
from experiments.stages import Stages
from medpatch_jax.export import authors

FORMATS = ("authors",)


def to_authors(stages: Stages, path) -> None:
  """Writes the run as an authors' checkpoint, whole or not at all.

  Raises:
    ValueError: their code has no such model; says what it lacks.
  """
  config = stages.config
  if config.finetune_encoders:
    raise ValueError(
      "--format=authors: their code has one copy of each encoder, a run with"
      " --finetune_encoders has two."
    )
  if config.ehr != "lstm":
    raise ValueError(
      f"--format=authors: their fusion takes --ehr=lstm, not {config.ehr}."
    )
  tree = {"medpatch": stages.fuse()}
  for part in ("encoder", "confidence", "temperature"):
    tree[part] = {}
  for m in config.modalities:
    fitted = stages.temperature(m)
    tree["encoder"][m] = stages.encoder(m)["encoder"]
    tree["confidence"][m] = stages.confidence(m)
    tree["temperature"][m] = authors.pad_temperature(
      fitted.position, fitted.label, m
    )
  authors.write(path, tree, models.form(stages.run), config.sizes.width)


def main(argv) -> None:
  del argv
  values = flags.FLAGS
  out = pathlib.Path(values.out or "")
  if not values.out or out.exists():
    raise ValueError(f"--out={values.out}: wanted a name not taken yet.")
  config = Config.from_workdir(values.workdir, values.share)
  stages = Stages(Run(config))
  stages.check_complete()
  to_authors(stages, out)
  print(out)


if __name__ == "__main__":
  flags.DEFINE_string("workdir", None, "Folder of a trained run.")
  flags.DEFINE_string("share", None, "Folder it shared its encoders in.")
  flags.DEFINE_enum("format", "authors", FORMATS, "What to write.")
  flags.DEFINE_string("out", None, "Name of the file to write.")
  experiment_flags.run(main)
