"""What a run says, and its numbers: JSON lines and TensorBoard files."""

import json
import logging
import pathlib

import tensorboardX

from medpatch_jax.train import disk

# Progress goes to this logger; whoever runs the program decides where it
# shows (experiments/flags.py does). absl's own is full of Orbax.
logger = logging.getLogger("medpatch_jax")


class Log:
  """Writes the numbers of a stage.

  metrics.jsonl holds no times, so that runs compare; a line of speeds.jsonl
  is an epoch as well, of one process that may have been killed in it. Both,
  and TensorBoard's files, have the same names of numbers.
  """

  def __init__(self, workdir, epoch: int, write: bool = True, project=None):
    """Opens the log and cuts off lines of `epoch` and later.

    Args:
      workdir: of the stage.
      epoch: the next one.
      write: False in all processes but one.
      project: of Weights & Biases, or None.
    """
    self._write, self._wandb = write, None
    if not write:
      return
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    self.path, self.speeds = workdir / "metrics.jsonl", workdir / "speeds.jsonl"
    for path in (self.path, self.speeds):
      _cut(path, epoch)
    self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"))
    if project:
      self._wandb = _wandb(project, workdir)

  def write(self, epoch: int, step: int, numbers: dict, speeds: dict) -> None:
    """Appends the lines of an epoch that ended at `step`."""
    if not self._write:
      return
    for path, values in ((self.path, numbers), (self.speeds, speeds)):
      if not values:
        continue
      line = json.dumps({"epoch": epoch, "step": step} | values) + "\n"
      with disk.room(path), path.open("a", encoding="utf-8") as out:
        out.write(line)
    both = numbers | {f"speed/{name}": v for name, v in speeds.items()}
    for name, value in both.items():
      self._board.add_scalar(name, value, step)
    if self._wandb:
      self._wandb.log(both, step=step)

  def close(self) -> None:
    if self._write:
      self._board.close()
    if self._wandb:
      self._wandb.finish()


def _cut(path, epoch: int) -> None:
  """Keeps the lines of earlier epochs, writing the file whole or not at all."""
  if not path.exists():
    return
  # A killed run may have cut its last line; it has no line break then.
  whole = path.read_text("utf-8").split("\n")[:-1]
  kept = [line for line in whole if json.loads(line)["epoch"] < epoch]
  partial = path.with_name(path.name + ".partial")
  with disk.room(path):
    partial.write_text("".join(line + "\n" for line in kept), "utf-8")
  partial.rename(path)


def _wandb(project: str, workdir: pathlib.Path):
  """A run of Weights & Biases for a stage: its numbers are sent."""
  import wandb  # Optional, experiments/config.py has looked.

  return wandb.init(
    project=project,
    name="/".join(workdir.parts[-3:]),
    dir=str(workdir),
    settings=wandb.Settings(disable_code=True),
  )
