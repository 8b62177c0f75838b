"""What a run says, and its numbers: JSON lines and TensorBoard files."""

import json
import logging
import math
import pathlib
import zlib

from medpatch_jax import files
from medpatch_jax.train.scalars import Scalars

# Progress goes to this logger; whoever runs the program decides where it
# shows (experiments/flags.py does). absl's own is full of Orbax.
logger = logging.getLogger("medpatch_jax")


class Log:
  """Writes the numbers of a stage.

  metrics.jsonl holds no times, so that runs compare; a line of speeds.jsonl
  is an epoch as well, of one process that may have been killed in it. Both,
  and TensorBoard's files, have the same names of numbers.

  Attributes:
    total: CRC-32 of metrics.jsonl, for the next save to remember.
  """

  def __init__(
    self, workdir, epoch: int, write: bool = True, send=None, total=None
  ):
    """Opens the log and cuts off lines of `epoch` and later.

    Args:
      workdir: of the stage.
      epoch: the next one.
      write: False in all processes but one.
      send: (step, numbers) -> None, gets all numbers too; or None.
      total: what `total` was after the epoch before, None where not known.
    """
    self._write, self._send, self.total = write, send, 0
    if not write:
      return
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    self.path, self.speeds = workdir / "metrics.jsonl", workdir / "speeds.jsonl"
    count, self.total = _cut(self.path, epoch)
    if count != max(epoch, 0) or total not in (None, self.total):
      logger.warning(
        "%s: its lines of the %d epochs that are done were changed, damaged or"
        " cut short; what was learned is whole, and goes on: keep the folder,"
        " or delete it to train the stage anew",
        self.path,
        epoch,
      )
    _cut(self.speeds, epoch)
    self._board = Scalars(workdir / "tensorboard")

  def write(self, epoch: int, step: int, numbers: dict, speeds: dict) -> None:
    """Appends the lines of an epoch that ended at `step`."""
    if not self._write:
      return
    # An epoch has a line of numbers even where none of them may be shown.
    for path, values in ((self.speeds, speeds), (self.path, numbers)):
      if path == self.speeds and not values:
        continue
      line = json.dumps({"epoch": epoch, "step": step} | values) + "\n"
      with files.room(path), files.private(), path.open("a") as out:
        out.write(line)
    self.total = zlib.crc32(line.encode(), self.total)
    both = numbers | {f"speed/{name}": v for name, v in speeds.items()}
    self._board.add(both, step)
    if self._send:
      self._send(step, both)

  def close(self) -> None:
    if self._write:
      self._board.close()


def _cut(path, epoch: int) -> tuple[int, int]:
  """Keeps the lines of earlier epochs. -> how many, and their CRC-32."""
  if not path.exists():
    return 0, 0
  # A killed run may have cut its last line; it has no line break then.
  whole = path.read_text("utf-8", errors="replace").split("\n")[:-1]
  kept = [line for line in whole if _epoch(line) < epoch]
  text = "".join(line + "\n" for line in kept)
  files.write_text(path, text)
  done = sum(_epoch(line) >= 0 for line in kept)  # Without the start's.
  return done, zlib.crc32(text.encode())


def _epoch(line: str) -> float:
  """The epoch of a line, infinite where it is damaged."""
  try:
    return int(json.loads(line)["epoch"])
  except (ValueError, KeyError, TypeError):
    return math.inf
