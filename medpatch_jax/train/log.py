"""What a run says, and its numbers: JSON lines and TensorBoard files."""

import json
import logging
import pathlib

import tensorboardX

# Progress goes to this logger; whoever runs the program decides where it
# shows (experiments/flags.py does). absl's own is full of Orbax.
logger = logging.getLogger("medpatch_jax")


class Log:
  """Writes metrics.jsonl (no times, so that runs compare) and TensorBoard."""

  def __init__(self, workdir, epoch: int):
    """Opens the log and cuts off lines of `epoch` and later."""
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    self.path = workdir / "metrics.jsonl"
    kept = []
    if self.path.exists():
      # A killed run may have cut its last line; it has no line break then.
      whole = self.path.read_text("utf-8").split("\n")[:-1]
      kept = [line for line in whole if json.loads(line)["epoch"] < epoch]
    partial = self.path.with_name("metrics.jsonl.partial")
    partial.write_text("".join(line + "\n" for line in kept), "utf-8")
    partial.rename(self.path)
    self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"))

  def write(self, epoch: int, step: int, numbers: dict) -> None:
    """Appends the line of an epoch that ended at `step`."""
    line = {"epoch": epoch, "step": step} | numbers
    with self.path.open("a", encoding="utf-8") as out:
      out.write(json.dumps(line) + "\n")
    for name, value in numbers.items():
      self._board.add_scalar(name, value, step)

  def close(self) -> None:
    self._board.close()
