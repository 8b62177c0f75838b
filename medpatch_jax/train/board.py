"""Numbers for TensorBoard and Weights & Biases: of an experiment as a whole."""

import contextlib
import importlib.util
import pathlib
import secrets
import shutil

from medpatch_jax import files
from medpatch_jax.train.log import logger
from medpatch_jax.train.scalars import Scalars

# In a workdir: which run of Weights & Biases is this experiment's, so that
# whatever goes on with the workdir goes on with that run.
NAME = "wandb.json"


class Board:
  """The one run of Weights & Biases of an experiment that is being trained."""

  def __init__(self, run):
    self._run, self._stages = run, set()

  def log(self, stage: str, step: int, numbers: dict) -> None:
    """Sends a stage's numbers; each stage counts its own steps."""
    if stage not in self._stages:
      self._stages.add(stage)
      self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
    named = {f"{stage}/{name}": value for name, value in numbers.items()}
    self._run.log({f"{stage}/step": step} | named)


@contextlib.contextmanager
def experiment(project: str | None, workdir, config: dict):
  """Opens the run of Weights & Biases of a workdir for all its stages.

  Args:
    project: of Weights & Biases, or None.
    workdir: of the experiment.
    config: what the experiment was started with, JSON types.

  Yields:
    `Board`, or None without a project.
  """
  if not project:
    yield None
    return
  path = pathlib.Path(workdir) / NAME
  if not path.exists():
    files.write_json(path, {"project": project, "id": secrets.token_hex(4)})
  run = _open(path, config=config)
  try:
    yield Board(run)
  except BaseException:
    run.finish(exit_code=1)
    raise
  run.finish()


@files.private()
def test(folder, numbers: dict, workdir=None) -> None:
  """Writes and sends the numbers of the test split.

  Args:
    folder: of the results; its `tensorboard/` is made anew.
    numbers: name -> value.
    workdir: of the experiment; its run of Weights & Biases gets them, too, if
      there is one.
  """
  place = pathlib.Path(folder) / "tensorboard"
  shutil.rmtree(place, ignore_errors=True)
  writer = Scalars(place)
  writer.add(numbers, 0)
  writer.close()
  path = workdir and pathlib.Path(workdir) / NAME
  if not path or not path.exists():
    return
  try:
    run = _open(path)
    run.summary.update(numbers)
    run.finish()
  except Exception as error:  # The results are written; the network may fail.
    logger.warning(
      "%s: its run got no test numbers (%s); they are in %s",
      path,
      " ".join(str(error).split()),
      folder,
    )


def _open(path: pathlib.Path, **how):
  """The run that a wandb.json names, begun or gone on with."""
  redo = "delete it to send what follows to a new run."
  known = files.read_json(path, {"project": str, "id": str}, redo)
  if not importlib.util.find_spec("wandb"):
    raise ValueError("the package wandb is not installed; install it")
  import wandb  # Optional.

  return wandb.init(
    **known,
    resume="allow",
    name="/".join(path.parts[-4:-1]),
    dir=str(path.parent),
    settings=wandb.Settings(disable_code=True),
    **how,
  )
