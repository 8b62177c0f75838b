"""Trains MedPatch: encoders, token confidence, calibration, fusion.

  python -m experiments.train --data_dir=OUT --task=TASK --workdir=RUN
      [--preset=tiny|base] [--stage=all|unimodal|confidence|calibrate|fuse]
      [--coordinator=HOST:PORT --processes=N --process=I | --coordinator=auto]

A run that was stopped goes on from its last checkpoint when the same command
is given again; stages that are complete are read back. SIGTERM and Ctrl-C save
and end it, with exit code 143 and 130.
"""

import contextlib
import time

from absl import flags

from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.training import start
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax.train import board, machine, workdir
from medpatch_jax.train.log import logger


def train(config: Config, stage: str = "all") -> Stages:
  """Runs the stages up to and with `stage`.

  Raises:
    ValueError: the configuration does not fit the data or the workdir, which
      is then as it was.
  """
  began, run = time.monotonic(), Run(config)
  start.check(run)
  undone = contextlib.nullcontext()
  if run.parallel.first:
    undone = workdir.untouched(config.workdir)
  with undone:
    stages = Stages(run)
    project = config.wandb if run.parallel.first else None
    with board.experiment(project, config.workdir, config.given) as sent:
      stages.board = sent
      stages.until("fuse" if stage == "all" else stage)
    stages.board = None
    if run.parallel.first:
      machine.record(config.workdir, time.monotonic() - began)
  return stages


def main(argv) -> None:
  del argv
  experiment_flags.connect()
  config = Config.from_flags(flags.FLAGS)
  train(config, flags.FLAGS.stage)
  logger.info(
    "trained; next: python -m experiments.evaluate --workdir=%s%s",
    config.workdir,
    f" --share={config.share}" if config.share else "",
  )


if __name__ == "__main__":
  experiment_flags.define()
  experiment_flags.define_processes()
  experiment_flags.run(main)
