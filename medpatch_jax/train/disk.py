"""A full disk, said so."""

import contextlib
import errno

FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(ValueError):
  """Something was not written for want of room; what was there before is."""


def full(error: BaseException | None) -> bool:
  """Whether an error, or what caused it, is a disk without room."""
  while error is not None:
    # Tensorstore has no errno, only the words.
    if getattr(error, "errno", None) in FULL or "No space left" in str(error):
      return True
    error = error.__cause__ or error.__context__
  return False


@contextlib.contextmanager
def room(path):
  """Inside the `with`, a full disk is a `DiskFull` that names `path`."""
  try:
    yield
  except Exception as error:
    if isinstance(error, DiskFull) or not full(error):
      raise
    raise DiskFull(
      f"{path}: the disk is full. Nothing that was saved before is lost: free"
      " some room and give the same command again."
    ) from error
