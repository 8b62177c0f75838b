"""One process at a time in a folder, also across machines that share it."""

import contextlib
import fcntl
import os
import pathlib
import socket

from medpatch_jax import files
from medpatch_jax.train.log import logger


class Busy(ValueError):
  """Another live process holds the folder."""


@files.private()
def take(path):
  """Holds the lock file `path` until the returned file is closed.

  The operating system lets go of it when the process ends, however it ends.

  Raises:
    Busy: another process holds it; names the machine.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  file = path.open("a+", encoding="utf-8", errors="replace")
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not _is(file, path):  # A refused run removed it meanwhile.
      file.close()
      return take(path)
  except OSError:
    file.seek(0)
    holder = file.read().strip() or "another process"
    file.close()
    raise Busy(
      f"{path.parent}: in use by a run that is still going ({holder}); wait"
      " for it, stop it, or pass another folder."
    ) from None
  file.truncate(0)
  file.write(socket.gethostname())
  file.flush()
  return file


def _is(file, path) -> bool:
  """Whether the open file is the one of that name still."""
  return path.exists() and os.path.samestat(
    os.fstat(file.fileno()), path.stat()
  )


@contextlib.contextmanager
def shared(path):
  """Waits for the lock file `path`, and holds it inside the `with`."""
  try:
    file = take(path)
  except Busy:
    logger.info("%s: another run is making it, waiting", path)
    file = pathlib.Path(path).open("a+")
    fcntl.flock(file, fcntl.LOCK_EX)
  with file:
    yield
