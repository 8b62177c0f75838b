"""Numbers for TensorBoard, written at once.

tensorboardX's own writer has a thread: where that ends, as on a full disk, the
program waits for it for ever.
"""

import pathlib
import time

from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from medpatch_jax import files


class Scalars:
  """A file of events in a folder, for its owner alone."""

  def __init__(self, folder):
    """Starts a file.

    Raises:
      DiskFull: it did not fit.
    """
    self._folder = pathlib.Path(folder)
    with files.room(folder), files.private():
      self._folder.mkdir(parents=True, exist_ok=True)
      path = str(self._folder / "events")
      self._file = event_file_writer.EventsWriter(path)

  def add(self, numbers: dict, step: int) -> None:
    """Writes numbers by name.

    Raises:
      DiskFull: they did not fit.
    """
    with files.room(self._folder):
      for name, value in numbers.items():
        found = summary.scalar(name, value)
        event = event_pb2.Event(wall_time=time.time(), step=step, summary=found)
        self._file.write_event(event)
      self._file.flush()

  def close(self) -> None:
    with files.room(self._folder):
      self._file.close()
