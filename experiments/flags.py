"""The command-line flags of a training run; library code never sees flags."""

import logging
import sys

from absl import flags

from data import errors
from data.errors import InputError
from experiments.config.config import FLAGS
from experiments.config.flag import of
from experiments.config.machine import Processes
from medpatch_jax import compiled
from medpatch_jax.input import places
from medpatch_jax.train import parallel, stop
from medpatch_jax.train.log import logger


def define() -> None:
  """Defines the flags of a training run."""
  for name, flag in FLAGS.items():
    flag.define(name)


def define_processes() -> None:
  """Defines the flags of a command that several processes may run together."""
  for name, flag in of(Processes).items():
    flag.define(name)


def connect() -> None:
  """Joins the processes of the command; all but the first say little.

  Raises:
    ValueError: the flags do not go together, or the processes do not meet.
  """
  f = flags.FLAGS
  count, index = f.processes, f.process
  if f.coordinator in (None, "auto") and (count, index) != (None, None):
    raise ValueError(
      "--processes and --process need --coordinator=HOST:PORT of process 0."
    )
  if (count is None) != (index is None):
    raise ValueError(
      "--processes and --process go together, or neither for what SLURM tells."
    )
  if index is not None and index >= count:
    raise ValueError(
      f"--process={index}: wanted 0 to {count - 1}, --processes={count}."
    )
  if not parallel.connect(f.coordinator, count, index):
    logger.setLevel(logging.WARNING)


class _Formatter(logging.Formatter):
  """Names commands as they were called."""

  def format(self, record):
    return places.worded(super().format(record))


def run(main) -> None:
  """Runs `main(argv)` under absl, progress on stderr, errors in one line.

  A `ValueError` is bad input: its message is shown and the exit code is 2, as
  for a full disk and a loss that is not finite. After SIGTERM it is 143, after
  Ctrl-C 130.
  """
  from absl import logging as absl_logging

  absl_logging.set_verbosity(absl_logging.WARNING)
  shown = logging.StreamHandler()
  shown.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  logger.addHandler(shown)
  logger.setLevel(logging.INFO)
  logger.propagate = False

  def guarded(argv):
    try:
      with compiled.kept():
        main(argv)
    except InputError:
      raise
    except (ValueError, FloatingPointError) as error:
      raise InputError(" ".join(str(error).split())) from error
    except stop.Stopped as error:
      logger.info("%s; the same command goes on from here", error)
      sys.exit(error.code)

  errors.run(guarded)
