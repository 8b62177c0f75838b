"""Trains MedPatch: encoders, token confidence, calibration, fusion.

  python -m experiments.train --data_dir=OUT --task=TASK --workdir=RUN
      [--preset=tiny|base] [--stage=all|unimodal|confidence|calibrate|fuse]
      [--coordinator=HOST:PORT --processes=N --process=I | --coordinator=auto]

A run that was stopped goes on from its last checkpoint when the same command
is given again; stages that are complete are read back. SIGTERM saves and ends
it with exit code 143.
"""

from absl import flags

from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.run import Run
from experiments.stages import Stages
from medpatch_jax.train.log import logger


def train(config: Config, stage: str = "all") -> Stages:
  """Runs the stages up to and with `stage`.

  Raises:
    ValueError: the configuration does not fit the data or the workdir.
  """
  stages = Stages(Run(config))
  stages.until("fuse" if stage == "all" else stage)
  return stages


def main(argv) -> None:
  del argv
  experiment_flags.connect()
  config = Config.from_flags(flags.FLAGS)
  train(config, flags.FLAGS.stage)
  logger.info(
    "trained; next: python -m experiments.evaluate --workdir=%s",
    config.workdir,
  )


if __name__ == "__main__":
  experiment_flags.define()
  experiment_flags.define_processes()
  experiment_flags.run(main)
