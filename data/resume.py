"""A build's working folder: what a stopped build has finished is found again.

The folder's name is a hash of everything that a build's result depends on, so
parts made with another flag, file or version of the code are never taken up.
A part appears under its name only when it is whole.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import sys

from data.errors import InputError

_CODE = ("data", "medpatch_jax/schema.py", "medpatch_jax/input")


class OutOfRoom(InputError):
  """Disk or memory ran out: what is finished is kept for the next try."""


def key(given, files):
  """Name for what `given` (JSON-like) and `files` (paths) and the code make.

  A file counts by its path, size and time of change, as in `make`; the code
  of the builder and the versions of what it runs on by their content.
  """
  stamps = []
  for path in sorted(str(f) for f in files):
    try:
      found = os.stat(path)
    except OSError:
      continue  # Told by who reads it.
    stamps.append([os.path.abspath(path), found.st_size, found.st_mtime_ns])
  text = json.dumps([given, stamps, _code()], sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code():
  import duckdb
  import numpy
  import PIL

  total = hashlib.sha256()
  root = pathlib.Path(__file__).parent.parent
  for name in _CODE:
    for path in sorted([root / name, *(root / name).rglob("*.py")]):
      if path.is_file():
        total.update(path.read_bytes())
  versions = duckdb.__version__, numpy.__version__, PIL.__version__
  return [total.hexdigest(), *versions]


@contextlib.contextmanager
def workplace(parent, name):
  """The folder `parent/.part-<name>`, for one build at a time.

  It is removed at the end, and after bad input; it stays after anything else
  that ends a build, even a kill. What builds of other names left is removed.

  Raises:
    InputError: another build works there.
  """
  folder = pathlib.Path(parent) / f".part-{name}"
  folder.mkdir(exist_ok=True)
  lock = _lock(folder)
  if lock is None:
    raise InputError(
      f"{parent}: another build of this dataset is running; wait for it, or"
      " stop it."
    )
  for other in pathlib.Path(parent).glob(".part-*"):
    if other != folder and (held := _lock(other)):
      shutil.rmtree(other, ignore_errors=True)
      held.close()
  try:
    yield folder
  except OutOfRoom:
    raise
  except InputError:
    shutil.rmtree(folder, ignore_errors=True)
    raise
  except Exception as error:
    if full(error):
      raise OutOfRoom(
        f"{parent}: the disk is full; make room and give the same command"
        " again: what is finished is kept."
      ) from None
    raise
  else:
    shutil.rmtree(folder, ignore_errors=True)
  finally:
    lock.close()


def full(error):
  """Whether an error, of any library, is that of a full disk."""
  return os.strerror(errno.ENOSPC) in str(error)


def _lock(folder):
  """An open file that holds the folder, or None if another process does.

  A lock ends with the process, however that ends.
  """
  import fcntl

  file = open(folder / "lock", "wb")
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.close()
    return None
  except OSError:
    pass  # A disk without locks, as some shared ones: nothing can be told.
  return file


@contextlib.contextmanager
def whole(path):
  """A name to write to, which becomes `path` when it is complete."""
  path = pathlib.Path(path)
  part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  yield part
  with open(part, "rb") as file:
    os.fsync(file.fileno())
  os.replace(part, path)


def note(path, values):
  """Writes a JSON file, whole or not at all."""
  with whole(path) as part:
    part.write_text(json.dumps(values), "utf-8")


def noted(path):
  """What `note` wrote there, or None."""
  try:
    return json.loads(pathlib.Path(path).read_text("utf-8"))
  except FileNotFoundError:
    return None


def check_disk(folder, needed, kept, quiet=False):
  """Says how much disk a build will take; refuses if there is less.

  Args:
    folder: an existing folder on the disk in question.
    needed: bytes at most while building.
    kept: bytes of them that stay.
    quiet: nothing on stderr.

  Raises:
    InputError: less is free.
  """
  there = sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*.parquet"))
  needed, free = max(needed - there, 0), shutil.disk_usage(folder).free
  if free < needed:
    # What an earlier build has finished stays.
    kind = OutOfRoom if there else InputError
    raise kind(
      f"--data_dir: about {size(needed)} of disk are needed while building"
      f" ({size(kept)} of it stay), {size(free)} are free; make room, or give"
      " a --data_dir on another disk."
    )
  if not quiet:
    print(
      f"disk: about {size(needed)} while building, {size(kept)} of it stay;"
      f" {size(free)} free",
      file=sys.stderr,
      flush=True,
    )


def bytes_of(memory):
  """Bytes of a size such as "2GB"."""
  return float(memory[:-2]) * {"MB": 1e6, "GB": 1e9}[memory[-2:]]


def size(count):
  """Bytes in words."""
  for unit, step in (("GB", 1e9), ("MB", 1e6)):
    if count >= step:
      return f"{count / step:,.1f} {unit}"
  return f"{count / 1e3:,.0f} kB"
